#include "server/exchange.h"

#include "base/mem.h"

#include <string.h>

enum { MAX_SPARE = 256 };

void exchanges_init(struct exchanges *exchanges, struct gp_server *server,
                    struct pool *pool)
{
    exchanges->server = server;
    exchanges->pool = pool;
    pthread_mutex_init(&exchanges->lock, NULL);
}

static void destroy_exchange(struct exchange *x)
{
    engine_run_finish(&x->inference.run.engine_run);
    gp_arena_destroy(x->arena);
    mem_free(x);
}

void exchanges_finish(struct exchanges *exchanges)
{
    while (exchanges->spare) {
        struct exchange *x = exchanges->spare;
        exchanges->spare = x->next;
        destroy_exchange(x);
    }
    pthread_mutex_destroy(&exchanges->lock);
}

static struct exchange *create_exchange(struct exchanges *exchanges)
{
    struct exchange *x = mem_zalloc(sizeof *x);
    struct gp_arena *arena = gp_arena_create();
    if (!x || !arena) {
        mem_free(x);
        gp_arena_destroy(arena);
        return NULL;
    }
    struct engine_run *run = &x->inference.run.engine_run;
    x->exchanges = exchanges;
    x->server = exchanges->server;
    x->arena = x->inference.arena = arena;
    x->inference.request = &x->request;
    engine_run_init(run, exchanges->pool, arena);
    run->body = &x->body;
    x->target = "";
    return x;
}

static void set_peer(struct exchange *x, struct pool_peer *peer)
{
    struct engine_run *run = &x->inference.run.engine_run;
    run->promise.peer = run->unplanned.peer = run->heap.peer = peer;
}

struct exchange *exchange_take(struct exchanges *exchanges, struct pool_peer *peer)
{
    pthread_mutex_lock(&exchanges->lock);
    struct exchange *x = exchanges->spare;
    if (x) {
        exchanges->spare = x->next;
        exchanges->n_spare--;
    }
    pthread_mutex_unlock(&exchanges->lock);
    if (!x)
        x = create_exchange(exchanges);
    if (!x)
        return NULL;
    set_peer(x, peer);
    http_init(&x->http, HTTP_KIND_REQUEST);
    return x;
}

static void clear_inference(struct inference *inference)
{
    inference->model = NULL;
    inference->run.engine_run.memory = (struct pool_pair){0};
    inference->client = NULL;
    inference->deadline_ns = inference->arrived_ns = inference->queued_ns = 0;
    inference->waited_ns = inference->ran_ns = 0;
    inference->leads_run = false;
    inference->inputs = NULL;
    inference->wanted = NULL;
    inference->output_order = NULL;
    inference->n_wanted = 0;
    inference->cached = NULL;
    inference->cache_rows = inference->cache_hits = 0;
    inference->error.status = GP_OK;
    inference->error.message[0] = '\0';
}

/* Clears all but what the next request reuses: the arena, the run's lock, the server. */
static void clear_exchange(struct exchange *x)
{
    clear_inference(&x->inference);
    set_peer(x, NULL);
    x->connection = NULL;
    x->guest = NULL;
    x->target = "";
    x->route = NULL;
    x->format = NULL;
    x->model = NULL;
    x->is_counted = x->is_uncached = x->is_for_page = false;
    x->cors = NULL;
    x->kind = METRICS_OTHER;
    x->protocol = METRICS_GRAPHPIPE;
    x->head_fed = x->body_size = x->body_length = 0;
    x->request = (struct gp_request){0};
    x->arrived_ns = 0;
    x->error.status = GP_OK;
    x->error.message[0] = '\0';
    x->has_failed = x->must_close = x->is_kept_alive = false;
    x->answer = (struct answer){0};
    x->parts = NULL;
    x->n_parts = 0;
    x->sent_bytes = 0;
}

void exchange_give(struct exchange *x)
{
    struct exchanges *exchanges = x->exchanges;
    engine_run_drop(&x->inference.run.engine_run);
    pool_give(exchanges->pool, &x->body);
    text_finish(&x->text);
    gp_arena_reset(x->arena);
    clear_exchange(x);
    pthread_mutex_lock(&exchanges->lock);
    const bool is_kept = exchanges->n_spare < MAX_SPARE;
    if (is_kept) {
        x->next = exchanges->spare;
        exchanges->spare = x;
        exchanges->n_spare++;
    }
    pthread_mutex_unlock(&exchanges->lock);
    if (!is_kept)
        destroy_exchange(x);
}

static void set_answer(struct exchange *x, const char *content_type,
                       const struct iovec *parts, size_t n_parts, uint64_t size_bytes)
{
    if (x->has_failed)
        x->answer.status = gp_status_http(x->error.status);
    else if (!x->answer.status)
        x->answer.status = 200;
    if (x->answer.status == 503)
        x->answer.fields = "Retry-After: 1\r\n";
    else if (x->answer.status == 405 && !x->answer.fields)
        x->answer.fields = "Allow: GET, HEAD, POST, OPTIONS\r\n";
    x->answer.content_type = content_type;
    x->answer.parts = parts;
    x->answer.n_parts = n_parts;
    x->answer.size_bytes = size_bytes;
}

void exchange_answer_text(struct exchange *x, const char *content_type)
{
    if (x->text.is_short) {
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the answer");
        text_finish(&x->text);
        x->has_failed = true;
        exchange_answer_plainly(x);
        return;
    }
    x->text_parts[0] = (struct iovec){x->text.data, x->text.size_bytes};
    set_answer(x, content_type, x->text_parts, 1, x->text.size_bytes);
}

void exchange_answer_message(struct exchange *x, const struct gp_encoding *encoding)
{
    set_answer(x, "application/x-graphpipe", encoding->parts, encoding->n_parts,
               encoding->size_bytes);
}

void exchange_answer_plainly(struct exchange *x)
{
    x->has_failed = true;
    x->text_parts[0] = (struct iovec){x->error.message, strlen(x->error.message)};
    x->text_parts[1] = (struct iovec){(void *)(size_t) "\n", 1};
    set_answer(x, "text/plain; charset=utf-8", x->text_parts, 2,
               x->text_parts[0].iov_len + 1);
}

void exchange_answer_error(struct exchange *x)
{
    x->has_failed = true;
    engine_run_drop(&x->inference.run.engine_run);
    if (x->format)
        x->format->write_error(x);
    else
        exchange_answer_plainly(x);
}
