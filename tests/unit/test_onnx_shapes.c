/* Outputs of the ONNX engine that the runtime writes into the host's memory: which they
 * are, and that all answers are right where a model's shapes are not. The buffers of the
 * pool are spoilt between runs, so that one which is not written shows. */
#include "onnx_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { MAX_ROWS = 2000 };

static const char *const y[] = {"y"};

/* The runtime's memory comes with a function that frees it. */
static bool is_bound(const struct onnx_fixture *f, uint32_t i)
{
    const struct engine_output *out = &f->run.outputs[i];
    if (out->buffer.data)
        assert_ptr_equal(out->tensor.data, out->buffer.data);
    return !out->release;
}

static void assert_output(const struct onnx_fixture *f, uint32_t i, const char *shape,
                          const void *data, size_t size_bytes)
{
    const struct gp_tensor *out = &f->run.outputs[i].tensor;
    char text[128];
    assert_string_equal(
        gp_shape_format(out->dtype, out->shape, out->rank, text, sizeof text), shape);
    assert_int_equal(out->size_bytes, size_bytes);
    if (size_bytes)
        assert_memory_equal(out->data, data, size_bytes);
}

static void spoil(struct onnx_fixture *f)
{
    struct pool_buffer buffers[4] = {{0}};
    for (size_t i = 0; i < 4; i++)
        if (pool_take(f->pool, NULL, (size_t)8192 << (2 * i), NULL, &buffers[i]) &&
            pool_touch(f->pool, &buffers[i], buffers[i].size_bytes))
            memset(buffers[i].data, 0xee, buffers[i].size_bytes);
    for (size_t i = 0; i < 4; i++)
        pool_give(f->pool, &buffers[i]);
}

/* Asks "mlp" for n rows of (0, 0, i, 0); n over 341 does not fit into the arena. */
static enum gp_status ask_mlp(const struct onnx_fixture *f, struct engine_run *run,
                              uint32_t slot, int64_t n, struct gp_error *err)
{
    static _Thread_local float x[MAX_ROWS][4];
    const int64_t shape[] = {n, 4};
    const struct gp_tensor in = onnx_tensor("x", GP_FLOAT32, shape, 2, x);
    for (int64_t i = 0; i < n; i++)
        x[i][2] = (float)i;
    engine_run_begin(run);
    gp_arena_reset(run->arena);
    run->call =
        (struct gp_call){.inputs = &in, .n_inputs = 1, .output_names = y, .n_outputs = 1};
    return engine_run_execute(run, f->engine, f->model, slot, err);
}

static bool is_mlp_right(const struct engine_run *run, int64_t n)
{
    const struct gp_tensor *out = &run->outputs[0].tensor;
    const float *got = out->data;
    if (out->rank != 2 || out->shape[0] != n || out->shape[1] != 3)
        return false;
    for (int64_t i = 0; i < n; i++) {
        const float z = (float)(8 * i - 100);
        if (got[3 * i] != (float)(6 * i) || got[3 * i + 1] != (float)(7 * i + 1) ||
            got[3 * i + 2] != (z > 0 ? z : 0))
            return false;
    }
    return true;
}

static void test_named_size(void **state)
{
    static const int64_t rows[] = {5, 5, 400, MAX_ROWS, 0, 1, 400};
    struct onnx_fixture *f = *state;
    onnx_open(f, "mlp");
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        spoil(f);
        assert_int_equal(ask_mlp(f, &f->run, 0, rows[i], &f->err), GP_OK);
        assert_true(is_mlp_right(&f->run, rows[i]));
        assert_int_equal(is_bound(f, 0), i > 0);
        assert_int_equal(f->run.outputs[0].buffer.data != NULL, i > 0 && rows[i] >= 400);
    }
}

/* Twice the same name; a host asks for each once. */
static void test_asked_twice(void **state)
{
    static const char *const names[] = {"y", "y", "y"};
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {1, 4};
    const float x[] = {1, 0, 0, 0}, wanted[] = {0, 2, 0};
    onnx_open(f, "mlp");
    const struct gp_tensor in = onnx_tensor("x", GP_FLOAT32, shape, 2, x);
    for (uint32_t i = 0; i < 4; i++) {
        onnx_execute_well(f, &in, 1, names, i + 1 > 3 ? 1 : i + 1);
        for (uint32_t k = 0; k < f->run.n_outputs; k++)
            assert_output(f, k, "float32[1,3]", wanted, sizeof wanted);
        assert_int_equal(is_bound(f, 0), i == 3);
    }
}

static void test_types(void **state)
{
    struct onnx_fixture *f = *state;
    unsigned char bytes[8 * 800];
    const struct gp_string strings[800] = {{"a", 1}};
    struct gp_tensor in[16];
    const char *names[16];
    onnx_open(f, "types");
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i % 3 == 0;
    for (int64_t n = 1; n <= 800; n = n == 1 ? 0 : n + 800) {
        for (uint32_t i = 0; i < f->is.n_inputs; i++) {
            const enum gp_dtype dtype = f->is.inputs[i].dtype;
            in[i] =
                onnx_tensor(f->is.inputs[i].name, dtype, &n, 1,
                            dtype == GP_STRING ? (const void *)strings : (void *)bytes);
            names[i] = f->is.outputs[i].name;
        }
        spoil(f);
        onnx_execute_well(f, in, f->is.n_inputs, names, f->is.n_outputs);
        for (uint32_t i = 0; i < f->is.n_inputs; i++) {
            const struct gp_tensor *out = &f->run.outputs[i].tensor;
            const bool is_string = out->dtype == GP_STRING; /* copied, as ever */
            assert_int_equal(is_bound(f, i), n != 1 || is_string);
            assert_int_equal(out->size_bytes, in[i].size_bytes);
            assert_int_equal(out->shape[0], n);
            if (!is_string)
                assert_memory_equal(out->data, bytes, out->size_bytes);
        }
    }
}

static void test_scalar(void **state)
{
    static const char *const names[] = {"y", "any_y"};
    struct onnx_fixture *f = *state;
    const float x = 5, negative = -5;
    onnx_open(f, "scalar");
    const struct gp_tensor in[] = {onnx_tensor("x", GP_FLOAT32, NULL, 0, &x),
                                   onnx_tensor("any", GP_FLOAT32, NULL, 0, &x)};
    for (int i = 0; i < 3; i++) {
        onnx_execute_well(f, in, 2, names, 2);
        assert_output(f, 0, "float32[]", &negative, sizeof negative);
        assert_output(f, 1, "float32[]", &negative, sizeof negative);
        assert_int_equal(is_bound(f, 0), i > 0);
        assert_false(is_bound(f, 1)); /* of unknown rank */
    }
}

/* The runtime would leave memory for "x" as it is. */
static void test_input_as_output(void **state)
{
    static const char *const names[] = {"y", "x", "z", "w", "c", "d"};
    struct onnx_fixture *f = *state;
    const float x[2000] = {1, 2, 3}, c[] = {1, 2, 3};
    const int64_t n = 2000;
    onnx_open(f, "passed");
    const struct gp_tensor in = onnx_tensor("x", GP_FLOAT32, &n, 1, x);
    for (int i = 0; i < 3; i++) {
        spoil(f);
        onnx_execute_well(f, &in, 1, names, 6);
        for (uint32_t k = 0; k < 6; k++) {
            if (k < 4)
                assert_output(f, k, "float32[2000]", x, sizeof x);
            else
                assert_output(f, k, "float32[3]", c, sizeof c);
            assert_int_equal(is_bound(f, k), i > 0 && k != 1);
        }
    }
}

static void ask_lies(struct onnx_fixture *f, const int64_t *shape, const float *x)
{
    static const char *const names[] = {"turned", "fixed", "places", "honest"};
    static const int64_t x_shape[] = {2, 3}, two[] = {2};
    const struct gp_tensor in[] = {onnx_tensor("x", GP_FLOAT32, x_shape, 2, x),
                                   onnx_tensor("shape", GP_INT64, two, 1, shape)};
    const float negative[] = {-x[0], -x[1], -x[2], -x[3], -x[4], -x[5]};
    char text[32];
    (void)snprintf(text, sizeof text, "float32[%d,%d]", (int)shape[0], (int)shape[1]);
    onnx_execute_well(f, in, 2, names, 4);
    assert_output(f, 0, text, x, sizeof negative);
    assert_output(f, 1, text, x, sizeof negative);
    assert_output(f, 3, "float32[2,3]", negative, sizeof negative);
}

static void test_lies(void **state)
{
    struct onnx_fixture *f = *state;
    const float three[] = {1, 0, 0, 0, 2, 3}, all[] = {1, 2, 3, 4, 5, 6};
    const int64_t as_said[] = {2, 3}, other[] = {3, 2}, places[] = {0, 1, 1, 0, 1, 2},
                  everywhere[] = {0, 0, 0, 1, 1, 1, 0, 1, 2, 0, 1, 2};
    onnx_open(f, "lies");
    for (int i = 0; i < 2; i++) { /* it happens to be right */
        ask_lies(f, as_said, three);
        assert_output(f, 2, "int64[2,3]", places, sizeof places);
        for (uint32_t k = 0; k < 4; k++)
            assert_int_equal(is_bound(f, k), i > 0);
    }
    for (int i = 0; i < 3; i++) { /* it is wrong, and known for it from then on */
        ask_lies(f, i < 2 ? other : as_said, all);
        assert_output(f, 2, "int64[2,6]", everywhere, sizeof everywhere);
        for (uint32_t k = 0; k < 4; k++)
            assert_false(is_bound(f, k));
        assert_int_equal(pool_count(f->pool).used_bytes, 0);
    }
}

/* Where it is wrong at first, only what is wrong is refuted. */
static void test_lies_at_once(void **state)
{
    struct onnx_fixture *f = *state;
    const float three[] = {1, 0, 0, 0, 2, 3};
    const int64_t as_said[] = {2, 3}, other[] = {3, 2};
    onnx_open(f, "lies");
    for (int i = 0; i < 3; i++) {
        ask_lies(f, i ? as_said : other, three);
        assert_false(is_bound(f, 0));
        assert_false(is_bound(f, 1));
        assert_int_equal(is_bound(f, 2), i > 0);
        assert_int_equal(is_bound(f, 3), i > 0);
    }
}

/* A request that fails by itself says nothing of the shapes. */
static void test_failed_run(void **state)
{
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {2, 2}, three[] = {3};
    const float x[] = {1, 2, 3, 4}, wanted[] = {10, 200, 30, 400};
    onnx_open(f, "optional");
    const struct gp_tensor in[] = {onnx_tensor("x", GP_FLOAT32, shape, 2, x),
                                   onnx_tensor("scale", GP_FLOAT32, three, 1, x)};
    for (int i = 0; i < 3; i++) {
        onnx_execute_well(f, in, 1, y, 1);
        assert_output(f, 0, "float32[2,2]", wanted, sizeof wanted);
        assert_int_equal(is_bound(f, 0), i > 0);
        assert_int_equal(onnx_execute(f, in, 2, y, 1), GP_INVALID);
        assert_non_null(strstr(f->err.message, "Got: 3 Expected: 2"));
        assert_int_equal(f->run.n_outputs, 0);
    }
}

/* What the pool has no room for is left to the runtime. */
static void test_pool_is_short(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "mlp");
    struct pool *pool = pool_create(16384);
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    engine_run_init(&run, pool, arena);
    for (int i = 0; i < 3; i++) {
        const int64_t n = i < 2 ? 400 : MAX_ROWS;
        assert_int_equal(ask_mlp(f, &run, 0, n, &f->err), GP_OK);
        assert_true(is_mlp_right(&run, n));
        assert_int_equal(run.outputs[0].release == NULL, i == 1);
    }
    engine_run_finish(&run);
    gp_arena_destroy(arena);
    pool_destroy(pool);
}

static void *cancel_soon(void *arg)
{
    struct onnx_fixture *f = arg;
    usleep(20000);
    engine_run_cancel(&f->run);
    return NULL;
}

static void test_cancel(void **state)
{
    struct onnx_fixture *f = *state;
    const int64_t forever = INT64_MAX / 2, once = 1;
    float eye[64][64] = {{0}};
    onnx_open(f, "slow");
    for (int i = 0; i < 64; i++)
        eye[i][i] = 1;
    for (int i = 0; i < 3; i++) {
        struct gp_tensor in = onnx_tensor("n", GP_INT64, NULL, 0, &once);
        onnx_execute_well(f, &in, 1, y, 1);
        assert_output(f, 0, "float32[64,64]", eye, sizeof eye);
        assert_int_equal(is_bound(f, 0), i > 0);

        in = onnx_tensor("n", GP_INT64, NULL, 0, &forever);
        engine_run_begin(&f->run);
        gp_arena_reset(f->arena);
        f->run.call = (struct gp_call){
            .inputs = &in, .n_inputs = 1, .output_names = y, .n_outputs = 1};
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, f), 0);
        const enum gp_status status =
            engine_run_execute(&f->run, f->engine, f->model, 0, &f->err);
        pthread_join(thread, NULL);
        assert_int_equal(status, GP_CANCELLED);
        assert_int_equal(f->run.n_outputs, 0);
        assert_int_equal(pool_count(f->pool).used_bytes, 0);
    }
}

/* --- several runs at a time --- */

struct caller {
    struct onnx_fixture *f;
    uint32_t slot;
    int n_bound;
    int n_wrong;
};

static void *call_often(void *arg)
{
    struct caller *c = arg;
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    engine_run_init(&run, c->f->pool, arena);
    for (uint32_t i = 0; i < 100; i++) {
        const int64_t n = (i * 97 + c->slot * 31) % MAX_ROWS;
        if (ask_mlp(c->f, &run, c->slot, n, NULL) != GP_OK || !is_mlp_right(&run, n))
            c->n_wrong++;
        else
            c->n_bound += !run.outputs[0].release;
    }
    engine_run_finish(&run);
    gp_arena_destroy(arena);
    return NULL;
}

static void test_parallel(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "mlp");
    struct caller callers[] = {{f, 0, 0, 0}, {f, 1, 0, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].n_wrong, 0);
        assert_true(callers[i].n_bound >= 99);
    }
}

#define TEST(function)                                                                   \
    cmocka_unit_test_setup_teardown(function, onnx_set_up, onnx_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_named_size),   TEST(test_asked_twice),     TEST(test_types),
        TEST(test_scalar),       TEST(test_input_as_output), TEST(test_lies),
        TEST(test_lies_at_once), TEST(test_failed_run),      TEST(test_pool_is_short),
        TEST(test_cancel),       TEST(test_parallel),
    };
    return cmocka_run_group_tests(tests, onnx_load_engine, NULL);
}
