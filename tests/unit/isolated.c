#include "isolated.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

struct isolate *isolated_open(struct isolate_options options)
{
    struct isolate *isolate = NULL;
    struct gp_error err = {.message = ""};
    options.worker = getenv("GP_BIN");
    options.hang_ns = CLOCK_S;
    assert_non_null(options.worker);
    if (isolate_open(&options, &isolate, &err) != GP_OK)
        fail_msg("%s", err.message);
    return isolate;
}

struct isolate *isolated_open_plain(struct pool *pool, const char *name)
{
    const struct gp_engine_options engine = {
        .size_bytes = sizeof engine, .n_slots = 1, .n_cores = 1};
    return isolated_open(
        (struct isolate_options){.name = name, .pool = pool, .engine = &engine});
}

const char *isolated_plugin(const char *name)
{
    static char path[4096];
    assert_non_null(getenv("GP_BUILD_DIR"));
    (void)snprintf(path, sizeof path, "%s/lib/graphpipe-test/graphpipe-engine-%s.so",
                   getenv("GP_BUILD_DIR"), name);
    return path;
}

enum gp_status isolated_run(struct engine_run *run, struct isolate *isolate,
                            const char *config, const struct gp_tensor *inputs,
                            uint32_t n_inputs, struct gp_error *err)
{
    engine_run_begin(run);
    run->memory = isolate_memory(isolate);
    run->call.inputs = inputs;
    run->call.n_inputs = n_inputs;
    run->call.config = config;
    const enum gp_status status =
        engine_run_execute(run, isolate_engine(isolate), isolate, 0, err);
    (void)isolate_let_go(isolate, 0);
    return status;
}

void isolated_close(struct isolate *isolate)
{
    isolate_engine(isolate)->close(isolate);
}
