#include "callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static void count_cancel(void *script)
{
    ((struct callers_script *)script)->n_cancels++;
}

static enum gp_status twice(const struct callers_script *script,
                            const struct gp_tensor *x, struct gp_outputs *outputs,
                            struct gp_error *err)
{
    const float *in = x->data;
    const size_t n = x->size_bytes / sizeof *in;
    const int64_t others[2] = {(int64_t)script->gives_rows, CALLERS_COLUMNS};
    const int64_t narrow[2] = {x->shape[0], 1};
    if (script->adds && script->n_runs > 1 &&
        !gp_outputs_alloc(outputs, 1, GP_FLOAT32, x->shape, x->rank, err))
        return err->status;
    if (script->narrows && script->n_runs > 1)
        return gp_outputs_alloc(outputs, 0, GP_FLOAT32, narrow, 2, err) ? GP_OK
                                                                        : err->status;
    float *y =
        gp_outputs_alloc(outputs, 0, GP_FLOAT32, script->gives_rows ? others : x->shape,
                         script->sums ? 0 : x->rank, err);
    if (!y)
        return err->status;
    for (size_t i = 0; i < n; i++) {
        if (in[i] == CALLERS_BAD)
            return gp_error_set(err, GP_INVALID, "a bad value");
        if (!script->sums && !script->gives_rows)
            y[i] = 2 * in[i];
    }
    return GP_OK;
}

void callers_enter(struct callers *f, struct inference *inference)
{
    assert_true(run_enter(still_worker(&f->poller), inference));
}

static enum gp_status run_script(void *handle, uint32_t slot, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    struct callers_script *script = handle;
    const struct gp_tensor *x = &call->inputs[0];
    const struct run *running = script->f->model.model.slots.all[slot].running;
    assert_ptr_equal(&running->engine_run.call, call); /* for the watcher */
    assert_int_equal(running->slot, slot);
    script->rows[script->n_runs++] = (uint64_t)x->shape[0];
    script->deadline_ns = call->deadline_ns;
    for (int i = 1; i <= script->n_then && script->n_runs == 1; i++)
        callers_enter(script->f, &script->f->all[i].fake.inference);
    if (x->rank && x->shape[0])
        memcpy(script->last,
               (const float *)x->data + (size_t)(x->shape[0] - 1) * CALLERS_COLUMNS,
               sizeof script->last);
    assert_int_equal(gp_call_on_cancel(call, count_cancel, script), GP_OK);
    turned_clock_add(script->takes_ns);
    for (unsigned i = 0; i < CALLERS_N && script->n_runs == 2; i++)
        atomic_store(&script->f->all[i].fake.is_left, script->leaving >> i & 1);
    if (script->is_watched)
        slots_watch(&script->f->model.model.slots);
    if (script->n_cancels)
        return gp_error_set(err, GP_ENGINE, "stopped");
    if (script->fails_together != GP_OK && x->shape[0] > 1)
        return gp_error_set(err, script->fails_together, "not together");
    return twice(script, x, outputs, err);
}

void callers_begin(struct callers *f, uint64_t max_rows, const uint32_t *sizes,
                   size_t n_sizes)
{
    callers_begin_slots(f, 1, max_rows, sizes, n_sizes);
}

void callers_begin_slots(struct callers *f, uint32_t n_slots, uint64_t max_rows,
                         const uint32_t *sizes, size_t n_sizes)
{
    memset(f, 0, sizeof *f);
    f->script.f = f;
    turned_clock_set(CALLERS_NS);
    still_begin(&f->poller);
    fake_model_begin(&f->model, &f->poller, n_slots, CALLERS_N);
    fake_model_run_with(&f->model, run_script, &f->script);
    fake_model_batch(&f->model, max_rows, sizes, n_sizes);
    f->model.model.metadata.name = "twice";
    for (int i = 0; i < CALLERS_N; i++)
        fake_inference_begin(&f->all[i].fake, &f->model);
}

void callers_end(struct callers *f)
{
    for (int i = 0; i < CALLERS_N; i++)
        fake_inference_end(&f->all[i].fake);
    fake_model_end(&f->model);
    still_end(&f->poller);
    turned_clock_end();
}

float callers_value_of(int i, uint64_t row)
{
    return (float)(1000 * (i + 1)) + (float)row;
}

struct inference *callers_prepare(struct callers *f, int i, uint64_t n_rows)
{
    struct caller *caller = &f->all[i];
    struct inference *inference = &caller->fake.inference;
    fake_inference_renew(&caller->fake, 0);
    caller->shape[0] = (int64_t)n_rows;
    caller->shape[1] = CALLERS_COLUMNS;
    for (uint64_t k = 0; k < n_rows * CALLERS_COLUMNS; k++)
        caller->x[k] = callers_value_of(i, k / CALLERS_COLUMNS);
    caller->input =
        (struct gp_tensor){"x",        caller->shape,
                           caller->x,  n_rows * CALLERS_COLUMNS * sizeof(float),
                           GP_FLOAT32, 2};
    caller->wanted = GP_FLOAT32;
    caller->output = "y";
    inference->n_rows = n_rows;
    inference->inputs = &caller->input;
    inference->wanted = &caller->wanted;
    inference->is_settled = false;
    struct gp_call *call = &inference->run.engine_run.call;
    call->inputs = inference->inputs;
    call->n_inputs = 1;
    call->output_names = &caller->output;
    call->n_outputs = 1;
    call->config = "";
    return inference;
}

void callers_send(struct callers *f, int i, uint64_t n_rows)
{
    callers_enter(f, callers_prepare(f, i, n_rows));
}

void callers_serve(struct callers *f)
{
    (void)still_serve(&f->poller);
}

void callers_serve_before(struct callers *f, int n_others)
{
    f->script.n_then = n_others;
    callers_enter(f, &f->all[0].fake.inference);
    callers_serve(f);
    f->script.n_then = 0;
}

void callers_assert_answered(const struct callers *f, int i)
{
    const struct caller *caller = &f->all[i];
    const struct inference *inference = &caller->fake.inference;
    const struct engine_run *run = &inference->run.engine_run;
    assert_int_equal(caller->fake.n_back, 1);
    assert_int_equal(inference->error.status, GP_OK);
    assert_int_equal(run->n_outputs, 1);
    const struct gp_tensor *y = &run->outputs[0].tensor;
    assert_int_equal(y->rank, 2);
    assert_int_equal(y->shape[0], inference->n_rows);
    assert_int_equal(y->size_bytes, inference->n_rows * CALLERS_COLUMNS * sizeof(float));
    for (uint64_t k = 0; k < inference->n_rows * CALLERS_COLUMNS; k++)
        assert_true(((const float *)y->data)[k] ==
                    2 * callers_value_of(i, k / CALLERS_COLUMNS));
}

void callers_assert_told(const struct callers *f, int i, enum gp_status status,
                         const char *words)
{
    const struct fake_inference *fake = &f->all[i].fake;
    assert_int_equal(fake->n_back, 1);
    assert_int_equal(fake->inference.error.status, status);
    assert_non_null(strstr(fake->inference.error.message, words));
}

void callers_assert_failed(const struct callers *f, int i, enum gp_status status,
                           const char *words)
{
    callers_assert_told(f, i, status, words);
    assert_int_equal(f->all[i].fake.inference.run.engine_run.n_outputs, 0);
}

void callers_assert_runs(const struct callers *f, unsigned n, const uint64_t *rows)
{
    assert_int_equal(f->script.n_runs, n);
    for (unsigned i = 0; i < n; i++)
        assert_int_equal(f->script.rows[i], rows[i]);
}
