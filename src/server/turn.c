/* Takes a connection through its states. */
#include "server/turn.h"

#include "base/mem.h"
#include "server/access.h"
#include "server/infer.h"
#include "server/receive.h"
#include "server/routes.h"
#include "server/send.h"

#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* How long a connection reserved for health checks waits for a head. */
enum { HEALTH_HEAD_MS = 1000 };

/* While the pool is short: how long a head may take, a body may wait for its next bytes, and be
 * behind the minimum rate. */
#define STALL_NS (2 * CLOCK_S)

/* In addition to the time of a transfer at the minimum rate. */
#define TRANSFER_GRACE_NS (10 * CLOCK_S)

/* A larger answer is not written while another run waits for this thread. */
enum { LONG_ANSWER_BYTES = 64 * 1024 };

static const char no_memory[] = "the server is out of memory; try again later";

/* Refuses a socket that is closed next. Reads what has come, so that closing does not reset it
 * before the peer has read the answer. */
static void refuse_socket(int fd, const char *why)
{
    char dropped[4096];
    connection_send_refusal(fd, why);
    for (int i = 0; i < 16 && recv(fd, dropped, sizeof dropped, MSG_DONTWAIT) > 0; i++) {
    }
}

static void turn_event(struct worker *worker, struct source *source);
static void turn_goes_on(struct worker *worker, struct task *task);

/* Sets the initial state and timer; false if the client has been refused. */
static bool start_connection(struct connection *c, enum admission admission,
                             const char *why)
{
    const struct gp_server_options *options = &c->server->options;
    struct timers *timers = &c->server->timers;
    switch (admission) {
    case ADMISSION_GRANTED:
    case ADMISSION_GRANTED_FOR_ANOTHER:
        timers_join(timers, &c->guest.timer, TIMER_FRESH,
                    c->since_ns + options->head_timeout_ms * CLOCK_MS);
        return true;
    case ADMISSION_FOR_HEALTH:
        timers_join(timers, &c->guest.timer, TIMER_HEAD,
                    c->since_ns + HEALTH_HEAD_MS * CLOCK_MS);
        return true;
    case ADMISSION_REFUSED:
        connection_send_refusal(c->source.fd, why);
        c->state = CONNECTION_LINGER;
        c->since_ns += CONNECTION_LINGER_NS;
        timers_join(timers, &c->guest.timer, TIMER_LINGER, c->since_ns);
        return true;
    case ADMISSION_REFUSED_AT_ONCE:
        break;
    }
    refuse_socket(c->source.fd, why);
    return false;
}

static void count_admission(struct connection *c, enum admission admission,
                            const char *why)
{
    struct gp_server *server = c->server;
    if (admission == ADMISSION_GRANTED_FOR_ANOTHER)
        atomic_fetch_add(&server->metrics.n_evicted, 1);
    else if (admission == ADMISSION_REFUSED || admission == ADMISSION_REFUSED_AT_ONCE)
        access_refused(server, METRICS_REFUSED_CONNECTION, &c->guest.from, why);
}

bool turn_begin(struct gp_server *server, const struct listener *listener, int fd,
                const struct sockaddr *from, bool has_descriptors)
{
    const char *why = NULL;
    struct connection *c = mem_zalloc(sizeof *c);
    if (!c || !connections_add(&server->connections, &c->guest, fd, from)) {
        mem_free(c);
        refuse_socket(fd, no_memory);
        close(fd);
        return true;
    }
    c->source.serve = turn_event;
    c->source.fd = fd;
    c->transport.fd = fd;
    c->server = server;
    c->guest.listener = listener;
    c->is_fresh = true;
    memcpy(&c->guest.from, from, sizeof c->guest.from);
    c->since_ns = clock_now_ns();
    timer_init(&server->timers, &c->guest.timer, fd, &c->guest.peer->idle,
               c->guest.peer->site ? &c->guest.peer->site->idle : NULL);
    const enum admission admission =
        connections_admit(&server->connections, &c->guest, has_descriptors, &why);
    count_admission(c, admission, why);
    const bool is_started = start_connection(c, admission, why);
    /* The drain ends idle connections through their timers: one that joins later is caught here. */
    const bool is_late = server_is_draining(server);
    if (is_started && !is_late && poller_add(&server->poller, &c->source, EPOLLIN))
        return admission != ADMISSION_GRANTED_FOR_ANOTHER;
    if (is_started)
        refuse_socket(fd, is_late ? "the server is ending" : no_memory);
    connection_close(c);
    return true;
}

void turn_close_all(struct gp_server *server)
{
    while (server->connections.first)
        connection_close(connection_of(server->connections.first));
}

/* The owner learns that it was revoked before it uses what it held. */
size_t turn_take_back(struct timer *timer)
{
    struct guest *guest =
        (struct guest *)(void *)((char *)timer - offsetof(struct guest, timer));
    struct connection *c = connection_of(guest);
    struct exchange *x = c->x;
    struct pool *pool = c->server->pool;
    if (!x) /* whole requests, which a thread is about to read */
        return 0;
    struct pool_promise *promise = &x->inference.run.engine_run.promise;
    const size_t bytes =
        c->pending.counted_bytes + x->body.counted_bytes + promise->size_bytes;
    pool_give(pool, &c->pending);
    c->pending_size = 0;
    pool_give(pool, &x->body);
    pool_unreserve(pool, promise);
    if (bytes)
        atomic_fetch_add(&c->server->metrics.n_revoked, 1);
    return bytes;
}

static int64_t head_timeout_ms(const struct connection *c)
{
    return c->guest.is_for_health ? HEALTH_HEAD_MS : c->server->options.head_timeout_ms;
}

/* After the timer has shut the socket down: a slow sender is told, others are just closed. */
static enum step end_expired(struct connection *c, enum timer_end end)
{
    struct exchange *x = c->x;
    if (end == TIMER_EVICTED && c->is_fresh) /* after an answer, clients expect it */
        connection_send_refusal(c->source.fd,
                                "this connection was idle, and another needed its "
                                "place; try again later");
    if (end == TIMER_REVOKED) {
        gp_error_set(&x->error, GP_NO_MEMORY,
                     "another request needed the memory (--pool) kept for this one, "
                     "whose %s did not "
                     "come for %lld s, or came at less than --min-rate; try again later",
                     c->state == CONNECTION_HEAD ? "head" : "body",
                     (long long)(STALL_NS / CLOCK_S));
        return connection_refuse(c);
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
    return connection_refuse(c);
}

/* Once an inference has begun, its exchange may belong to another thread, so what comes behind the
 * request is kept with the connection. */
static enum step serve_request(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    const bool may_go = routes_may_wait(x);
    c->state = CONNECTION_ANSWER;
    x->inference.task.go = turn_goes_on;
    if (may_go && !connection_save_window(worker, c)) {
        gp_error_set(&x->error, GP_NO_MEMORY,
                     "no memory for the requests behind this one");
        access_refused(c->server, METRICS_REFUSED_HEAD, &c->guest.from, x->error.message);
        return connection_refuse(c);
    }
    if (routes_serve(worker, x) == SERVED_LATER)
        return STEP_GONE;
    if (may_go)
        connection_load_window(worker, c);
    return STEP_NEXT;
}

static enum step take_step(struct worker *worker, struct connection *c)
{
    switch (c->state) {
    case CONNECTION_HEAD:
        return receive_head(worker, c);
    case CONNECTION_BODY:
        return receive_body(c);
    case CONNECTION_CHUNKED:
        return receive_chunked(worker, c);
    case CONNECTION_REQUEST:
        return serve_request(worker, c);
    case CONNECTION_ANSWER:
        return send_answer(worker, c);
    case CONNECTION_LINGER:
        break;
    }
    return send_linger(worker, c);
}

/* Depends on what has been moved, not on what was announced: a stalled peer is cut off after the
 * grace period, whatever the length. */
static int64_t transfer_deadline(const struct connection *c, uint64_t moved_bytes)
{
    return c->since_ns + TRANSFER_GRACE_NS +
           (int64_t)((double)moved_bytes / (double)c->server->options.min_rate_bytes *
                     1e9);
}

/* True if bytes have come and none has been parsed: they are not the beginning of an incomplete
 * head. */
static bool has_request_behind(const struct connection *c)
{
    return c->pending_size && !c->x;
}

/* A body has stalled if nothing has come for a while, or too little since it began. */
static void start_body_timer(struct connection *c)
{
    const int64_t deadline = transfer_deadline(c, c->x->body_size);
    const int64_t silent = clock_now_ns() + STALL_NS;
    const int64_t slow = deadline - TRANSFER_GRACE_NS + STALL_NS;
    c->guest.timer.stalled_ns = silent < slow ? silent : slow;
    timers_join(&c->server->timers, &c->guest.timer, TIMER_BODY, deadline);
}

static void start_timer(struct connection *c)
{
    struct timers *timers = &c->server->timers;
    const struct gp_server_options *options = &c->server->options;
    struct exchange *x = c->x;
    switch (c->state) {
    case CONNECTION_HEAD:
        c->guest.timer.stalled_ns = c->since_ns + STALL_NS;
        if (x || has_request_behind(c)) /* which the drain waits for, unlike a head */
            timers_join(timers, &c->guest.timer, x ? TIMER_HEAD : TIMER_BODY,
                        c->since_ns + head_timeout_ms(c) * CLOCK_MS);
        else
            timers_join(timers, &c->guest.timer, c->is_fresh ? TIMER_FRESH : TIMER_IDLE,
                        c->since_ns + (c->is_fresh ? options->head_timeout_ms
                                                   : options->idle_timeout_ms) *
                                          CLOCK_MS);
        break;
    case CONNECTION_BODY:
    case CONNECTION_CHUNKED:
        start_body_timer(c);
        break;
    case CONNECTION_ANSWER:
        timers_join(timers, &c->guest.timer, TIMER_SEND,
                    transfer_deadline(c, x->sent_bytes));
        break;
    case CONNECTION_LINGER:
        timers_join(timers, &c->guest.timer, TIMER_LINGER, c->since_ns);
        break;
    case CONNECTION_REQUEST: /* on no list while another thread has it */
        break;
    }
}

/* A connection that yields goes on at once: it is writable, unless an answer before the body fills
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

/* Keeps what the window holds until the next turn. If there is no room, that request is refused,
 * behind the answer being sent. */
static enum step keep_window(struct worker *worker, struct connection *c, enum step step)
{
    const size_t size = worker->window_end - worker->window_start;
    bool is_kept = connection_save_window(worker, c);
    while (!is_kept && timers_revoke(&c->server->timers, size))
        is_kept = connection_save_window(worker, c);
    if (is_kept)
        return step;
    worker->window_start = worker->window_end = 0;
    if (c->state != CONNECTION_ANSWER)
        return connection_refuse_head(c);
    c->has_lost_some = true;
    return step;
}

/* Arms the connection for what it waits for; from then on it may belong to another thread. What it
 * holds may be taken back as soon as its timer has started. */
static bool rest_connection(struct worker *worker, struct connection *c, enum step step)
{
    const bool waits_for_head = c->state == CONNECTION_HEAD && !has_request_behind(c);
    start_timer(c);
    /* As in turn_begin. A request received behind the last one is still answered. */
    if (waits_for_head && server_is_draining(c->server))
        return false;
    return poller_arm(worker->poller, &c->source, events_for(c, step));
}

/* Takes steps until the connection must wait. */
static void take_turn(struct worker *worker, struct connection *c, enum step step)
{
    connection_load_window(worker, c);
    while (step == STEP_NEXT) {
        step = take_step(worker, c);
        if (step != STEP_NEXT && step != STEP_GONE && step != STEP_CLOSE)
            step = keep_window(worker, c, step);
    }
    if (step == STEP_GONE)
        return;
    if (step == STEP_CLOSE || !rest_connection(worker, c, step))
        connection_close(c);
    worker->window_start = worker->window_end = 0;
}

/* Serves its event. */
static void turn_event(struct worker *worker, struct source *source)
{
    struct connection *c = (struct connection *)(void *)source; /* its first member */
    const enum timer_end end = timers_leave(&c->server->timers, &c->guest.timer);
    c->turn_bytes = 0;
    c->turn_requests = 0;
    if (end == TIMER_GOES_ON)
        take_turn(worker, c, STEP_NEXT);
    else
        take_turn(worker, c, end_expired(c, end));
}

/* Goes on after the inference has come back, or once the answer may be sent. */
static void turn_goes_on(struct worker *worker, struct task *task)
{
    struct exchange *x = infer_exchange((struct inference *)(void *)task);
    if (!x->route)
        infer_answer(worker, x);
    if (x->answer.size_bytes > LONG_ANSWER_BYTES)
        worker_share(worker);
    take_turn(worker, x->connection, STEP_NEXT);
}
