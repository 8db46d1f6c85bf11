/* The story of one inference: decode, bind, take a slot; run, encode. The one pause is
 * between the two halves, where no slot is free. x->arena owns whatever is allocated on
 * the way. */
#include "server/infer.h"

#include "base/clock.h"
#include "server/connection.h"
#include "server/server.h"
#include "wire/wire.h"

/* A body over this counts as being in an engine while it is read, so that the watcher finds a
 * stand-in. What it stands for may be some eight times as much. */
enum { LONG_WORK_BYTES = 128 * 1024 };

static bool decode(struct worker *worker, struct exchange *x)
{
    const bool is_long = x->body_size > LONG_WORK_BYTES;
    if (is_long)
        poller_engage(worker->poller);
    const enum gp_status status = wire_view_request(x->arena, x->body.data, x->body_size,
                                                    0, &x->request, &x->error);
    if (is_long)
        poller_disengage(worker->poller);
    return status == GP_OK;
}

static void answer_metadata(struct exchange *x)
{
    struct gp_encoding encoding;
    const unsigned flags = x->accepts_graphpipe ? 0 : GP_ENCODE_2018;
    if (gp_metadata_encode(x->arena, &x->server->model.metadata, flags, &encoding,
                           &x->error) == GP_OK)
        exchange_answer_message(x, &encoding);
    else
        exchange_answer_error(x);
}

static bool is_past_deadline(struct exchange *x)
{
    if (!x->deadline_ns || clock_now_ns() < x->deadline_ns)
        return false;
    gp_error_set(
        &x->error, GP_DEADLINE,
        "the deadline was over after %lld ms (X-GraphPipe-Timeout-Ms, --timeout)",
        (long long)((x->deadline_ns - x->arrived_ns) / CLOCK_MS));
    return true;
}

bool infer_begin(struct worker *worker, struct exchange *x)
{
    struct model *model = &x->server->model;
    if (!decode(worker, x)) {
        exchange_answer_error(x);
        return true;
    }
    if (x->request.kind == GP_REQUEST_METADATA) {
        answer_metadata(x);
        return true;
    }
    if (!model_bind(model, x) || is_past_deadline(x)) {
        exchange_answer_error(x);
        return true;
    }
    switch (model_take_slot(model, x)) {
    case SLOT_QUEUED:
        return false;
    case SLOT_REFUSED:
        if (x->error.status == GP_BUSY) /* else the engine is down */
            server_count_refusal(x->server, METRICS_REFUSED_WAITING, &x->connection->from,
                                 x->error.message);
        exchange_answer_error(x);
        return true;
    case SLOT_TAKEN:
        break;
    }
    if (model_hand_over(model, x))
        return false;
    infer_finish(worker, x);
    return true;
}

/* Runs the engine; false: x->error says why there is nothing to encode. */
static bool run(struct worker *worker, struct exchange *x)
{
    struct model *model = &x->server->model;
    if (is_past_deadline(x))
        return false;
    if (x->queued_ns && connection_is_left(x->connection)) {
        gp_error_set(&x->error, GP_CANCELLED, "the client left while its request waited");
        return false;
    }
    /* A long run is not to hold up what was answered before it. */
    if (!atomic_load_explicit(&worker->poller->has_short_runs, memory_order_relaxed))
        log_write(&x->server->log, &worker->lines);
    model_run_begin(model, x);
    const bool is_poller = !model->slots[x->slot].worker;
    (is_poller ? poller_engage : poller_engage_slot)(worker->poller);
    x->run.writes_outputs = model->description.flags & GP_WRITES_OUTPUTS;
    const enum gp_status status =
        model_settle(x) ? engine_run_execute(&x->run, model->engine, model->handle,
                                             x->slot, &x->error)
                        : x->error.status;
    (is_poller ? poller_disengage : poller_disengage_slot)(worker->poller);
    const bool is_cancelled = model_run_end(model, x);
    metrics_observe(&x->server->metrics.run_time, x->ran_ns);
    if (is_past_deadline(x))
        return false;
    if (is_cancelled && status != GP_OK && server_is_draining(x->server))
        gp_error_set(&x->error, GP_UNAVAILABLE, "the run was stopped: the server ended");
    else if (is_cancelled && status != GP_OK)
        gp_error_set(&x->error, GP_CANCELLED, "the run was stopped: its client left");
    return status == GP_OK;
}

/* An output may be asked for again, but not so often that the answer is out of proportion. */
static bool check_repeats(struct exchange *x, const struct gp_tensor *wanted, uint32_t n)
{
    const size_t limit = wire_expansion_limit(x->body_size);
    size_t repeated = 0;
    uint32_t n_seen = 0;
    for (uint32_t i = 0; i < n && repeated <= limit; i++)
        if (x->output_order[i] == n_seen)
            n_seen++; /* for the first time: they are numbered so */
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

/* The outputs in the order that was asked for; GP_ANY_INPUTS engines give them in it. */
static const struct gp_tensor *wanted_outputs(struct exchange *x, uint32_t *n)
{
    *n = x->output_order ? x->n_wanted : x->run.n_outputs;
    struct gp_tensor *wanted = gp_arena_alloc(x->arena, *n * sizeof *wanted);
    for (uint32_t i = 0; wanted && i < *n; i++)
        wanted[i] = x->run.outputs[x->output_order ? x->output_order[i] : i].tensor;
    if (!wanted)
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for the answer's outputs");
    return wanted && (!x->output_order || check_repeats(x, wanted, *n)) ? wanted : NULL;
}

static bool encode(struct exchange *x, struct gp_encoding *encoding)
{
    uint32_t n;
    const struct gp_tensor *outputs = wanted_outputs(x, &n);
    const unsigned flags = x->accepts_graphpipe ? 0 : GP_ENCODE_2018;
    return outputs &&
           gp_response_encode(x->arena, outputs, n, flags, encoding, &x->error) == GP_OK;
}

void infer_finish(struct worker *worker, struct exchange *x)
{
    struct gp_encoding encoding;
    const uint32_t slot = x->slot;
    const bool has_run = run(worker, x);
    worker->carried = model_pass_slot(&x->server->model, slot);
    if (has_run && encode(x, &encoding)) {
        /* What is left of it goes back now: the answer may take long to leave. */
        pool_unreserve(x->server->pool, &x->run.promise);
        exchange_answer_message(x, &encoding);
    } else {
        exchange_answer_error(x);
    }
}
