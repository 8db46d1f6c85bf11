/* Sends answers; the head is written when sending begins. */
#include "server/send.h"

#include "server/access.h"

#include <string.h>
#include <sys/socket.h>

/* While the server drains, requests already received behind this one are still answered. */
static bool may_keep_alive(const struct worker *worker, const struct connection *c)
{
    const bool has_more = c->pending_size || worker->window_end > worker->window_start;
    return c->x->http.is_kept_alive && !c->x->must_close &&
           (has_more || !server_is_draining(c->server));
}

/* NULL if memory is short. */
static char *write_head(struct exchange *x, size_t *size)
{
    const struct answer *answer = &x->answer;
    const struct http_answer head = {
        .status = answer->status,
        .content_type = answer->content_type,
        .content_length = answer->size_bytes,
        .cors = x->cors,
        .extra = answer->fields,
        .is_http10 = x->http.is_http10,
        .is_kept_alive = x->is_kept_alive,
    };
    const size_t most = http_answer_most_bytes(&head);
    char *text = gp_arena_alloc(x->arena, most);
    *size = text ? http_write_answer(text, most, &head) : 0;
    return text;
}

/* Puts the head in front of the parts; false if memory is short. */
static bool begin_answer(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    const struct answer *answer = &x->answer;
    const size_t n = x->http.method == HTTP_METHOD_HEAD ? 0 : answer->n_parts;
    struct iovec *all = x->few_parts;
    size_t head_size;
    x->is_kept_alive = may_keep_alive(worker, c);
    char *head = write_head(x, &head_size);
    if (n >= sizeof x->few_parts / sizeof *all)
        all = gp_arena_alloc(x->arena, (n + 1) * sizeof *all);
    if (!head || !all)
        return false;
    all[0] = (struct iovec){head, head_size};
    if (n)
        memcpy(all + 1, answer->parts, n * sizeof *all);
    x->parts = all;
    x->n_parts = n + 1;
    c->since_ns = clock_now_ns();
    return true;
}

/* Drops what has been sent from the front of the answer's parts. */
static void drop_sent(struct exchange *x, size_t n)
{
    x->sent_bytes += n;
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

/* After the answer has left: prepares for the next request, or for the end. */
static enum step end_answer(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    const bool is_kept_alive = x->is_kept_alive;
    access_answered(x, x->answer.status, worker->number, &worker->lines);
    const bool is_long =
        x->must_close && !c->guest.is_for_health && !server_is_draining(c->server);
    c->since_ns = clock_now_ns();
    connection_end_exchange(c);
    if (!is_kept_alive) {
        shutdown(c->source.fd, SHUT_WR);
        c->since_ns += is_long ? CONNECTION_LINGER_REFUSED_NS : CONNECTION_LINGER_NS;
        c->state = CONNECTION_LINGER;
        return STEP_NEXT;
    }
    c->state = CONNECTION_HEAD;
    c->is_fresh = false;
    if (c->has_lost_some)
        return connection_refuse_head(c);
    const bool has_more =
        worker->window_end > worker->window_start || transport_has_more(&c->transport);
    if (!has_more)
        return STEP_READ;
    return ++c->turn_requests < TURN_REQUESTS && !worker->tasks ? STEP_NEXT : STEP_YIELD;
}

enum step send_answer(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    size_t turn_bytes = 0;
    if (!x->parts && !begin_answer(worker, c)) {
        access_answered(x, 503, worker->number, &worker->lines);
        connection_end_exchange(c);
        connection_refuse_plainly(c);
        return STEP_NEXT;
    }
    while (x->n_parts) {
        size_t n = 0;
        if (turn_bytes >= TURN_BYTES)
            return STEP_YIELD;
        const enum transport_result result =
            transport_writev(&c->transport, x->parts, x->n_parts, &n);
        if (result != TRANSPORT_OK)
            return connection_step(result);
        drop_sent(x, n);
        turn_bytes += n;
    }
    return end_answer(worker, c);
}

enum step send_linger(struct worker *worker, struct connection *c)
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
