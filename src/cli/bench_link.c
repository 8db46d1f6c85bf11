/* The message is prepared, so that a request costs one system call to send and one to
 * receive. Bodies are counted and dropped, except for samples. A server may answer before
 * it has read the whole request; then the connection is not used again. */
#include "cli/bench_link.h"

#include "base/mem.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { PARTS_AT_ONCE = 64, RECEIVES_A_TURN = 16 };

void bench_link_close(struct bench_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
}

static enum bench_step fail_link(struct bench_link *link, enum bench_error kind,
                                 enum bench_error *error)
{
    bench_link_close(link);
    *error = kind;
    return BENCH_FAILED;
}

static bool watch_socket(struct bench_net *net, struct bench_link *link, int op,
                         uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = link};
    if (op == EPOLL_CTL_MOD && link->events == events)
        return true;
    link->events = events;
    return epoll_ctl(net->epoll, op, link->fd, &event) == 0;
}

static enum bench_step open_fd(struct bench_net *net, struct bench_link *link,
                               enum bench_error *error)
{
    const struct sockaddr *server = (const struct sockaddr *)&net->server;
    const int on = 1;
    link->fd = socket(server->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (link->fd < 0)
        return fail_link(link, BENCH_CONNECT, error);
    if (server->sa_family != AF_UNIX)
        (void)setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link->is_connecting = connect(link->fd, server, net->server_size) != 0;
    if (link->is_connecting && errno != EINPROGRESS)
        return fail_link(link, BENCH_CONNECT, error);
    if (!watch_socket(net, link, EPOLL_CTL_ADD,
                      EPOLLIN | (link->is_connecting ? EPOLLOUT : 0)))
        return fail_link(link, BENCH_CONNECT, error);
    return BENCH_WAITS;
}

/* --- sending ------------------------------------------------------------------------ */

static void move(struct bench_link *link, size_t moved)
{
    const struct bench_message *message = link->message;
    while (link->part < message->n_parts) {
        const size_t left = message->parts[link->part].iov_len - link->offset;
        if (moved < left) {
            link->offset += moved;
            return;
        }
        moved -= left;
        link->part++;
        link->offset = 0;
    }
}

static enum bench_step send_parts(struct bench_net *net, struct bench_link *link,
                                  enum bench_error *error)
{
    const struct bench_message *message = link->message;
    while (link->part < message->n_parts) {
        struct iovec parts[PARTS_AT_ONCE];
        size_t n = message->n_parts - link->part;
        n = n < PARTS_AT_ONCE ? n : PARTS_AT_ONCE;
        memcpy(parts, message->parts + link->part, n * sizeof *parts);
        parts[0].iov_base = (char *)parts[0].iov_base + link->offset;
        parts[0].iov_len -= link->offset;
        const struct msghdr header = {.msg_iov = parts, .msg_iovlen = n};
        const ssize_t sent = sendmsg(link->fd, &header, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
            return watch_socket(net, link, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT)
                       ? BENCH_WAITS
                       : fail_link(link, BENCH_RESET, error);
        if (sent < 0 && errno != EINTR)
            return fail_link(link, BENCH_RESET, error);
        move(link, sent > 0 ? (size_t)sent : 0);
    }
    link->is_sent = true;
    return watch_socket(net, link, EPOLL_CTL_MOD, EPOLLIN)
               ? BENCH_WAITS
               : fail_link(link, BENCH_RESET, error);
}

enum bench_step bench_link_begin(struct bench_net *net, struct bench_link *link,
                                 const struct bench_message *message,
                                 enum bench_error *error)
{
    link->message = message;
    link->part = 0;
    link->offset = 0;
    link->is_sent = false;
    link->has_head = false;
    link->head_bytes = 0;
    link->received_bytes = 0;
    http_init(&link->answer, HTTP_KIND_RESPONSE);
    if (link->fd < 0 && open_fd(net, link, error) == BENCH_FAILED)
        return BENCH_FAILED;
    return link->is_connecting ? BENCH_WAITS : send_parts(net, link, error);
}

/* --- receiving ---------------------------------------------------------------------- */

static void sample_add(struct bench_sample *sample, const void *bytes, size_t size)
{
    if (sample->size_bytes + size > sample->capacity_bytes) {
        const size_t capacity = 2 * (sample->size_bytes + size);
        unsigned char *data = mem_resize(sample->data, capacity);
        sample->is_short = sample->is_short || !data;
        if (!data)
            return;
        sample->data = data;
        sample->capacity_bytes = capacity;
    }
    memcpy(sample->data + sample->size_bytes, bytes, size);
    sample->size_bytes += size;
}

static void keep_sample(struct bench_net *net, const struct bench_link *link,
                        const void *bytes, size_t size)
{
    if (net->sample.link == link && size)
        sample_add(&net->sample, bytes, size);
}

/* The whole answer is here. */
static enum bench_step answered(struct bench_link *link, size_t surplus)
{
    if (!link->answer.is_kept_alive || !link->is_sent || surplus > 0)
        bench_link_close(link);
    return BENCH_ANSWERED;
}

static enum bench_step take_chunks(struct bench_net *net, struct bench_link *link,
                                   const char *bytes, size_t size,
                                   enum bench_error *error)
{
    while (size > 0) {
        struct iovec payload = {0};
        size_t used;
        const enum http_progress progress =
            http_chunked(&link->answer, bytes, size, &used, &payload, NULL);
        keep_sample(net, link, payload.iov_base, payload.iov_len);
        bytes += used;
        size -= used;
        if (progress == HTTP_DONE)
            return answered(link, size);
        if (progress == HTTP_BAD || used == 0)
            return fail_link(link, BENCH_BAD_ANSWER, error);
    }
    return BENCH_WAITS;
}

static enum bench_step take_body(struct bench_net *net, struct bench_link *link,
                                 const char *bytes, size_t size, enum bench_error *error)
{
    if (link->answer.is_chunked)
        return take_chunks(net, link, bytes, size, error);
    const bool is_known = link->answer.content_length >= 0;
    const size_t taken = is_known && size > link->body_left ? link->body_left : size;
    keep_sample(net, link, bytes, taken);
    link->body_left -= is_known ? taken : 0;
    return is_known && link->body_left == 0 ? answered(link, size - taken) : BENCH_WAITS;
}

/* A complete head of status 200 or higher. */
static void head_done(struct bench_net *net, struct bench_link *link, const char *base)
{
    size_t size;
    const char *type = http_field(&link->answer, base, "Content-Type", &size);
    link->has_head = true;
    link->body_left = (uint64_t)link->answer.content_length;
    if (link->answer.status != 200 && net->wants_failure && !net->sample.link) {
        net->sample.link = link;
        net->sample.size_bytes = 0;
        net->sample.is_short = false;
    }
    if (net->sample.link == link)
        net->sample.is_message =
            type && http_has_token(type, size, "application/x-graphpipe");
}

/* Bytes [from, to) of a head that begins at base. */
static enum bench_step take_head(struct bench_net *net, struct bench_link *link,
                                 const char *base, size_t from, size_t to,
                                 enum bench_error *error)
{
    for (;;) {
        size_t used;
        switch (http_head(&link->answer, base, from, to, &used, NULL)) {
        case HTTP_BAD:
            return fail_link(link, BENCH_BAD_ANSWER, error);
        case HTTP_DONE:
            break;
        case HTTP_MORE:
            if (!link->head)
                link->head = mem_alloc(HTTP_MAX_HEAD_BYTES);
            if (!link->head || to >= HTTP_MAX_HEAD_BYTES)
                return fail_link(link, BENCH_BAD_ANSWER, error);
            memmove(link->head, base, to);
            link->head_bytes = to;
            return BENCH_WAITS;
        }
        if (link->answer.status >= 200) {
            head_done(net, link, base);
            return take_body(net, link, base + used, to - used, error);
        }
        base += used; /* 1xx: the answer is still to come */
        to -= used;
        from = 0;
        link->head_bytes = 0;
        http_init(&link->answer, HTTP_KIND_RESPONSE);
        if (to == 0)
            return BENCH_WAITS;
    }
}

/* The end of the connection, and of an answer that has no other end. */
static enum bench_step ended(struct bench_link *link, ssize_t got,
                             enum bench_error *error)
{
    if (got == 0 && link->has_head && !link->answer.is_chunked &&
        link->answer.content_length < 0) {
        bench_link_close(link);
        return BENCH_ANSWERED;
    }
    return fail_link(link, BENCH_RESET, error);
}

static enum bench_step receive(struct bench_net *net, struct bench_link *link,
                               enum bench_error *error)
{
    for (int i = 0; i < RECEIVES_A_TURN; i++) {
        const bool is_in_pieces = !link->has_head && link->head_bytes > 0;
        char *base = is_in_pieces ? link->head : net->scratch;
        const size_t from = is_in_pieces ? link->head_bytes : 0;
        const size_t room =
            is_in_pieces ? HTTP_MAX_HEAD_BYTES - from : BENCH_SCRATCH_BYTES;
        const ssize_t got = recv(link->fd, base + from, room, 0);
        if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR))
            return BENCH_WAITS;
        if (got <= 0)
            return ended(link, got, error);
        link->received_bytes += (uint64_t)got;
        const enum bench_step step =
            link->has_head ? take_body(net, link, base, (size_t)got, error)
                           : take_head(net, link, base, from, from + (size_t)got, error);
        if (step != BENCH_WAITS || (size_t)got < room)
            return step;
    }
    return BENCH_WAITS;
}

/* Not asked for: the server has closed an idle connection, or has sent something
 * unasked. */
static enum bench_step close_idle(struct bench_link *link)
{
    bench_link_close(link);
    return BENCH_WAITS;
}

enum bench_step bench_link_turn(struct bench_net *net, struct bench_link *link,
                                uint32_t events, enum bench_error *error)
{
    if (link->fd < 0) /* closed by an earlier event of the same batch */
        return BENCH_WAITS;
    if (!link->is_busy)
        return close_idle(link);
    if (link->is_connecting) {
        int why = 0;
        socklen_t size = sizeof why;
        if (getsockopt(link->fd, SOL_SOCKET, SO_ERROR, &why, &size) != 0 || why != 0)
            return fail_link(link, BENCH_CONNECT, error);
        link->is_connecting = false;
        return send_parts(net, link, error);
    }
    if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
        const enum bench_step step = receive(net, link, error);
        if (step != BENCH_WAITS)
            return step;
    }
    return (events & EPOLLOUT) && !link->is_sent ? send_parts(net, link, error)
                                                 : BENCH_WAITS;
}
