/* What the log's thread writes at a time, and what becomes of a line that is cut. */
#include "base/log_thread.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 20000, WRITE_BYTES = 4096 };

static void begin(struct log *log, int fd)
{
    *log = (struct log){0};
    assert_int_equal(log_begin(log, fd, GP_LOG_DEBUG, GP_LOG_TEXT, NULL), GP_OK);
}

/* Until all is written or lost, however busy the machine is. */
static void flush_all(struct log *log)
{
    for (int i = 0; i < WAIT_MS / 200; i++)
        log_flush(log);
}

/* A disk that is full cuts a line; the next one that there is room for begins a line of its own. */
static void a_line_that_is_cut(void **state)
{
    static const char wanted[] = "a line\na li\nthe next\none more\n";
    struct rlimit before, limit;
    struct log log;
    char bytes[100];
    (void)state;
    const int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = strlen("a line\na li");
    begin(&log, fd);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    log_line(&log, GP_LOG_INFO, "a line");
    flush_all(&log);
    assert_int_equal(log.n_lost, 0);
    log_line(&log, GP_LOG_INFO, "a line");
    flush_all(&log);
    assert_int_equal(log.n_lost, 1);
    log_line(&log, GP_LOG_INFO, "nothing of it");
    flush_all(&log);
    assert_int_equal(log.n_lost, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    log_line(&log, GP_LOG_INFO, "the next");
    log_line(&log, GP_LOG_INFO, "one more");
    flush_all(&log);
    log_end(&log);
    assert_int_equal(log.n_lost, 2);
    assert_int_equal(pread(fd, bytes, sizeof bytes, 0), sizeof wanted - 1);
    assert_memory_equal(bytes, wanted, sizeof wanted - 1);
    close(fd);
}

static void add_line(struct text *lines, char letter, size_t size)
{
    while (size-- > 1)
        text_add(lines, &letter, 1);
    text_puts(lines, "\n");
}

static void assert_written(int fd, size_t size, char first)
{
    char bytes[2 * WRITE_BYTES];
    struct pollfd end = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&end, 1, WAIT_MS), 1);
    assert_int_equal(recv(fd, bytes, sizeof bytes, 0), size);
    assert_int_equal(bytes[0], first);
}

/* As many whole lines at a time as a pipe takes without mixing them with those of another process. */
static void whole_lines_at_a_time(void **state)
{
    struct log log;
    struct text lines = {0};
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, ends), 0);
    begin(&log, ends[1]);
    add_line(&lines, 'a', 1000);
    add_line(&lines, 'b', WRITE_BYTES - 1000);
    add_line(&lines, 'c', 100);
    add_line(&lines, 'd', WRITE_BYTES - 99);
    add_line(&lines, 'e', WRITE_BYTES + 10); /* longer than that: it is in pieces */
    add_line(&lines, 'f', 5);
    log_add(&log, &lines);
    assert_written(ends[0], WRITE_BYTES, 'a');
    assert_written(ends[0], 100, 'c');
    assert_written(ends[0], WRITE_BYTES - 99, 'd');
    assert_written(ends[0], WRITE_BYTES, 'e');
    assert_written(ends[0], 10 + 5, 'e');
    flush_all(&log);
    assert_int_equal(log.n_lost, 0);
    log_end(&log);
    text_finish(&lines);
    close(ends[0]);
    close(ends[1]);
}

/* Room for many lines is not kept when they are written, but for a few it is. */
static void memory_of_many_lines(void **state)
{
    enum { KEPT_BYTES = 64 * 1024 };
    struct log log;
    struct text lines = {0};
    (void)state;
    const int fd = memfd_create("log", MFD_CLOEXEC);
    assert_true(fd >= 0);
    begin(&log, fd);
    for (int i = 0; i < 2; i++) {
        add_line(&lines, 'x', i ? KEPT_BYTES : KEPT_BYTES / 2);
        log_add(&log, &lines);
        flush_all(&log);
        pthread_mutex_lock(&log.lock); /* what was written is where the next are added */
        const size_t kept = log.writing.capacity_bytes + log.pending.capacity_bytes;
        pthread_mutex_unlock(&log.lock);
        assert_int_equal(kept, KEPT_BYTES);
        text_finish(&lines);
    }
    log_end(&log);
    assert_int_equal(log.n_lost, 0);
    close(fd);
}

static int64_t now_ms(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_REALTIME, &now), 0);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* In UTC to the millisecond, of the moment that the line is written and not of one before it. */
static void the_time_of_a_line(void **state)
{
    struct log_lines lines = {.stamp = "of a line before"};
    (void)state;
    for (int i = 0; i < 20; i++) {
        struct tm utc = {0};
        int ms = -1;
        lines.text.size_bytes = 0;
        if (i % 2) /* it was written a second ago */
            lines.second--;
        const int64_t before_ms = now_ms();
        log_put_time(&lines);
        const int64_t after_ms = now_ms();
        const char *rest = strptime(lines.text.data, "%Y-%m-%dT%H:%M:%S", &utc);
        assert_non_null(rest);
        assert_int_equal(sscanf(rest, ".%3dZ", &ms), 1);
        assert_in_range((int64_t)timegm(&utc) * 1000 + ms, before_ms, after_ms);
        poll(NULL, 0, 7);
    }
    log_lines_finish(&lines);
}

/* No line is longer than that, whatever it quotes. */
static void a_message_that_is_too_long(void **state)
{
    enum { MOST_BYTES = 2048 };
    struct log log;
    char bytes[2 * MOST_BYTES];
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    begin(&log, ends[1]);
    for (int n = MOST_BYTES - 1; n <= MOST_BYTES + 1; n++) {
        log_line(&log, GP_LOG_INFO, "%0*d", n, 0);
        const ssize_t n_read = read(ends[0], bytes, sizeof bytes);
        assert_int_equal(n_read, (n < MOST_BYTES ? n : MOST_BYTES) + 1);
        assert_int_equal(bytes[n_read - 1], '\n');
    }
    log_end(&log);
    close(ends[0]);
    close(ends[1]);
}

/* The copy is no child's, and no standard descriptor; one that is open for looking only is refused. */
static void the_descriptor(void **state)
{
    struct log log;
    struct gp_error err;
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    begin(&log, ends[1]);
    assert_true(log.fd > STDERR_FILENO && log.fd != ends[1]);
    assert_true(fcntl(log.fd, F_GETFD) & FD_CLOEXEC);
    const int copy = log.fd;
    log_end(&log);
    assert_int_equal(fcntl(copy, F_GETFD), -1);
    close(ends[0]);
    close(ends[1]);
    const int path = open("/dev/null", O_PATH | O_CLOEXEC);
    assert_true(path >= 0);
    assert_int_equal(log_begin(&log, path, GP_LOG_DEBUG, GP_LOG_TEXT, &err), GP_INVALID);
    assert_non_null(strstr(err.message, "which is not open for writing"));
    close(path);
}

/* Whoever began the log has the same ones blocked as before. */
static void signals_are_for_others(void **state)
{
    sigset_t usual, now;
    struct log log;
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &usual), 0);
    begin(&log, ends[1]);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &now), 0);
    for (int signal = 1; signal < 32; signal++)
        assert_int_equal(sigismember(&now, signal), sigismember(&usual, signal));
    log_end(&log);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_is_cut),
        cmocka_unit_test(whole_lines_at_a_time),
        cmocka_unit_test(memory_of_many_lines),
        cmocka_unit_test(the_time_of_a_line),
        cmocka_unit_test(a_message_that_is_too_long),
        cmocka_unit_test(the_descriptor),
        cmocka_unit_test(signals_are_for_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
