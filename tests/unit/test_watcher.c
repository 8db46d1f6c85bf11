/* The threads that poll and the watcher beside them, which is what cannot be tested without threads:
 * a stand-in while the only poller is in an engine, and when the watcher looks and when it sleeps.
 * Every wait is for a condition, with a limit that only a hang reaches. */
#include "net/poller.h"

#include "base/clock.h"

#include <poll.h>
#include <semaphore.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 20000, MANY_LOOKS = 30 };

struct fixture {
    struct poller poller;
    atomic_int n_looks;
    atomic_llong looked_ns, least_gap_ns; /* between two looks, since it was reset */
    atomic_int n_not_short;          /* looks in a row before which runs were not short */
    atomic_uint n_long;              /* what the looks find */
    atomic_bool is_over;             /* no more runs of what is busy */
    atomic_int run_us, wait_us;      /* how long each computes, and waits */
    struct source held, other, busy; /* eventfds */
    sem_t is_held, may_go, is_served;
    struct task task;
    atomic_bool is_late; /* the looks wait until it is false */
    atomic_bool waits;   /* one does */
};

static unsigned look(void *arg)
{
    struct fixture *f = arg;
    const int64_t now_ns = clock_now_ns(), gap_ns = now_ns - atomic_load(&f->looked_ns);
    if (gap_ns < atomic_load(&f->least_gap_ns))
        atomic_store(&f->least_gap_ns, gap_ns);
    atomic_store(&f->looked_ns, now_ns);
    atomic_fetch_add(&f->n_looks, 1);
    atomic_fetch_add(&f->n_not_short, 1);
    if (atomic_load(&f->poller.has_short_runs))
        atomic_store(&f->n_not_short, 0);
    while (atomic_load(&f->is_late)) {
        atomic_store(&f->waits, true);
        poll(NULL, 0, 1);
    }
    return atomic_load(&f->n_long);
}

static void await(sem_t *semaphore)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    assert_int_equal(sem_timedwait(semaphore, &until), 0);
}

static struct fixture *fixture_of_held(struct source *source)
{
    return (struct fixture *)(void *)((char *)source - offsetof(struct fixture, held));
}

/* A long run. */
static void hold(struct worker *worker, struct source *source)
{
    struct fixture *f = fixture_of_held(source);
    worker_engage(worker);
    sem_post(&f->is_held);
    sem_wait(&f->may_go);
    worker_disengage(worker);
}

static void serve_task(struct worker *worker, struct task *task)
{
    struct fixture *f =
        (struct fixture *)(void *)((char *)task - offsetof(struct fixture, task));
    (void)worker;
    sem_post(&f->is_served);
}

/* While the looks wait: makes a task ready, as if runs had just been found to be short. */
static void serve(struct worker *worker, struct source *source)
{
    struct fixture *f =
        (struct fixture *)(void *)((char *)source - offsetof(struct fixture, other));
    (void)worker;
    if (atomic_load(&f->is_late)) {
        atomic_store(&f->poller.has_short_runs, true);
        poller_ready(&f->poller, &f->task);
    } else {
        sem_post(&f->is_served);
    }
}

/* One run after the other. */
static void run_again(struct worker *worker, struct source *source)
{
    struct fixture *f =
        (struct fixture *)(void *)((char *)source - offsetof(struct fixture, busy));
    const struct timespec wait = {0, 1000L * atomic_load(&f->wait_us)};
    worker_engage(worker);
    const int64_t end_ns = clock_now_ns() + 1000L * atomic_load(&f->run_us);
    while (clock_now_ns() < end_ns)
        continue;
    if (wait.tv_nsec)
        nanosleep(&wait, NULL);
    worker_disengage(worker);
    if (atomic_load(&f->is_over))
        sem_post(&f->is_served);
    else
        assert_int_equal(eventfd_write(source->fd, 1), 0);
}

static void begin(struct fixture *f, unsigned n_needed)
{
    *f = (struct fixture){.held.serve = hold,
                          .other.serve = serve,
                          .busy.serve = run_again,
                          .run_us = 20,
                          .task.go = serve_task};
    assert_int_equal(poller_init(&f->poller, NULL, 1, NULL), GP_OK);
    assert_int_equal(poller_need(&f->poller, n_needed, NULL), GP_OK);
    f->poller.watch = look;
    f->poller.watch_context = f;
    f->held.fd = eventfd(0, EFD_NONBLOCK);
    f->other.fd = eventfd(0, EFD_NONBLOCK);
    f->busy.fd = eventfd(0, EFD_NONBLOCK);
    sem_init(&f->is_held, 0, 0);
    sem_init(&f->may_go, 0, 0);
    sem_init(&f->is_served, 0, 0);
    assert_true(poller_add(&f->poller, &f->held, EPOLLIN | EPOLLET));
    assert_true(poller_add(&f->poller, &f->other, EPOLLIN | EPOLLET));
    assert_true(poller_add(&f->poller, &f->busy, EPOLLIN | EPOLLET));
    assert_int_equal(poller_start(&f->poller, NULL), GP_OK);
}

static void end(struct fixture *f)
{
    poller_stop(&f->poller);
    poller_finish(&f->poller);
    close(f->held.fd);
    close(f->other.fd);
    close(f->busy.fd);
    sem_destroy(&f->is_held);
    sem_destroy(&f->may_go);
    sem_destroy(&f->is_served);
}

static void signal_source(const struct source *source)
{
    assert_int_equal(eventfd_write(source->fd, 1), 0);
}

#define AWAIT(condition)                                                                 \
    for (int n_ms = 0; !(condition); n_ms++) {                                           \
        assert_true(n_ms < WAIT_MS);                                                     \
        poll(NULL, 0, 1);                                                                \
    }

/* Until one thread polls, and the others are parked. */
static void await_rest(const struct fixture *f)
{
    AWAIT(atomic_load(&f->poller.n_polling) == 1 && atomic_load(&f->poller.n_awake) == 1)
}

static void await_pace(const struct fixture *f, enum watcher_pace pace)
{
    AWAIT(atomic_load(&f->poller.watcher_pace) == (int)pace)
}

static void await_looks(const struct fixture *f, int n)
{
    const int from = atomic_load(&f->n_looks);
    AWAIT(atomic_load(&f->n_looks) - from >= n)
}

/* An event comes while the only poller is in an engine, and again while the stand-in is. Nobody
 * says that it has come: the watcher has to see that nobody polls. */
static void a_stand_in_is_found(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1);
    await_rest(&f);
    signal_source(&f.held);
    await(&f.is_held);
    signal_source(&f.other);
    await(&f.is_served);
    signal_source(&f.held);
    await(&f.is_held);
    signal_source(&f.other);
    await(&f.is_served);
    sem_post(&f.may_go);
    sem_post(&f.may_go);
    await_rest(&f);
    signal_source(&f.other);
    await(&f.is_served);
    end(&f);
}

/* While short runs would have a thread beyond the cores park, the stand-in for one in a long run
 * stays awake. */
static void short_runs_beside_a_long_one_keep_their_thread(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1);
    await_rest(&f);
    atomic_store(&f.n_long, 1);
    signal_source(&f.held);
    await(&f.is_held);
    AWAIT(atomic_load(&f.poller.n_awake) == 2)
    signal_source(&f.busy);
    AWAIT(atomic_load(&f.poller.has_short_runs))
    for (int i = 0; i < MANY_LOOKS; i++) {
        await_looks(&f, 1);
        assert_true(atomic_load(&f.poller.n_awake) >= 2);
    }
    atomic_store(&f.is_over, true);
    await(&f.is_served);
    sem_post(&f.may_go);
    end(&f);
}

/* Threads beyond the cores cost nothing where runs are long, or wait for a device. */
static void runs_are_short_when_they_compute_for_a_moment(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1);
    await_rest(&f);
    await_pace(&f, WATCHER_ASLEEP);
    signal_source(&f.busy);
    for (int i = 0; i < 2; i++) {
        AWAIT(atomic_load(&f.poller.has_short_runs))
        atomic_store(&f.run_us, i ? 20 : 700);
        atomic_store(&f.wait_us, i ? 200 : 0);
        atomic_store(&f.n_not_short, 0);
        AWAIT(atomic_load(&f.n_not_short) > 10)
        atomic_store(&f.run_us, 20);
        atomic_store(&f.wait_us, 0);
    }
    atomic_store(&f.is_over, true);
    await(&f.is_served);
    end(&f);
}

/* A slot whose child is lost is no run, but somebody may wait for it, with a deadline. */
static void it_looks_while_something_is_expected(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 0);
    await_rest(&f);
    await_pace(&f, WATCHER_ASLEEP);
    poller_expect(&f.poller);
    await_pace(&f, WATCHER_SLOW); /* somebody polls */
    const int64_t began_ns = clock_now_ns();
    await_looks(&f, MANY_LOOKS);
    assert_true(clock_now_ns() - began_ns > MANY_LOOKS / 2 * 20 * CLOCK_MS);
    poller_forget(&f.poller);
    await_pace(&f, WATCHER_ASLEEP);
    const int n_looks = atomic_load(&f.n_looks);
    signal_source(&f.other); /* what is served meanwhile wakes nobody */
    await(&f.is_served);
    assert_true(atomic_load(&f.n_looks) <= n_looks + 1);
    end(&f);
}

static void it_looks_while_something_runs(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 0);
    await_rest(&f);
    await_pace(&f, WATCHER_ASLEEP);
    signal_source(&f.held);
    await(&f.is_held);
    await_looks(&f, MANY_LOOKS);
    sem_post(&f.may_go);
    await_pace(&f, WATCHER_ASLEEP);
    end(&f);
}

/* Where there is no other stand-in it goes on looking, for a thread that may park again. */
static void it_looks_fast_while_nobody_polls(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 0);
    for (int i = 0; i < 2; i++) { /* the poller, and its only stand-in */
        signal_source(&f.held);
        await(&f.is_held);
    }
    await_looks(&f, MANY_LOOKS);
    assert_int_equal(atomic_load(&f.poller.watcher_pace), WATCHER_FAST);
    atomic_store(&f.least_gap_ns, CLOCK_S);
    AWAIT(atomic_load(&f.least_gap_ns) <
          20 * CLOCK_MS) /* which are not as slow as others */
    sem_post(&f.may_go);
    sem_post(&f.may_go);
    await_pace(&f, WATCHER_ASLEEP);
    end(&f);
}

/* --- threads that are needed no more --- */

/* The folder has a link for each, and two more. */
static unsigned long count_threads(void)
{
    struct stat folder;
    assert_int_equal(stat("/proc/self/task", &folder), 0);
    return folder.st_nlink;
}

static unsigned count_workers(struct fixture *f)
{
    pthread_mutex_lock(&f->poller.lock);
    const unsigned n = f->poller.n_workers;
    pthread_mutex_unlock(&f->poller.lock);
    return n;
}

/* Parked ones at once, and all of them: nothing of a hundred models stays. */
static void threads_end_with_what_needed_them(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1);
    const unsigned long n_threads = count_threads();
    for (unsigned round = 0; round < 100; round++) {
        assert_int_equal(poller_need(&f.poller, 1 + round % 5, NULL), GP_OK);
        assert_true(count_workers(&f) >= 3 + 1 + round % 5);
        if (round % 3 == 0)
            await_rest(&f);
        poller_need_less(&f.poller, 1 + round % 5);
    }
    AWAIT(count_workers(&f) == 3)
    AWAIT(count_threads() == n_threads)
    pthread_mutex_lock(&f.poller.lock);
    assert_non_null(f.poller.dismissed); /* the last is joined at the end */
    pthread_mutex_unlock(&f.poller.lock);
    await_rest(&f);
    for (const struct worker *one = f.poller.workers; one; one = one->next)
        assert_true(one->number < 3 + 5); /* each is given anew */
    signal_source(&f.other);
    await(&f.is_served);
    end(&f);
}

/* Those in engines go when they come back; until then they are wanted. */
static void threads_in_engines_end_afterwards(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 3);
    for (int i = 0; i < 5; i++) {
        signal_source(&f.held);
        await(&f.is_held);
    }
    poller_need_less(&f.poller, 3);
    assert_int_equal(count_workers(&f), 5);
    for (int i = 0; i < 5; i++)
        sem_post(&f.may_go);
    AWAIT(count_workers(&f) == 2)
    await_rest(&f);
    signal_source(&f.other);
    await(&f.is_served);
    assert_int_equal(poller_need(&f.poller, 2, NULL), GP_OK); /* and there are new ones */
    assert_int_equal(count_workers(&f), 4);
    end(&f);
}

/* The end comes while threads leave. */
static void the_end_joins_those_that_leave(void **state)
{
    (void)state;
    const unsigned long n_threads = count_threads();
    for (int i = 0; i < 50; i++) {
        struct fixture f;
        begin(&f, 4);
        poller_need_less(&f.poller, 4);
        end(&f);
        assert_int_equal(count_threads(), n_threads);
    }
}

/* --- lines of the log --- */

static void gather_line(struct worker *worker, struct source *source)
{
    (void)source;
    text_puts(&worker->lines.text, "a line\n");
    log_gather(worker->log, &worker->lines);
}

/* Where nothing else happens, nobody waits for more of them. */
static void a_line_does_not_wait_for_others(void **state)
{
    struct poller poller = {0};
    struct log log = {0};
    struct source source = {.serve = gather_line, .fd = eventfd(0, EFD_NONBLOCK)};
    int fds[2];
    (void)state;
    assert_int_equal(pipe(fds), 0);
    assert_int_equal(log_begin(&log, fds[1], GP_LOG_DEBUG, GP_LOG_TEXT, NULL), GP_OK);
    assert_int_equal(poller_init(&poller, &log, 1, NULL), GP_OK);
    assert_true(poller_add(&poller, &source, EPOLLIN | EPOLLET));
    assert_int_equal(poller_start(&poller, NULL), GP_OK);
    for (int i = 0; i < 2; i++) {
        char text[32] = "";
        struct pollfd end = {.fd = fds[0], .events = POLLIN};
        signal_source(&source);
        assert_int_equal(poll(&end, 1, WAIT_MS), 1);
        assert_int_equal(read(fds[0], text, sizeof text), strlen("a line\n"));
        assert_string_equal(text, "a line\n");
    }
    poller_stop(&poller);
    poller_finish(&poller);
    log_end(&log);
    close(source.fd);
    close(fds[0]);
    close(fds[1]);
}

/* --- the last poller --- */

/* Two are awake for one core, one of them in a run, so the other would park; the watcher would not
 * look soon enough. */
static void the_last_poller_takes_what_is_ready(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f, 1);
    await_rest(&f);
    signal_source(&f.held);
    await(&f.is_held);
    AWAIT(atomic_load(&f.poller.n_polling) == 1) /* the stand-in */
    atomic_store(&f.is_late, true);
    AWAIT(atomic_load(&f.waits))
    signal_source(&f.other);
    await(&f.is_served);
    atomic_store(&f.is_late, false);
    sem_post(&f.may_go);
    await_rest(&f);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stand_in_is_found),
        cmocka_unit_test(short_runs_beside_a_long_one_keep_their_thread),
        cmocka_unit_test(runs_are_short_when_they_compute_for_a_moment),
        cmocka_unit_test(it_looks_while_something_is_expected),
        cmocka_unit_test(it_looks_while_something_runs),
        cmocka_unit_test(it_looks_fast_while_nobody_polls),
        cmocka_unit_test(threads_end_with_what_needed_them),
        cmocka_unit_test(threads_in_engines_end_afterwards),
        cmocka_unit_test(the_end_joins_those_that_leave),
        cmocka_unit_test(a_line_does_not_wait_for_others),
        cmocka_unit_test(the_last_poller_takes_what_is_ready),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
