/* The ONNX engine where things go wrong: models that it refuses, runs that fail or are
 * stopped. */
#include "base/clock.h"
#include "onnx_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static const char *const y[] = {"y"};

/* --- what it refuses --- */

static void test_open_refuses(void **state)
{
    static const struct {
        const char *name;
        enum gp_status status;
        const char *says;
    } models[] = {
        {"float8", GP_UNSUPPORTED, "input \"x\" is of type float8e4m3fn"},
        {"float8_out", GP_UNSUPPORTED, "output \"y\" is of type float8e4m3fn"},
        {"sequence_in", GP_UNSUPPORTED, "input \"list\" is a sequence: only tensors"},
        {"optional_in", GP_UNSUPPORTED, "input \"x\" is an optional value: only tensors"},
        {"unknown_op", GP_ENGINE, "unknown_op.onnx: "},
        {"none", GP_NOT_FOUND, "none.onnx: No such file or directory"},
        {"/", GP_INVALID, "is a folder"},
        {"/dev/null", GP_INVALID, "is not a file"},
    };
    struct onnx_fixture *f = *state;
    for (size_t i = 0; i < sizeof models / sizeof models[0]; i++) {
        assert_int_equal(onnx_try_open(f, models[i].name), models[i].status);
        assert_int_equal(f->err.status, models[i].status);
        if (!strstr(f->err.message, models[i].says) || strchr(f->err.message, '\n'))
            fail_msg("%s: \"%s\"", models[i].name, f->err.message);
        assert_null(f->model);
    }
}

/* Each beginning of a model, and what is no model at all. */
static void test_open_broken(void **state)
{
    struct onnx_fixture *f = *state;
    char path[] = "/tmp/gp-onnx-XXXXXX", source[4096];
    unsigned char bytes[1024];
    (void)snprintf(source, sizeof source, "%s/tests/models/mlp.onnx",
                   getenv("GP_SOURCE_DIR"));
    FILE *file = fopen(source, "rb");
    assert_non_null(file);
    const size_t size = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    for (size_t n = 0; n < size; n += n < 20 ? 1 : 13) {
        assert_int_equal(ftruncate(fd, 0), 0);
        assert_int_equal(pwrite(fd, bytes, n, 0), n);
        assert_int_not_equal(onnx_try_open(f, path), GP_OK);
        assert_null(f->model);
        assert_null(strchr(f->err.message, '\n'));
        assert_non_null(strstr(f->err.message, path));
    }
    close(fd);
    unlink(path);
}

static void test_open_options(void **state)
{
    struct onnx_fixture *f = *state;
    const char *option = "threds=4";
    struct gp_engine_options options = onnx_options(f, "x");
    options.options = &option;
    options.n_options = 1;
    assert_int_equal(f->engine->open(&options, &f->model, &f->err), GP_INVALID);
    assert_non_null(strstr(f->err.message, "no option \"threds=4\""));
    options = onnx_options(f, NULL);
    assert_int_equal(f->engine->open(&options, &f->model, &f->err), GP_INVALID);
    assert_non_null(strstr(f->err.message, "needs a model"));
}

static void test_run_fails(void **state)
{
    static const char *const names[] = {"sum"};
    struct onnx_fixture *f = *state;
    const int64_t two[] = {2}, three[] = {3};
    const float data[3] = {1};
    const int32_t wrong[2] = {1};
    onnx_open(f, "pair");
    struct gp_tensor in[] = {onnx_tensor("a", GP_FLOAT32, two, 1, data),
                             onnx_tensor("b", GP_FLOAT32, three, 1, data)};
    assert_int_equal(onnx_execute(f, in, 2, names, 1), GP_ENGINE);
    assert_null(strchr(f->err.message, '\n'));
    assert_non_null(strstr(f->err.message, "2 by 3"));
    assert_string_equal(f->log, ""); /* it is in the answer, not in the log */
    in[1] = onnx_tensor("b", GP_INT32, two, 1, wrong);
    assert_int_equal(onnx_execute(f, in, 2, names, 1), GP_INVALID);
    assert_non_null(strstr(f->err.message, "int32"));
    in[1] = onnx_tensor("b", GP_FLOAT32, two, 1, data);
    onnx_execute_well(f, in, 2, names, 1);
}

/* --- stopping --- */

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
    const int64_t forever = INT64_MAX / 2, twice = 2;
    onnx_open(f, "slow");
    for (int i = 0; i < 4; i++) {
        struct gp_tensor in = onnx_tensor("n", GP_INT64, NULL, 0, &forever);
        engine_run_begin(&f->run);
        gp_arena_reset(f->arena);
        f->run.call.inputs = &in;
        f->run.call.n_inputs = 1;
        f->run.call.output_names = y;
        f->run.call.n_outputs = 1;
        f->run.call.deadline_ns = i % 2 ? clock_now_ns() + 10 * CLOCK_MS : 0;
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, cancel_soon, f), 0);
        const enum gp_status status =
            engine_run_execute(&f->run, f->engine, f->model, 0, &f->err);
        pthread_join(thread, NULL);
        assert_int_equal(status, i % 2 ? GP_DEADLINE : GP_CANCELLED);
        assert_int_equal(f->run.n_outputs, 0);

        /* the slot is as good as new: what fails then has not been stopped */
        const int32_t wrong = 1;
        in = onnx_tensor("n", GP_INT32, NULL, 0, &wrong);
        assert_int_equal(onnx_execute(f, &in, 1, y, 1), GP_INVALID);
        in = onnx_tensor("n", GP_INT64, NULL, 0, &twice);
        onnx_execute_well(f, &in, 1, y, 1);
        assert_int_equal(f->run.outputs[0].tensor.size_bytes, 64 * 64 * sizeof(float));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_open_refuses, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_open_broken, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_open_options, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_run_fails, onnx_set_up, onnx_tear_down),
        cmocka_unit_test_setup_teardown(test_cancel, onnx_set_up, onnx_tear_down),
    };
    return cmocka_run_group_tests(tests, onnx_load_engine, NULL);
}
