/* See onnx_fixture.h. Without ONNX Runtime (tools/setup onnx) the tests say so and are
 * skipped. */
#include "onnx_fixture.h"
#include "skipping.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#ifdef __SANITIZE_THREAD__
/* ONNX Runtime is not instrumented, so its own locks cannot be seen. */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
    return "race:libonnxruntime.so\n";
}
#endif

static bool has_runtime;

static void hear(void *context, enum gp_log_level level, const char *message)
{
    struct onnx_fixture *f = context;
    (void)level;
    (void)snprintf(f->log, sizeof f->log, "%s", message);
}

struct gp_engine_options onnx_options(struct onnx_fixture *f, const char *path)
{
    return (struct gp_engine_options){.size_bytes = sizeof(struct gp_engine_options),
                                      .n_cores = 2,
                                      .n_slots = 2,
                                      .model_path = path,
                                      .log = hear,
                                      .log_context = f};
}

int onnx_load_engine(void **state)
{
    const struct gp_engine *engine;
    struct gp_error err;
    const char *version, *path;
    const struct gp_engine_options options = {.size_bytes = sizeof options, .n_cores = 1};
    (void)state;
    if (engine_load("onnx", NULL, &engine, &err) != GP_OK) {
        print_error("%s\n", err.message);
        return 1;
    }
    has_runtime = engine->probe(&options, &version, &path, &err) == GP_OK;
    if (has_runtime)
        print_message("ONNX Runtime %s, %s\n", version, path);
    else
        print_message("no ONNX Runtime: %s\n", err.message);
    return 0;
}

int onnx_set_up(void **state)
{
    struct onnx_fixture *f = calloc(1, sizeof *f);
    if (!f || engine_load("onnx", NULL, &f->engine, &f->err) != GP_OK)
        return 1;
    f->pool = pool_create((size_t)256 << 20);
    f->arena = gp_arena_create();
    engine_run_init(&f->run, f->pool, f->arena);
    *state = f;
    return 0;
}

int onnx_tear_down(void **state)
{
    struct onnx_fixture *f = *state;
    engine_run_finish(&f->run);
    if (f->model)
        f->engine->close(f->model);
    gp_arena_destroy(f->arena);
    pool_destroy(f->pool);
    free(f);
    return 0;
}

/* Opens a path, or where it has no slash a model of the tests. */
enum gp_status onnx_try_open(struct onnx_fixture *f, const char *name)
{
    char path[4096];
    if (!has_runtime) {
        SKIP_BECAUSE("the onnx engine is not built: tools/setup onnx, then make");
    }
    (void)snprintf(path, sizeof path, "%s/tests/models/%s.onnx", getenv("GP_SOURCE_DIR"),
                   name);
    const struct gp_engine_options options =
        onnx_options(f, strchr(name, '/') ? name : path);
    f->err.message[0] = '\0';
    return f->engine->open(&options, &f->model, &f->err);
}

void onnx_open(struct onnx_fixture *f, const char *name)
{
    if (onnx_try_open(f, name) != GP_OK)
        fail_msg("%s: %s", name, f->err.message);
    f->is = (struct gp_description){.size_bytes = sizeof f->is};
    assert_int_equal(f->engine->describe(f->model, &f->is, &f->err), GP_OK);
}

enum gp_status onnx_execute(struct onnx_fixture *f, const struct gp_tensor *inputs,
                            uint32_t n_inputs, const char *const *names,
                            uint32_t n_outputs)
{
    engine_run_begin(&f->run);
    gp_arena_reset(f->arena);
    f->run.call = (struct gp_call){.inputs = inputs,
                                   .n_inputs = n_inputs,
                                   .output_names = names,
                                   .n_outputs = n_outputs};
    return engine_run_execute(&f->run, f->engine, f->model, 0, &f->err);
}

void onnx_execute_well(struct onnx_fixture *f, const struct gp_tensor *inputs,
                       uint32_t n_inputs, const char *const *names, uint32_t n_outputs)
{
    if (onnx_execute(f, inputs, n_inputs, names, n_outputs) != GP_OK)
        fail_msg("%s", f->err.message);
    assert_int_equal(f->run.n_outputs, n_outputs);
}

struct gp_tensor onnx_tensor(const char *name, enum gp_dtype dtype, const int64_t *shape,
                             uint32_t rank, const void *data)
{
    struct gp_tensor t = gp_tensor_view(dtype, shape, rank, data);
    t.name = name;
    return t;
}
