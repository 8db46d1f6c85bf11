/* Which connection is ended when one has to go, and which when its time is over. */
#include "base/clock.h"
#include "net/timers.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 6 };

/* Timers of two peers of one site, and of one of another: each over one end of a socket pair. */
struct fixture {
    struct poller poller;
    struct timers timers;
    struct timer_link peers[3], site;
    struct timer timer[N];
    int here[N], there[N];
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){0};
    assert_int_equal(poller_init(&f->poller, NULL, 1, NULL), GP_OK);
    assert_int_equal(timers_init(&f->timers, &f->poller, NULL), GP_OK);
    timer_list_init(&f->site);
    for (int i = 0; i < 3; i++)
        timer_list_init(&f->peers[i]);
    for (int i = 0; i < N; i++) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
        f->here[i] = pair[0];
        f->there[i] = pair[1];
        timer_init(&f->timers, &f->timer[i], pair[0], &f->peers[i % 3],
                   i % 3 < 2 ? &f->site : NULL);
    }
}

static void end(struct fixture *f)
{
    for (int i = 0; i < N; i++) {
        timers_leave(&f->timers, &f->timer[i]);
        close(f->here[i]);
        close(f->there[i]);
    }
    for (int i = 0; i < 3; i++)
        assert_ptr_equal(f->peers[i].next, &f->peers[i]);
    assert_ptr_equal(f->site.next, &f->site);
    assert_ptr_equal(f->timers.idle.next, &f->timers.idle);
    timers_finish(&f->timers);
    poller_finish(&f->poller);
}

static void idle(struct fixture *f, int i, enum timer_kind kind)
{
    timers_join(&f->timers, &f->timer[i], kind, clock_now_ns() + 100 * CLOCK_S);
}

static bool evict(struct fixture *f, int for_whom, enum timer_list whose)
{
    return timers_evict(&f->timers, &f->timer[for_whom], whose);
}

/* Which of them has been ended, and its socket with it; -1: none. */
static int ended(struct fixture *f)
{
    int which = -1;
    for (int i = 0; i < N; i++)
        if (timers_leave(&f->timers, &f->timer[i]) == TIMER_EVICTED) {
            struct pollfd look = {.fd = f->here[i], .events = POLLIN | POLLRDHUP};
            assert_int_equal(poll(&look, 1, 0), 1);
            assert_int_equal(which, -1);
            which = i;
        }
    return which;
}

/* Fresh ones and those between requests are in one order; busy ones are in none. */
static void longest_of_all(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    timers_join(&f.timers, &f.timer[0], TIMER_HEAD, clock_now_ns());
    idle(&f, 4, TIMER_IDLE);
    idle(&f, 1, TIMER_FRESH);
    idle(&f, 3, TIMER_IDLE);
    timers_leave(&f.timers, &f.timer[4]);
    idle(&f, 4, TIMER_IDLE); /* it has had a request */
    assert_true(evict(&f, 5, TIMER_IDLE_OF_ALL));
    assert_int_equal(ended(&f), 1);
    assert_false(evict(&f, 5, TIMER_IDLE_OF_ALL));
    end(&f);
}

static void longest_of_a_peer_and_of_a_site(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (int i = 0; i < N; i++)
        idle(&f, N - 1 - i, i % 2 ? TIMER_FRESH : TIMER_IDLE);
    assert_true(evict(&f, 0, TIMER_IDLE_OF_PEER)); /* 3 before 0; 5 and 4 are others' */
    assert_int_equal(ended(&f), 3);
    for (int i = 0; i < N; i++)
        idle(&f, N - 1 - i, TIMER_IDLE);
    assert_true(evict(&f, 0, TIMER_IDLE_OF_SITE));
    assert_int_equal(ended(&f), 4);
    assert_false(evict(&f, 0, TIMER_IDLE_OF_PEER));
    end(&f);
}

/* What has come for it is a request that a thread is about to read. */
static void not_with_bytes_unread(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (int i = 0; i < N; i++)
        idle(&f, i, TIMER_IDLE);
    for (int i = 0; i < N; i++)
        assert_int_equal(write(f.there[i], "x", i < 2 || i > 2), i < 2 || i > 2);
    assert_true(evict(&f, 0, TIMER_IDLE_OF_ALL));
    assert_false(evict(&f, 0, TIMER_IDLE_OF_ALL));
    assert_int_equal(ended(&f), 2);
    end(&f);
}

static void those_whose_time_is_over(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const int64_t now = clock_now_ns();
    static const enum timer_kind kinds[N] = {TIMER_FRESH, TIMER_IDLE, TIMER_HEAD,
                                             TIMER_BODY,  TIMER_SEND, TIMER_LINGER};
    for (int i = 0; i < N; i++)
        timers_join(&f.timers, &f.timer[i], kinds[i], now + (i < 3 ? -1 : CLOCK_S * 100));
    timers_expire(&f.timers);
    for (int i = 0; i < N; i++)
        assert_int_equal(timers_leave(&f.timers, &f.timer[i]),
                         i < 3 ? TIMER_EXPIRED : TIMER_GOES_ON);
    assert_int_equal(write(f.here[2], "x", 1), 1); /* it can still be told */
    assert_int_equal(send(f.here[0], "x", 1, MSG_NOSIGNAL), -1);
    end(&f);
}

/* A kind that may take longer does not put off those that may not. */
static void hurried_kinds_do_not_delay_each_other(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    const int64_t now = clock_now_ns();
    timers_join(&f.timers, &f.timer[0], TIMER_IDLE, now + CLOCK_S * 100);
    timers_join(&f.timers, &f.timer[1], TIMER_LINGER, now + CLOCK_S * 100);
    timers_hurry(&f.timers, TIMER_IDLE, now + CLOCK_S);
    timers_hurry(&f.timers, TIMER_LINGER, now + CLOCK_S * 50);
    struct pollfd look = {.fd = f.timers.source.fd, .events = POLLIN};
    assert_int_equal(poll(&look, 1, 20000), 1);
    timers_expire(&f.timers);
    assert_int_equal(timers_leave(&f.timers, &f.timer[0]), TIMER_EXPIRED);
    assert_int_equal(timers_leave(&f.timers, &f.timer[1]), TIMER_GOES_ON);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_of_all),
        cmocka_unit_test(longest_of_a_peer_and_of_a_site),
        cmocka_unit_test(not_with_bytes_unread),
        cmocka_unit_test(those_whose_time_is_over),
        cmocka_unit_test(hurried_kinds_do_not_delay_each_other),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
