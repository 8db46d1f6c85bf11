/* Alarms: which is due, when each rings again, and that one that was removed does not. By a clock that
 * the test turns, but for the timer, which knows the real one only. */
#include "net/alarm.h"
#include "still_poller.h"
#include "turned_clock.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/timerfd.h>

#include <cmocka.h>

/* In the far future, so that the timer does not fire. */
#define BEGIN_NS (1000000000 * CLOCK_S)

struct bell {
    struct alarm alarm; /* first */
    int64_t again_ns;
    unsigned n_rung;
};

static struct poller poller;
static struct bell a, b;

static int64_t ring(struct worker *worker, struct alarm *alarm)
{
    struct bell *bell = (struct bell *)(void *)alarm;
    assert_ptr_equal(worker, still_worker(&poller));
    bell->n_rung++;
    return bell->again_ns;
}

static int begin(void **state)
{
    (void)state;
    turned_clock_set(BEGIN_NS);
    still_begin(&poller);
    a = b = (struct bell){.alarm.ring = ring};
    assert_null(poller.alarm.serve);
    assert_int_equal(alarm_add(&poller, &a.alarm, NULL), GP_OK);
    assert_int_equal(alarm_add(&poller, &b.alarm, NULL), GP_OK);
    return 0;
}

static int end(void **state)
{
    (void)state;
    still_end(&poller);
    turned_clock_end();
    return 0;
}

static void set_for(struct bell *bell, int64_t ms)
{
    alarm_set(&poller, &bell->alarm, BEGIN_NS + ms * CLOCK_MS);
}

static void assert_timer(int64_t ms)
{
    struct itimerspec left;
    struct timespec now;
    assert_int_equal(timerfd_gettime(poller.alarm.fd, &left), 0);
    const int64_t left_ns = left.it_value.tv_sec * CLOCK_S + left.it_value.tv_nsec;
    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &now), 0);
    const int64_t at_ns = now.tv_sec * CLOCK_S + now.tv_nsec + left_ns;
    if (ms < 0)
        assert_int_equal(left_ns, 0);
    else /* within a minute on a slow machine, and the test's times are hours apart */
        assert_in_range(at_ns, BEGIN_NS + ms * CLOCK_MS - CLOCK_S,
                        BEGIN_NS + ms * CLOCK_MS + 60 * CLOCK_S);
}

static void serve_at(int64_t ms)
{
    turned_clock_set(BEGIN_NS + ms * CLOCK_MS);
    poller.alarm.serve(still_worker(&poller), &poller.alarm);
}

enum { HOUR = 3600000, WAIT_MS = 20000 };

static void the_earliest_sets_the_timer(void **state)
{
    (void)state;
    assert_timer(-1);
    set_for(&a, 3 * HOUR);
    assert_timer(3 * HOUR);
    set_for(&b, 2 * HOUR);
    assert_timer(2 * HOUR);
    set_for(&a, 4 * HOUR); /* it rings no later for that */
    set_for(&b, HOUR);
    assert_timer(HOUR);
    serve_at(HOUR);
    assert_int_equal(b.n_rung, 1);
    assert_timer(3 * HOUR);
}

static void each_rings_once_when_it_is_due(void **state)
{
    (void)state;
    set_for(&a, 2 * HOUR);
    set_for(&b, HOUR);
    serve_at(HOUR - 1);
    assert_int_equal(a.n_rung + b.n_rung, 0);
    serve_at(HOUR);
    serve_at(HOUR + 1);
    assert_int_equal(a.n_rung, 0);
    assert_int_equal(b.n_rung, 1);
    serve_at(3 * HOUR);
    assert_int_equal(a.n_rung, 1);
    assert_int_equal(b.n_rung, 1);
    assert_timer(-1);
}

static void it_says_when_it_rings_again(void **state)
{
    (void)state;
    a.again_ns = BEGIN_NS + 5 * HOUR * CLOCK_MS;
    set_for(&a, HOUR);
    serve_at(HOUR);
    assert_timer(5 * HOUR);
    serve_at(5 * HOUR - 1);
    assert_int_equal(a.n_rung, 1);
    serve_at(5 * HOUR);
    assert_int_equal(a.n_rung, 2);
}

static void one_that_was_removed_does_not_ring(void **state)
{
    struct bell other = {.alarm.ring = ring};
    (void)state;
    set_for(&a, HOUR);
    set_for(&b, HOUR);
    alarm_remove(&poller, &a.alarm);
    alarm_remove(&poller, &other.alarm); /* which was not added */
    serve_at(HOUR);
    assert_int_equal(a.n_rung, 0);
    assert_int_equal(b.n_rung, 1);
}

/* It is no child's, and nobody waits for it. */
static void the_timer_is_our_own(void **state)
{
    (void)state;
    assert_true(fcntl(poller.alarm.fd, F_GETFD) & FD_CLOEXEC);
    assert_true(fcntl(poller.alarm.fd, F_GETFL) & O_NONBLOCK);
}

/* At once, and each time that it is set; no thread is kept busy by one that has rung. */
static void the_timer_wakes_a_thread_that_polls(void **state)
{
    (void)state;
    turned_clock_end();
    for (unsigned n = 1; n <= 3; n++) {
        alarm_set(&poller, &a.alarm, clock_now_ns());
        for (int n_ms = 0; !still_serve_one(&poller); n_ms++) {
            assert_true(n_ms < WAIT_MS);
            poll(NULL, 0, 1);
        }
        assert_int_equal(a.n_rung, n);
        assert_false(still_serve_one(&poller));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_earliest_sets_the_timer), TEST(each_rings_once_when_it_is_due),
        TEST(it_says_when_it_rings_again), TEST(one_that_was_removed_does_not_ring),
        TEST(the_timer_is_our_own),        TEST(the_timer_wakes_a_thread_that_polls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
