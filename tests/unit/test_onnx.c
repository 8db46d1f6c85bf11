/* The ONNX engine with the models of tests/models: what it says of them and what it
 * computes. */
#include "onnx_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void assert_output(const struct onnx_fixture *f, uint32_t i, enum gp_dtype dtype,
                          const char *shape, const void *data, size_t size_bytes)
{
    const struct gp_tensor *out = &f->run.outputs[i].tensor;
    char text[128];
    assert_int_equal(out->dtype, dtype);
    assert_string_equal(
        gp_shape_format(out->dtype, out->shape, out->rank, text, sizeof text), shape);
    assert_int_equal(out->size_bytes, size_bytes);
    if (size_bytes)
        assert_memory_equal(out->data, data, size_bytes);
}

static void assert_io(const struct gp_io *io, const char *name, const char *shape,
                      uint32_t flags)
{
    char text[128];
    assert_string_equal(io->name, name);
    assert_string_equal(
        gp_shape_format(io->dtype, io->shape, io->rank, text, sizeof text), shape);
    assert_int_equal(io->flags, flags);
    assert_string_equal(io->description, "");
}

/* --- what it says of a model --- */

static void test_describe(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "mlp");
    assert_string_equal(f->is.version, "7");
    assert_string_equal(f->is.description, "A layer.");
    assert_non_null(strstr(f->is.summary, "cpu  "));
    assert_int_equal(f->is.n_slots, 2);
    assert_int_equal(f->is.n_inputs, 1);
    assert_int_equal(f->is.n_outputs, 1);
    assert_io(&f->is.inputs[0], "x", "float32[-1,4]", 0);
    assert_io(&f->is.outputs[0], "y", "float32[-1,3]", 0);
    assert_int_equal(f->is.n_files, 1);
    assert_non_null(strstr(f->is.files[0], "/mlp.onnx"));
}

static void test_describe_producer(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "pair");
    assert_string_equal(f->is.version, "");
    assert_string_equal(f->is.description, "test, made by make_models");
}

/* --- what it computes --- */

static const char *const y[] = {"y"};

static void test_mlp(void **state)
{
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {2, 4}, none[] = {0, 4};
    const float x[] = {1, 0, 0, 0, 0, 1, 0, 1}, wanted[] = {0, 2, 0, 12, 15, 0};
    onnx_open(f, "mlp");
    struct gp_tensor in = onnx_tensor("x", GP_FLOAT32, shape, 2, x);
    for (int i = 0; i < 3; i++) {
        onnx_execute_well(f, &in, 1, y, 1);
        assert_output(f, 0, GP_FLOAT32, "float32[2,3]", wanted, sizeof wanted);
    }
    in = onnx_tensor("x", GP_FLOAT32, none, 2, NULL);
    onnx_execute_well(f, &in, 1, y, 1);
    assert_output(f, 0, GP_FLOAT32, "float32[0,3]", NULL, 0);
}

static void test_outputs_by_name(void **state)
{
    static const char *const names[] = {"product", "sum", "product"};
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {2};
    const float a[] = {2, 3}, b[] = {5, 7}, sum[] = {7, 10}, product[] = {10, 21};
    onnx_open(f, "pair");
    const struct gp_tensor in[] = {onnx_tensor("b", GP_FLOAT32, shape, 1, b),
                                   onnx_tensor("a", GP_FLOAT32, shape, 1, a)};
    onnx_execute_well(f, in, 2, names, 3);
    assert_output(f, 0, GP_FLOAT32, "float32[2]", product, sizeof product);
    assert_output(f, 1, GP_FLOAT32, "float32[2]", sum, sizeof sum);
    assert_output(f, 2, GP_FLOAT32, "float32[2]", product, sizeof product);
    onnx_execute_well(f, in, 2, names + 1, 1);
    assert_output(f, 0, GP_FLOAT32, "float32[2]", sum, sizeof sum);
}

/* Every type goes in and comes out as the same bytes. */
static void test_types(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "types");
    unsigned char bytes[32] = {1, 0, 1, 1, 0, 0, 1, 0, 1, 1};
    const struct gp_string strings[] = {{"a\0b", 3}, {"", 0}, {NULL, 0}, {"\xff\xfe", 2}};
    for (int64_t n = 0; n <= 4; n += 4) {
        struct gp_tensor in[16];
        const char *names[16];
        assert_int_equal(f->is.n_inputs, 14);
        for (uint32_t i = 0; i < f->is.n_inputs; i++) {
            const enum gp_dtype dtype = f->is.inputs[i].dtype;
            const void *data = dtype == GP_STRING ? (const void *)strings : bytes;
            in[i] = onnx_tensor(f->is.inputs[i].name, dtype, &n, 1, n ? data : NULL);
            names[i] = f->is.outputs[i].name;
        }
        onnx_execute_well(f, in, f->is.n_inputs, names, f->is.n_outputs);
        for (uint32_t i = 0; i < f->is.n_inputs; i++) {
            const struct gp_tensor *out = &f->run.outputs[i].tensor;
            assert_int_equal(out->dtype, in[i].dtype);
            assert_int_equal(out->size_bytes, in[i].size_bytes);
            if (out->dtype != GP_STRING) {
                assert_true(n == 0 || memcmp(out->data, bytes, out->size_bytes) == 0);
                continue;
            }
            for (int64_t k = 0; k < n; k++) {
                const struct gp_string *got = (const struct gp_string *)out->data + k;
                assert_int_equal(got->size_bytes, strings[k].size_bytes);
                if (got->size_bytes)
                    assert_memory_equal(got->data, strings[k].data, got->size_bytes);
            }
        }
    }
}

static void test_optional_input(void **state)
{
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {1, 2}, two[] = {2};
    const float x[] = {1, 2}, scale[] = {3, 4}, usual[] = {10, 200}, other[] = {3, 8};
    onnx_open(f, "optional");
    assert_int_equal(f->is.n_inputs, 2);
    assert_io(&f->is.inputs[0], "x", "float32[-1,2]", 0);
    assert_io(&f->is.inputs[1], "scale", "float32[2]", GP_IO_OPTIONAL);
    const struct gp_tensor in[] = {onnx_tensor("x", GP_FLOAT32, shape, 2, x),
                                   onnx_tensor("scale", GP_FLOAT32, two, 1, scale)};
    onnx_execute_well(f, in, 1, y, 1);
    assert_output(f, 0, GP_FLOAT32, "float32[1,2]", usual, sizeof usual);
    onnx_execute_well(f, in, 2, y, 1);
    assert_output(f, 0, GP_FLOAT32, "float32[1,2]", other, sizeof other);
}

static void test_old_weights_are_no_inputs(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "old_ir");
    assert_int_equal(f->is.n_inputs, 1);
    assert_io(&f->is.inputs[0], "x", "float32[-1,2]", 0);
}

static void test_scalar_and_any_rank(void **state)
{
    static const char *const names[] = {"y", "any_y"};
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {1, 1, 2};
    const float x = 5, any[] = {1, 2}, negative = -5, negatives[] = {-1, -2};
    onnx_open(f, "scalar");
    assert_io(&f->is.inputs[0], "x", "float32[]", 0);
    assert_io(&f->is.inputs[1], "any", "float32[]", GP_IO_ANY_RANK);
    assert_io(&f->is.outputs[0], "y", "float32[]", 0);
    assert_io(&f->is.outputs[1], "any_y", "float32[]", GP_IO_ANY_RANK);
    const struct gp_tensor in[] = {onnx_tensor("x", GP_FLOAT32, NULL, 0, &x),
                                   onnx_tensor("any", GP_FLOAT32, shape, 3, any)};
    onnx_execute_well(f, in, 2, names, 2);
    assert_output(f, 0, GP_FLOAT32, "float32[]", &negative, sizeof negative);
    assert_output(f, 1, GP_FLOAT32, "float32[1,1,2]", negatives, sizeof negatives);
}

static void test_external_weights(void **state)
{
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {1, 4};
    const float x[] = {1, 1, 2, 2}, wanted[] = {0, 1, 4, 6};
    onnx_open(f, "external");
    assert_int_equal(f->is.n_files, 2);
    assert_non_null(strstr(f->is.files[0], "/models/external.onnx"));
    assert_non_null(strstr(f->is.files[1], "/models/external.onnx.data"));
    assert_int_equal(access(f->is.files[1], R_OK), 0);
    const struct gp_tensor in = onnx_tensor("x", GP_FLOAT32, shape, 2, x);
    onnx_execute_well(f, &in, 1, y, 1);
    assert_output(f, 0, GP_FLOAT32, "float32[1,4]", wanted, sizeof wanted);
}

static void test_fixed_shape(void **state)
{
    struct onnx_fixture *f = *state;
    const int64_t shape[] = {2, 3}, more[] = {3, 3};
    const float x[9] = {1};
    onnx_open(f, "fixed");
    assert_io(&f->is.inputs[0], "x", "float32[2,3]", 0);
    struct gp_tensor in = onnx_tensor("x", GP_FLOAT32, shape, 2, x);
    onnx_execute_well(f, &in, 1, y, 1);
    in = onnx_tensor("x", GP_FLOAT32, more, 2, x); /* the host would not let it through */
    assert_int_equal(onnx_execute(f, &in, 1, y, 1), GP_INVALID);
    assert_non_null(strstr(f->err.message, "Got: 3 Expected: 2"));
}

static void test_output_that_is_no_tensor(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "sequence_out");
    assert_int_equal(f->is.n_outputs, 1);
    assert_string_equal(f->is.outputs[0].name, "y");
    assert_string_equal(f->log,
                        "output \"list\" is left out: it is a sequence, not a tensor");
}

/* --- several runs at a time --- */

struct caller {
    struct onnx_fixture *f;
    uint32_t slot;
    int n_wrong;
};

static void *call_often(void *arg)
{
    struct caller *c = arg;
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    engine_run_init(&run, c->f->pool, arena);
    for (int i = 0; i < 300; i++) {
        const float x[] = {0, 0, (float)i, 0},
                    wanted[] = {(float)(6 * i), (float)(7 * i + 1)};
        const int64_t shape[] = {1, 4};
        const struct gp_tensor in = onnx_tensor("x", GP_FLOAT32, shape, 2, x);
        engine_run_begin(&run);
        gp_arena_reset(arena);
        run.call = (struct gp_call){
            .inputs = &in, .n_inputs = 1, .output_names = y, .n_outputs = 1};
        if (engine_run_execute(&run, c->f->engine, c->f->model, c->slot, NULL) != GP_OK ||
            memcmp(run.outputs[0].tensor.data, wanted, sizeof wanted) != 0)
            c->n_wrong++;
    }
    engine_run_finish(&run);
    gp_arena_destroy(arena);
    return NULL;
}

static void test_parallel(void **state)
{
    struct onnx_fixture *f = *state;
    onnx_open(f, "mlp");
    struct caller callers[] = {{f, 0, 0}, {f, 1, 0}};
    pthread_t threads[2];
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, call_often, &callers[i]), 0);
    for (int i = 0; i < 2; i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(callers[i].n_wrong, 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_describe, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_describe_producer, onnx_set_up,
                                        onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_mlp, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_outputs_by_name, onnx_set_up,
                                        onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_types, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_optional_input, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_old_weights_are_no_inputs, onnx_set_up,
                                        onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_scalar_and_any_rank, onnx_set_up,
                                        onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_external_weights, onnx_set_up,
                                        onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_fixed_shape, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_output_that_is_no_tensor, onnx_set_up,
                                        onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_parallel, onnx_set_up, onnx_tear_down),
    };
    return cmocka_run_group_tests(tests, onnx_load_engine, NULL);
}
