#include "row_check_fixture.h"

#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = ROW_MODEL_WIDTH };

struct row_check_fixture row_checked;

static void note_rows(struct row_engine *engine, const struct gp_tensor *x)
{
    const unsigned run = engine->n_runs++ % ROW_CHECK_MOST_RUNS;
    const int64_t width = x->rank > 1 ? x->shape[1] : 1;
    engine->n_rows[run] = (uint32_t)x->shape[0];
    for (int64_t i = 0; i < x->shape[0] && i < ROW_CHECK_MOST_ROWS; i++)
        engine->firsts[run][i] = ((const float *)x->data)[i * width];
}

static enum gp_status give(struct gp_outputs *outputs, uint32_t index, row_answer *answer,
                           const struct gp_tensor *x, struct gp_error *err)
{
    const struct row_engine *engine = &row_checked.engine;
    const uint32_t n = (uint32_t)x->shape[0];
    float y[64 * WIDTH] = {0};
    const enum gp_status status = answer ? answer(x->data, y, n, err) : GP_OK;
    if (status != GP_OK)
        return status;
    const int64_t shape[] = {engine->has_one_row_only ? 1 : n, WIDTH};
    const size_t size = engine->is_scalar ? 1 : (size_t)shape[0] * WIDTH;
    float *to = gp_outputs_alloc(outputs, index, GP_FLOAT32, shape,
                                 engine->is_scalar ? 0 : 2, err);
    if (to)
        memcpy(to, y, size * sizeof *to);
    return to ? GP_OK : err->status;
}

static enum gp_status take_run(void *self, const struct gp_call *call,
                               struct gp_outputs *outputs, struct gp_error *err)
{
    struct row_engine *engine = &row_checked.engine;
    (void)self;
    const struct gp_tensor *x = &call->inputs[0];
    note_rows(engine, x);
    if (engine->takes_ns)
        turned_clock_add(engine->takes_ns);
    if (engine->width && x->shape[1] != engine->width)
        return gp_error_set(err, GP_INVALID, "not as wide as it should be");
    const enum gp_status status = give(outputs, 0, engine->answer, x, err);
    return status == GP_OK && engine->second && engine->n_runs >= engine->second_from
               ? give(outputs, 1, engine->second, x, err)
               : status;
}

enum gp_status row_check_twice(const float *x, float *y, uint32_t n, struct gp_error *err)
{
    (void)err;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = 2 * x[i];
    return GP_OK;
}

enum gp_status row_check_less_mean(const float *x, float *y, uint32_t n,
                                   struct gp_error *err)
{
    (void)err;
    for (uint32_t j = 0; j < WIDTH; j++) {
        float mean = 0;
        for (uint32_t i = 0; i < n; i++)
            mean += x[i * WIDTH + j] / (float)n;
        for (uint32_t i = 0; i < n; i++)
            y[i * WIDTH + j] = x[i * WIDTH + j] - mean;
    }
    return GP_OK;
}

enum gp_status row_check_constant(const float *x, float *y, uint32_t n,
                                  struct gp_error *err)
{
    (void)x;
    (void)err;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = 7;
    return GP_OK;
}

struct model *row_check_open(uint32_t max_batch, const int64_t *shape)
{
    const struct gp_model_options options = {.size_bytes = sizeof options,
                                             .n_slots = 1,
                                             .max_batch = max_batch,
                                             .cache = row_host.host.need_store != NULL};
    struct model *model =
        row_model_try(take_run, &options, shape, row_checked.engine.second ? 0 : 1);
    if (!model)
        fail_msg("%s", row_host.err.message);
    return model;
}

int row_check_begin(void **state)
{
    row_checked.engine = (struct row_engine){.answer = row_check_twice};
    return row_model_begin(state);
}

int row_check_end(void **state)
{
    turned_clock_end();
    return row_model_end(state);
}

void row_check_it(const int64_t *shape, const char *requests)
{
    struct model *model = row_check_open(GP_MAX_BATCH_AUTO, shape);
    row_checked.engine.n_runs = 0;
    assert_int_equal(row_check_model(model, requests, &row_checked.check, &row_host.err),
                     GP_OK);
    row_model_close(model);
}

void row_check_assert_found(enum row_verdict verdict, const char *why)
{
    assert_int_equal(row_checked.check.verdict, verdict);
    assert_string_equal(row_checked.check.why, why);
}
