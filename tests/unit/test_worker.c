/* Tasks, between one thread and those that poll: none is lost, none waits while a thread could be
 * woken for it, and who waits and who runs is counted. Without threads. */
#include "still_poller.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { N = 6, WAIT_MS = 20000 };

struct letter {
    struct task task; /* first */
    struct fixture *f;
    char letter;
    struct letter *takes; /* another, when it is carried */
};

struct fixture {
    struct poller poller;
    struct worker *worker;
    struct letter letters[N];
    char seen[4 * N];
    size_t n_seen;
};

static void go(struct worker *worker, struct task *task)
{
    struct letter *letter = (struct letter *)(void *)task;
    struct fixture *f = letter->f;
    assert_true(f->n_seen < sizeof f->seen - 1);
    f->seen[f->n_seen++] = letter->letter;
    if (letter->takes)
        worker_take(worker, &letter->takes->task);
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){0};
    still_begin(&f->poller);
    f->worker = still_worker(&f->poller);
    for (int i = 0; i < N; i++)
        f->letters[i] = (struct letter){.task.go = go, .f = f, .letter = (char)('a' + i)};
}

static void end(struct fixture *f)
{
    still_end(&f->poller);
}

static struct task *task(struct fixture *f, char letter)
{
    return &f->letters[letter - 'a'].task;
}

static void take(struct fixture *f, const char *letters)
{
    for (; *letters; letters++)
        worker_take(f->worker, task(f, *letters));
}

static void make_ready(struct fixture *f, const char *letters)
{
    for (; *letters; letters++)
        poller_ready(&f->poller, task(f, *letters));
}

/* What has been carried since the last time. */
static void assert_seen(struct fixture *f, const char *letters)
{
    f->seen[f->n_seen] = '\0';
    f->n_seen = 0;
    assert_string_equal(f->seen, letters);
}

static void in_the_order_they_were_taken(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    take(&f, "abc");
    worker_carry_tasks(f.worker);
    assert_seen(&f, "abc");
    take(&f, "b");
    worker_carry_tasks(f.worker);
    take(&f, "cb");
    f.letters[2].takes = &f.letters[0]; /* behind those that are there */
    f.letters[0].takes = &f.letters[3];
    worker_carry(f.worker, task(&f, 'e'));
    assert_seen(&f, "bcbead");
    worker_carry_tasks(f.worker);
    assert_seen(&f, "");
    end(&f);
}

/* Three writes are one event of the eventfd; a thread takes one task, and before it carries that
 * there is an event for the next. */
static void each_that_is_ready_has_an_event(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    make_ready(&f, "abc");
    assert_int_equal(atomic_load(&f.poller.n_ready), 3);
    assert_true(still_serve_one(&f.poller));
    assert_true(still_serve_one(&f.poller));
    assert_int_equal(atomic_load(&f.poller.n_ready), 1);
    worker_carry_tasks(f.worker);
    assert_seen(&f, "ab");
    assert_true(still_serve_one(&f.poller));
    assert_false(still_serve_one(&f.poller));
    worker_carry_tasks(f.worker);
    assert_seen(&f, "c");
    make_ready(&f, "da");
    (void)still_serve(&f.poller);
    assert_seen(&f, "da");
    assert_int_equal(atomic_load(&f.poller.n_ready), 0);
    end(&f);
}

static void shared_tasks_leave_their_thread(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    take(&f, "abc");
    worker_share(f.worker);
    worker_carry_tasks(f.worker);
    assert_seen(&f, "");
    take(&f, "d");
    assert_true(still_serve_one(&f.poller));
    worker_carry_tasks(f.worker);
    assert_seen(&f, "da");
    assert_int_equal(still_serve(&f.poller), 2);
    assert_seen(&f, "bc");
    end(&f);
}

/* While somebody polls, waking another thread would only cost. */
static void one_is_woken_where_none_polls(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    make_ready(&f, "a");
    assert_false(still_has_woken(&f.poller));
    (void)still_serve(&f.poller);
    worker_engage(f.worker);
    assert_false(still_has_woken(&f.poller)); /* nothing is ready */
    make_ready(&f, "b");
    assert_true(still_has_woken(&f.poller));
    make_ready(&f, "c");
    assert_int_equal(atomic_load(&f.poller.n_awake), 2);
    assert_int_equal(atomic_load(&f.poller.n_polling),
                     1); /* counts as a poller at once */
    make_ready(&f, "d");
    assert_true(still_has_woken(&f.poller));
    worker_disengage(f.worker);
    (void)still_serve(&f.poller);
    assert_seen(&f, "abcd");
    end(&f);
}

/* The last poller goes into an engine between the moment a task was made ready and its event. */
static void one_is_woken_when_the_last_poller_goes(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    make_ready(&f, "a");
    worker_engage(f.worker);
    assert_true(still_has_woken(&f.poller));
    worker_disengage(f.worker);

    atomic_store(&f.poller.n_polling, 2); /* another still does */
    worker_engage(f.worker);
    assert_false(still_has_woken(&f.poller));
    worker_disengage(f.worker);
    atomic_store(&f.poller.n_polling, 1);
    (void)still_serve(&f.poller);
    assert_seen(&f, "a");
    end(&f);
}

static void assert_counts(const struct poller *poller, int n_polling, int n_engaged,
                          unsigned long n_runs)
{
    assert_int_equal(atomic_load(&poller->n_polling), n_polling);
    assert_int_equal(atomic_load(&poller->n_engaged), n_engaged);
    assert_int_equal(atomic_load(&poller->n_runs), n_runs);
}

static void who_polls_and_who_runs_is_counted(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    struct worker *own = worker_create(&f.poller);
    assert_non_null(own);
    assert_counts(&f.poller, 1, 0, 0);
    worker_engage(f.worker);
    assert_counts(&f.poller, 0, 1, 0);
    assert_int_equal(worker_n_engaged(own), 1); /* it will be itself */
    worker_engage(own);
    assert_counts(&f.poller, 0, 2, 0);
    assert_int_equal(worker_n_engaged(own), 2);
    worker_disengage(f.worker);
    assert_counts(&f.poller, 1, 1, 1);
    worker_disengage(own);
    assert_counts(&f.poller, 1, 0, 2);
    poller_expect(&f.poller);
    assert_counts(&f.poller, 1, 1, 2);
    poller_forget(&f.poller);
    assert_counts(&f.poller, 1, 0, 3);
    worker_destroy(own);
    end(&f);
}

static int pace_after(struct fixture *f, enum watcher_pace before,
                      void (*change)(struct fixture *f))
{
    atomic_store(&f->poller.watcher_pace, (int)before);
    change(f);
    const int pace = atomic_load(&f->poller.watcher_pace);
    atomic_store(&f->poller.n_polling, 1);
    atomic_store(&f->poller.n_engaged, 0);
    return pace;
}

static void engage(struct fixture *f)
{
    worker_engage(f->worker);
}

static void engage_beside_another(struct fixture *f)
{
    atomic_store(&f->poller.n_polling, 2);
    worker_engage(f->worker);
}

static void expect(struct fixture *f)
{
    poller_expect(&f->poller);
}

/* It sleeps while nothing runs, and goes slowly while somebody polls: only what is at odds with
 * that wakes it. */
static void the_watcher_is_woken(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    assert_int_equal(pace_after(&f, WATCHER_ASLEEP, engage), WATCHER_FAST);
    assert_int_equal(pace_after(&f, WATCHER_ASLEEP, engage_beside_another), WATCHER_FAST);
    assert_int_equal(pace_after(&f, WATCHER_ASLEEP, expect), WATCHER_FAST);
    assert_int_equal(pace_after(&f, WATCHER_SLOW, engage), WATCHER_FAST);
    assert_int_equal(pace_after(&f, WATCHER_SLOW, engage_beside_another), WATCHER_SLOW);
    assert_int_equal(pace_after(&f, WATCHER_SLOW, expect), WATCHER_SLOW);
    end(&f);
}

/* Those of earlier answers do not wait for a run that may be long. */
static void lines_do_not_wait_for_a_run(void **state)
{
    struct fixture f;
    struct log silent = {0};
    (void)state;
    for (int are_short = 0; are_short < 2; are_short++) {
        begin(&f);
        f.poller.log = &silent;
        atomic_store(&f.poller.has_short_runs, are_short);
        text_puts(&f.worker->lines.text, "a line\n");
        worker_engage(f.worker);
        assert_int_equal(f.worker->lines.text.size_bytes, are_short ? 7 : 0);
        worker_disengage(f.worker);
        end(&f);
    }
}

/* --- one too many --- */

/* A third thread, where one core and nothing else needs two: the one that waits in epoll, and one more. It
 * would park if it were needed. */
static void a_thread_too_many_leaves(void **state)
{
    static const struct {
        int n_polling, n_awake, n_long;
        bool has_short_runs, is_ready, is_stopping, stays;
    } cases[] = {
        {1, 1, 0, false, false, false, true}, /* it is the only poller */
        {1, 2, 0, false, false, false, true}, /* the other is in an engine */
        {2, 2, 0, false, false, false, false},
        {2, 2, 0, false, true, false, false}, /* the other takes what is ready */
        {2, 2, 0, false, false, true, true},  /* all leave by another way */
        {1, 2, 0, true, false, false, false}, /* for the one in a short run */
        {1, 2, 0, true, true, false, true},   /* who would take what is ready? */
        {1, 2, 1, true, false, false, true},  /* that one takes long */
        {1, 3, 1, true, false, false, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct fixture f;
        begin(&f);
        struct worker *third = worker_create(&f.poller);
        assert_non_null(third);
        struct worker **last = &f.worker->next->next;
        *last = third;
        f.poller.n_workers = 3;
        atomic_store(&f.poller.n_polling, cases[i].n_polling);
        atomic_store(&f.poller.n_awake, cases[i].n_awake);
        atomic_store(&f.poller.n_long, cases[i].n_long);
        atomic_store(&f.poller.has_short_runs, cases[i].has_short_runs);
        atomic_store(&f.poller.n_ready, cases[i].is_ready);
        atomic_store(&f.poller.is_stopping, cases[i].is_stopping);
        assert_int_equal(worker_park_if_too_many(third), cases[i].stays);
        const int n_gone = !cases[i].stays;
        assert_int_equal(third->is_dismissed, n_gone);
        assert_int_equal(f.poller.n_workers, 3 - n_gone);
        assert_int_equal(atomic_load(&f.poller.n_polling), cases[i].n_polling - n_gone);
        assert_int_equal(atomic_load(&f.poller.n_awake), cases[i].n_awake - n_gone);
        assert_ptr_equal(f.poller.dismissed, n_gone ? third : NULL);
        assert_ptr_equal(*last, n_gone ? NULL : third);
        f.poller.dismissed = *last = NULL; /* it has no thread to be joined */
        worker_destroy(third);
        atomic_store(&f.poller.n_ready, 0);
        end(&f);
    }
}

static void *park_if_too_many(void *worker)
{
    return worker_park_if_too_many(worker) ? worker : NULL;
}

/* It has looked, and hands over its lines before it looks again with the lock: in between the other one
 * has entered an engine. */
static void one_that_has_become_the_only_poller_stays(void **state)
{
    struct fixture f;
    struct log stuck = {.fd = STDOUT_FILENO}; /* whose thread never comes */
    pthread_t thread;
    void *stays;
    bool has_looked = false;
    (void)state;
    begin(&f);
    pthread_mutex_init(&stuck.lock, NULL);
    pthread_cond_init(&stuck.added, NULL);
    f.poller.log = &stuck;
    text_puts(&f.worker->lines.text, "a line\n");
    atomic_store(&f.poller.n_polling, 2);
    atomic_store(&f.poller.n_awake, 2);
    pthread_mutex_lock(&f.poller.lock);
    assert_int_equal(pthread_create(&thread, NULL, park_if_too_many, f.worker), 0);
    for (int n_ms = 0; !has_looked; n_ms++) {
        assert_true(n_ms < WAIT_MS);
        poll(NULL, 0, 1);
        pthread_mutex_lock(&stuck.lock);
        has_looked = stuck.pending.size_bytes > 0;
        pthread_mutex_unlock(&stuck.lock);
    }
    atomic_store(&f.poller.n_polling, 1);
    pthread_mutex_unlock(&f.poller.lock);
    assert_int_equal(pthread_join(thread, &stays), 0);
    assert_non_null(stays);
    assert_int_equal(atomic_load(&f.poller.n_polling), 1);
    assert_int_equal(atomic_load(&f.poller.n_awake), 2);
    text_finish(&stuck.pending);
    pthread_cond_destroy(&stuck.added);
    pthread_mutex_destroy(&stuck.lock);
    end(&f);
}

static int count_descriptors(void)
{
    int n = 0;
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        n++;
    closedir(folder);
    return n;
}

/* No child has them, and none of the threads that are told of an event waits for it. */
static void descriptors_are_our_own(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    const int fds[] = {f.poller.epoll_fd, f.poller.end_fd, f.poller.ready.fd};
    for (int i = 0; i < 3; i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        assert_true(i == 0 || fcntl(fds[i], F_GETFL) & O_NONBLOCK);
    }
    end(&f);
}

static void a_poller_leaves_no_descriptors(void **state)
{
    (void)state;
    const int n = count_descriptors();
    struct fixture f;
    begin(&f);
    assert_true(count_descriptors() > n);
    end(&f);
    assert_int_equal(count_descriptors(), n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_the_order_they_were_taken),
        cmocka_unit_test(each_that_is_ready_has_an_event),
        cmocka_unit_test(shared_tasks_leave_their_thread),
        cmocka_unit_test(one_is_woken_where_none_polls),
        cmocka_unit_test(one_is_woken_when_the_last_poller_goes),
        cmocka_unit_test(who_polls_and_who_runs_is_counted),
        cmocka_unit_test(the_watcher_is_woken),
        cmocka_unit_test(lines_do_not_wait_for_a_run),
        cmocka_unit_test(a_thread_too_many_leaves),
        cmocka_unit_test(one_that_has_become_the_only_poller_stays),
        cmocka_unit_test(descriptors_are_our_own),
        cmocka_unit_test(a_poller_leaves_no_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
