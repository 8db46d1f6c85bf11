/* One run in a child that the test plays, on a thread of its own. */
#ifndef GP_TESTS_PLAYED_RUN_H
#define GP_TESTS_PLAYED_RUN_H

#include "played_child.h"

#define MIB ((size_t)1 << 20)

enum { PLAYED_MOST_INPUTS = 5, PLAYED_BODY_BYTES = 4096 };

struct played_run {
    struct isolate isolate;
    struct child child;
    struct played_child peer;
    struct gp_engine engine;
    struct pool *pool;
    struct gp_arena *arena;
    struct engine_run run;
    struct gp_error err;
    struct pool_buffer body;
    enum gp_status status;

    /* What the child is sent: NULL or 0 for "config", and for the body as one input. */
    const char *config;
    const struct gp_tensor *inputs;
    uint32_t n_inputs;
    uint32_t n_outputs; /* 0, or 2: "a" and "b" */

    /* What it gets. */
    struct gp_tensor got[PLAYED_MOST_INPUTS];
    uint64_t got_offset[PLAYED_MOST_INPUTS];

    int which;                /* of the parts that play knows */
    struct pool_buffer *rest; /* of the pool, for a part that takes it */
    void (*play)(struct played_run *f);
};

/* For cmocka: the fixture, with a pool of 64 MiB; when it ends the pool has everything back. */
int played_run_set_up(void **state);
int played_run_tear_down(void **state);

/* The child's part begins with this. */
void played_run_hear(struct played_run *f);

/* The server's part: a run with a body of 4 KiB that lies in the arena. */
void played_run(struct played_run *f, void (*play)(struct played_run *f),
                int64_t deadline_ns);

#define PLAYED_RUN_TEST(test)                                                            \
    cmocka_unit_test_setup_teardown(test, played_run_set_up, played_run_tear_down)

#endif
