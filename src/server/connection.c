#include "server/connection.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/infer.h"
#include "server/receive.h"
#include "server/server.h"

#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a peer may take to read an answer after which we close: long when it may still
 * be sending what was refused, else just enough not to reset it. */
#define LINGER_REFUSED_NS (10 * CLOCK_S)
#define LINGER_NS (1 * CLOCK_S)

/* How long a connection that is kept for health checks waits for a head. */
enum { HEALTH_HEAD_MS = 1000 };

/* While the pool is short, a head may take this long, a body wait for its next bytes, and be behind
 * the least rate. */
#define STALL_NS (2 * CLOCK_S)

/* Beside the time that a transfer takes at the least rate. */
#define TRANSFER_GRACE_NS (10 * CLOCK_S)

static void close_connection(struct connection *c)
{
    struct gp_server *server = c->server;
    /* First of all, or what it holds might be taken back while it is given. */
    timers_leave(&server->timers, &c->timer);
    if (c->x) {
        struct log_lines lines = {0};
        if (c->x->is_counted)
            server_count_answer(c->x, 499, &lines);
        log_write(&server->log, &lines);
        log_lines_finish(&lines);
        exchange_give(c->x);
    }
    pool_give(server->pool, &c->pending);
    close(c->source.fd);
    server_remove_connection(server, c);
    mem_free(c);
    server_connection_gone(server);
}

static const char no_memory[] = "the server is out of memory; try again later";

/* Sends a 503 that takes no memory. Nothing is being sent, so it fits into the socket's buffer. */
static void send_refusal(int fd, const char *why)
{
    char head[EXCHANGE_HEAD_BYTES];
    struct transport transport = {.fd = fd};
    const struct http_answer answer = {.status = 503,
                                       .content_type = "text/plain; charset=utf-8",
                                       .content_length = strlen(why) + 1,
                                       .extra = "Retry-After: 1\r\n"};
    const struct iovec parts[] = {
        {head, http_write_answer(head, sizeof head, &answer)},
        {(void *)(size_t)why, strlen(why)},
        {(void *)(size_t) "\n", 1},
    };
    size_t n;
    (void)transport_writev(&transport, parts, 3, &n);
    shutdown(fd, SHUT_WR);
}

/* The same for a socket that is closed next: what has come is read, so that closing does not
 * reset it before the peer has read the answer. */
static void refuse_socket(int fd, const char *why)
{
    char dropped[4096];
    send_refusal(fd, why);
    for (int i = 0; i < 16 && recv(fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0; i++) {
    }
}

void connection_refuse_plainly(struct connection *c)
{
    server_count_refusal(c->server, METRICS_REFUSED_HEAD, &c->from, "no memory");
    send_refusal(c->source.fd, no_memory);
    c->since_ns = clock_now_ns() + LINGER_REFUSED_NS;
    c->state = CONNECTION_LINGER;
}

static void connection_turn(struct worker *worker, struct source *source);

/* Sets the state and the timer that it starts with; false: it has been told why not. */
static bool start_connection(struct connection *c, enum admission admission,
                             const char *why)
{
    const struct gp_server_options *options = &c->server->options;
    struct timers *timers = &c->server->timers;
    switch (admission) {
    case ADMISSION_GRANTED:
    case ADMISSION_GRANTED_FOR_ANOTHER:
        timers_join(timers, &c->timer, TIMER_FRESH,
                    c->since_ns + options->head_timeout_ms * CLOCK_MS);
        return true;
    case ADMISSION_FOR_HEALTH:
        timers_join(timers, &c->timer, TIMER_HEAD,
                    c->since_ns + HEALTH_HEAD_MS * CLOCK_MS);
        return true;
    case ADMISSION_REFUSED:
        send_refusal(c->source.fd, why);
        c->state = CONNECTION_LINGER;
        c->since_ns += LINGER_NS;
        timers_join(timers, &c->timer, TIMER_LINGER, c->since_ns);
        return true;
    case ADMISSION_REFUSED_AT_ONCE:
        break;
    }
    refuse_socket(c->source.fd, why);
    return false;
}

bool connection_open(struct gp_server *server, const struct listener *listener, int fd,
                     const struct sockaddr *from, bool has_descriptors)
{
    const char *why = NULL;
    struct connection *c = mem_zalloc(sizeof *c);
    if (!c || !server_add_connection(server, c, peers_name(fd, from))) {
        mem_free(c);
        refuse_socket(fd, no_memory);
        close(fd);
        return true;
    }
    c->source.serve = connection_turn;
    c->source.fd = fd;
    c->transport.fd = fd;
    c->server = server;
    c->listener = listener;
    c->is_fresh = true;
    memcpy(&c->from, from, sizeof c->from);
    c->since_ns = clock_now_ns();
    timer_init(&server->timers, &c->timer, fd, &c->peer->idle,
               c->peer->site ? &c->peer->site->idle : NULL);
    const enum admission admission = server_admit(server, c, has_descriptors, &why);
    const bool is_started = start_connection(c, admission, why);
    /* The drain ends idle connections by their timers: one that joins after that sees
     * it here. */
    const bool is_late = server_is_draining(server);
    if (is_started && !is_late && poller_add(&server->poller, &c->source, EPOLLIN))
        return admission != ADMISSION_GRANTED_FOR_ANOTHER;
    if (is_started)
        refuse_socket(fd, is_late ? "the server is ending" : no_memory);
    close_connection(c);
    return true;
}

void connection_close_all(struct gp_server *server)
{
    while (server->connections)
        close_connection(server->connections);
}

/* The owner sees that it has been revoked before it looks for what it held. */
static size_t take_back(struct timer *timer)
{
    struct connection *c =
        (struct connection *)(void *)((char *)timer - offsetof(struct connection, timer));
    struct exchange *x = c->x;
    struct pool *pool = c->server->pool;
    if (!x) /* whole requests, which a thread is about to read */
        return 0;
    const size_t bytes =
        c->pending.counted_bytes + x->body.counted_bytes + x->run.promise.size_bytes;
    pool_give(pool, &c->pending);
    c->pending_size = 0;
    pool_give(pool, &x->body);
    pool_unreserve(pool, &x->run.promise);
    if (bytes)
        atomic_fetch_add(&c->server->metrics.n_revoked, 1);
    return bytes;
}

bool connection_revoke(struct gp_server *server, size_t wanted_bytes)
{
    return timers_revoke(&server->timers, wanted_bytes, take_back) > 0;
}

bool connection_is_left(const struct connection *c)
{
    struct pollfd look = {.fd = c->source.fd, .events = POLLRDHUP};
    return poll(&look, 1, 0) == 1;
}

/* Drops what has been sent from the front of the answer's parts. */
static void advance(struct exchange *x, size_t n)
{
    x->answer_bytes += n;
    while (x->n_parts && n >= x->parts->iov_len) {
        n -= x->parts->iov_len;
        x->parts++;
        x->n_parts--;
    }
    if (n) {
        x->parts->iov_base = (char *)x->parts->iov_base + n;
        x->parts->iov_len -= n;
    }
}

/* There is no room to keep what has come of a request, or of several. */
static enum step refuse_head(struct connection *c)
{
    if (!c->x)
        c->x = exchange_take(c->server, c);
    if (!c->x)
        return receive_refuse(c);
    gp_error_set(
        &c->x->error, GP_NO_MEMORY,
        "the pool (--pool) has no room to keep what has come of this request until "
        "the rest comes, or this client's share of it is used up; try again later");
    server_count_refusal(c->server, METRICS_REFUSED_HEAD, &c->from, c->x->error.message);
    return receive_refuse(c);
}

/* The answer has left: ready for the next request, or for the end. */
static enum step answer_sent(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    const bool is_kept_alive = x->is_kept_alive;
    server_count_answer(x, x->status, &worker->lines);
    const bool is_long =
        x->must_close && !c->is_for_health && !server_is_draining(c->server);
    c->since_ns = clock_now_ns();
    exchange_give(x);
    c->x = NULL;
    if (!is_kept_alive) {
        shutdown(c->source.fd, SHUT_WR);
        c->since_ns += is_long ? LINGER_REFUSED_NS : LINGER_NS;
        c->state = CONNECTION_LINGER;
        return STEP_NEXT;
    }
    c->state = CONNECTION_HEAD;
    c->is_fresh = false;
    if (c->has_lost_some)
        return refuse_head(c);
    const bool has_more =
        worker->window_end > worker->window_start || transport_has_more(&c->transport);
    if (!has_more)
        return STEP_READ;
    return ++worker->turn_requests < TURN_REQUESTS && !worker->carried ? STEP_NEXT
                                                                       : STEP_YIELD;
}

static enum step send_answer(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    size_t turn_bytes = 0;
    while (x->n_parts) {
        size_t n = 0;
        if (turn_bytes >= TURN_BYTES)
            return STEP_YIELD;
        const enum transport_result result =
            transport_writev(&c->transport, x->parts, x->n_parts, &n);
        if (result != TRANSPORT_OK)
            return receive_step(result);
        advance(x, n);
        turn_bytes += n;
    }
    return answer_sent(worker, c);
}

/* Reads and drops what the peer still sends, so that closing does not reset it before it
 * has read the answer. */
static enum step linger(struct worker *worker, struct connection *c)
{
    size_t dropped = 0, n = 0;
    const struct iovec part = {worker->window, WINDOW_BYTES};
    worker->window_start = worker->window_end = 0;
    for (; dropped < TURN_BYTES; dropped += n) {
        const enum transport_result result = transport_readv(&c->transport, &part, 1, &n);
        if (result == TRANSPORT_WANT_READ)
            return STEP_READ;
        if (result != TRANSPORT_OK)
            return STEP_CLOSE;
    }
    return STEP_YIELD;
}

static int64_t head_timeout_ms(const struct connection *c)
{
    return c->is_for_health ? HEALTH_HEAD_MS : c->server->options.head_timeout_ms;
}

/* The timer has shut the socket down: a slow sender is told, the others are closed. */
static enum step expired(struct connection *c, enum timer_end end)
{
    struct exchange *x = c->x;
    if (end == TIMER_EVICTED) {
        if (c->is_fresh) /* one that has had an answer knows that it may be closed when idle */
            send_refusal(c->source.fd, "this connection was idle, and another needed its "
                                       "place; try again later");
        return STEP_CLOSE;
    }
    if (end == TIMER_REVOKED) {
        gp_error_set(&x->error, GP_NO_MEMORY,
                     "another request needed the memory (--pool) kept for this one, "
                     "whose %s did not "
                     "come for %lld s, or came at less than --min-rate; try again later",
                     c->state == CONNECTION_HEAD ? "head" : "body",
                     (long long)(STALL_NS / CLOCK_S));
        return receive_refuse(c);
    }
    if (x && c->state == CONNECTION_ANSWER) {
        x->has_failed = true;
        gp_error_set(&x->error, GP_TIMEOUT, "the client took the answer too slowly");
    }
    if (!x || c->state > CONNECTION_CHUNKED || server_is_draining(c->server))
        return STEP_CLOSE;
    if (c->state == CONNECTION_HEAD)
        gp_error_set(&x->error, GP_TIMEOUT, "the head was not complete within %lld ms",
                     (long long)head_timeout_ms(c));
    else
        gp_error_set(&x->error, GP_TIMEOUT,
                     "the body came too slowly: %zu bytes in %lld ms (--min-rate)",
                     x->body_size,
                     (long long)((clock_now_ns() - c->since_ns) / CLOCK_MS));
    return receive_refuse(c);
}

static enum step take_step(struct worker *worker, struct connection *c)
{
    switch (c->state) {
    case CONNECTION_HEAD:
        return receive_head(worker, c);
    case CONNECTION_BODY:
        return receive_body(worker, c);
    case CONNECTION_CHUNKED:
        return receive_chunked(worker, c);
    case CONNECTION_ANSWER:
        return send_answer(worker, c);
    case CONNECTION_LINGER:
        break;
    }
    return linger(worker, c);
}

/* By what has been moved, not by what was announced: who stalls is cut off after the grace,
 * whatever the length. */
static int64_t transfer_deadline(const struct connection *c, uint64_t moved_bytes)
{
    return c->since_ns + TRANSFER_GRACE_NS +
           (int64_t)((double)moved_bytes / (double)c->server->options.min_rate_bytes *
                     1e9);
}

/* True when bytes have come of which none was parsed: not the beginning of a head that lacks its
 * end. */
static bool has_request_behind(const struct connection *c)
{
    return c->pending_size && !c->x;
}

/* A body has stalled when nothing has come for a while, or too little since it began. */
static void start_body_timer(struct connection *c)
{
    const int64_t deadline = transfer_deadline(c, c->x->body_size);
    const int64_t silent = clock_now_ns() + STALL_NS;
    const int64_t slow = deadline - TRANSFER_GRACE_NS + STALL_NS;
    c->timer.stalled_ns = silent < slow ? silent : slow;
    timers_join(&c->server->timers, &c->timer, TIMER_BODY, deadline);
}

static void start_timer(struct connection *c)
{
    struct timers *timers = &c->server->timers;
    const struct gp_server_options *options = &c->server->options;
    struct exchange *x = c->x;
    switch (c->state) {
    case CONNECTION_HEAD:
        c->timer.stalled_ns = c->since_ns + STALL_NS;
        if (x || has_request_behind(c)) /* which the drain waits for, unlike a head */
            timers_join(timers, &c->timer, x ? TIMER_HEAD : TIMER_BODY,
                        c->since_ns + head_timeout_ms(c) * CLOCK_MS);
        else
            timers_join(timers, &c->timer, c->is_fresh ? TIMER_FRESH : TIMER_IDLE,
                        c->since_ns + (c->is_fresh ? options->head_timeout_ms
                                                   : options->idle_timeout_ms) *
                                          CLOCK_MS);
        break;
    case CONNECTION_BODY:
    case CONNECTION_CHUNKED:
        start_body_timer(c);
        break;
    case CONNECTION_ANSWER:
        timers_join(timers, &c->timer, TIMER_SEND, transfer_deadline(c, x->answer_bytes));
        break;
    case CONNECTION_LINGER:
        timers_join(timers, &c->timer, TIMER_LINGER, c->since_ns);
        break;
    }
}

/* One that yields goes on at once: it is writable, unless an answer before the body fills
 * the socket's buffer; then it is readable, or will be. */
static uint32_t events_for(const struct connection *c, enum step step)
{
    if (step == STEP_READ)
        return EPOLLIN;
    const bool is_reading = c->state == CONNECTION_BODY ||
                            c->state == CONNECTION_CHUNKED ||
                            c->state == CONNECTION_LINGER;
    return step == STEP_YIELD && is_reading ? EPOLLIN | EPOLLOUT : EPOLLOUT;
}

/* Keeps what the window holds until the next turn. Without room for it the request that it is
 * of is refused, behind the answer that is being sent. */
static enum step keep_window(struct worker *worker, struct connection *c, enum step step)
{
    const size_t size = worker->window_end - worker->window_start;
    bool is_kept = window_save(worker, c);
    while (!is_kept && connection_revoke(c->server, size))
        is_kept = window_save(worker, c);
    if (is_kept)
        return step;
    worker->window_start = worker->window_end = 0;
    if (c->state != CONNECTION_ANSWER)
        return refuse_head(c);
    c->has_lost_some = true;
    return step;
}

/* Arms the connection for what it waits for; from then on it may be another thread's. What it holds
 * may be taken back as soon as its timer has started. */
static bool rest(struct worker *worker, struct connection *c, enum step step)
{
    const bool waits_for_head = c->state == CONNECTION_HEAD && !has_request_behind(c);
    start_timer(c);
    /* As in connection_open. A request that was received behind the last one is still answered. */
    if (waits_for_head && server_is_draining(c->server))
        return false;
    return poller_arm(worker->poller, &c->source, events_for(c, step));
}

static void run_turn(struct worker *worker, struct connection *c)
{
    const enum timer_end end = timers_leave(&c->server->timers, &c->timer);
    worker->turn_bytes = 0;
    worker->turn_requests = 0;
    window_load(worker, c);
    enum step step = end == TIMER_GOES_ON ? STEP_NEXT : expired(c, end);
    if (c->is_late_answer) {
        c->is_late_answer = false;
        exchange_answer_error(c->x);
    }
    while (step == STEP_NEXT) {
        step = take_step(worker, c);
        if (step != STEP_NEXT && step != STEP_GONE && step != STEP_CLOSE)
            step = keep_window(worker, c, step);
    }
    if (step == STEP_GONE)
        return;
    if (step == STEP_CLOSE || !rest(worker, c, step))
        close_connection(c);
    worker->window_start = worker->window_end = 0;
}

/* Its event came. */
static void connection_turn(struct worker *worker, struct source *source)
{
    run_turn(worker, (struct connection *)source);
    if (worker->carried)
        connection_carry(worker, worker->carried);
}

void connection_carry(struct worker *worker, struct exchange *x)
{
    while (x) {
        worker->carried = NULL;
        infer_finish(worker, x);
        run_turn(worker, x->connection);
        x = worker->carried;
    }
}

void connection_send_later(struct exchange *x)
{
    struct connection *c = x->connection;
    c->since_ns = clock_now_ns();
    start_timer(c);
    if (!poller_arm(&c->server->poller, &c->source, EPOLLOUT))
        close_connection(c);
}

void connection_answer_later(struct exchange *x)
{
    x->connection->is_late_answer = true;
    connection_send_later(x);
}
