#include "played_run.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

int played_run_set_up(void **state)
{
    struct played_run *f = calloc(1, sizeof *f);
    assert_non_null(f);
    f->pool = pool_create(64 * MIB);
    assert_true(pool_open(f->pool, &f->isolate.memory));
    f->arena = gp_arena_create();
    engine_run_init(&f->run, f->pool, f->arena);
    f->run.memory = f->isolate.memory;
    f->run.body = &f->body;
    f->isolate.children = &f->child;
    f->isolate.n_children = 1;
    f->isolate.pool = f->pool;
    pthread_mutex_init(&f->isolate.lock, NULL);
    played_begin(&f->peer, &f->isolate, 0);
    f->engine = (struct gp_engine){.run = isolate_run};
    *state = f;
    return 0;
}

int played_run_tear_down(void **state)
{
    struct played_run *f = *state;
    turned_clock_end();
    played_end(&f->peer);
    engine_run_finish(&f->run);
    pool_give(f->pool, &f->body);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    assert_int_equal(pool_count(f->pool).reserved_bytes, 0);
    pool_close(f->pool, &f->isolate.memory);
    pool_destroy(f->pool);
    gp_arena_destroy(f->arena);
    pthread_mutex_destroy(&f->isolate.lock);
    free(f);
    return 0;
}

static const char *const names[] = {"a", "b"};

void played_run_hear(struct played_run *f)
{
    struct record record = played_hear(&f->peer);
    assert_int_equal(record.type, RECORD_RUN);
    assert_int_equal(record_u64(&record), f->run.call.deadline_ns);
    assert_int_equal(record_u32(&record), 3);
    assert_string_equal(record_text(&record), "config");
    assert_int_equal(record_u32(&record), f->n_outputs);
    for (uint32_t i = 0; i < f->n_outputs; i++)
        assert_string_equal(record_text(&record), names[i]);
    const uint32_t n = record_u32(&record);
    assert_int_equal(n, f->run.call.n_inputs);
    for (uint32_t i = 0; i < n; i++)
        assert_true(record_tensor(&record, f->peer.arena, &f->got[i], &f->got_offset[i]));
}

static void *play_main(void *arg)
{
    struct played_run *f = arg;
    f->play(f);
    return NULL;
}

void played_run(struct played_run *f, void (*play)(struct played_run *f),
                int64_t deadline_ns)
{
    static const int64_t shape[] = {PLAYED_BODY_BYTES};
    pthread_t thread;
    assert_true(pool_take(f->pool, f->run.memory.inputs, PLAYED_BODY_BYTES,
                          &f->run.promise, &f->body));
    const struct gp_tensor input = gp_tensor_view(GP_UINT8, shape, 1, f->body.data);
    engine_run_begin(&f->run);
    f->run.call = (struct gp_call){.inputs = f->inputs ? f->inputs : &input,
                                   .n_inputs = f->inputs ? f->n_inputs : 1,
                                   .config = f->config ? f->config : "config",
                                   .output_names = names,
                                   .n_outputs = f->n_outputs,
                                   .deadline_ns = deadline_ns,
                                   .n_free_cores = 3};
    f->play = play;
    assert_int_equal(pthread_create(&thread, NULL, play_main, f), 0);
    f->status = engine_run_execute(&f->run, &f->engine, &f->isolate, 0, &f->err);
    pthread_join(thread, NULL);
}
