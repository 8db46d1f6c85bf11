/* Requests that want the same rows at once: one runs them, and the others wait for it, without threads. What
 * becomes of those that wait if it fails, if they leave, are late, or the server ends. */
#include "base/clock.h"
#include "cache/flights.h"
#include "cached_fixture.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* Called when a row is first to be claimed. Linked with --wrap=flights_join. */
static void (*before_join)(void);

bool __real_flights_join(struct flights *flights, const struct digest *key,
                         struct flight *flight, struct flight_wait *wait,
                         struct awaiter *awaiter);
bool __wrap_flights_join(struct flights *flights, const struct digest *key,
                         struct flight *flight, struct flight_wait *wait,
                         struct awaiter *awaiter);
bool __wrap_flights_join(struct flights *flights, const struct digest *key,
                         struct flight *flight, struct flight_wait *wait,
                         struct awaiter *awaiter)
{
    void (*const call)(void) = before_join;
    before_join = NULL;
    if (call)
        call();
    return __real_flights_join(flights, key, flight, wait, awaiter);
}

/* Both are back. */
static void wait_for_each_other(struct cached_fixture *f, const char *rows,
                                enum gp_status status)
{
    assert_int_equal(f->a.fake.n_back, 1);
    assert_int_equal(f->b.fake.n_back, 1);
    assert_int_equal(f->a.fake.inference.error.status, status);
    cached_fixture_assert(f, &f->b, rows, "sl");
}

static void a_row_in_flight_is_run_once(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ab", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "bac", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    wait_for_each_other(&f, "bac", GP_OK);
    assert_int_equal(f.script.n_runs, 2);
    assert_int_equal(f.script.n_rows, 1);
    assert_int_equal(f.b.fake.inference.cache_hits, 2);
    cached_fixture_end(&f);
}

/* Its rows are the other's then. */
static void an_owner_that_fails_passes_its_rows_on(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    f.script.fails = 1;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ab", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "cba", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    wait_for_each_other(&f, "cba", GP_ENGINE);
    assert_int_equal(f.script.n_runs, 3);
    assert_int_equal(f.script.n_rows, 2);
    assert_int_equal(f.b.fake.inference.cache_hits, 0);
    cached_fixture_end(&f);
}

/* Then each caller has its own error, and its own run. */
static void a_bad_row_fails_each_who_asks(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    f.script.fails = 2;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "a", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "a", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    assert_int_equal(f.script.n_runs, 2);
    for (struct asking *one = &f.a; one; one = one == &f.a ? &f.b : NULL) {
        assert_int_equal(one->fake.n_back, 1);
        assert_int_equal(one->fake.inference.error.status, GP_ENGINE);
    }
    cached_fixture_end(&f);
}

static void who_waits_may_leave(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "a", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "a", "sl"), CACHED_GOES);
    cached_watch(&f.model.model);
    atomic_store(&f.b.fake.is_left, true);
    cached_watch(&f.model.model);
    cached_watch(&f.model.model); /* it is not told twice */
    (void)still_serve(&f.poller);
    assert_int_equal(f.b.fake.n_back, 1);
    assert_int_equal(f.b.fake.inference.error.status, GP_CANCELLED);
    assert_int_equal(f.a.fake.n_back, 1);
    cached_fixture_assert(&f, &f.a, "a", "sl");
    cached_fixture_end(&f);
}

static void the_server_may_end(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "a", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "ba", "sl"), CACHED_GOES);
    cached_cancel(&f.model.model);
    (void)still_serve(&f.poller); /* "b" waits for nothing yet, and goes on */
    cached_fixture_assert(&f, &f.b, "ba", "sl");
    assert_int_equal(cached_fixture_enter(&f, &f.a, "c", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "c", "sl"), CACHED_GOES);
    cached_cancel(&f.model.model);
    (void)still_serve(&f.poller);
    assert_int_equal(f.b.fake.inference.error.status, GP_UNAVAILABLE);
    cached_fixture_end(&f);
}

/* Those that wait for one row go on together. */
static void several_may_wait(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ab", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "ba", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.c, "ab", "ls"), CACHED_GOES);
    (void)still_serve(&f.poller);
    wait_for_each_other(&f, "ba", GP_OK);
    cached_fixture_assert(&f, &f.c, "ab", "ls");
    assert_int_equal(f.c.fake.n_back, 1);
    assert_int_equal(f.script.n_runs, 1);
    assert_int_equal(f.c.fake.inference.cache_hits, 2);

    /* and leave together */
    assert_int_equal(cached_fixture_enter(&f, &f.a, "c", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.b, "c", "sl"), CACHED_GOES);
    assert_int_equal(cached_fixture_enter(&f, &f.c, "c", "sl"), CACHED_GOES);
    cached_cancel(&f.model.model);
    (void)still_serve(&f.poller);
    for (struct asking *one = &f.b; one; one = one == &f.b ? &f.c : NULL) {
        assert_int_equal(one->fake.n_back, 1);
        assert_int_equal(one->fake.inference.error.status, GP_UNAVAILABLE);
    }
    cached_fixture_assert(&f, &f.a, "c", "sl");
    cached_fixture_end(&f);
}

/* Whoever waits past its deadline waits no longer. */
static void who_waits_may_be_late(void **state)
{
    struct cached_fixture f;
    (void)state;
    cached_fixture_begin(&f);
    turned_clock_set(1000 * CLOCK_S);
    assert_int_equal(cached_fixture_enter(&f, &f.a, "a", "sl"), CACHED_GOES);
    cached_fixture_fill(&f.b, "a", "sl");
    f.b.fake.inference.deadline_ns = clock_now_ns() + CLOCK_S;
    assert_int_equal(cached_enter(still_worker(&f.poller), &f.b.fake.inference),
                     CACHED_GOES);
    turned_clock_add(CLOCK_S / 2);
    cached_watch(&f.model.model);
    assert_null(f.poller.ready_tasks);
    turned_clock_add(CLOCK_S);
    cached_watch(&f.model.model);
    (void)still_serve(&f.poller);
    assert_int_equal(f.b.fake.n_back, 1);
    assert_int_equal(f.b.fake.inference.error.status, GP_DEADLINE);
    cached_fixture_assert(&f, &f.a, "a", "sl");
    turned_clock_end();
    cached_fixture_end(&f);
}

static struct cached_fixture landing;

static void land_some(void)
{
    assert_int_equal(cached_fixture_enter(&landing, &landing.b, "ab", "sl"), CACHED_GOES);
    (void)still_serve(&landing.poller);
    cached_fixture_assert(&landing, &landing.b, "ab", "sl");
}

/* Between the look and the claim: they are looked for once more, and are not run again. */
static void rows_that_land_meanwhile_are_found(void **state)
{
    struct cached_fixture *f = &landing;
    (void)state;
    cached_fixture_begin(f);
    before_join = land_some;
    assert_int_equal(cached_fixture_enter(f, &f->a, "bca", "ls"), CACHED_GOES);
    /* who waits for them meanwhile finds them too */
    assert_int_equal(cached_fixture_enter(f, &f->c, "cab", "sl"), CACHED_GOES);
    (void)still_serve(&f->poller);
    cached_fixture_assert(f, &f->a, "bca", "ls");
    cached_fixture_assert(f, &f->c, "cab", "sl");
    assert_int_equal(f->script.n_runs, 2);
    assert_int_equal(f->script.n_rows, 1);
    assert_int_equal(f->a.fake.inference.cache_hits, 2);
    assert_int_equal(f->c.fake.inference.cache_hits, 3);
    cached_fixture_end(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_row_in_flight_is_run_once),
        TEST(an_owner_that_fails_passes_its_rows_on),
        TEST(a_bad_row_fails_each_who_asks),
        TEST(who_waits_may_leave),
        TEST(the_server_may_end),
        TEST(several_may_wait),
        TEST(who_waits_may_be_late),
        TEST(rows_that_land_meanwhile_are_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
