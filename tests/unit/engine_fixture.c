#include "engine_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

int engine_set_up(void **state)
{
    struct engine_fixture *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->pool = pool_create((size_t)64 << 20);
    f->arena = gp_arena_create();
    engine_run_init(&f->run, f->pool, f->arena);
    *state = f;
    return 0;
}

int engine_tear_down(void **state)
{
    struct engine_fixture *f = *state;
    engine_run_finish(&f->run);
    gp_arena_destroy(f->arena);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    assert_int_equal(pool_count(f->pool).reserved_bytes, 0);
    pool_destroy(f->pool);
    free(f);
    return 0;
}

enum gp_status engine_execute(struct engine_fixture *f, engine_fn *run, void *model,
                              uint32_t n_outputs)
{
    static const char *const names[] = {"a", "b", "c"};
    engine_run_begin(&f->run);
    gp_arena_reset(f->arena);
    f->run.call.output_names = names;
    f->run.call.n_outputs = n_outputs;
    f->engine = (struct gp_engine){.run = run};
    return engine_run_execute(&f->run, &f->engine, model, 0, &f->err);
}
