/* Models that an engine refuses leave nothing behind: neither descriptors nor threads, however
 * often they are opened. */
#include "engine/engine.h"
#include "entries.h"
#include "skipping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { TIMES = 10 };

struct refused {
    const char *engine;
    const char *models[4]; /* in tests/models */
};

static struct refused all[] = {
    {"onnx", {"unknown_op.onnx", "float8.onnx", "bounded.xml"}},
    {"tensorflow", {"tensorflow/complex_in.pb", "mlp.onnx", "pytorch"}},
    {"pytorch", {"pytorch/deep.pt", "pytorch/weights.pt", "mlp.onnx"}},
    {"openvino", {"unknown_op.onnx", "types.onnx", "tensorflow/state.pb"}},
};

static void open_all(const struct refused *refused, const struct gp_engine *engine)
{
    for (size_t i = 0; i < sizeof refused->models / sizeof refused->models[0]; i++) {
        char path[4096];
        struct gp_error err;
        void *model = NULL;
        if (!refused->models[i])
            break;
        (void)snprintf(path, sizeof path, "%s/tests/models/%s", getenv("GP_SOURCE_DIR"),
                       refused->models[i]);
        const struct gp_engine_options options = {
            .size_bytes = sizeof options, .n_cores = 2, .model_path = path};
        assert_int_not_equal(engine->open(&options, &model, &err), GP_OK);
        assert_null(model);
        if (!strstr(err.message, path))
            fail_msg("%s: \"%s\"", path, err.message);
    }
}

static void test_refusals(void **state)
{
    const struct refused *refused = *state;
    const struct gp_engine *engine;
    const char *version, *where;
    const struct gp_engine_options options = {.size_bytes = sizeof options};
    if (engine_load(refused->engine, NULL, &engine, NULL) != GP_OK ||
        engine->probe(&options, &version, &where, NULL) != GP_OK) {
        SKIP_BECAUSE("the %s engine is not built: tools/setup %s, then make",
                     refused->engine, refused->engine);
    }
    open_all(refused, engine); /* what the framework starts stays */
    const size_t n_files = count_entries("/proc/self/fd"),
                 n_threads = count_entries("/proc/self/task");
    for (int i = 0; i < TIMES; i++)
        open_all(refused, engine);
    assert_int_equal(count_entries("/proc/self/fd"), n_files);
    assert_int_equal(count_entries("/proc/self/task"), n_threads);
}

int main(void)
{
    struct CMUnitTest tests[sizeof all / sizeof all[0]];
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        tests[i] = (struct CMUnitTest){all[i].engine, test_refusals, NULL, NULL, &all[i]};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
