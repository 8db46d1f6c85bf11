/* Which connection is ended when one has to go, and which when its time is over. */
#include "net/timers.h"
#include "turned_clock.h"

#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
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

/* --- by a clock that the test turns --- */

#define BEGIN_NS (1000 * CLOCK_S)

static void join_at(struct fixture *f, int i, enum timer_kind kind, int64_t ms)
{
    timers_join(&f->timers, &f->timer[i], kind, BEGIN_NS + ms * CLOCK_MS);
}

static void expire_at(struct fixture *f, int64_t ms)
{
    turned_clock_set(BEGIN_NS + ms * CLOCK_MS);
    timers_expire(&f->timers);
}

static void each_kind_at_its_deadline(void **state)
{
    (void)state;
    for (int kind = 0; kind < TIMER_N_KINDS; kind++) {
        struct fixture f;
        turned_clock_set(BEGIN_NS);
        begin(&f);
        for (int i = 0; i < 3; i++) /* those of the long lists join in order */
            join_at(&f, i, (enum timer_kind)kind, 1000 + 10 * i);
        expire_at(&f, 999);
        assert_int_equal(f.timer[0].end, TIMER_GOES_ON);
        expire_at(&f, 1010);
        assert_int_equal(f.timer[0].end, TIMER_EXPIRED);
        assert_int_equal(f.timer[1].end, TIMER_EXPIRED);
        assert_int_equal(f.timer[2].end, TIMER_GOES_ON);
        expire_at(&f, 1020);
        assert_int_equal(f.timer[2].end, TIMER_EXPIRED);
        /* whoever can still be told may be written to */
        const bool can_answer = kind == TIMER_HEAD || kind == TIMER_BODY;
        assert_int_equal(send(f.here[0], "x", 1, MSG_NOSIGNAL), can_answer ? 1 : -1);
        assert_int_equal(timers_leave(&f.timers, &f.timer[0]), TIMER_EXPIRED);
        assert_int_equal(timers_leave(&f.timers, &f.timer[0]), TIMER_GOES_ON); /* once */
        end(&f);
        turned_clock_end();
    }
}

/* Those that depend on what has come are in no order. */
static void short_lists_are_looked_through(void **state)
{
    static const enum timer_kind kinds[] = {TIMER_HEAD, TIMER_BODY, TIMER_SEND,
                                            TIMER_LINGER};
    (void)state;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct fixture f;
        turned_clock_set(BEGIN_NS);
        begin(&f);
        static const int64_t deadlines_ms[] = {3000, 4000, 1000, 2000};
        for (int i = 0; i < 4; i++)
            join_at(&f, i, kinds[k], deadlines_ms[i]);
        expire_at(&f, 2000);
        for (int i = 0; i < 4; i++)
            assert_int_equal(f.timer[i].end, i < 2 ? TIMER_GOES_ON : TIMER_EXPIRED);
        assert_int_equal(f.timers.wake_ns, BEGIN_NS + 3000 * CLOCK_MS);
        end(&f);
        turned_clock_end();
    }
}

/* The earliest of all wakes, but not for every little. */
static void when_it_wakes(void **state)
{
    struct fixture f;
    (void)state;
    turned_clock_set(BEGIN_NS);
    begin(&f);
    join_at(&f, 0, TIMER_IDLE, 5000);
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 5000 * CLOCK_MS);
    join_at(&f, 1, TIMER_BODY, 4900); /* so exact it need not be */
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 5000 * CLOCK_MS);
    join_at(&f, 2, TIMER_HEAD, 3000);
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 3000 * CLOCK_MS);
    join_at(&f, 3, TIMER_SEND, 3010);
    expire_at(&f, 3000);
    assert_int_equal(f.timer[2].end, TIMER_EXPIRED);
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 3100 * CLOCK_MS); /* not at 3010 */
    expire_at(&f, 3100);
    assert_int_equal(f.timer[3].end, TIMER_EXPIRED);
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 4900 * CLOCK_MS);
    expire_at(&f, 5000);
    assert_int_equal(f.timers.wake_ns, 0);
    struct itimerspec left;
    assert_int_equal(timerfd_gettime(f.timers.source.fd, &left), 0);
    assert_int_equal(left.it_value.tv_sec + left.it_value.tv_nsec, 0);
    join_at(&f, 4, TIMER_IDLE, 9000); /* it was disarmed */
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 9000 * CLOCK_MS);
    end(&f);
    turned_clock_end();
}

static void hurrying_only_brings_forward(void **state)
{
    struct fixture f;
    (void)state;
    turned_clock_set(BEGIN_NS);
    begin(&f);
    timers_hurry(&f.timers, TIMER_SEND, BEGIN_NS);
    assert_int_equal(f.timers.wake_ns, 0); /* for nobody */
    join_at(&f, 0, TIMER_SEND, 100);
    join_at(&f, 1, TIMER_SEND, 900);
    join_at(&f, 2, TIMER_BODY, 900);
    timers_hurry(&f.timers, TIMER_SEND, BEGIN_NS + 500 * CLOCK_MS);
    assert_int_equal(f.timer[0].deadline_ns, BEGIN_NS + 100 * CLOCK_MS);
    assert_int_equal(f.timer[1].deadline_ns, BEGIN_NS + 500 * CLOCK_MS);
    assert_int_equal(f.timer[2].deadline_ns, BEGIN_NS + 900 * CLOCK_MS);
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 100 * CLOCK_MS);
    timers_hurry(&f.timers, TIMER_BODY, BEGIN_NS + 50 * CLOCK_MS);
    assert_int_equal(f.timers.wake_ns, BEGIN_NS + 50 * CLOCK_MS);
    end(&f);
    turned_clock_end();
}

/* It is idle on all three lists, and has left all of them when it has left one way or another. */
static void each_list_of_the_idle(void **state)
{
    static const enum timer_list lists[] = {TIMER_IDLE_OF_ALL, TIMER_IDLE_OF_PEER,
                                            TIMER_IDLE_OF_SITE};
    (void)state;
    for (int k = 0; k < 6; k++) {
        struct fixture f;
        turned_clock_set(BEGIN_NS);
        begin(&f);
        join_at(&f, 3, k % 2 ? TIMER_FRESH : TIMER_IDLE, 10);
        for (int i = 0; i < 3; i++)
            assert_ptr_not_equal(f.timer[0].idle[lists[i]]->next,
                                 f.timer[0].idle[lists[i]]);
        if (k / 2 == 0)
            timers_leave(&f.timers, &f.timer[3]);
        else if (k / 2 == 1)
            expire_at(&f, 10);
        else
            assert_true(evict(&f, 0, TIMER_IDLE_OF_PEER));
        if (k / 2 == 2) /* one that has asked for nothing yet may be told why */
            assert_int_equal(send(f.here[3], "x", 1, MSG_NOSIGNAL), 1);
        for (int i = 0; i < 3; i++)
            assert_false(evict(&f, 0, lists[i]));
        end(&f);
        turned_clock_end();
    }
}

/* Whoever has left a list is not unlinked from it again, when another is its first. */
static void one_that_has_left_leaves_others_alone(void **state)
{
    struct fixture f;
    (void)state;
    turned_clock_set(BEGIN_NS);
    begin(&f);
    join_at(&f, 3, TIMER_IDLE, 10);
    timers_leave(&f.timers, &f.timer[3]);
    join_at(&f, 3, TIMER_BODY, 10);
    join_at(&f, 0, TIMER_IDLE, 10);
    timers_leave(&f.timers, &f.timer[3]);
    assert_true(evict(&f, 3, TIMER_IDLE_OF_PEER));
    assert_int_equal(ended(&f), 0);
    end(&f);
    turned_clock_end();
}

/* With the lock held many are not looked at, however many there are. */
static void not_all_are_looked_at(void **state)
{
    enum { LOOKS = 17, MANY = LOOKS + 1 };
    struct fixture f;
    struct timer busy[MANY];
    (void)state;
    begin(&f);
    assert_int_equal(write(f.there[0], "x", 1), 1);
    for (int n = LOOKS - 1; n <= LOOKS; n++) {
        for (int i = 0; i < n; i++) {
            timer_init(&f.timers, &busy[i], f.here[0], &f.peers[0], NULL);
            timers_join(&f.timers, &busy[i], TIMER_IDLE, clock_now_ns() + CLOCK_S);
        }
        idle(&f, 1, TIMER_IDLE);
        assert_int_equal(evict(&f, 1, TIMER_IDLE_OF_ALL), n < LOOKS);
        timers_leave(&f.timers, &f.timer[1]);
        for (int i = 0; i < n; i++)
            timers_leave(&f.timers, &busy[i]);
    }
    end(&f);
}

static size_t held_bytes[N];
static struct fixture *held_of;

static size_t take_back(struct timer *timer)
{
    const size_t i = (size_t)(timer - held_of->timer);
    const size_t bytes = held_bytes[i];
    held_bytes[i] = 0;
    return bytes;
}

/* Of bodies and then heads, those that have stalled and have something, for as long as it is
 * needed; not one whose bytes have come. */
static void what_has_stalled_is_revoked(void **state)
{
    static const enum timer_kind kinds[N] = {TIMER_HEAD, TIMER_BODY, TIMER_BODY,
                                             TIMER_BODY, TIMER_BODY, TIMER_SEND};
    struct fixture f;
    (void)state;
    turned_clock_set(BEGIN_NS);
    begin(&f);
    f.timers.take_back = take_back;
    held_of = &f;
    for (int i = 0; i < N; i++) {
        held_bytes[i] = i == 2 ? 0 : 100;
        f.timer[i].stalled_ns = BEGIN_NS + (i == 1 ? 1 : 0);
        join_at(&f, i, kinds[i], 100000);
    }
    assert_int_equal(write(f.there[3], "x", 1), 1);
    assert_int_equal(timers_revoke(&f.timers, 100), 100); /* a body's before a head's */
    assert_int_equal(f.timer[4].end, TIMER_REVOKED);
    assert_int_equal(f.timer[0].end, TIMER_GOES_ON);
    assert_int_equal(timers_revoke(&f.timers, 1000), 100);
    assert_int_equal(f.timer[0].end, TIMER_REVOKED);
    assert_int_equal(timers_revoke(&f.timers, 1000), 0);
    turned_clock_add(1);
    assert_int_equal(timers_revoke(&f.timers, 1), 100);
    assert_int_equal(f.timer[1].end, TIMER_REVOKED);
    assert_int_equal(f.timer[2].end, TIMER_GOES_ON);
    assert_int_equal(f.timer[3].end, TIMER_GOES_ON);
    assert_int_equal(f.timer[5].end, TIMER_GOES_ON);
    assert_int_equal(send(f.here[1], "x", 1, MSG_NOSIGNAL), 1); /* it is answered */
    end(&f);
    turned_clock_end();
}

static size_t take_back_one(struct timer *timer)
{
    (void)timer;
    return 1;
}

/* So many that have not stalled, since the last one that had. */
static void not_all_are_looked_at_for_memory(void **state)
{
    enum { LOOKS = 256, MANY = 2 * LOOKS + 1 };
    static struct timer timers[MANY];
    struct fixture f;
    (void)state;
    turned_clock_set(BEGIN_NS);
    begin(&f);
    f.timers.take_back = take_back_one;
    for (int i = 0; i < MANY; i++) {
        const bool has_stalled = i == LOOKS - 1 || i == 2 * LOOKS - 1 || i == MANY - 1;
        timer_init(&f.timers, &timers[i], f.here[0], &f.peers[0], NULL);
        timers[i].stalled_ns = BEGIN_NS + !has_stalled;
        timers_join(&f.timers, &timers[i], TIMER_BODY, BEGIN_NS + CLOCK_S);
    }
    assert_int_equal(timers_revoke(&f.timers, MANY), 3);
    for (int i = 0; i < MANY; i++)
        timers_leave(&f.timers, &timers[i]);
    for (int i = 0; i <= LOOKS; i++)
        timers_join(&f.timers, &timers[i], TIMER_BODY, BEGIN_NS + CLOCK_S);
    timers[LOOKS - 1].stalled_ns = BEGIN_NS + 1;
    timers[LOOKS].stalled_ns = BEGIN_NS;
    assert_int_equal(timers_revoke(&f.timers, MANY), 0);
    for (int i = 0; i <= LOOKS; i++)
        timers_leave(&f.timers, &timers[i]);
    end(&f);
    turned_clock_end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(longest_of_all),
        cmocka_unit_test(longest_of_a_peer_and_of_a_site),
        cmocka_unit_test(not_with_bytes_unread),
        cmocka_unit_test(those_whose_time_is_over),
        cmocka_unit_test(hurried_kinds_do_not_delay_each_other),
        cmocka_unit_test(each_kind_at_its_deadline),
        cmocka_unit_test(short_lists_are_looked_through),
        cmocka_unit_test(when_it_wakes),
        cmocka_unit_test(hurrying_only_brings_forward),
        cmocka_unit_test(each_list_of_the_idle),
        cmocka_unit_test(one_that_has_left_leaves_others_alone),
        cmocka_unit_test(not_all_are_looked_at),
        cmocka_unit_test(what_has_stalled_is_revoked),
        cmocka_unit_test(not_all_are_looked_at_for_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
