/* A plug-in that was built with release 0.1 (tests/abi) works in today's host. When this
 * fails a struct that crosses has changed other than by growing at its end, or a number has
 * got another meaning: mend that, not the plug-in. */
#include "engine/engine.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void keep_line(void *context, enum gp_log_level level, const char *message)
{
    assert_int_equal(level, GP_LOG_WARNING);
    (void)snprintf(context, 64, "%s", message);
}

static const struct gp_engine *load(void)
{
    const struct gp_engine *engine;
    struct gp_error err = {.message = ""};
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/lib/graphpipe-test/graphpipe-engine-abi_0_1.so",
                   getenv("GP_BUILD_DIR"));
    if (engine_load(path, NULL, &engine, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_string_equal(engine->name, "of_0_1");
    assert_string_equal(engine->version, "0");
    return engine;
}

static void check_description(const struct gp_engine *engine, void *model)
{
    struct gp_description d = {.size_bytes = sizeof d};
    assert_int_equal(engine->describe(model, &d, NULL), GP_OK);
    assert_int_equal(d.flags, GP_SLOT_THREAD);
    assert_int_equal(d.n_slots, 3);
    assert_int_equal(d.n_inputs, 2);
    assert_int_equal(d.n_outputs, 3);
    assert_string_equal(d.summary, "3 4 5 model k=v");
    assert_string_equal(d.version, "7");
    assert_string_equal(d.description, "of 0.1");
    assert_string_equal(d.inputs[0].name, "numbers");
    assert_string_equal(d.inputs[0].description, "doubled");
    assert_int_equal(d.inputs[0].dtype, GP_FLOAT32);
    assert_int_equal(d.inputs[0].rank, 2);
    assert_int_equal(d.inputs[0].shape[1], 2);
    assert_int_equal(d.inputs[1].flags, GP_IO_OPTIONAL | GP_IO_ANY_RANK);
    assert_int_equal(d.outputs[1].dtype, GP_STRING);
    assert_int_equal(d.n_files, 2);
    assert_string_equal(d.files[1], "b");
    assert_int_equal(d.max_batch, 9);
}

static void check_outputs(const struct engine_run *run, const uint8_t *rest)
{
    const struct gp_tensor *doubled = &run->outputs[0].tensor;
    const struct gp_string *facts = run->outputs[1].tensor.data;
    const char said[] = "2 2 3 rest options 123456789";
    assert_int_equal(run->n_outputs, 3);
    assert_int_equal(doubled->dtype, GP_FLOAT32);
    assert_memory_equal(doubled->data, ((const float[]){2, 4, 6, 8}), 16);
    assert_int_equal(facts[0].size_bytes, sizeof said - 1);
    assert_memory_equal(facts[0].data, said, sizeof said - 1);
    assert_memory_equal(facts[1].data, "numbers", 7);
    assert_ptr_equal(run->outputs[2].tensor.data, rest);
    assert_int_equal(run->outputs[2].tensor.dtype, GP_INT64);
}

static void check_run(const struct gp_engine *engine, void *model)
{
    static const int64_t shape[] = {2, 2}, none[] = {0};
    static const float numbers[] = {1, 2, 3, 4};
    static const uint8_t rest[8];
    static const char *const names[] = {"doubled", "facts", "rest"};
    struct gp_tensor inputs[] = {gp_tensor_view(GP_FLOAT32, shape, 2, numbers),
                                 gp_tensor_view(GP_INT64, none, 1, rest)};
    struct pool *pool = pool_create(1 << 20);
    struct gp_arena *arena = gp_arena_create();
    struct engine_run run;
    struct gp_error err = {.message = ""};
    inputs[0].name = "numbers";
    inputs[1].name = "rest";
    engine_run_init(&run, pool, arena);
    engine_run_begin(&run);
    run.call.inputs = inputs;
    run.call.n_inputs = 2;
    run.call.output_names = names;
    run.call.n_outputs = 3;
    run.call.config = "options";
    run.call.deadline_ns = 123456789;
    if (engine_run_execute(&run, engine, model, 2, &err) != GP_OK)
        fail_msg("%s", err.message);
    check_outputs(&run, rest);
    engine_run_finish(&run);
    gp_arena_destroy(arena);
    pool_destroy(pool);
}

static void test_plugin_of_0_1(void **state)
{
    static const char *const options[] = {"k=v"};
    char line[64] = "";
    const struct gp_engine_options opening = {.size_bytes = sizeof opening,
                                              .n_slots = 3,
                                              .n_threads = 4,
                                              .n_cores = 5,
                                              .model_path = "model",
                                              .options = options,
                                              .n_options = 1,
                                              .log = keep_line,
                                              .log_context = line};
    const struct gp_engine *engine = load();
    const char *version, *path;
    struct gp_error err = {.message = ""};
    void *model;
    (void)state;
    if (engine->open(&opening, &model, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_string_equal(line, "3 4 5 model k=v");
    check_description(engine, model);
    check_run(engine, model);
    assert_int_equal(engine->probe(&opening, &version, &path, NULL), GP_OK);
    assert_string_equal(version, "0.1");
    engine->close(model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_plugin_of_0_1)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
