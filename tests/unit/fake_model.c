#include "fake_model.h"

#include "base/clock.h"
#include "cache/flights.h"
#include "cache/store.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { POOL_BYTES = 1 << 24 };

static enum gp_status run_at_once(void *handle, uint32_t slot, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    (void)handle, (void)slot, (void)call, (void)outputs, (void)err;
    return GP_OK;
}

static void count_left(void *context, struct model *model)
{
    (void)model;
    atomic_fetch_add(&((struct fake_model *)context)->n_left, 1);
}

void fake_model_begin(struct fake_model *fake, struct poller *poller, uint32_t n_slots,
                      unsigned max_waiting)
{
    *fake = (struct fake_model){0};
    struct model *model = &fake->model;
    fake->engine = (struct gp_engine){.name = "fake", .run = run_at_once};
    fake->host = (struct model_host){.pool = pool_create(POOL_BYTES),
                                     .log = &fake->log,
                                     .poller = poller,
                                     .left = count_left,
                                     .left_context = fake};
    assert_non_null(fake->host.pool);
    model->host = &fake->host;
    model->engine = &fake->engine;
    atomic_store(&model->n_users, 1);
    model->slots.poller = poller;
    model->slots.max_waiting = max_waiting;
    assert_int_equal(slots_init(&model->slots, n_slots, NULL), GP_OK);
}

void fake_model_end(struct fake_model *fake)
{
    struct slots *slots = &fake->model.slots;
    uint32_t n_free = 0;
    assert_int_equal(slots_n_waiting(slots), 0);
    assert_null(slots->queue.first);
    assert_int_equal(atomic_load(&fake->model.n_users), 1);
    for (uint32_t i = slots->first_free; i < slots->n; i = slots->all[i].next_free)
        n_free++;
    assert_int_equal(n_free, slots->n);
    assert_true(slots_are_idle(slots));
    model_drop_batches(&fake->model);
    flights_destroy(fake->model.flights);
    store_close(fake->model.store);
    slots_finish(slots);
    if (fake->model.counts)
        counts_drop(fake->model.counts);
    assert_int_equal(pool_count(fake->host.pool).used_bytes, 0);
    pool_destroy(fake->host.pool);
    text_finish(&fake->log.pending);
}

void fake_model_run_with(struct fake_model *fake, fake_run *run, void *handle)
{
    fake->engine.run = run;
    fake->model.handle = handle;
}

void fake_model_batch(struct fake_model *fake, uint64_t max_rows, const uint32_t *sizes,
                      size_t n_sizes)
{
    struct model *model = &fake->model;
    model->batch_rules.max_rows = max_rows;
    model->batch_rules.sizes = sizes;
    model->batch_rules.n_sizes = n_sizes;
    assert_int_equal(model_make_batches(model, &(struct gp_model_options){0}, NULL),
                     GP_OK);
}

void fake_model_cache(struct fake_model *fake, const char *dir)
{
    struct gp_error err;
    fake->model.store = store_open(
        &(struct store_options){.dir = dir, .size_bytes = 64 << 20, .log = &fake->log},
        &err);
    fake->model.flights = flights_create();
    assert_non_null(fake->model.store);
    assert_non_null(fake->model.flights);
    atomic_store(&fake->model.caches_rows, true);
}

static bool is_left(const struct inference *inference)
{
    struct fake_inference *fake = (struct fake_inference *)(uintptr_t)inference;
    atomic_fetch_add(&fake->n_asked, 1);
    return atomic_load(&fake->is_left);
}

static void come_back(struct worker *worker, struct task *task)
{
    (void)worker;
    atomic_fetch_add(&((struct fake_inference *)(void *)task)->n_back, 1);
}

void fake_inference_begin(struct fake_inference *fake, struct fake_model *model)
{
    struct inference *inference = &fake->inference;
    *fake = (struct fake_inference){0};
    inference->task.go = come_back;
    inference->run.inference = inference;
    inference->model = &model->model;
    inference->arena = gp_arena_create();
    inference->client = &fake->client;
    inference->is_left = is_left;
    assert_non_null(inference->arena);
    engine_run_init(&inference->run.engine_run, model->host.pool, inference->arena);
}

void fake_inference_end(struct fake_inference *fake)
{
    assert_int_equal(fake->client.n_held, 0);
    engine_run_finish(&fake->inference.run.engine_run);
    gp_arena_destroy(fake->inference.arena);
}

void fake_inference_renew(struct fake_inference *fake, int64_t deadline_ns)
{
    struct inference *inference = &fake->inference;
    engine_run_begin(&inference->run.engine_run);
    inference->run.engine_run.call.deadline_ns = deadline_ns;
    inference->arrived_ns = clock_now_ns();
    inference->deadline_ns = deadline_ns;
    inference->error = (struct gp_error){.status = GP_OK};
    inference->is_settled = false;
    inference->queued_ns = inference->waited_ns = inference->ran_ns = 0;
    atomic_store(&fake->is_left, false);
    atomic_store(&fake->n_asked, 0);
    atomic_store(&fake->n_back, 0);
}

struct fake_inference *fake_inference_of(const struct gp_call *call)
{
    const size_t at = offsetof(struct fake_inference, inference.run.engine_run.call);
    return (struct fake_inference *)((uintptr_t)call - at);
}
