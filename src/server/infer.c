/* The story of one inference: read, bind, enter; then, on the thread that ran it, the answer.
 * x->arena owns whatever is allocated on the way. */
#include "server/infer.h"

#include "model/cached.h"
#include "model/run.h"
#include "server/access.h"
#include "server/connection.h"
#include "wire/wire.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>

/* Reading a body over this counts as being in an engine, so that the watcher finds a stand-in. The
 * body may expand to some eight times its size. */
enum { LONG_WORK_BYTES = 128 * 1024 };

struct exchange *infer_exchange(const struct inference *inference)
{
    return (struct exchange *)(void *)((char *)(size_t)inference -
                                       offsetof(struct exchange, inference));
}

static bool is_left(const struct inference *inference)
{
    return connection_is_left(infer_exchange(inference)->connection);
}

static bool read_request(struct worker *worker, struct exchange *x)
{
    const bool is_long = x->body_size > LONG_WORK_BYTES;
    if (is_long)
        worker_engage(worker);
    const bool is_read = x->format->read_request(x);
    if (is_long)
        worker_disengage(worker);
    return is_read;
}

/* "cache=off" in the config is for the server, and the engine does not see it. Words are apart by blanks,
 * commas or semicolons. False if memory is short. */
static bool take_cache_word(struct exchange *x)
{
    static const char word[] = "cache=off", apart[] = " ,;";
    const char *config = x->request.call.config;
    const char *at = config ? strstr(config, word) : NULL;
    while (at && ((at > config && !strchr(apart, at[-1])) ||
                  !strchr(apart, at[sizeof word - 1]))) /* or its end */
        at = strstr(at + 1, word);
    if (!at)
        return true;
    const size_t before = (size_t)(at - config);
    const char *after = at + sizeof word - 1 + strspn(at + sizeof word - 1, apart);
    char *rest = gp_arena_alloc(x->arena, strlen(config) + 1);
    if (!rest) {
        gp_error_set(&x->inference.error, GP_NO_MEMORY, "no memory for the config");
        return false;
    }
    memcpy(rest, config, before);
    memcpy(rest + before, after, strlen(after) + 1);
    x->request.call.config = rest;
    x->is_uncached = true;
    return true;
}

static enum cached_way enter_model(struct worker *worker, struct exchange *x)
{
    struct inference *inference = &x->inference;
    inference->client = &x->connection->guest.peer->waiting;
    inference->is_left = is_left;
    if (!take_cache_word(x) || !model_bind(inference) || run_is_late(inference))
        return CACHED_REFUSED;
    if (x->model->flights && !x->is_uncached)
        return cached_enter(worker, inference);
    return run_enter(worker, inference) ? CACHED_GOES : CACHED_REFUSED;
}

static void answer_failure(struct exchange *x)
{
    x->error = x->inference.error;
    exchange_answer_error(x);
}

bool infer_begin(struct worker *worker, struct exchange *x)
{
    if (!read_request(worker, x)) {
        exchange_answer_error(x);
        return true;
    }
    if (x->request.kind == GP_REQUEST_METADATA) {
        x->kind = METRICS_METADATA;
        x->format->write_metadata(x);
        return true;
    }
    switch (enter_model(worker, x)) {
    case CACHED_GOES:
        return false;
    case CACHED_FOUND:
        infer_answer(worker, x);
        break;
    case CACHED_REFUSED:
        if (x->inference.error.status == GP_BUSY) /* otherwise the engine is down */
            access_refused(x->server, METRICS_REFUSED_WAITING, &x->guest->from,
                           x->inference.error.message);
        answer_failure(x);
        break;
    }
    return true;
}

/* An output may be requested repeatedly, but not so often that the answer is out of proportion. */
static bool check_repeats(struct exchange *x, const struct gp_tensor *wanted, uint32_t n)
{
    const size_t limit = wire_expansion_limit(x->body_size);
    size_t repeated = 0;
    uint32_t n_seen = 0;
    for (uint32_t i = 0; i < n && repeated <= limit; i++)
        if (x->inference.output_order[i] == n_seen)
            n_seen++; /* for the first time: numbers are given in this order */
        else
            repeated += wanted[i].size_bytes;
    if (repeated <= limit)
        return true;
    gp_error_set(
        &x->error, GP_TOO_LARGE,
        "outputs that are asked for again come to over %zu bytes, the limit for a "
        "request of %zu",
        limit, x->body_size);
    return false;
}

/* The outputs in the requested order, which is the order of GP_ANY_INPUTS engines. */
static const struct gp_tensor *wanted_outputs(struct exchange *x, uint32_t *n)
{
    *n = x->inference.output_order ? x->inference.n_wanted
                                   : x->inference.run.engine_run.n_outputs;
    struct gp_tensor *wanted = gp_arena_alloc(x->arena, *n * sizeof *wanted);
    for (uint32_t i = 0; wanted && i < *n; i++)
        wanted[i] =
            x->inference.run.engine_run
                .outputs[x->inference.output_order ? x->inference.output_order[i] : i]
                .tensor;
    if (!wanted)
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the answer's outputs");
    return wanted && (!x->inference.output_order || check_repeats(x, wanted, *n)) ? wanted
                                                                                  : NULL;
}

static void count_run(const struct worker *worker, const struct exchange *x)
{
    const struct inference *inference = &x->inference;
    const uint64_t n_rows = inference->error.status == GP_OK ? inference->n_rows : 0;
    if (inference->ran_ns || inference->queued_ns || inference->cache_rows)
        metrics_inference_run(x->model->counts, worker->number, inference->waited_ns,
                              n_rows);
    if (inference->cache_rows && inference->error.status == GP_OK)
        metrics_cache(x->model->counts, worker->number, inference->cache_hits,
                      inference->cache_rows - inference->cache_hits);
    if (!inference->leads_run)
        return;
    metrics_run(x->model->counts, worker->number, inference->ran_ns);
    if (x->model->batch_rules.max_rows > 1)
        metrics_batch(x->model->counts, worker->number, inference->run_rows,
                      inference->run_reason);
}

/* X-GraphPipe-Cache: hits/rows. NULL where no cache was asked. */
static const char *tell_cache(const struct exchange *x)
{
    enum { MOST_BYTES = sizeof "X-GraphPipe-Cache: 4294967295/4294967295\r\n" };
    const struct inference *inference = &x->inference;
    char *field = inference->cache_rows ? gp_arena_alloc(x->arena, MOST_BYTES) : NULL;
    if (field)
        (void)snprintf(field, MOST_BYTES, "X-GraphPipe-Cache: %u/%u\r\n",
                       inference->cache_hits, inference->cache_rows);
    return field;
}

void infer_answer(struct worker *worker, struct exchange *x)
{
    struct inference *inference = &x->inference;
    uint32_t n = 0;
    count_run(worker, x);
    if (inference->error.status != GP_OK) {
        answer_failure(x);
        return;
    }
    const struct gp_tensor *outputs = wanted_outputs(x, &n);
    x->answer.fields = tell_cache(x);
    if (outputs)
        x->format->write_outputs(x, outputs, n);
    else
        exchange_answer_error(x);
    /* The rest goes back now: sending the answer may take long. */
    pool_unreserve(x->server->pool, &inference->run.engine_run.promise);
}
