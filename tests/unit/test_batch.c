/* Requests that run together: who joins whom, and what the engine is called with. */
#include "callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct callers f; /* large */

/* --- who joins --- */

static void those_that_wait_run_together(void **state)
{
    (void)state;
    callers_begin(&f, 8, NULL, 0);
    for (int i = 0; i < 5; i++)
        (void)callers_prepare(&f, i, (uint64_t)i + 1);
    callers_serve_before(&f, 4);
    /* the first found a free slot; the fourth did not fit, nor the fifth with it */
    CALLERS_ASSERT_RUNS(&f, 1, 2 + 3, 4, 5);
    for (int i = 0; i < 5; i++)
        callers_assert_answered(&f, i);
    callers_end(&f);
}

/* A smaller one that fits comes before a larger one that does not, which is the next. */
static void a_run_is_filled(void **state)
{
    (void)state;
    callers_begin(&f, 4, NULL, 0);
    static const uint64_t rows[] = {1, 3, 2, 1, 2};
    for (int i = 0; i < 5; i++)
        (void)callers_prepare(&f, i, rows[i]);
    callers_serve_before(&f, 4);
    CALLERS_ASSERT_RUNS(&f, 1, 3 + 1, 2 + 2);
    for (int i = 0; i < 5; i++)
        callers_assert_answered(&f, i);
    assert_int_equal(f.all[3].fake.inference.waited_ns,
                     f.all[1].fake.inference.waited_ns);
    callers_end(&f);
}

/* Without --max-batch, or once it turned out that the model is not made for it. */
static void none_join_where_none_may(void **state)
{
    (void)state;
    callers_begin(&f, 0, NULL, 0);
    for (int i = 0; i < 3; i++)
        (void)callers_prepare(&f, i, 1);
    callers_serve_before(&f, 2);
    CALLERS_ASSERT_RUNS(&f, 1, 1, 1);
    callers_end(&f);
    callers_begin(&f, 1, NULL, 0);
    for (int i = 0; i < 3; i++)
        (void)callers_prepare(&f, i, 1);
    callers_serve_before(&f, 2);
    CALLERS_ASSERT_RUNS(&f, 1, 1, 1);
    callers_end(&f);
}

/* What differs between requests that wait: each kind alone keeps them apart. */
static void only_equals_join(void **state)
{
    (void)state;
    static const char *const others[] = {"z"};
    static const int64_t shapes[][3] = {{1, 1, CALLERS_COLUMNS}};
    for (int kind = 0; kind < 8; kind++) {
        callers_begin(&f, 8, NULL, 0);
        for (int i = 0; i < 3; i++)
            (void)callers_prepare(&f, i, 1);
        struct inference *other = &f.all[2].fake.inference;
        struct caller *caller = &f.all[2];
        struct gp_call *call = &other->run.engine_run.call;
        switch (kind) {
        case 0: /* nothing */
            break;
        case 1:
            caller->input.name = "w";
            break;
        case 2:
            caller->input.dtype = caller->wanted = GP_INT32; /* of the same size */
            break;
        case 3:
            call->output_names = others;
            break;
        case 4:
            call->config = "{}";
            break;
        case 5:
            call->n_outputs = 0;
            break;
        case 6:
            caller->input.shape = shapes[0];
            caller->input.rank = 3;
            break;
        default:
            caller->input.rank = 0; /* no rows: never joins */
            caller->input.size_bytes = sizeof(float);
        }
        callers_serve_before(&f, 2);
        assert_int_equal(f.script.n_runs, kind == 0 ? 2 : 3);
        assert_int_equal(f.all[1].fake.n_back, 1);
        assert_int_equal(f.all[2].fake.n_back, 1);
        callers_end(&f);
    }
}

/* --- what the engine is called with --- */

static void a_large_request_is_run_in_parts(void **state)
{
    (void)state;
    callers_begin(&f, 512, NULL, 0);
    callers_send(&f, 0, CALLERS_LARGE);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 512, 512, CALLERS_LARGE - 1024);
    callers_assert_answered(&f, 0);
    callers_end(&f);
}

static void runs_are_padded(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {2, 4};
    callers_begin(&f, 8, sizes, 2);
    for (uint64_t n_rows = 1; n_rows <= 9; n_rows++) {
        callers_send(&f, 0, n_rows);
        callers_serve(&f);
        callers_assert_answered(&f, 0);
        assert_true(f.script.last[0] == callers_value_of(0, n_rows - 1)); /* repeated */
    }
    CALLERS_ASSERT_RUNS(&f, 2, 2, 4, 4, 8, 8, 8, 8, 8, 2);
    callers_end(&f);
}

/* Of a model that knows no other number. */
static void no_rows_are_padded_too(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {4};
    callers_begin(&f, 4, sizes, 1);
    callers_send(&f, 0, 0);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 4);
    callers_assert_answered(&f, 0);
    assert_true(f.script.last[0] == 0);
    callers_end(&f);
    callers_begin(&f, 4, NULL, 0);
    callers_send(&f, 0, 0);
    callers_send(&f, 1, 0);
    callers_send(&f, 2, 1);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 0, 0, 1); /* what has no rows joins nobody */
    callers_end(&f);
}

/* What has other rows, or none, in another input is run as it is, however many it has. */
static void inputs_of_different_rows_are_not_cut(void **state)
{
    static const int64_t shapes[][2] = {{1, CALLERS_COLUMNS}, {4, CALLERS_COLUMNS}};
    static const uint32_t sizes[] = {2};
    (void)state;
    for (uint64_t n_rows = 3; n_rows <= 9; n_rows += 6)
        for (int kind = 0; kind < 3; kind++) {
            callers_begin(&f, 4, sizes, 1);
            struct inference *inference = callers_prepare(&f, 0, n_rows);
            struct gp_tensor inputs[2] = {f.all[0].input, f.all[0].input};
            enum gp_dtype wanted[2] = {GP_FLOAT32, GP_FLOAT32};
            inputs[1].rank = kind ? 2 : 0;
            inputs[1].shape = kind ? shapes[kind - 1] : NULL;
            inputs[1].size_bytes = kind ? 8 : 4; /* nothing behind them is theirs */
            inputs[1].data = malloc(inputs[1].size_bytes);
            inference->inputs = inputs;
            inference->wanted = wanted;
            inference->run.engine_run.call.inputs = inputs;
            inference->run.engine_run.call.n_inputs = 2;
            callers_enter(&f, inference);
            callers_serve(&f);
            CALLERS_ASSERT_RUNS(&f, n_rows);
            free((void *)(uintptr_t)inputs[1].data);
            callers_end(&f);
        }
}

/* Gives the second input back. */
static enum gp_status take_two(void *handle, uint32_t slot, const struct gp_call *call,
                               struct gp_outputs *outputs, struct gp_error *err)
{
    struct callers_script *script = handle;
    const struct gp_tensor *x = call->inputs;
    (void)slot;
    script->rows[script->n_runs++] = (uint64_t)x[0].shape[0];
    for (int i = 0; i < 2; i++)
        assert_int_equal((uintptr_t)x[i].data % 64, 0);
    float *y = gp_outputs_alloc(outputs, 0, GP_FLOAT32, x[1].shape, 2, err);
    memcpy(y, x[1].data, x[1].size_bytes);
    return GP_OK;
}

/* As those of a single request are. */
static void inputs_of_a_run_are_aligned(void **state)
{
    struct gp_tensor inputs[2][2];
    enum gp_dtype wanted[2] = {GP_FLOAT32, GP_FLOAT32};
    (void)state;
    callers_begin(&f, 100, NULL, 0);
    fake_model_run_with(&f.model, take_two, &f.script);
    for (uint64_t n_rows = 1; n_rows < 20; n_rows++) {
        f.script.n_runs = 0;
        for (int i = 0; i < 2; i++) {
            struct inference *inference = callers_prepare(&f, i, n_rows);
            inputs[i][0] = inputs[i][1] = f.all[i].input;
            inference->inputs = inputs[i];
            inference->wanted = wanted;
            inference->is_settled = true;
            inference->run.engine_run.call.inputs = inputs[i];
            inference->run.engine_run.call.n_inputs = 2;
            callers_enter(&f, inference);
        }
        callers_serve(&f);
        CALLERS_ASSERT_RUNS(&f, 2 * n_rows);
        for (int i = 0; i < 2; i++) {
            const struct gp_tensor *y =
                &f.all[i].fake.inference.run.engine_run.outputs[0].tensor;
            assert_int_equal(y->size_bytes, f.all[i].input.size_bytes);
            assert_memory_equal(y->data, f.all[i].x, y->size_bytes);
        }
    }
    callers_end(&f);
}

static void the_latest_deadline_counts(void **state)
{
    (void)state;
    callers_begin(&f, 8, NULL, 0);
    for (int i = 0; i < 2; i++)
        callers_send(&f, i, 1);
    f.all[0].fake.inference.deadline_ns = CALLERS_NS + 20 * CLOCK_MS;
    f.all[1].fake.inference.deadline_ns = CALLERS_NS + 10 * CLOCK_MS;
    callers_serve(&f);
    assert_int_equal(f.script.deadline_ns, CALLERS_NS + 20 * CLOCK_MS);
    for (int i = 0; i < 2; i++)
        callers_send(&f, i, 1);
    f.all[0].fake.inference.deadline_ns = CALLERS_NS + 20 * CLOCK_MS;
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 2, 2);
    assert_int_equal(f.script.deadline_ns, 0);
    callers_end(&f);
}

/* --- strings --- */

static enum gp_status echo_strings(void *handle, uint32_t slot,
                                   const struct gp_call *call, struct gp_outputs *outputs,
                                   struct gp_error *err)
{
    struct callers_script *script = handle;
    const struct gp_tensor *x = &call->inputs[0];
    const struct gp_string *in = x->data;
    (void)slot;
    script->rows[script->n_runs++] = (uint64_t)x->shape[0];
    struct gp_string *out =
        gp_outputs_alloc(outputs, 0, GP_STRING, x->shape, x->rank, err);
    const struct engine_run *run = (const struct engine_run *)(const void *)outputs;
    for (size_t i = 0; i < x->size_bytes / sizeof *in; i++) {
        assert_true(in[i].data + in[i].size_bytes <=
                    (const char *)run->body->data + run->body->size_bytes);
        char *bytes = gp_outputs_memory(outputs, in[i].size_bytes + 1, err);
        bytes[0] = '<';
        memcpy(bytes + 1, in[i].data, in[i].size_bytes);
        out[i] = (struct gp_string){bytes, in[i].size_bytes + 1};
    }
    return GP_OK;
}

static void strings_are_run_together(void **state)
{
    (void)state;
    static const uint32_t sizes[] = {8};
    struct gp_string texts[3][2] = {
        {{"", 0}, {"one", 3}}, {{"two", 3}, {"", 0}}, {{"three", 5}, {"four", 4}}};
    callers_begin(&f, 8, sizes, 1);
    fake_model_run_with(&f.model, echo_strings, &f.script);
    for (int i = 0; i < 3; i++) {
        struct inference *inference = callers_prepare(&f, i, 2);
        struct gp_tensor *input = &f.all[i].input;
        input->dtype = f.all[i].wanted = GP_STRING;
        input->data = texts[i];
        input->rank = 1;
        input->size_bytes = sizeof texts[i];
        inference->is_settled = true; /* read already */
        callers_enter(&f, inference);
    }
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 8);
    memset(texts[0], 0, sizeof texts[0]); /* nothing of the answer lies in the request */
    static const char *const wanted[3][2] = {
        {"<", "<one"}, {"<two", "<"}, {"<three", "<four"}};
    for (int i = 0; i < 3; i++) {
        const struct engine_run *run = &f.all[i].fake.inference.run.engine_run;
        assert_int_equal(f.all[i].fake.inference.error.status, GP_OK);
        const struct gp_string *y = run->outputs[0].tensor.data;
        assert_int_equal(run->outputs[0].tensor.size_bytes, 2 * sizeof *y);
        for (int k = 0; k < 2; k++) {
            assert_int_equal(y[k].size_bytes, strlen(wanted[i][k]));
            assert_memory_equal(y[k].data, wanted[i][k], y[k].size_bytes);
        }
        assert_ptr_equal(y[1].data, y[0].data + y[0].size_bytes); /* its own memory */
    }
    callers_end(&f);
}

/* Long ones, several in a row, and the rows have room for them. */
static void long_strings_are_run_together(void **state)
{
    static char text[5000];
    struct gp_string texts[4];
    (void)state;
    memset(text, 'x', sizeof text);
    for (int i = 0; i < 4; i++)
        texts[i] = (struct gp_string){text, sizeof text - (unsigned)i};
    callers_begin(&f, 8, NULL, 0);
    fake_model_run_with(&f.model, echo_strings, &f.script);
    for (int i = 0; i < 2; i++) {
        struct inference *inference = callers_prepare(&f, i, 1);
        struct gp_tensor *input = &f.all[i].input;
        input->dtype = f.all[i].wanted = GP_STRING;
        input->data = texts + 2 * (size_t)i;
        input->size_bytes = 2 * sizeof *texts;
        inference->is_settled = true;
        assert_true(engine_run_reserve_strings(&inference->run.engine_run, 2, 10000));
        callers_enter(&f, inference);
    }
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 2);
    assert_int_equal(pool_count(f.model.host.pool).reserved_bytes, 0);
    for (int i = 0; i < 2; i++) {
        const struct engine_run *run = &f.all[i].fake.inference.run.engine_run;
        const struct gp_string *y = run->outputs[0].tensor.data;
        for (int k = 0; k < 2; k++)
            assert_int_equal(y[k].size_bytes, texts[2 * i + k].size_bytes + 1);
    }
    callers_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_that_wait_run_together),
        cmocka_unit_test(a_run_is_filled),
        cmocka_unit_test(none_join_where_none_may),
        cmocka_unit_test(only_equals_join),
        cmocka_unit_test(a_large_request_is_run_in_parts),
        cmocka_unit_test(runs_are_padded),
        cmocka_unit_test(no_rows_are_padded_too),
        cmocka_unit_test(inputs_of_different_rows_are_not_cut),
        cmocka_unit_test(inputs_of_a_run_are_aligned),
        cmocka_unit_test(the_latest_deadline_counts),
        cmocka_unit_test(strings_are_run_together),
        cmocka_unit_test(long_strings_are_run_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
