#include "rounders.h"

#include "base/clock.h"
#include "chance.h"
#include "model/cached.h"

#include <sched.h>
#include <stddef.h>

enum { N_ENTRIES = 10000 };

/* --- the engine --- */

/* Left registered: it may come until the run's result has been taken, and not when it is back. */
static void cancel_run(void *arg)
{
    struct rounder *rounder = arg;
    CHECK(atomic_load(&rounder->is_away));
    CHECK(atomic_fetch_add(&rounder->n_cancels, 1) == 0);
}

static void check_slot(struct rounders_world *world, uint32_t slot)
{
    if (!world->n_runs[slot]++)
        world->threads[slot] = pthread_self();
    CHECK(world->kind != ROUNDERS_SLOT_THREADS ||
          pthread_equal(world->threads[slot], pthread_self()));
}

enum gp_status rounders_work(const struct gp_call *call, struct gp_error *err)
{
    struct rounder *rounder = (struct rounder *)(void *)fake_inference_of(call);
    atomic_store(&rounder->n_cancels, 0);
    bool is_stopped = any(2) && gp_call_on_cancel(call, cancel_run, rounder) != GP_OK;
    for (unsigned i = any(4) ? any(4) : any(200); i > 0 && !is_stopped; i--) {
        sched_yield();
        is_stopped = atomic_load(&rounder->n_cancels) > 0;
    }
    return is_stopped || any(4) == 0 ? gp_error_set(err, GP_ENGINE, "it gave up") : GP_OK;
}

static void count_cancel(void *n_cancels)
{
    CHECK(atomic_fetch_add((atomic_int *)n_cancels, 1) == 0);
}

/* Gives the rows back, whosoever they are. */
static enum gp_status run_rows(struct rounders_world *world, uint32_t slot,
                               const struct gp_call *call, struct gp_outputs *outputs,
                               struct gp_error *err)
{
    atomic_int *n_cancels = &world->n_cancels[slot];
    atomic_store(n_cancels, 0);
    bool is_stopped = any(2) && gp_call_on_cancel(call, count_cancel, n_cancels) != GP_OK;
    for (unsigned i = any(4) ? any(4) : any(200); i > 0 && !is_stopped; i--) {
        sched_yield();
        is_stopped = atomic_load(n_cancels) > 0;
    }
    if (is_stopped || any(8) == 0)
        return gp_error_set(err, GP_ENGINE, "it gave up");
    return row_request_echo(call, outputs, err);
}

enum gp_status rounders_run(void *handle, uint32_t slot, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err)
{
    struct rounders_world *world = handle;
    check_slot(world, slot);
    if (rounders_have_rows(world))
        return run_rows(world, slot, call, outputs, err);
    const enum gp_status status = rounders_work(call, err);
    if (world->kind == ROUNDERS_CHILDREN && any(8) == 0)
        world->children[slot].is_late = true; /* the slot is lost, for a while */
    return status;
}

/* --- the inferences --- */

static void go_on(struct rounder *rounder, struct worker *worker)
{
    struct task *again = &rounder->again;
    if (any(2))
        worker_take(worker, again);
    else
        poller_ready(&rounder->world->poller, again);
    if (any(8) == 0)
        worker_share(worker);
}

static void come_back(struct worker *worker, struct task *task);

/* Few rows, so that others have them too. */
static void ask_for_known(struct rounder *rounder)
{
    static const char *const names[] = {"y"};
    static const uint32_t order[] = {0};
    struct inference *inference = &rounder->fake.inference;
    for (uint64_t i = 0; i < inference->n_rows; i++)
        rounder->rows.rows[i] %= 64;
    inference->run.engine_run.call.output_names = names;
    inference->run.engine_run.call.n_outputs = inference->n_wanted = 1;
    inference->output_order = order;
}

static enum cached_way enter_model(struct worker *worker, struct rounder *rounder)
{
    struct inference *inference = &rounder->fake.inference;
    if (rounder->world->kind == ROUNDERS_CACHED)
        return cached_enter(worker, inference);
    return run_enter(worker, inference) ? CACHED_GOES : CACHED_REFUSED;
}

static void enter(struct worker *worker, struct task *task)
{
    struct rounder *rounder =
        (struct rounder *)(void *)((char *)task - offsetof(struct rounder, again));
    struct rounders_world *world = rounder->world;
    struct inference *inference = &rounder->fake.inference;
    if (atomic_load(&world->is_late) ||
        atomic_fetch_add(&world->n_entered, 1) >= N_ENTRIES) {
        atomic_fetch_sub(&world->n_going, 1);
        return;
    }
    fake_inference_renew(&rounder->fake,
                         any(2) ? clock_now_ns() + any(20) * CLOCK_MS : 0);
    if (world->kind == ROUNDERS_MODELS && !tenants_hold(world->tenants, inference)) {
        go_on(rounder, worker);
        return;
    }
    if (rounders_have_rows(world))
        row_request_fill(&rounder->rows, inference);
    if (world->kind == ROUNDERS_CACHED)
        ask_for_known(rounder);
    inference->client = &world->clients[any(ROUNDERS_N_CLIENTS)];
    rounder->n_ends = atomic_load(&world->n_ends_over);
    CHECK(!atomic_exchange(&rounder->is_away, true));
    const enum cached_way way = enter_model(worker, rounder);
    if (way == CACHED_GOES)
        return; /* it is another's from now on */
    if (way == CACHED_FOUND) {
        come_back(worker, &inference->task);
        return;
    }
    CHECK(atomic_exchange(&rounder->is_away, false));
    CHECK(inference->error.status == GP_BUSY);
    if (world->kind == ROUNDERS_MODELS)
        tenants_drop(inference);
    go_on(rounder, worker);
}

/* It failed for no reason but what has happened to it. */
static bool is_explained(struct rounder *rounder)
{
    const struct inference *inference = &rounder->fake.inference;
    switch (inference->error.status) {
    case GP_OK:
    case GP_ENGINE:
        return true;
    case GP_CANCELLED:
        return atomic_load(&rounder->fake.is_left);
    case GP_DEADLINE:
        return inference->deadline_ns && inference->deadline_ns <= clock_now_ns();
    case GP_UNAVAILABLE:
        return rounder->n_ends != atomic_load(&rounder->world->n_ends_begun);
    case GP_BUSY: /* when its turn came to run what another had failed to */
        return rounder->world->kind == ROUNDERS_CACHED;
    default:
        return false;
    }
}

static void come_back(struct worker *worker, struct task *task)
{
    struct rounder *rounder = (struct rounder *)(void *)task;
    CHECK(atomic_exchange(&rounder->is_away, false));
    CHECK(is_explained(rounder));
    CHECK(!rounders_have_rows(rounder->world) ||
          rounder->fake.inference.error.status != GP_OK ||
          row_request_has_answer(&rounder->rows, &rounder->fake.inference));
    if (rounder->world->kind == ROUNDERS_MODELS)
        tenants_drop(&rounder->fake.inference);
    go_on(rounder, worker);
}

void rounder_begin(struct rounder *rounder, struct rounders_world *world)
{
    fake_inference_begin(&rounder->fake, &world->model);
    rounder->fake.inference.task.go = come_back;
    rounder->again.go = enter;
    rounder->world = world;
}
