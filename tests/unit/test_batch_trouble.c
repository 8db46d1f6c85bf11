/* Requests that run together, and one of them is bad, late or left, or the model is not made for it:
 * none of that is the others' trouble. */
#include "callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct callers f; /* large */

static void one_that_is_bad_fails_alone(void **state)
{
    (void)state;
    for (int bad = 1; bad < CALLERS_N; bad++) {
        callers_begin(&f, 16, NULL, 0);
        for (int i = 0; i < CALLERS_N; i++)
            (void)callers_prepare(&f, i, 1);
        f.all[bad].x[1] = CALLERS_BAD;
        callers_serve_before(&f, CALLERS_N - 1);
        for (int i = 0; i < CALLERS_N; i++)
            if (i == bad)
                callers_assert_failed(&f, i, GP_INVALID, "a bad value");
            else
                callers_assert_answered(&f, i);
        assert_true(f.script.n_runs <= 2 + 2 * 3); /* halves, not each one */
        assert_int_equal(f.model.model.slots.queue.max_rows, 16);
        callers_end(&f);
    }
}

/* On the slot that they had together. */
static void those_that_fail_together_run_apart(void **state)
{
    (void)state;
    callers_begin_slots(&f, 2, 8, NULL, 0);
    struct slots *slots = &f.model.model.slots;
    const uint32_t busy = slots->first_free;
    slots->first_free = slots->all[busy].next_free;
    f.script.fails_together = GP_ENGINE;
    for (int i = 0; i < 2; i++)
        callers_send(&f, i, 1);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 2, 1, 1);
    for (int i = 0; i < 2; i++)
        callers_assert_answered(&f, i);
    slots->all[busy].next_free = slots->first_free;
    slots->first_free = busy;
    callers_end(&f);
}

static void who_left_or_is_late_is_not_run(void **state)
{
    (void)state;
    callers_begin(&f, 8, NULL, 0);
    f.script.takes_ns = 50 * CLOCK_MS;
    for (int i = 0; i < 4; i++)
        (void)callers_prepare(&f, i, 1);
    f.all[1].fake.inference.deadline_ns = CALLERS_NS + 50 * CLOCK_MS;
    atomic_store(&f.all[2].fake.is_left, true);
    callers_serve_before(&f, 3);
    CALLERS_ASSERT_RUNS(&f, 1, 1);
    callers_assert_answered(&f, 0);
    callers_assert_failed(&f, 1, GP_DEADLINE, "the deadline was over");
    callers_assert_failed(&f, 2, GP_CANCELLED,
                          "the client left while its request waited");
    callers_assert_answered(&f, 3);
    callers_end(&f);
}

/* What becomes of two that run together while they do; the others are answered. */
static void run_two(bool is_late, unsigned leaving)
{
    callers_begin(&f, 8, NULL, 0);
    f.script.takes_ns = 50 * CLOCK_MS;
    f.script.is_watched = true;
    f.script.leaving = leaving;
    for (int i = 0; i < 3; i++)
        (void)callers_prepare(&f, i, 1);
    f.all[1].fake.inference.deadline_ns = is_late ? CALLERS_NS + 90 * CLOCK_MS : 0;
    callers_serve_before(&f, 2);
    CALLERS_ASSERT_RUNS(&f, 1, 2);
    callers_assert_answered(&f, 0);
}

static void a_run_goes_on_for_one_that_wants_it(void **state)
{
    (void)state;
    run_two(false, 1u << 1);
    assert_int_equal(f.script.n_cancels, 0);
    callers_assert_answered(&f, 1);
    callers_assert_answered(&f, 2);
    callers_end(&f);

    run_two(true, 0);
    assert_int_equal(f.script.n_cancels, 0);
    callers_assert_told(&f, 1, GP_DEADLINE, "the deadline was over");
    callers_assert_answered(&f, 2);
    callers_end(&f);
}

static void a_run_that_nobody_wants_is_stopped(void **state)
{
    (void)state;
    run_two(false, 1u << 1 | 1u << 2);
    assert_int_equal(f.script.n_cancels, 1);
    callers_assert_failed(&f, 1, GP_CANCELLED, "its client left");
    callers_assert_failed(&f, 2, GP_CANCELLED, "its client left");
    callers_end(&f);

    run_two(true, 1u << 2);
    assert_int_equal(f.script.n_cancels, 1);
    callers_assert_failed(&f, 1, GP_DEADLINE, "the deadline was over");
    callers_assert_failed(&f, 2, GP_CANCELLED, "its client left");
    callers_end(&f);
}

/* A pool without room for both copies: they are run as they lie. */
static void memory_that_is_short_fails_nobody(void **state)
{
    (void)state;
    callers_begin(&f, 2 * CALLERS_LARGE, NULL, 0);
    struct pool *pool = f.model.host.pool;
    struct pool_buffer buffer;
    for (int i = 0; i < 3; i++)
        (void)callers_prepare(&f, i, i ? CALLERS_LARGE : 1);
    const size_t room = 3 * CALLERS_LARGE * CALLERS_COLUMNS * sizeof(float);
    assert_true(
        pool_take(pool, NULL, pool_count(pool).budget_bytes - room, NULL, &buffer));
    callers_serve_before(&f, 2);
    CALLERS_ASSERT_RUNS(&f, 1, 2 * CALLERS_LARGE, CALLERS_LARGE,
                        CALLERS_LARGE); /* no room for its outputs */
    for (int i = 0; i < 3; i++)
        callers_assert_answered(&f, i);
    assert_int_equal(atomic_load(&f.model.model.n_misfits), 0);
    pool_give(pool, &buffer);
    callers_end(&f);
}

/* That is what it is told, whatever its later parts give. */
static void parts_need_room_for_the_whole_answer(void **state)
{
    (void)state;
    callers_begin(&f, 500, NULL, 0);
    struct pool *pool = f.model.host.pool;
    struct pool_buffer buffer;
    callers_send(&f, 0, CALLERS_LARGE);
    assert_true(
        pool_take(pool, NULL, pool_count(pool).budget_bytes - 4096, NULL, &buffer));
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 500, 500, 500);
    callers_assert_failed(&f, 0, GP_NO_MEMORY, "no memory for output 0: 12000 bytes");
    assert_int_equal(atomic_load(&f.model.model.n_misfits), 0);
    pool_give(pool, &buffer);
    callers_end(&f);
}

/* Whose first output had room, and the second did not. */
static void nothing_is_left_of_half_an_answer(void **state)
{
    const size_t size = (size_t)3 * 4096; /* of a caller's rows, in pages */
    struct pool_buffer buffer;
    (void)state;
    callers_begin(&f, 2 * CALLERS_LARGE, NULL, 0);
    struct pool *pool = f.model.host.pool;
    f.script.adds = true;
    f.script.n_runs = 1; /* for two outputs */
    for (int i = 0; i < 2; i++)
        callers_prepare(&f, i, CALLERS_LARGE)->run.engine_run.call.n_outputs = 0;
    for (int i = 0; i < 2; i++)
        callers_enter(&f, &f.all[i].fake.inference);
    const size_t room = (2 + 4 + 3) * size; /* inputs, outputs, and theirs but for one */
    assert_true(
        pool_take(pool, NULL, pool_count(pool).budget_bytes - room, NULL, &buffer));
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 0, 2 * CALLERS_LARGE);
    assert_int_equal(f.all[0].fake.inference.error.status, GP_OK);
    assert_int_equal(f.all[0].fake.inference.run.engine_run.n_outputs, 2);
    callers_assert_failed(&f, 1, GP_NO_MEMORY, "no memory for output 1: 12000 bytes");
    pool_give(pool, &buffer);
    callers_end(&f);
}

static struct pool_buffer kept;

/* As an engine does whose process goes on with them. */
static enum gp_status keep_inputs(void *handle, uint32_t slot, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    struct engine_run *run = (struct engine_run *)(void *)outputs;
    (void)handle, (void)slot;
    assert_ptr_equal(run->body->data, call->inputs[0].data);
    if (!kept.data) {
        kept = *run->body;
        *run->body = (struct pool_buffer){0};
    }
    return gp_error_set(err, GP_DEADLINE, "left");
}

static void an_engine_may_keep_the_rows(void **state)
{
    (void)state;
    callers_begin(&f, 2, NULL, 0);
    fake_model_run_with(&f.model, keep_inputs, NULL);
    for (int i = 0; i < 4; i++)
        callers_send(&f, i, 1);
    callers_serve(&f); /* two and two */
    for (int i = 0; i < 4; i++)
        callers_assert_failed(&f, i, GP_DEADLINE, "left");
    const float *x = (const float *)(const void *)kept.data;
    for (int i = 0; i < 2; i++)
        assert_true(x[i * CALLERS_COLUMNS] == callers_value_of(i, 0));
    pool_give(f.model.host.pool, &kept);
    callers_end(&f);
}

/* --- a process that ends --- */

static void begin_isolated(unsigned max_waiting)
{
    callers_begin(&f, 8, NULL, 0);
    f.model.model.isolate = (struct isolate *)(void *)&f; /* not looked at here */
    f.script.fails_together = GP_UNAVAILABLE;
    for (int i = 0; i < 4; i++)
        (void)callers_prepare(&f, i, 1);
    for (int i = 0; i < 4; i++)
        callers_enter(&f, &f.all[i].fake.inference);
    f.model.model.slots.max_waiting = max_waiting;
    callers_serve(&f);
}

/* One of them may have ended it: each runs alone in the next one. */
static void a_process_that_ended_is_nobodys_fault(void **state)
{
    (void)state;
    begin_isolated(CALLERS_N);
    CALLERS_ASSERT_RUNS(&f, 4, 1, 1, 1, 1);
    for (int i = 0; i < 4; i++)
        callers_assert_answered(&f, i);
    assert_int_equal(atomic_load(&f.model.model.n_misfits), 0);
    callers_end(&f);
}

static void who_has_no_place_in_the_queue_is_told(void **state)
{
    (void)state;
    begin_isolated(1);
    CALLERS_ASSERT_RUNS(&f, 4, 1);
    callers_assert_answered(&f, 0);
    for (int i = 1; i < 4; i++)
        callers_assert_failed(&f, i, GP_UNAVAILABLE, "not together");
    callers_end(&f);
}

/* --- models that are not made for it --- */

/* So often that the model is known. */
static void serve_misfits(unsigned n_times)
{
    for (unsigned k = 0; k < n_times; k++) {
        for (int i = 0; i < 3; i++)
            callers_send(&f, i, 1);
        callers_serve(&f);
        for (int i = 0; i < 3; i++)
            assert_int_equal(f.all[i].fake.inference.error.status, GP_OK);
    }
}

static void a_model_that_cannot_is_left_alone(void **state)
{
    (void)state;
    for (int kind = 0; kind < 3; kind++) {
        callers_begin(&f, 8, NULL, 0);
        f.script.sums = kind == 0;
        f.script.gives_rows = kind == 1;
        f.script.fails_together = kind == 2 ? GP_ENGINE : GP_OK;
        serve_misfits(2);
        CALLERS_ASSERT_RUNS(&f, 3, 1, 2, 1, 1, 3, 1, 2, 1, 1);
        assert_int_equal(f.model.model.slots.queue.max_rows, 8);
        f.model.log.fd = STDERR_FILENO;
        f.model.log.level = GP_LOG_WARNING;
        serve_misfits(1);
        assert_int_equal(f.model.model.slots.queue.max_rows, 0);
        f.script.n_runs = 0;
        serve_misfits(1);
        CALLERS_ASSERT_RUNS(&f, 1, 1, 1);
        assert_non_null(
            strstr(f.model.log.pending.data, "warning: twice: requests run one"));
        callers_end(&f);
    }
}

/* What another server says that is busy or gone is not asked again in halves. */
static void a_failure_that_is_nobodys_is_everybodys(void **state)
{
    static const enum gp_status statuses[] = {GP_UNAVAILABLE, GP_BUSY, GP_IO, GP_DEADLINE,
                                              GP_CANCELLED};
    (void)state;
    for (size_t i = 0; i < sizeof statuses / sizeof *statuses; i++) {
        callers_begin(&f, 8, NULL, 0);
        f.script.fails_together = statuses[i];
        for (int k = 0; k < 4; k++)
            (void)callers_prepare(&f, k, 1);
        callers_serve_before(&f, 3);
        CALLERS_ASSERT_RUNS(&f, 1, 3);
        callers_assert_answered(&f, 0);
        for (int k = 1; k < 4; k++)
            callers_assert_failed(&f, k, statuses[i], "not together");
        assert_int_equal(atomic_load(&f.model.model.n_misfits), 0);
        callers_end(&f);
    }
}

/* Not for one that is bad, and not for some that went wrong between others. */
static void one_that_can_is_not(void **state)
{
    (void)state;
    callers_begin(&f, 8, NULL, 0);
    for (int k = 0; k < 4; k++) {
        f.script.n_runs = 0;
        f.script.fails_together = k == 2 ? GP_OK : GP_ENGINE;
        serve_misfits(1);
    }
    assert_int_equal(f.model.model.slots.queue.max_rows, 8);
    assert_int_equal(atomic_load(&f.model.model.n_misfits), 1);
    callers_end(&f);
}

/* One that is run in parts can fail for that alone. */
static void parts_that_do_not_fit_are_told(void **state)
{
    (void)state;
    callers_begin(&f, 2, NULL, 0);
    f.script.sums = true;
    callers_send(&f, 0, 3);
    callers_serve(&f);
    callers_assert_failed(
        &f, 0, GP_ENGINE,
        "output 0 is float32[] for 2 rows; --max-batch is for models that give");
    f.script = (struct callers_script){.f = &f, .narrows = true};
    callers_send(&f, 0, 3);
    callers_serve(&f);
    callers_assert_failed(&f, 0, GP_ENGINE,
                          "output 0 is float32[1,1] for 1 rows after others");
    f.script = (struct callers_script){.f = &f, .adds = true};
    struct inference *any = callers_prepare(&f, 0, 3);
    any->run.engine_run.call.n_outputs = 0;
    callers_enter(&f, any);
    callers_serve(&f);
    callers_assert_failed(&f, 0, GP_ENGINE,
                          "1 outputs came for some rows and 2 for others");
    callers_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_that_is_bad_fails_alone),
        cmocka_unit_test(those_that_fail_together_run_apart),
        cmocka_unit_test(who_left_or_is_late_is_not_run),
        cmocka_unit_test(a_run_goes_on_for_one_that_wants_it),
        cmocka_unit_test(a_run_that_nobody_wants_is_stopped),
        cmocka_unit_test(memory_that_is_short_fails_nobody),
        cmocka_unit_test(parts_need_room_for_the_whole_answer),
        cmocka_unit_test(nothing_is_left_of_half_an_answer),
        cmocka_unit_test(an_engine_may_keep_the_rows),
        cmocka_unit_test(a_process_that_ended_is_nobodys_fault),
        cmocka_unit_test(who_has_no_place_in_the_queue_is_told),
        cmocka_unit_test(a_model_that_cannot_is_left_alone),
        cmocka_unit_test(a_failure_that_is_nobodys_is_everybodys),
        cmocka_unit_test(one_that_can_is_not),
        cmocka_unit_test(parts_that_do_not_fit_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
