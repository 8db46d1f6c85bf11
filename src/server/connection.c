#include "server/connection.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/access.h"
#include "server/drain.h"

#include <poll.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct connection *connection_of(struct guest *guest)
{
    return (struct connection *)(void *)((char *)guest -
                                         offsetof(struct connection, guest));
}

struct exchange *connection_take_exchange(struct connection *c)
{
    struct exchange *x = exchange_take(&c->server->exchanges, &c->guest.peer->memory);
    if (!x)
        return NULL;
    x->connection = c;
    x->guest = &c->guest;
    return x;
}

void connection_end_exchange(struct connection *c)
{
    struct exchange *x = c->x;
    c->x = NULL;
    struct model *model = x->model;
    exchange_give(x); /* whose outputs may be the engine's */
    if (model)
        model_drop(model);
}

void connection_close(struct connection *c)
{
    struct gp_server *server = c->server;
    /* First, so that what it holds is not taken back while it is given up. */
    timers_leave(&server->timers, &c->guest.timer);
    if (c->x && c->x->is_counted) {
        struct log_lines lines = {0};
        access_answered(c->x, 499, 0, &lines);
        log_write(&server->log, &lines);
        log_lines_finish(&lines);
    }
    if (c->x)
        connection_end_exchange(c);
    pool_give(server->pool, &c->pending);
    close(c->source.fd);
    connections_remove(&server->connections, &c->guest);
    mem_free(c);
    drain_connection_gone(server);
}

void connection_send_refusal(int fd, const char *why)
{
    char head[512];
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

void connection_refuse_plainly(struct connection *c)
{
    access_refused(c->server, METRICS_REFUSED_HEAD, &c->guest.from, "no memory");
    connection_send_refusal(c->source.fd, "the server is out of memory; try again later");
    c->since_ns = clock_now_ns() + CONNECTION_LINGER_REFUSED_NS;
    c->state = CONNECTION_LINGER;
}

enum step connection_refuse(struct connection *c)
{
    struct exchange *x = c->x;
    if (!x) {
        connection_refuse_plainly(c);
        return STEP_NEXT;
    }
    x->must_close = true;
    if (!x->arrived_ns)
        x->arrived_ns = c->since_ns; /* of a head that was never complete */
    x->format = NULL;
    exchange_answer_error(x);
    c->state = CONNECTION_ANSWER;
    return STEP_NEXT;
}

enum step connection_refuse_head(struct connection *c)
{
    if (!c->x)
        c->x = connection_take_exchange(c);
    if (!c->x)
        return connection_refuse(c);
    gp_error_set(
        &c->x->error, GP_NO_MEMORY,
        "the pool (--pool) has no room to keep what has come of this request until "
        "the rest comes, or this client's share of it is used up; try again later");
    access_refused(c->server, METRICS_REFUSED_HEAD, &c->guest.from, c->x->error.message);
    return connection_refuse(c);
}

static size_t window_size(const struct worker *worker)
{
    return worker->window_end - worker->window_start;
}

bool connection_save_window(struct worker *worker, struct connection *c)
{
    const size_t size = window_size(worker);
    if (!size)
        return true;
    struct pool_promise none = {.peer = &c->guest.peer->memory};
    if (pool_buy(c->server->pool, NULL, size, &none, &c->pending) != POOL_GRANTED)
        return false;
    if (!pool_touch(c->server->pool, &c->pending, size)) {
        pool_give(c->server->pool, &c->pending);
        return false;
    }
    memcpy(c->pending.data, worker->window + worker->window_start, size);
    c->pending_size = size;
    worker->window_start = worker->window_end = 0;
    return true;
}

void connection_load_window(struct worker *worker, struct connection *c)
{
    worker->window_start = 0;
    worker->window_end = c->pending_size;
    if (!c->pending_size)
        return;
    memcpy(worker->window, c->pending.data, c->pending_size);
    c->pending_size = 0;
    pool_give(c->server->pool, &c->pending);
}

enum step connection_step(enum transport_result result)
{
    switch (result) {
    case TRANSPORT_WANT_READ:
        return STEP_READ;
    case TRANSPORT_WANT_WRITE:
        return STEP_WRITE;
    default:
        return STEP_CLOSE;
    }
}

bool connection_is_left(const struct connection *c)
{
    struct pollfd look = {.fd = c->source.fd, .events = POLLRDHUP};
    return poll(&look, 1, 0) == 1;
}
