/* How the end of a child's process is found, told and counted, whether it ended by itself or was
 * killed; and what goes with it. */
#include "engine/isolate_child.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB ((size_t)1 << 20)

struct fixture {
    struct isolate isolate;
    struct child child;
    char line[600]; /* of the log */
};

static void take_line(void *context, enum gp_log_level level, const char *message)
{
    struct fixture *f = context;
    assert_int_equal(level, GP_LOG_WARNING);
    (void)snprintf(f->line, sizeof f->line, "%s", message);
}

static void begin(struct fixture *f)
{
    *f = (struct fixture){.isolate = {.children = &f->child,
                                      .n_children = 1,
                                      .pool = pool_create(64 * MIB),
                                      .log = take_line,
                                      .log_context = f},
                          .child = {.isolate = &f->isolate, .slot = 3}};
    pthread_mutex_init(&f->isolate.lock, NULL);
}

static void end(struct fixture *f)
{
    assert_int_equal(pool_count(f->isolate.pool).used_bytes, 0);
    pool_destroy(f->isolate.pool);
    pthread_mutex_destroy(&f->isolate.lock);
}

/* A process that ends by itself, with this signal or status, or only when it is killed. */
static pid_t start_process(int signal, int status)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (status >= 0)
            _exit(status);
        if (signal)
            raise(signal);
        for (;;)
            pause();
    }
    return pid;
}

/* Until it has ended, though it was not waited for. */
static void await_end(pid_t pid)
{
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

struct end {
    int signal; /* 0: none */
    int status; /* -1: it does not exit */
    enum isolate_end seen;
    enum isolate_end counted;
    const char *words;
};

static const struct end ends[] = {
    {0, 3, ISOLATE_EXIT, ISOLATE_EXIT, "exit status 3"},
    {0, 0, ISOLATE_PROTOCOL, ISOLATE_EXIT, "exit status 0"},
    {0, 0, ISOLATE_HANG, ISOLATE_EXIT, "exit status 0"},
    {SIGUSR1, -1, ISOLATE_EXIT, ISOLATE_SIGNAL, "signal 10: User defined signal 1"},
    {SIGUSR1, -1, ISOLATE_PROTOCOL, ISOLATE_SIGNAL, "signal 10: User defined signal 1"},
    {SIGKILL, -1, ISOLATE_EXIT, ISOLATE_SIGNAL, "signal 9: Killed"}, /* not by us */
    {0, -1, ISOLATE_HANG, ISOLATE_HANG, "it did not come back (--hang-timeout)"},
    {0, -1, ISOLATE_PROTOCOL, ISOLATE_PROTOCOL, "what it said makes no sense"},
};

enum { N_ENDS = sizeof ends / sizeof *ends };

static void the_reason_is_found(void **state)
{
    char line[128];
    (void)state;
    for (int i = 0; i < N_ENDS; i++) {
        struct fixture f;
        begin(&f);
        f.child.pid = start_process(ends[i].signal, ends[i].status);
        if (ends[i].signal || ends[i].status >= 0)
            await_end(f.child.pid);
        f.child.is_late = true;
        assert_true(pool_take(f.isolate.pool, NULL, 4096, NULL, &f.child.body));
        spawn_reap(&f.child, ends[i].seen);
        assert_int_equal(f.child.pid, 0);
        assert_false(f.child.is_late);
        assert_int_equal(f.child.ended.status, GP_UNAVAILABLE);
        assert_string_equal(f.child.ended.message, ends[i].words);
        (void)snprintf(line, sizeof line, "the process of slot 3 ended: %s",
                       ends[i].words);
        assert_string_equal(f.line, line);
        for (enum isolate_end k = ISOLATE_SIGNAL; k <= ISOLATE_PROTOCOL; k++)
            assert_int_equal(f.isolate.counts.ended[k], k == ends[i].counted);
        end(&f);
    }
}

/* The program may have the system wait for its children: then nobody knows how they ended. */
static void the_reason_is_what_was_seen(void **state)
{
    static const char *const words[] = {
        [ISOLATE_EXIT] = "it closed its socket",
        [ISOLATE_HANG] = "it did not come back (--hang-timeout)",
        [ISOLATE_PROTOCOL] = "what it said makes no sense"};
    (void)state;
    void (*before)(int) = signal(SIGCHLD, SIG_IGN);
    for (enum isolate_end seen = ISOLATE_EXIT; seen <= ISOLATE_PROTOCOL; seen++) {
        struct fixture f;
        begin(&f);
        f.child.pid = start_process(0, -1);
        spawn_reap(&f.child, seen);
        assert_string_equal(f.child.ended.message, words[seen]);
        assert_int_equal(f.isolate.counts.ended[seen], 1);
        end(&f);
    }
    (void)signal(SIGCHLD, before);
}

/* Who waits for the start is told otherwise. */
static void one_that_starts_is_not_logged(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    f.child.state = ISOLATE_STARTING;
    f.child.pid = start_process(0, -1);
    spawn_reap(&f.child, ISOLATE_HANG);
    assert_string_equal(f.line, "");
    assert_int_equal(f.isolate.counts.ended[ISOLATE_HANG], 1);
    end(&f);
}

static void one_that_is_discarded_does_not_count(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    f.child.pid = start_process(0, -1);
    spawn_discard(&f.child);
    assert_int_equal(f.child.pid, 0);
    assert_string_equal(f.child.ended.message, "");
    assert_string_equal(f.line, "");
    for (enum isolate_end k = ISOLATE_SIGNAL; k <= ISOLATE_PROTOCOL; k++)
        assert_int_equal(f.isolate.counts.ended[k], 0);
    end(&f);
}

static int pipe_ends[2];

/* Should nobody end it. */
static void tell_and_exit(int signal)
{
    (void)signal;
    (void)!write(pipe_ends[1], "alarm", 5);
    _exit(1);
}

/* In a group of its own, as children are, with another that holds the pipe open. */
static pid_t start_two(void)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        (void)setpgid(0, 0);
        if (fork() == 0) {
            (void)signal(SIGALRM, tell_and_exit);
            (void)alarm(20);
        } else {
            (void)!write(pipe_ends[1], "both", 4);
            close(pipe_ends[1]);
        }
        for (;;)
            pause();
    }
    return pid;
}

static void what_it_has_started_ends_too(void **state)
{
    struct fixture f;
    char bytes[8];
    (void)state;
    begin(&f);
    assert_int_equal(pipe(pipe_ends), 0);
    f.child.pid = start_two();
    close(pipe_ends[1]);
    assert_int_equal(read(pipe_ends[0], bytes, sizeof bytes), 4);
    spawn_discard(&f.child);
    assert_int_equal(read(pipe_ends[0], bytes, sizeof bytes), 0);
    close(pipe_ends[0]);
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reason_is_found),
        cmocka_unit_test(the_reason_is_what_was_seen),
        cmocka_unit_test(one_that_starts_is_not_logged),
        cmocka_unit_test(one_that_is_discarded_does_not_count),
        cmocka_unit_test(what_it_has_started_ends_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
