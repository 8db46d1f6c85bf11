/* What a process is found to use, and the standard descriptors that it holds. */
#include "base/fds.h"
#include "base/mem.h"
#include "base/process.h"
#include "descriptors.h"
#include "skipping.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

static struct process_usage usage_now(void)
{
    struct process_usage usage;
    assert_true(process_usage(&usage));
    return usage;
}

static void *wait_for_end(void *arg)
{
    char byte;
    (void)!read(*(int *)arg, &byte, 1);
    return NULL;
}

/* One that was joined may be counted for a moment. */
static uint64_t settled_threads(pthread_t joined, uint64_t most)
{
    assert_int_equal(pthread_join(joined, NULL), 0);
    for (int n_ms = 0; usage_now().n_threads > most && n_ms < 20000; n_ms++)
        poll(NULL, 0, 1);
    return usage_now().n_threads;
}

/* Each number alone, whatever the process's name looks like. */
static void what_it_uses(void **state)
{
    static const char *const names[] = {"usual", "a) b (3 4", ") ) 1 2 3"};
    struct rlimit limit;
    pthread_t thread;
    int ends[2], none = -1;
    (void)state;
    /* the first thread may bring one of a sanitizer's */
    assert_int_equal(pthread_create(&thread, NULL, wait_for_end, &none), 0);
    const char *sanitizer = getenv("GP_SANITIZE");
    const bool has_another = sanitizer && strcmp(sanitizer, "thread") == 0;
    const uint64_t n_threads = settled_threads(thread, has_another ? 2 : 1);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(prctl(PR_SET_NAME, names[i]), 0);
        const struct process_usage before = usage_now();
        assert_int_equal(before.n_fds, descriptors_count());
        assert_int_equal(before.max_fds, limit.rlim_cur);
        assert_int_equal(pipe(ends), 0);
        assert_int_equal(usage_now().n_fds, before.n_fds + 2);
        assert_int_equal(pthread_create(&thread, NULL, wait_for_end, &ends[0]), 0);
        assert_int_equal(before.n_threads, n_threads);
        assert_int_equal(usage_now().n_threads, n_threads + 1);
        close(ends[1]);
        assert_int_equal(settled_threads(thread, n_threads), n_threads);
        close(ends[0]);
        unsigned char *memory = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE,
                                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        assert_true(memory != MAP_FAILED);
        memset(memory, 1, 32 * MIB);
        const struct process_usage with = usage_now();
        assert_true(with.virtual_bytes >= before.virtual_bytes + 64 * MIB);
        assert_in_range(with.resident_bytes, before.resident_bytes + 24 * MIB,
                        before.resident_bytes + 400L * MIB);
        assert_true(with.resident_bytes < with.virtual_bytes);
        assert_true(with.cpu_s > before.cpu_s && with.cpu_s < 600);
        assert_int_equal(munmap(memory, 64 * MIB), 0);
    }
}

static void when_it_started(void **state)
{
    struct timespec now;
    (void)state;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    const double age_s = (double)now.tv_sec - process_started_s();
    assert_true(age_s > -2 && age_s < 3600);
}

/* In a process that may have none. */
static int hold_none(void)
{
    const struct rlimit none = {0, 0};
    close(0);
    return setrlimit(RLIMIT_NOFILE, &none) != 0 || fds_hold_standard() || errno != EMFILE;
}

/* What it holds, in a process that begins without: bits of those that are not as they should be. */
static int hold_and_look(void)
{
    static const int wanted[] = {O_RDONLY, O_RDONLY, O_RDWR};
    int wrong = 0;
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    if (!fds_hold_standard())
        return 64;
    for (int fd = 0; fd < 3; fd++) {
        const int flags = fcntl(fd, F_GETFL);
        wrong |= (flags < 0 || (flags & O_ACCMODE) != wanted[fd]) << fd;
    }
    const int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    wrong |= (next < 3) << 3;
    return wrong;
}

/* Likewise. */
static int look_at_nothing(void)
{
    const struct rlimit none = {0, 0};
    struct process_usage usage;
    return setrlimit(RLIMIT_NOFILE, &none) != 0 || process_usage(&usage) ||
           process_started_s() != 0;
}

static int in_a_process(int (*run)(void))
{
    int status;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(run());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* No file that is opened later becomes one of them, and what a program that has no standard output
 * prints fails instead of being lost. */
static void standard_descriptors_are_held(void **state)
{
    (void)state;
    assert_int_equal(in_a_process(hold_and_look), 0);
    assert_int_equal(in_a_process(hold_none), 0);
}

/* What there is no descriptor to look with is unknown. */
static void nothing_is_known(void **state)
{
    (void)state;
    assert_int_equal(in_a_process(look_at_nothing), 0);
}

static void those_that_are_there_stay(void **state)
{
    (void)state;
    int before[3];
    for (int fd = 0; fd < 3; fd++)
        before[fd] = fcntl(fd, F_GETFL);
    const uint64_t n_fds = usage_now().n_fds;
    assert_true(fds_hold_standard());
    for (int fd = 0; fd < 3; fd++)
        assert_int_equal(fcntl(fd, F_GETFL), before[fd]);
    assert_int_equal(usage_now().n_fds, n_fds);
}

/* Small blocks that were freed, under one that was not. */
static void freed_memory_is_given_back(void **state)
{
    enum { N = 1000, BLOCK_BYTES = 64 * 1024 };
    static void *blocks[N];
    (void)state;
    const char *sanitizer = getenv("GP_SANITIZE");
    if (sanitizer && *sanitizer)
        SKIP_BECAUSE("sanitizers have a malloc of their own");
    for (int i = 0; i < N; i++) {
        blocks[i] = mem_alloc(BLOCK_BYTES);
        assert_non_null(blocks[i]);
        memset(blocks[i], 1, BLOCK_BYTES);
    }
    for (int i = 0; i < N - 1; i++)
        mem_free(blocks[i]);
    const uint64_t before = usage_now().resident_bytes;
    mem_trim();
    assert_true(usage_now().resident_bytes + 32 * MIB < before);
    mem_free(blocks[N - 1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_it_uses),
        cmocka_unit_test(when_it_started),
        cmocka_unit_test(freed_memory_is_given_back),
        cmocka_unit_test(standard_descriptors_are_held),
        cmocka_unit_test(nothing_is_known),
        cmocka_unit_test(those_that_are_there_stay),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
