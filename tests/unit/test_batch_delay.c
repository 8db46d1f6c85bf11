/* --max-delay: a request waits for others though there is a slot, but never longer than it may, and
 * not once they are enough. */
#include "callers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define DELAY_NS (10 * CLOCK_MS)

static struct callers f; /* large */

static void begin(uint64_t max_rows)
{
    callers_begin(&f, max_rows, NULL, 0);
    f.script.takes_ns = 1; /* what takes no time did not run */
    assert_int_equal(slots_delay(&f.model.model.slots, DELAY_NS, NULL), GP_OK);
}

/* What the poller's timer would do at this time, so long after the beginning. */
static void ring_at(int64_t ms)
{
    turned_clock_set(CALLERS_NS + ms * CLOCK_MS);
    f.poller.alarm.serve(still_worker(&f.poller), &f.poller.alarm);
    callers_serve(&f);
}

static void assert_due(int64_t ms)
{
    assert_int_equal(f.model.model.slots.alarm.due_ns,
                     ms < 0 ? 0 : CALLERS_NS + ms * CLOCK_MS);
}

/* This one stands for all that ran with it. */
static void assert_reason(size_t i, enum run_reason reason)
{
    assert_true(f.all[i].fake.inference.leads_run);
    assert_int_equal(f.all[i].fake.inference.run_reason, reason);
}

static void one_alone_waits_so_long(void **state)
{
    (void)state;
    begin(4);
    callers_send(&f, 0, 1);
    callers_serve(&f);
    assert_due(10);
    ring_at(9);
    assert_int_equal(f.script.n_runs, 0);
    assert_true(slots_are_idle(&f.model.model.slots));
    ring_at(10);
    CALLERS_ASSERT_RUNS(&f, 1);
    callers_assert_answered(&f, 0);
    assert_int_equal(f.all[0].fake.inference.waited_ns, DELAY_NS);
    assert_reason(0, RUN_HAD_WAITED);
    assert_due(-1);
    callers_end(&f);
}

static void those_that_come_meanwhile_go_with_it(void **state)
{
    (void)state;
    begin(8);
    callers_send(&f, 0, 1);
    turned_clock_add(3 * CLOCK_MS);
    callers_send(&f, 1, 2);
    callers_serve(&f);
    assert_due(10); /* the first one's */
    ring_at(10);
    CALLERS_ASSERT_RUNS(&f, 3);
    callers_assert_answered(&f, 0);
    callers_assert_answered(&f, 1);
    callers_end(&f);
}

static void those_that_are_enough_do_not_wait(void **state)
{
    (void)state;
    begin(4);
    callers_send(&f, 0, 1);
    callers_send(&f, 1, 1);
    callers_serve(&f);
    assert_int_equal(f.script.n_runs, 0);
    callers_send(&f, 2, 2);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 4);
    assert_reason(0, RUN_WAS_FULL);
    callers_send(&f, 3, 4); /* enough by itself */
    callers_serve(&f);
    assert_reason(3, RUN_WAS_FULL);
    callers_send(&f, 3, 5);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 4, 4, 4, 1);
    callers_end(&f);
}

/* Another that does not fit fills it too. */
static void the_next_may_be_too_many(void **state)
{
    (void)state;
    begin(4);
    callers_send(&f, 0, 3);
    callers_send(&f, 1, 2);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 3);
    assert_reason(0, RUN_WAS_FULL);
    ring_at(10);
    CALLERS_ASSERT_RUNS(&f, 3, 2);
    assert_reason(1, RUN_HAD_WAITED);
    callers_end(&f);
}

/* Others who came before, and differ from them, wait on. */
static void those_behind_others_do_not_wait_either(void **state)
{
    (void)state;
    begin(4);
    struct inference *other = callers_prepare(&f, 0, 1);
    other->run.engine_run.call.config = "{}";
    callers_enter(&f, other);
    callers_send(&f, 1, 2);
    callers_send(&f, 2, 2);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 4);
    assert_int_equal(f.all[0].fake.n_back, 0);
    ring_at(10);
    CALLERS_ASSERT_RUNS(&f, 4, 1);
    callers_assert_answered(&f, 0);
    callers_end(&f);
}

/* It would be late otherwise. */
static void a_deadline_is_not_waited_for(void **state)
{
    (void)state;
    begin(4);
    callers_send(&f, 0, 1);
    struct inference *hasty = callers_prepare(&f, 1, 1);
    hasty->deadline_ns = CALLERS_NS + 6 * CLOCK_MS;
    hasty->run.engine_run.call.config = "{}";
    callers_enter(&f, hasty);
    callers_serve(&f);
    assert_due(3);
    ring_at(3);
    CALLERS_ASSERT_RUNS(&f, 1);
    callers_assert_answered(&f, 1);
    assert_reason(1, RUN_HAD_TO);
    assert_due(10);
    ring_at(10);
    callers_assert_answered(&f, 0);
    callers_end(&f);
}

/* Nobody could join these. */
static void one_without_rows_does_not_wait(void **state)
{
    (void)state;
    begin(4);
    callers_send(&f, 0, 0);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 0);
    callers_end(&f);
}

/* A slot that becomes free is for those that have waited long enough, and the alarm for the rest. */
static void a_free_slot_does_not_end_the_wait(void **state)
{
    (void)state;
    begin(4);
    f.script.takes_ns = 4 * CLOCK_MS;
    (void)callers_prepare(&f, 1, 1);
    (void)callers_prepare(&f, 0, 4);
    callers_serve_before(&f, 1); /* who comes after 0 ms */
    CALLERS_ASSERT_RUNS(&f, 4);
    assert_due(10);
    ring_at(10);
    CALLERS_ASSERT_RUNS(&f, 4, 1);
    callers_end(&f);

    begin(4);
    f.script.takes_ns = 10 * CLOCK_MS;
    (void)callers_prepare(&f, 1, 1);
    (void)callers_prepare(&f, 0, 4);
    callers_serve_before(&f, 1);
    CALLERS_ASSERT_RUNS(&f, 4, 1);  /* it has waited long enough */
    assert_reason(1, RUN_HAD_SLOT); /* and then for that */
    assert_due(-1);
    callers_end(&f);
}

static void the_end_waits_for_nobody(void **state)
{
    (void)state;
    begin(4);
    callers_send(&f, 0, 1);
    slots_cancel(&f.model.model.slots);
    callers_serve(&f);
    callers_assert_failed(&f, 0, GP_UNAVAILABLE, "the server ended before");
    ring_at(10);
    assert_int_equal(f.script.n_runs, 0);
    callers_end(&f);
}

/* The model takes no more batches: there is nobody to wait for. */
static void nobody_waits_where_none_may_join(void **state)
{
    (void)state;
    begin(4);
    callers_send(&f, 0, 1);
    slots_stop_joining(&f.model.model.slots);
    callers_send(&f, 1, 1);
    callers_serve(&f);
    CALLERS_ASSERT_RUNS(&f, 1, 1);
    callers_end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_alone_waits_so_long),
        cmocka_unit_test(those_that_come_meanwhile_go_with_it),
        cmocka_unit_test(those_that_are_enough_do_not_wait),
        cmocka_unit_test(the_next_may_be_too_many),
        cmocka_unit_test(those_behind_others_do_not_wait_either),
        cmocka_unit_test(a_deadline_is_not_waited_for),
        cmocka_unit_test(one_without_rows_does_not_wait),
        cmocka_unit_test(a_free_slot_does_not_end_the_wait),
        cmocka_unit_test(the_end_waits_for_nobody),
        cmocka_unit_test(nobody_waits_where_none_may_join),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
