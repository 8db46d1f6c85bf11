/* A task that is postponed: what comes before it, how long it waits, and who carries it if its
 * thread has something else to do. */
#include "still_poller.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST_EVENTS = 64 };

struct fixture {
    struct poller poller;
    struct worker *worker;
    struct source bells[2];    /* events */
    struct task first, second; /* stops the thread's loop */
    int64_t takes_ns;          /* an event */
    bool is_endless;           /* each is ready again once it has been served */
    unsigned n_served;
    unsigned n_before; /* events, when the first was carried */
    unsigned n_first, n_second;
};

static struct fixture f;

static void serve_bell(struct worker *worker, struct source *source)
{
    (void)worker;
    f.n_served++;
    turned_clock_add(f.takes_ns);
    if (f.is_endless)
        assert_true(poller_arm(&f.poller, source, EPOLLIN));
}

static void carry_first(struct worker *worker, struct task *task)
{
    (void)worker, (void)task;
    f.n_before = f.n_served;
    f.n_first++;
    atomic_store(&f.poller.is_stopping, true);
}

static void carry_second(struct worker *worker, struct task *task)
{
    (void)worker, (void)task;
    f.n_second++;
}

static void begin(void)
{
    memset(&f, 0, sizeof f);
    turned_clock_set(1000 * CLOCK_S);
    still_begin(&f.poller);
    f.worker = still_worker(&f.poller);
    f.first.go = carry_first;
    f.second.go = carry_second;
    for (int i = 0; i < 2; i++) {
        struct source *source = &f.bells[i];
        *source = (struct source){.serve = serve_bell, .fd = eventfd(1, EFD_NONBLOCK)};
        assert_true(source->fd >= 0);
        assert_true(poller_add(&f.poller, source, EPOLLIN));
    }
}

static void end(void)
{
    f.is_endless = false;
    for (int i = 0; i < 2; i++)
        close(f.bells[i].fd);
    still_end(&f.poller);
    turned_clock_end();
}

static void run_loop(void)
{
    worker_main(f.worker);
    assert_int_equal(f.n_first, 1);
    assert_null(f.worker->postponed);
}

static void it_comes_after_the_events_that_are_ready(void **state)
{
    (void)state;
    begin();
    worker_postpone(f.worker, &f.first);
    run_loop();
    assert_int_equal(f.n_before, 2);
    end();
}

static void it_waits_for_so_many_at_most(void **state)
{
    (void)state;
    begin();
    f.is_endless = true;
    worker_postpone(f.worker, &f.first);
    run_loop();
    assert_int_equal(f.n_before, MOST_EVENTS);
    end();
}

static void it_waits_so_long_at_most(void **state)
{
    (void)state;
    begin();
    f.is_endless = true;
    f.takes_ns = CLOCK_MS / 4;
    worker_postpone(f.worker, &f.first);
    run_loop();
    assert_int_equal(f.n_before, 4);
    end();
}

/* Each one anew. */
static void the_next_waits_as_long(void **state)
{
    (void)state;
    begin();
    f.is_endless = true;
    worker_postpone(f.worker, &f.first);
    run_loop();
    atomic_store(&f.poller.is_stopping, false);
    f.n_served = f.n_first = 0;
    turned_clock_add(CLOCK_S);
    worker_postpone(f.worker, &f.first);
    run_loop();
    assert_int_equal(f.n_before, MOST_EVENTS);
    end();
}

/* Of two, another thread carries one: here the test's, which serves what is ready. */
static void a_second_one_is_anybodys(void **state)
{
    (void)state;
    begin();
    worker_postpone(f.worker, &f.first);
    worker_postpone(f.worker, &f.second);
    assert_ptr_equal(f.worker->postponed, &f.first);
    assert_int_equal(atomic_load(&f.poller.n_ready), 1);
    run_loop();
    assert_int_equal(f.n_second, 1); /* it was ready, as an event is */
    end();
}

static void it_does_not_wait_for_something_long(void **state)
{
    (void)state;
    begin();
    worker_postpone(f.worker, &f.second);
    worker_engage(f.worker);
    assert_null(f.worker->postponed);
    assert_true(still_has_woken(&f.poller));
    assert_int_equal(atomic_load(&f.poller.n_ready), 1);
    worker_disengage(f.worker);
    (void)still_serve(&f.poller);
    assert_int_equal(f.n_second, 1);
    end();
}

static void a_thread_that_does_not_poll_takes_it_next(void **state)
{
    (void)state;
    begin();
    struct worker *own = worker_create(&f.poller);
    assert_non_null(own);
    worker_postpone(own, &f.second);
    assert_null(own->postponed);
    worker_carry_tasks(own);
    assert_int_equal(f.n_second, 1);
    worker_destroy(own);
    end();
}

/* As when the server ends in spite of it. */
static void it_is_carried_at_the_end(void **state)
{
    (void)state;
    begin();
    atomic_store(&f.poller.is_stopping, true);
    worker_postpone(f.worker, &f.first);
    run_loop();
    assert_int_equal(f.n_before, 0);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_comes_after_the_events_that_are_ready),
        cmocka_unit_test(it_waits_for_so_many_at_most),
        cmocka_unit_test(it_waits_so_long_at_most),
        cmocka_unit_test(the_next_waits_as_long),
        cmocka_unit_test(a_second_one_is_anybodys),
        cmocka_unit_test(it_does_not_wait_for_something_long),
        cmocka_unit_test(a_thread_that_does_not_poll_takes_it_next),
        cmocka_unit_test(it_is_carried_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
