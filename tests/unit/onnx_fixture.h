/* What the tests of the ONNX engine share: a model of tests/models, opened, and runs of
 * it. */
#ifndef GP_TESTS_ONNX_FIXTURE_H
#define GP_TESTS_ONNX_FIXTURE_H

#include "engine/engine.h"

struct onnx_fixture {
    const struct gp_engine *engine;
    void *model;
    struct gp_description is;
    struct pool *pool;
    struct gp_arena *arena;
    struct engine_run run;
    struct gp_error err;
    char log[512]; /* the last line */
};

/* Once, before the tests: loads the engine, and says so when the runtime is not there. */
int onnx_load_engine(void **state);

/* Around each test: *state is a struct onnx_fixture. */
int onnx_set_up(void **state);
int onnx_tear_down(void **state);

struct gp_engine_options onnx_options(struct onnx_fixture *f, const char *path);

/* Opens a path, or where it has no slash a model of tests/models; skips the test when
 * there is no runtime. */
enum gp_status onnx_try_open(struct onnx_fixture *f, const char *name);

/* The same, and describes it; both have to succeed. */
void onnx_open(struct onnx_fixture *f, const char *name);

enum gp_status onnx_execute(struct onnx_fixture *f, const struct gp_tensor *inputs,
                            uint32_t n_inputs, const char *const *names,
                            uint32_t n_outputs);

/* The same; has to succeed. */
void onnx_execute_well(struct onnx_fixture *f, const struct gp_tensor *inputs,
                       uint32_t n_inputs, const char *const *names, uint32_t n_outputs);

/* A view with a name. */
struct gp_tensor onnx_tensor(const char *name, enum gp_dtype dtype, const int64_t *shape,
                             uint32_t rank, const void *data);

#endif
