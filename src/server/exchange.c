#include "server/exchange.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/server.h"

#include <assert.h>
#include <string.h>

enum { MAX_SPARE = 256 };

void exchanges_init(struct exchanges *exchanges)
{
    pthread_mutex_init(&exchanges->lock, NULL);
}

static void destroy(struct exchange *x)
{
    engine_run_finish(&x->run);
    gp_arena_destroy(x->arena);
    mem_free(x);
}

void exchanges_finish(struct exchanges *exchanges)
{
    while (exchanges->spare) {
        struct exchange *x = exchanges->spare;
        exchanges->spare = x->next;
        destroy(x);
    }
    pthread_mutex_destroy(&exchanges->lock);
}

static struct exchange *create(struct gp_server *server)
{
    struct exchange *x = mem_zalloc(sizeof *x);
    struct gp_arena *arena = gp_arena_create();
    if (!x || !arena) {
        mem_free(x);
        gp_arena_destroy(arena);
        return NULL;
    }
    x->arena = arena;
    x->server = server;
    engine_run_init(&x->run, server->pool, arena);
    x->run.body = &x->body;
    return x;
}

struct exchange *exchange_take(struct gp_server *server, struct connection *connection)
{
    struct exchanges *exchanges = &server->exchanges;
    pthread_mutex_lock(&exchanges->lock);
    struct exchange *x = exchanges->spare;
    if (x) {
        exchanges->spare = x->next;
        exchanges->n_spare--;
    }
    pthread_mutex_unlock(&exchanges->lock);
    if (!x)
        x = create(server);
    if (!x)
        return NULL;
    x->connection = connection;
    x->run.promise.peer = x->run.unplanned.peer = x->run.heap.peer =
        &connection->peer->memory;
    http_init(&x->http, HTTP_KIND_REQUEST);
    return x;
}

/* All but what is kept for the next request: the arena, the run's lock, the server. */
static void clear(struct exchange *x)
{
    x->next = NULL;
    x->connection = NULL;
    x->run.promise.peer = x->run.unplanned.peer = x->run.heap.peer = NULL;
    x->target = "";
    x->route = NULL;
    x->allow = NULL;
    x->is_head = x->accepts_graphpipe = x->accepts_json = x->is_counted = false;
    x->head_fed = x->body_size = x->body_length = 0;
    x->request = (struct gp_request){0};
    x->inputs = NULL;
    x->wanted = NULL;
    x->slot = 0;
    x->output_order = NULL;
    x->n_wanted = 0;
    x->arrived_ns = x->deadline_ns = x->queued_ns = x->run_began_ns = 0;
    x->waited_ns = x->ran_ns = 0;
    x->error.status = GP_OK;
    x->error.message[0] = '\0';
    x->has_failed = x->must_close = x->is_kept_alive = false;
    x->status = 0;
    x->parts = NULL;
    x->n_parts = 0;
    x->answer_bytes = 0;
}

void exchange_give(struct exchange *x)
{
    struct exchanges *exchanges = &x->server->exchanges;
    engine_run_drop(&x->run);
    pool_give(x->server->pool, &x->body);
    text_finish(&x->text);
    gp_arena_reset(x->arena);
    clear(x);
    pthread_mutex_lock(&exchanges->lock);
    const bool is_kept = exchanges->n_spare < MAX_SPARE;
    if (is_kept) {
        x->next = exchanges->spare;
        exchanges->spare = x;
        exchanges->n_spare++;
    }
    pthread_mutex_unlock(&exchanges->lock);
    if (!is_kept)
        destroy(x);
}

/* X-GraphPipe-Timeout-Ms, capped by the server's own limit. */
static bool read_deadline(struct exchange *x, const char *base)
{
    const uint32_t cap_ms = x->server->options.timeout_ms;
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
        x->deadline_ns = x->arrived_ns + (int64_t)ms * CLOCK_MS;
    return true;
}

bool exchange_read_head(struct exchange *x, const char *base)
{
    size_t size;
    x->is_head = x->http.method == HTTP_METHOD_HEAD;
    const char *accept = http_field(&x->http, base, "Accept", &size);
    x->accepts_graphpipe =
        accept && http_has_token(accept, size, "application/x-graphpipe");
    x->accepts_json = accept && http_has_token(accept, size, "application/json");
    const struct http_span span = x->http.target;
    char *target = gp_arena_alloc(x->arena, (size_t)span.size + 1);
    if (!target) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the request's target");
        return false;
    }
    memcpy(target, base + span.start, span.size);
    target[span.size] = '\0';
    x->target = target;
    return read_deadline(x, base);
}

/* The head, and the list of parts with the head in front. `parts` may be NULL with
 * n_parts 0. */
static void answer(struct exchange *x, const char *content_type,
                   const struct iovec *parts, size_t n_parts, uint64_t body_bytes)
{
    /* While draining, a request that has been received behind this one is still answered. */
    const bool is_last = server_is_draining(x->server) && !x->connection->pending_size;
    x->is_kept_alive = x->http.is_kept_alive && !x->must_close && !is_last;
    const char *extra = "";
    if (x->status == 503)
        extra = "Retry-After: 1\r\n";
    else if (x->status == 405)
        extra = x->allow ? x->allow : "Allow: GET, HEAD, POST\r\n";
    const struct http_answer head = {
        .status = x->status,
        .content_type = content_type,
        .content_length = body_bytes,
        .extra = extra,
        .is_http10 = x->http.is_http10,
        .is_kept_alive = x->is_kept_alive,
    };
    const size_t head_size = http_write_answer(x->head, sizeof x->head, &head);
    assert(head_size > 0); /* else EXCHANGE_HEAD_BYTES is too little for its fields */
    struct iovec *all = x->small_parts;
    if (n_parts > 2)
        all = gp_arena_alloc(x->arena, (n_parts + 1) * sizeof *all);
    if (!all) {
        x->status = 503;
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the answer's parts");
        exchange_answer_error(x);
        return;
    }
    all[0] = (struct iovec){x->head, head_size};
    if (n_parts && !x->is_head)
        memcpy(all + 1, parts, n_parts * sizeof *all);
    x->parts = all;
    x->connection->since_ns = clock_now_ns();
    x->n_parts = 1 + (x->is_head ? 0 : n_parts);
}

void exchange_answer_text(struct exchange *x, int status, const char *content_type)
{
    if (x->text.is_short) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the answer");
        text_finish(&x->text);
        exchange_answer_error(x);
        return;
    }
    x->status = status;
    const struct iovec body = {x->text.data, x->text.size_bytes};
    answer(x, content_type ? content_type : "text/plain; charset=utf-8", &body, 1,
           x->text.size_bytes);
}

void exchange_answer_message(struct exchange *x, const struct gp_encoding *encoding)
{
    x->status = x->has_failed ? gp_status_http(x->error.status) : 200;
    answer(x, "application/x-graphpipe", encoding->parts, encoding->n_parts,
           encoding->size_bytes);
}

/* The plainest answer: it allocates nothing. */
static void answer_plainly(struct exchange *x)
{
    const struct iovec body[] = {{x->error.message, strlen(x->error.message)}, {"\n", 1}};
    answer(x, "text/plain; charset=utf-8", body, 2, body[0].iov_len + 1);
}

void exchange_answer_error(struct exchange *x)
{
    x->has_failed = true;
    x->status = gp_status_http(x->error.status);
    engine_run_drop(&x->run);
    struct gp_encoding encoding;
    if (x->accepts_graphpipe && x->http.method == HTTP_METHOD_POST &&
        gp_error_encode(x->arena, &x->error, &encoding, NULL) == GP_OK) {
        exchange_answer_message(x, &encoding);
    } else if (x->accepts_json && !x->accepts_graphpipe) {
        text_finish(&x->text);
        text_puts(&x->text, "{\"error\":");
        text_json_puts(&x->text, x->error.message);
        text_printf(&x->text, ",\"status\":\"%s\"}\n", gp_status_name(x->error.status));
        if (x->text.is_short)
            answer_plainly(x);
        else
            exchange_answer_text(x, x->status, "application/json");
    } else {
        answer_plainly(x);
    }
}
