/* Heads are read into the thread's window, 16 KiB at a time. A body of known length goes straight
 * from the kernel into a pool buffer, except for the bytes that came with the head, which are
 * moved once. The payload of a chunk is received in place too, except what came with its size
 * line. */
#include "server/receive.h"

#include "base/clock.h"
#include "server/access.h"
#include "server/body.h"
#include "server/format.h"
#include "server/routes.h"

#include <string.h>
#include <strings.h>
#include <sys/socket.h>

_Static_assert(WINDOW_BYTES >= (int)HTTP_MAX_HEAD_BYTES + (int)WINDOW_READ_BYTES,
               "a head that is not refused yet leaves room for a read");

static size_t window_size(const struct worker *worker)
{
    return worker->window_end - worker->window_start;
}

/* Receives up to 16 KiB behind what the window holds. */
static enum transport_result fill_window(struct worker *worker, struct connection *c)
{
    if (worker->window_start && WINDOW_BYTES - worker->window_end < WINDOW_READ_BYTES) {
        memmove(worker->window, worker->window + worker->window_start,
                window_size(worker));
        worker->window_end -= worker->window_start;
        worker->window_start = 0;
    }
    size_t n = 0;
    const struct iovec part = {worker->window + worker->window_end, WINDOW_READ_BYTES};
    const enum transport_result result = transport_readv(&c->transport, &part, 1, &n);
    worker->window_end += n;
    c->turn_bytes += n;
    return result;
}

/* Takes exact room for the body, and moves the bytes that came with the head. */
static bool begin_body(struct worker *worker, struct exchange *x)
{
    const size_t here = window_size(worker);
    const size_t n = here < x->body_length ? here : x->body_length;
    if (!body_begin(x) || !body_touch(x, n))
        return false;
    memcpy(x->body.data, worker->window + worker->window_start, n);
    worker->window_start += n;
    x->body_size = n;
    return true;
}

/* Tells a client that asked to continue. If the send buffer has no room, nothing is sent, since a
 * part would corrupt the answer: the client must continue after a timeout of its own. */
static enum step send_continue(struct connection *c)
{
    static const char text[] = "HTTP/1.1 100 Continue\r\n\r\n";
    const struct iovec part = {(void *)(size_t)text, sizeof text - 1};
    size_t n = 0;
    const enum transport_result result = transport_writev(&c->transport, &part, 1, &n);
    const bool is_whole = n == part.iov_len;
    return is_whole || result == TRANSPORT_WANT_WRITE ? STEP_NEXT : STEP_CLOSE;
}

static bool check_head(struct exchange *x)
{
    const struct http_message *http = &x->http;
    const bool is_post = http->method == HTTP_METHOD_POST;
    const int64_t limit = (int64_t)body_limit(x);
    if (x->guest->is_for_health && x->model && http->method != HTTP_METHOD_OPTIONS) {
        gp_error_set(&x->error, GP_BUSY,
                     "no room for another connection: this one is kept for health checks "
                     "(/control, /metrics); try again later");
        access_refused(x->server, METRICS_REFUSED_CONNECTION, &x->guest->from,
                       x->error.message);
    } else if (http->has_bad_expect) {
        gp_error_set(&x->error, GP_EXPECTATION,
                     "Expect: only 100-continue is understood");
    } else if (http->method == HTTP_METHOD_OTHER) {
        gp_error_set(&x->error, GP_METHOD,
                     "method not allowed; wanted GET, HEAD, POST or OPTIONS");
    } else if (http->content_length > (int64_t)GP_MAX_MESSAGE_BYTES) {
        gp_error_set(&x->error, GP_TOO_LARGE,
                     "a body of %lld bytes: the format ends at 2 GiB - 1 (%u bytes)",
                     (long long)http->content_length, GP_MAX_MESSAGE_BYTES);
    } else if (http->content_length > limit) {
        gp_error_set(&x->error, GP_TOO_LARGE, "a body of %lld bytes is over %s of %lld",
                     (long long)http->content_length,
                     is_post ? "the limit (--max-body)" : "what is ignored here,",
                     (long long)limit);
    } else {
        return true;
    }
    return false;
}

/* X-GraphPipe-Timeout-Ms, capped by the server's limit. */
static bool read_deadline(struct exchange *x, const char *base)
{
    const uint32_t cap_ms = atomic_load(&x->server->timeout_ms);
    size_t size;
    const char *value = http_field(&x->http, base, "X-GraphPipe-Timeout-Ms", &size);
    uint64_t ms = 0;
    for (size_t i = 0; value && i < size; i++) {
        if (value[i] < '0' || value[i] > '9' || ms > UINT32_MAX) {
            gp_error_set(
                &x->error, GP_INVALID,
                "X-GraphPipe-Timeout-Ms is \"%.*s\"; wanted milliseconds from 1 to %u",
                (int)gp_text_cut(value, size, 32), value, UINT32_MAX);
            return false;
        }
        ms = ms * 10 + (uint64_t)(value[i] - '0');
    }
    if (value && (ms == 0 || ms > UINT32_MAX)) {
        gp_error_set(&x->error, GP_INVALID,
                     "X-GraphPipe-Timeout-Ms is %llu; wanted milliseconds from 1 to %u",
                     (unsigned long long)ms, UINT32_MAX);
        return false;
    }
    if (cap_ms && (ms == 0 || ms > cap_ms))
        ms = cap_ms;
    if (ms)
        x->inference.deadline_ns = x->arrived_ns + (int64_t)ms * CLOCK_MS;
    return true;
}

/* X-GraphPipe-Cache: off. */
static bool read_cache(struct exchange *x, const char *base)
{
    size_t size;
    const char *value = http_field(&x->http, base, "X-GraphPipe-Cache", &size);
    x->is_uncached = value && size == 3 && strncasecmp(value, "off", size) == 0;
    if (!value || x->is_uncached || (size == 2 && strncasecmp(value, "on", size) == 0))
        return true;
    gp_error_set(&x->error, GP_INVALID,
                 "X-GraphPipe-Cache is \"%.*s\"; wanted \"off\", or \"on\" for what the "
                 "server is set to",
                 (int)gp_text_cut(value, size, 32), value);
    return false;
}

/* The format of the answer, by Accept. The route decides the format of the request. */
static void choose_format(struct exchange *x, const char *base)
{
    size_t size;
    const char *accept = http_field(&x->http, base, "Accept", &size);
    x->format = &format_2018;
    if (!accept)
        return;
    if (x->http.method == HTTP_METHOD_POST &&
        http_has_token(accept, size, "application/x-graphpipe"))
        x->format = &format_graphpipe;
    else if (http_has_token(accept, size, "application/json"))
        x->format = &format_json;
}

/* Reads what concerns us in a complete head: Accept, the deadline, the cache. */
static bool read_head(struct exchange *x, const char *base)
{
    choose_format(x, base);
    const struct http_span span = x->http.target;
    char *target = gp_arena_alloc(x->arena, (size_t)span.size + 1);
    if (!target) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the request's target");
        return false;
    }
    memcpy(target, base + span.start, span.size);
    target[span.size] = '\0';
    x->target = target;
    routes_find_page(x, base);
    return read_deadline(x, base) && read_cache(x, base);
}

static enum step request_complete(struct connection *c)
{
    c->state = CONNECTION_REQUEST;
    return STEP_NEXT;
}

/* True if a request refused by its route is answered before its body: one that is large or of
 * unknown size. A small body is dropped first, so that the connection can be kept. */
static bool is_refused_early(const struct http_message *http)
{
    return http->is_chunked || http->content_length > BODY_MAX_IGNORED_BYTES;
}

/* Handles a complete head, which is at the start of the window. */
static enum step head_done(struct worker *worker, struct connection *c, size_t head_size)
{
    struct exchange *x = c->x;
    x->arrived_ns = x->inference.arrived_ns = clock_now_ns();
    counters_add(&x->server->metrics.counters, worker->number, METRICS_BEGUN, 1);
    x->is_counted = true;
    x->http.is_kept_alive = x->http.is_kept_alive && !c->guest.is_for_health;
    const char *head = worker->window + worker->window_start;
    const bool is_read = read_head(x, head);
    const bool is_found = is_read && routes_find(x, head);
    worker->window_start += head_size;
    if (is_read && !is_found && is_refused_early(&x->http)) {
        x->must_close = true;
        return request_complete(c);
    }
    if (!is_read || (is_found && !check_head(x)))
        return connection_refuse(c);
    c->since_ns = x->arrived_ns;
    if (x->http.is_chunked) {
        if (!body_begin_chunked(x))
            return connection_refuse(c);
        c->state = CONNECTION_CHUNKED;
    } else if (x->http.content_length > 0) {
        x->body_length = (size_t)x->http.content_length;
        if (!begin_body(worker, x))
            return connection_refuse(c);
        c->state = CONNECTION_BODY;
    } else {
        return request_complete(c);
    }
    const bool is_awaited =
        x->http.expects_continue && !window_size(worker) && !x->body_size;
    return is_awaited ? send_continue(c) : STEP_NEXT;
}

enum step receive_head(struct worker *worker, struct connection *c)
{
    size_t head_size = 0;
    const size_t fed = c->x ? c->x->head_fed : 0;
    if (window_size(worker) == fed) {
        const enum transport_result result = fill_window(worker, c);
        if (result != TRANSPORT_OK)
            return connection_step(result);
    }
    if (!c->x) {
        c->x = connection_take_exchange(c);
        c->since_ns = clock_now_ns();
    }
    if (!c->x)
        return connection_refuse(c);
    switch (http_head(&c->x->http, worker->window + worker->window_start, fed,
                      window_size(worker), &head_size, &c->x->error)) {
    case HTTP_DONE:
        return head_done(worker, c, head_size);
    case HTTP_BAD:
        return connection_refuse(c);
    case HTTP_MORE:
        break;
    }
    c->x->head_fed = window_size(worker);
    return c->turn_bytes < TURN_BYTES ? STEP_NEXT : STEP_YIELD;
}

enum step receive_body(struct connection *c)
{
    struct exchange *x = c->x;
    while (x->body_size < x->body_length) {
        if (c->turn_bytes >= TURN_BYTES)
            return STEP_YIELD;
        const size_t rest = x->body_length - x->body_size;
        const size_t share = TURN_BYTES - c->turn_bytes;
        const size_t most = rest < share ? rest : share;
        if (!body_touch(x, x->body_size + most))
            return connection_refuse(c);
        const struct iovec part = {x->body.data + x->body_size, most};
        size_t n = 0;
        const enum transport_result result = transport_readv(&c->transport, &part, 1, &n);
        if (result != TRANSPORT_OK)
            return connection_step(result);
        x->body_size += n;
        c->turn_bytes += n;
    }
    return request_complete(c);
}

/* Receives into the body or, between chunks, into the window; *fresh are the new bytes. */
static enum transport_result read_chunk(struct worker *worker, struct connection *c,
                                        struct iovec *fresh)
{
    struct exchange *x = c->x;
    const size_t rest = http_chunk_rest(&x->http);
    if (!rest || x->body.touched_bytes <= x->body_size) {
        const enum transport_result result = fill_window(worker, c);
        *fresh =
            (struct iovec){worker->window + worker->window_start, window_size(worker)};
        return result;
    }
    const size_t in_place = x->body.touched_bytes < x->body.size_bytes
                                ? x->body.touched_bytes
                                : x->body.size_bytes;
    const size_t room = in_place - x->body_size;
    size_t n = 0;
    fresh->iov_base = x->body.data + x->body_size;
    fresh->iov_len = rest < room ? rest : room;
    const enum transport_result result = transport_readv(&c->transport, fresh, 1, &n);
    fresh->iov_len = n;
    c->turn_bytes += n;
    return result;
}

/* Feeds new bytes to the parser and gathers their payload. */
static enum http_progress take_chunks(struct worker *worker, struct exchange *x,
                                      struct iovec fresh)
{
    const char *bytes = fresh.iov_base;
    const bool is_in_window = bytes == worker->window + worker->window_start;
    size_t left = fresh.iov_len;
    enum http_progress progress = HTTP_MORE;
    while (left && progress == HTTP_MORE) {
        size_t used = 0;
        struct iovec payload = {0};
        progress = http_chunked(&x->http, bytes, left, &used, &payload, &x->error);
        if (progress == HTTP_BAD)
            return progress;
        if (payload.iov_len) {
            if (is_in_window && !body_make_room(worker, x, payload.iov_len))
                return HTTP_BAD;
            if (is_in_window)
                memcpy(x->body.data + x->body_size, payload.iov_base, payload.iov_len);
            x->body_size += payload.iov_len;
        }
        bytes += used;
        left -= used;
        if (is_in_window)
            worker->window_start += used;
    }
    return progress;
}

enum step receive_chunked(struct worker *worker, struct connection *c)
{
    struct exchange *x = c->x;
    struct iovec fresh = {worker->window + worker->window_start, window_size(worker)};
    for (;;) {
        if (fresh.iov_len) {
            const enum http_progress progress = take_chunks(worker, x, fresh);
            if (progress == HTTP_BAD)
                return connection_refuse(c);
            if (progress == HTTP_DONE)
                return body_end_chunked(x) ? request_complete(c) : connection_refuse(c);
        }
        if (c->turn_bytes >= TURN_BYTES)
            return STEP_YIELD;
        const size_t rest = http_chunk_rest(&x->http);
        if (rest && !body_make_room(worker, x, rest))
            return connection_refuse(c);
        const enum transport_result result = read_chunk(worker, c, &fresh);
        if (result != TRANSPORT_OK)
            return connection_step(result);
    }
}
