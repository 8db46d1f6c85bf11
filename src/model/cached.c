/* The story of a cached request: look, run what is missing, await what others run, put together. */
#include "model/cached.h"

#include "cache/shared.h"
#include "model/cached_parts.h"
#include "model/run.h"
#include "model/signature.h"

/* Hashing more than this counts as being in an engine, so that the watcher finds a stand-in. */
enum { LONG_WORK_BYTES = 128 * 1024 };

static void run_is_back(struct worker *worker, struct task *task);
static void wait_is_over(struct worker *worker, struct task *task);

static struct flights *flights_of(const struct cached *c)
{
    return c->inference->model->flights;
}

static struct store *store_of(const struct cached *c)
{
    return c->inference->model->store;
}

/* Rows of a model that is known by this process alone are of no use to other hosts. */
static struct shared *shared_of(const struct cached *c)
{
    const struct model *model = c->inference->model;
    return model->files ? model->host->shared : NULL;
}

/* Those that await nothing any more go on, on this thread. */
static void go_on(struct worker *worker, struct awaiter *ready)
{
    while (ready) {
        struct cached *c = (struct cached *)(void *)ready;
        ready = ready->next;
        worker_take(worker, &c->inference->task);
    }
}

/* --- what is known --- */

static void drop_found(struct cached *c)
{
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++) {
        cache_row_drop(c->places[i].found.row);
        c->places[i].found.row = NULL;
    }
}

/* Looks for the places in this state and copies what there is. False if that does not go together. */
static bool look(struct worker *worker, struct cached *c, enum place_state state)
{
    struct store_look look;
    bool is_found = false;
    if (!store_look_begin(store_of(c), &look))
        return true;
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++) {
        struct cached_place *place = &c->places[i];
        if (place->state != state || !store_get(&look, &place->key, &place->found))
            continue;
        if (state == PLACE_MINE) /* who awaits it finds it too */
            go_on(worker, flights_land(flights_of(c), &place->flight, NULL));
        place->state = PLACE_FOUND;
        is_found = true;
    }
    const bool is_done = !is_found || cached_take_known(c, PLACE_FOUND);
    store_look_end(&look);
    drop_found(c);
    return is_done;
}

/* What is missing becomes mine, or is awaited. */
static bool claim(struct worker *worker, struct cached *c, uint64_t n_put)
{
    bool is_mine = false;
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++) {
        struct cached_place *place = &c->places[i];
        if (place->state != PLACE_MISSING)
            continue;
        if (flights_join(flights_of(c), &place->key, &place->flight, &place->wait,
                         &c->awaiter))
            place->state = PLACE_MINE;
        else
            place->state = PLACE_AWAITED;
        is_mine |= place->state == PLACE_MINE;
    }
    /* One that was in flight at the look, and has landed since. */
    return !is_mine || store_n_put(store_of(c)) == n_put || look(worker, c, PLACE_MINE);
}

/* Asks other hosts for what would have to be run. False if what they have does not go together. */
static bool look_elsewhere(struct worker *worker, struct cached *c)
{
    const size_t n_places = (size_t)c->n_units * c->n_outputs;
    struct gp_arena *arena = c->inference->arena;
    struct digest *keys = gp_arena_alloc(arena, n_places * sizeof *keys);
    struct cache_row **rows =
        gp_arena_alloc(arena, n_places * sizeof(struct cache_row *));
    size_t n = 0;
    if (!keys || !rows)
        return true;
    for (size_t i = 0; i < n_places; i++)
        if (c->places[i].state == PLACE_MINE)
            keys[n++] = c->places[i].key;
    worker_engage(worker);
    const size_t n_found = shared_get(shared_of(c), keys, n, rows);
    worker_disengage(worker);
    for (size_t i = 0, k = 0; i < n_places && n_found; i++) {
        struct cached_place *place = &c->places[i];
        if (place->state != PLACE_MINE)
            continue;
        struct cache_row *row = rows[k++];
        if (!row)
            continue;
        place->found = (struct store_found){row->bytes, row->size_bytes, row};
        place->state = PLACE_FOUND;
        cache_row_hold(row);
        store_put(store_of(c), row);
        go_on(worker, flights_land(flights_of(c), &place->flight, row));
    }
    const bool is_done = !n_found || cached_take_known(c, PLACE_FOUND);
    drop_found(c);
    return is_done;
}

/* Copies what has come; what has not is missing again. */
static bool take_awaited(struct cached *c)
{
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++)
        if (c->places[i].state == PLACE_AWAITED && !c->places[i].wait.row)
            c->places[i].state = PLACE_MISSING;
    const bool is_done = cached_take_known(c, PLACE_AWAITED);
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++) {
        cache_row_drop(c->places[i].wait.row);
        c->places[i].wait.row = NULL;
    }
    return is_done;
}

/* --- ends --- */

/* It has to do with the cache no longer: what is mine is nobody's, what it awaits others may have. */
static void leave(struct worker *worker, struct cached *c)
{
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++) {
        struct cached_place *place = &c->places[i];
        if (place->state == PLACE_MINE)
            go_on(worker, flights_land(flights_of(c), &place->flight, NULL));
        else if (place->state == PLACE_AWAITED)
            flights_leave(flights_of(c), &place->wait);
        place->state = PLACE_HAD;
    }
    engine_outputs_drop(&c->had, &c->inference->run.engine_run);
    cached_end_run(c);
    cached_drop_rows(c);
    c->inference->task.go = c->go;
}

static enum cached_way end_failed(struct worker *worker, struct cached *c)
{
    leave(worker, c);
    return CACHED_REFUSED;
}

static enum cached_way end_found(struct worker *worker, struct cached *c)
{
    const uint32_t n_ran = c->n_ran < c->n_units ? c->n_ran : c->n_units;
    leave(worker, c);
    engine_run_complete(&c->inference->run.engine_run);
    c->inference->cache_rows = c->n_units;
    c->inference->cache_hits = c->n_units - n_ran;
    return CACHED_FOUND;
}

static enum cached_way run_plainly(struct worker *worker, struct inference *inference)
{
    inference->error.status = GP_OK;
    return run_enter(worker, inference) ? CACHED_GOES : CACHED_REFUSED;
}

/* What is kept does not go together, or memory is short: it is run as if there were no cache. */
static enum cached_way give_up(struct worker *worker, struct cached *c)
{
    leave(worker, c);
    engine_run_drop_outputs(&c->inference->run.engine_run);
    c->inference->cache_rows = c->n_units;
    return run_plainly(worker, c->inference);
}

/* --- on the way --- */

static enum cached_way run_mine(struct worker *worker, struct cached *c)
{
    if (!cached_set_run(c))
        return give_up(worker, c);
    c->had = engine_run_take_outputs(&c->inference->run.engine_run);
    c->inference->task.go = run_is_back;
    return run_enter(worker, c->inference) ? CACHED_GOES : end_failed(worker, c);
}

static bool has_any(const struct cached *c, enum place_state state)
{
    for (size_t i = 0; i < (size_t)c->n_units * c->n_outputs; i++)
        if (c->places[i].state == state)
            return true;
    return false;
}

/* Until it has all, or has to wait: for its own run first, and holding no slot for others'. */
static enum cached_way carry_on(struct worker *worker, struct cached *c)
{
    for (;;) {
        const uint64_t n_put = store_n_put(store_of(c));
        if (has_any(c, PLACE_MISSING) &&
            !(look(worker, c, PLACE_MISSING) && claim(worker, c, n_put)))
            return give_up(worker, c);
        if (has_any(c, PLACE_MINE) && shared_of(c) && !look_elsewhere(worker, c))
            return give_up(worker, c);
        if (has_any(c, PLACE_MINE))
            return run_mine(worker, c);
        if (!has_any(c, PLACE_AWAITED))
            return end_found(worker, c);
        c->inference->task.go = wait_is_over;
        if (flights_park(flights_of(c), &c->awaiter))
            return CACHED_GOES;
        if (!take_awaited(c))
            return give_up(worker, c);
    }
}

static void end_way(struct worker *worker, struct cached *c, enum cached_way way)
{
    if (way != CACHED_GOES)
        c->go(worker, &c->inference->task);
}

static void wait_is_over(struct worker *worker, struct task *task)
{
    struct cached *c = ((struct inference *)(void *)task)->cached;
    if (c->inference->error.status != GP_OK)
        end_way(worker, c, end_failed(worker, c));
    else
        end_way(worker, c, take_awaited(c) ? carry_on(worker, c) : give_up(worker, c));
}

/* --- what was computed --- */

/* Gives the row to those that await it, and to the store. */
static void publish_row(struct worker *worker, struct cached *c,
                        struct cached_place *place, const struct gp_tensor *tensor)
{
    struct cache_row *row =
        tensor ? cache_row_create(&place->key, cached_value_size(tensor)) : NULL;
    if (row) {
        cached_value_write(tensor, row->bytes);
        cache_row_hold(row);
        store_put(store_of(c), row);
        if (shared_of(c)) {
            cache_row_hold(row);
            shared_put(shared_of(c), row);
        }
    }
    go_on(worker, flights_land(flights_of(c), &place->flight, row));
    cache_row_drop(row);
}

/* False if an output has other rows than the inputs. Nothing is kept of a process that may have read other
 * files than the one that the keys are of. */
static bool publish_rows(struct worker *worker, struct cached *c,
                         const struct engine_outputs *computed)
{
    const bool is_known = atomic_load(&c->inference->model->salt) == c->salt;
    bool have_rows = true;
    for (uint32_t u = 0; u < c->n_units; u++)
        for (uint32_t k = 0; k < c->n_run_outputs && c->units[u].same == u; k++) {
            struct cached_place *place = cached_place(c, u, c->run_outputs[k]);
            struct gp_tensor tensor;
            if (place->state != PLACE_MINE)
                continue;
            const bool has_row = cached_unit_of(c, computed, k, u, &tensor);
            publish_row(worker, c, place, has_row && is_known ? &tensor : NULL);
            place->state = has_row ? PLACE_COMPUTED : PLACE_HAD;
            have_rows &= has_row;
        }
    return have_rows;
}

static void stop_rows(struct model *model)
{
    if (atomic_exchange(&model->caches_rows, false))
        log_line(model->host->log, GP_LOG_WARNING,
                 "%s: whole requests are cached from now on, since it gave other rows "
                 "than it got",
                 model->metadata.name);
}

static void run_is_back(struct worker *worker, struct task *task)
{
    struct inference *inference = (struct inference *)(void *)task;
    struct cached *c = inference->cached;
    struct engine_run *run = &inference->run.engine_run;
    if (inference->error.status != GP_OK) {
        /* what was put together already may have taken the memory that it lacked */
        const bool is_short = inference->error.status == GP_NO_MEMORY && !c->is_whole;
        end_way(worker, c, is_short ? give_up(worker, c) : end_failed(worker, c));
        return;
    }
    c->n_ran += c->n_run;
    struct engine_outputs computed = engine_run_take_outputs(run);
    const bool have_rows = publish_rows(worker, c, &computed);
    if (!have_rows)
        stop_rows(inference->model);
    cached_end_run(c);
    if (c->is_whole) {
        engine_run_put_outputs(run, &computed);
        end_way(worker, c, end_found(worker, c));
        return;
    }
    engine_run_put_outputs(run, &c->had);
    const bool is_good = have_rows && atomic_load(&inference->model->salt) == c->salt &&
                         cached_take_computed(c, &computed);
    engine_outputs_drop(&computed, run);
    cached_drop_rows(c); /* which outputs may have pointed to */
    end_way(worker, c, is_good ? carry_on(worker, c) : give_up(worker, c));
}

/* --- from outside --- */

/* Strings are read where they lie in the message only once they have been settled. */
static bool settle_strings(struct inference *inference)
{
    const struct gp_call *call = &inference->run.engine_run.call;
    for (uint32_t i = 0; i < call->n_inputs; i++)
        if (inference->inputs[i].dtype == GP_STRING)
            return model_settle(inference);
    return true;
}

enum cached_way cached_enter(struct worker *worker, struct inference *inference)
{
    const struct gp_call *call = &inference->run.engine_run.call;
    size_t size = 0;
    for (uint32_t i = 0; i < call->n_inputs; i++)
        size += inference->inputs[i].size_bytes;
    if (!inference->output_order) /* the engine chooses the outputs */
        return run_plainly(worker, inference);
    if (!settle_strings(inference))
        return CACHED_REFUSED;
    if (size > LONG_WORK_BYTES)
        worker_engage(worker);
    struct cached *c =
        cached_make(inference, atomic_load_explicit(&inference->model->caches_rows,
                                                    memory_order_relaxed) &&
                                   signature_has_rows(inference) && inference->n_rows);
    if (size > LONG_WORK_BYTES)
        worker_disengage(worker);
    if (!c)
        return run_plainly(worker, inference);
    c->go = inference->task.go;
    inference->cached = c;
    return carry_on(worker, c);
}

static struct inference *inference_of(struct awaiter *awaiter)
{
    return ((struct cached *)(void *)awaiter)->inference;
}

static bool is_in_vain(struct awaiter *awaiter, void *arg)
{
    struct inference *inference = inference_of(awaiter);
    (void)arg;
    if (run_is_late(inference))
        return true;
    if (!inference->is_left(inference))
        return false;
    gp_error_set(&inference->error, GP_CANCELLED,
                 "the client left while another request computed the same rows");
    return true;
}

static bool is_ending(struct awaiter *awaiter, void *arg)
{
    (void)arg;
    gp_error_set(&inference_of(awaiter)->error, GP_UNAVAILABLE,
                 "the server ended while another request computed the same rows");
    return true;
}

static void unpark_all(struct model *model,
                       bool (*is_over)(struct awaiter *awaiter, void *arg))
{
    struct awaiter *over =
        model->flights ? flights_unpark(model->flights, is_over, NULL) : NULL;
    while (over) {
        struct awaiter *next = over->next;
        poller_ready(model->host->poller, &inference_of(over)->task);
        over = next;
    }
}

void cached_watch(struct model *model)
{
    unpark_all(model, is_in_vain);
}

void cached_cancel(struct model *model)
{
    unpark_all(model, is_ending);
}
