/* Runs of engines that are functions in a test. */
#ifndef GP_TESTS_ENGINE_FIXTURE_H
#define GP_TESTS_ENGINE_FIXTURE_H

#include "engine/engine.h"

typedef enum gp_status engine_fn(void *model, uint32_t slot, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err);

struct engine_fixture {
    struct pool *pool; /* of 64 MiB */
    struct gp_arena *arena;
    struct engine_run run;
    struct gp_engine engine;
    struct gp_error err;
};

/* For cmocka; in the end the pool has everything back. */
int engine_set_up(void **state);
int engine_tear_down(void **state);

/* One run of the function, with `n_outputs` wanted: "a", "b" and "c". */
enum gp_status engine_execute(struct engine_fixture *f, engine_fn *run, void *model,
                              uint32_t n_outputs);

#define ENGINE_TEST(test)                                                                \
    cmocka_unit_test_setup_teardown(test, engine_set_up, engine_tear_down)

#endif
