/* Children that are started by a program that is not graphpipe: with the worker that it names, and with
 * those that are none. */
#include "base/clock.h"
#include "engine/engine.h"
#include "engine/isolate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

static struct isolate *open_whole(struct pool *pool, const char *worker, const char *name,
                                  struct gp_error *err)
{
    const struct gp_engine_options engine = {
        .size_bytes = sizeof engine, .n_slots = 2, .n_cores = 1};
    const struct isolate_options options = {.name = name,
                                            .worker = worker,
                                            .hang_ns = CLOCK_S,
                                            .pool = pool,
                                            .engine = &engine};
    struct isolate *isolate = NULL;
    return isolate_open(&options, &isolate, err) == GP_OK ? isolate : NULL;
}

static void test_another_program_has_a_worker(void **state)
{
    static const int64_t shape[] = {5};
    struct pool *pool = pool_create(64 * MIB);
    struct gp_arena *arena = gp_arena_create();
    struct gp_description d = {.size_bytes = sizeof d};
    struct engine_run run;
    struct gp_error err;
    (void)state;
    assert_non_null(getenv("GP_BIN"));
    struct isolate *isolate = open_whole(pool, getenv("GP_BIN"), "echo", &err);
    assert_non_null(isolate);
    const struct gp_engine *engine = isolate_engine(isolate);
    assert_string_equal(engine->name, "echo");
    assert_int_equal(engine->describe(isolate, &d, &err), GP_OK);
    assert_int_equal(d.n_slots, 2);
    assert_string_equal(d.inputs[0].name, "input0");
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, "hello");
    engine_run_init(&run, pool, arena);
    run.memory = isolate_memory(isolate);
    for (uint32_t slot = 0; slot < 2; slot++) {
        engine_run_begin(&run);
        run.call.inputs = &input;
        run.call.n_inputs = 1;
        assert_int_equal(engine_run_execute(&run, engine, isolate, slot, &err), GP_OK);
        assert_memory_equal(run.outputs[0].tensor.data, "hello", 5);
        assert_true(isolate_let_go(isolate, slot));
    }
    assert_int_equal(isolate_count(isolate).children[ISOLATE_READY], 2);
    engine_run_finish(&run);
    engine->close(isolate);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    gp_arena_destroy(arena);
    pool_destroy(pool);
}

/* The engine that is a Python program, whatever worker is named: it needs none. */
static void test_another_program_has_python(void **state)
{
    char model[] = "/tmp/gp-isolate-XXXXXX", python[4096];
    static const char source[] = "def infer(inputs): return 1\n";
    const char *option = python;
    const struct gp_engine_options engine = {.size_bytes = sizeof engine,
                                             .n_slots = 1,
                                             .n_cores = 1,
                                             .model_path = model,
                                             .options = &option,
                                             .n_options = 1};
    struct pool *pool = pool_create(64 * MIB);
    const struct isolate_options options = {.name = "python",
                                            .worker = "/nowhere/graphpipe",
                                            .hang_ns = CLOCK_S,
                                            .pool = pool,
                                            .engine = &engine};
    struct isolate *isolate;
    struct gp_description d = {.size_bytes = sizeof d};
    struct gp_error err;
    (void)state;
    const int fd = mkstemp(model);
    assert_int_equal(write(fd, source, sizeof source - 1), sizeof source - 1);
    close(fd);
    (void)snprintf(python, sizeof python, "python=%s/.deps/venv/bin/python",
                   getenv("GP_SOURCE_DIR"));
    if (isolate_open(&options, &isolate, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_int_equal(isolate_engine(isolate)->describe(isolate, &d, &err), GP_OK);
    assert_int_equal(d.flags, GP_ANY_INPUTS | GP_ANY_OUTPUT | GP_WRITES_OUTPUTS);
    assert_string_equal(d.files[0], model);
    isolate_engine(isolate)->close(isolate);
    option = "python=/nowhere/python";
    assert_int_equal(isolate_open(&options, &isolate, &err), GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "cannot start the interpreter"));
    (void)unlink(model);
    pool_destroy(pool);
}

static void test_what_cannot_start(void **state)
{
    struct pool *pool = pool_create(64 * MIB);
    struct gp_error err;
    (void)state;
    assert_null(open_whole(pool, "/nowhere/graphpipe", "echo", &err));
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "/nowhere/graphpipe"));
    assert_null(open_whole(pool, "/bin/true", "echo", &err)); /* which does not speak */
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_null(open_whole(pool, getenv("GP_BIN"), "nosuch", &err));
    assert_int_equal(err.status, GP_NOT_FOUND);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_another_program_has_a_worker),
        cmocka_unit_test(test_another_program_has_python),
        cmocka_unit_test(test_what_cannot_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
