/* The log and its reader: one that stalls, one that has gone, a descriptor that is none; and what a
 * program that makes a server keeps as it was. */
#include "base/log_thread.h"
#include "descriptors.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 20000, STALL_LINES = 20000 };

static void begin(struct log *log, int fd)
{
    struct gp_error err;
    *log = (struct log){0};
    assert_int_equal(log_begin(log, fd, GP_LOG_DEBUG, GP_LOG_TEXT, &err), GP_OK);
}

static void add_lines(struct log *log, int n)
{
    for (int i = 0; i < n; i++)
        log_line(log, GP_LOG_INFO, "%0100d", i);
}

/* Waits until the log has lost some lines, and gives how many. */
static unsigned long wait_lost(const struct log *log)
{
    for (int i = 0; i < WAIT_MS && !atomic_load(&log->n_lost); i++)
        poll(NULL, 0, 1);
    return atomic_load(&log->n_lost);
}

/* Until all is written, however busy the machine is: the log itself waits for a fifth of a second. */
static void flush_all(struct log *log)
{
    for (int i = 0; i < WAIT_MS / 200; i++)
        log_flush(log);
}

/* Reads to the end; gives the number of lines, each of which is whole. */
static unsigned long read_lines(int fd)
{
    char bytes[101];
    unsigned long n_lines = 0;
    size_t n = 0;
    for (ssize_t got; (got = read(fd, bytes + n, sizeof bytes - n)) > 0;) {
        n += (size_t)got;
        if (n < sizeof bytes)
            continue;
        assert_int_equal(strspn(bytes, "0123456789"), 100);
        assert_int_equal(bytes[100], '\n');
        n_lines++;
        n = 0;
    }
    assert_int_equal(n, 0);
    return n_lines;
}

static void test_descriptor_that_is_none(void **state)
{
    int ends[2];
    struct gp_error err;
    struct gp_server_options options = {.size_bytes = sizeof options, .engine = "echo"};
    (void)state;
    assert_int_equal(pipe(ends), 0);
    options.log_fd = ends[0];
    assert_null(gp_server_create(&options, &err));
    assert_int_equal(err.status, GP_INVALID);
    assert_non_null(strstr(err.message, "log_fd"));
    assert_non_null(strstr(err.message, "not open for writing"));
    close(ends[0]);
    close(ends[1]);
    options.log_fd = ends[1];
    assert_null(gp_server_create(&options, &err));
    assert_int_equal(err.status, GP_INVALID);
    assert_non_null(strstr(err.message, "log_fd"));
    assert_non_null(strstr(err.message, "which is not open;"));
}

/* Lines of requests are gathered as long as another one fits beside them. */
static void test_lines_are_handed_over_together(void **state)
{
    enum { GATHERED_BYTES = 4096 - 512 };
    struct log log = {0};
    struct log_lines lines = {0};
    (void)state;
    for (int i = 0; i < GATHERED_BYTES; i++)
        text_puts(&lines.text, "x");
    log_gather(&log, &lines);
    assert_int_equal(lines.text.size_bytes, GATHERED_BYTES);
    text_puts(&lines.text, "x");
    log_gather(&log, &lines);
    assert_int_equal(lines.text.size_bytes, 0);
    assert_true(lines.text.capacity_bytes > 0); /* for the next ones */
    log_lines_finish(&lines);
}

static void test_descriptor_that_cannot_be_copied(void **state)
{
    struct log log = {0};
    struct gp_error err;
    int ends[2];
    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_true(log_has_room(ends[1]));
    descriptors_limit(0);
    const enum gp_status status = log_begin(&log, ends[1], 0, GP_LOG_TEXT, &err);
    descriptors_unlimit();
    assert_int_equal(status, GP_UNAVAILABLE);
    assert_non_null(strstr(err.message, "Too many open files (ulimit -n is "));
    assert_int_equal(log.fd, 0);
    close(ends[0]);
    close(ends[1]);
}

static void test_silent_log(void **state)
{
    struct log log;
    struct log_lines lines = {0};
    (void)state;
    for (int fd = 0; fd >= -1; fd--) {
        begin(&log, fd);
        add_lines(&log, 10);
        text_puts(&lines.text, "of requests\n");
        log_write(&log, &lines);
        flush_all(&log);
        assert_int_equal(log.n_lost, 0);
        assert_int_equal(log.pending.size_bytes + lines.text.size_bytes, 0);
        log_end(&log);
    }
    log_end(&(struct log){0});
    log_lines_finish(&lines);
}

/* What comes when it has ended is nobody's. */
static void test_ended_log(void **state)
{
    int ends[2];
    struct log log;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    begin(&log, ends[1]);
    add_lines(&log, 1);
    flush_all(&log);
    for (int i = 0; i < 2; i++) {
        log_end(&log);
        add_lines(&log, 1);
        log_flush(&log);
        assert_int_equal(log.pending.size_bytes, 0);
    }
    close(ends[1]);
    assert_int_equal(read_lines(ends[0]), 1);
    close(ends[0]);
}

/* What the log writes for an error, a line about the start, and one that is too detailed for it. */
static void write_three(enum gp_log_format format, char *bytes, size_t size)
{
    int ends[2];
    struct log log = {0};
    struct gp_error err;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(log_begin(&log, ends[1], GP_LOG_INFO, format, &err), GP_OK);
    log_line(&log, GP_LOG_ERROR, "no \"%s\"", "a\nb");
    log_line(&log, GP_LOG_INFO, "serving");
    log_line(&log, GP_LOG_DEBUG, "a detail");
    flush_all(&log);
    log_end(&log);
    close(ends[1]);
    const ssize_t n = read(ends[0], bytes, size - 1);
    assert_true(n > 0);
    bytes[n] = '\0';
    close(ends[0]);
}

/* Takes a time off the front of the text: 2026-01-31T23:59:59.999Z. */
static const char *skip_time(const char *text)
{
    static const char form[] = "0000-00-00T00:00:00.000Z";
    for (size_t i = 0; i < sizeof form - 1; i++)
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            fail_msg("no time: %s", text);
    return text + sizeof form - 1;
}

static void test_text(void **state)
{
    char bytes[1000];
    (void)state;
    write_three(GP_LOG_TEXT, bytes, sizeof bytes);
    assert_string_equal(skip_time(bytes), " error: no \"a\\nb\"\nserving\n");
}

static void test_json(void **state)
{
    static const char time[] = "{\"time\":\"";
    char bytes[1000];
    (void)state;
    write_three(GP_LOG_JSON, bytes, sizeof bytes);
    assert_memory_equal(bytes, time, sizeof time - 1);
    const char *rest = skip_time(bytes + sizeof time - 1);
    static const char error[] =
        "\",\"level\":\"error\",\"message\":\"no \\\"a\\u000ab\\\"\"}\n";
    assert_memory_equal(rest, error, sizeof error - 1);
    rest += sizeof error - 1;
    assert_memory_equal(rest, time, sizeof time - 1);
    assert_string_equal(skip_time(rest + sizeof time - 1),
                        "\",\"level\":\"info\",\"message\":\"serving\"}\n");
}

static void test_descriptor_is_copied(void **state)
{
    int ends[2];
    struct log log;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    begin(&log, ends[1]);
    close(ends[1]);
    const int other = open("/dev/null", O_WRONLY); /* which takes the number */
    assert_int_equal(other, ends[1]);
    add_lines(&log, 10);
    flush_all(&log);
    log_end(&log);
    close(other);
    assert_int_equal(read_lines(ends[0]), 10);
    close(ends[0]);
}

static void test_reader_that_has_gone(void **state)
{
    int ends[2];
    struct log log;
    struct sigaction action;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    begin(&log, ends[1]);
    add_lines(&log, 1);
    assert_int_equal(wait_lost(&log), 1);
    add_lines(&log, 100);
    flush_all(&log);
    log_end(&log);
    assert_int_equal(log.n_lost, 101);
    assert_int_equal(sigaction(SIGPIPE, NULL, &action), 0);
    assert_true(action.sa_handler == SIG_DFL);
    close(ends[1]);
}

/* Nobody waits, neither to add lines nor to end the log, and lines are lost as wholes. */
static void reader_that_stalls(int flags)
{
    int ends[2];
    struct log log;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, flags), 0);
    begin(&log, ends[1]);
    add_lines(&log, STALL_LINES);
    assert_true(wait_lost(&log) > 0);
    assert_int_equal(fcntl(ends[1], F_GETFL) & O_NONBLOCK, flags);
    log_end(&log);
    close(ends[1]);
    const unsigned long n_read = read_lines(ends[0]);
    assert_true(n_read > 0 && n_read + log.n_lost <= STALL_LINES);
    close(ends[0]);
}

static void test_reader_that_stalls(void **state)
{
    (void)state;
    reader_that_stalls(0);
    reader_that_stalls(O_NONBLOCK);
}

struct reading {
    int fd;
    unsigned long n_lines;
};

static void *read_main(void *arg)
{
    struct reading *reading = arg;
    reading->n_lines = read_lines(reading->fd);
    return NULL;
}

/* Each line is read or counted. */
static void test_slow_reader(void **state)
{
    int ends[2];
    struct log log;
    pthread_t thread;
    (void)state;
    assert_int_equal(pipe(ends), 0);
    struct reading reading = {.fd = ends[0]};
    begin(&log, ends[1]);
    add_lines(&log, STALL_LINES);
    assert_int_equal(pthread_create(&thread, NULL, read_main, &reading), 0);
    flush_all(&log);
    log_end(&log);
    close(ends[1]);
    pthread_join(thread, NULL);
    assert_int_equal(reading.n_lines + log.n_lost, STALL_LINES);
    close(ends[0]);
}

/* A log whose thread never comes, as one that waits for its reader. */
static void begin_stuck(struct log *log, int fd)
{
    *log = (struct log){.fd = fd, .level = GP_LOG_DEBUG};
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->added, NULL);
}

static void end_stuck(struct log *log)
{
    text_finish(&log->pending);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->added);
}

/* 512 KiB are kept for the reader, to the byte; what does not fit is counted by lines, and what is
 * short enough still fits behind it. */
static void test_most_that_is_kept(void **state)
{
    enum { KIB = 1024, MOST = 512 * KIB };
    char line[KIB];
    struct log log;
    struct text lines = {0}, two = {0}, small = {0};
    (void)state;
    begin_stuck(&log, 1);
    memset(line, 'x', sizeof line);
    line[KIB - 1] = '\n';
    text_add(&lines, line, sizeof line);
    text_puts(&two, "12345\n7890\n");
    text_puts(&small, "1234567890\n");
    for (int i = 0; i < MOST / KIB - 1; i++)
        log_add(&log, &lines);
    log_add(&log, &small);
    assert_int_equal(log.n_lost, 0);
    log_add(&log, &lines); /* of which some would fit */
    assert_int_equal(log.n_lost, 1);
    assert_int_equal(log.pending.size_bytes, MOST - KIB + 11);
    for (int i = 0; i < (KIB - 11) / 11; i++)
        log_add(&log, &two);
    assert_int_equal(log.n_lost, 1);
    log_add(&log, &two); /* one byte too much */
    assert_int_equal(log.n_lost, 3);
    text_finish(&lines);
    text_add(&lines, line, (size_t)(MOST - (int)log.pending.size_bytes - 1));
    text_puts(&lines, "\n");
    log_add(&log, &lines);
    assert_int_equal(log.n_lost, 3);
    assert_int_equal(log.pending.size_bytes, MOST);
    text_finish(&lines);
    text_finish(&two);
    text_finish(&small);
    end_stuck(&log);
}

/* Lines of a thread are handed over before they are many, and a level that nobody asked for never. */
static void test_lines_are_gathered(void **state)
{
    struct log log;
    struct log_lines lines = {0};
    (void)state;
    begin_stuck(&log, 1);
    int n = 0;
    for (; !log.pending.size_bytes && n < 100; n++) {
        for (int i = 0; i < 99; i++)
            text_puts(&lines.text, "x");
        text_puts(&lines.text, "\n");
        log_gather(&log, &lines);
    }
    assert_int_equal(n, 36); /* 4 KiB without 512 bytes */
    assert_int_equal(log.pending.size_bytes, 3600);
    assert_int_equal(lines.text.size_bytes, 0);
    log.level = GP_LOG_WARNING;
    log_line(&log, GP_LOG_INFO, "no");
    assert_int_equal(log.pending.size_bytes, 3600);
    log_line(&log, GP_LOG_WARNING, "yes");
    assert_true(log.pending.size_bytes > 3600);
    log_lines_finish(&lines);
    end_stuck(&log);
}

/* In a process of its own. */
static int serve_without_descriptors(void)
{
    struct gp_error err;
    struct sigaction before, after;
    sigset_t blocked;
    const struct gp_server_options options = {
        .size_bytes = sizeof options, .engine = "echo", .pool_bytes = 1 << 24};
    for (int fd = 0; fd < 3; fd++)
        close(fd);
    sigaction(SIGPIPE, NULL, &before);
    struct gp_server *server = gp_server_create(&options, &err);
    if (!server)
        return 1;
    for (int fd = 0; fd < 3; fd++) {
        struct stat file;
        if (fstat(fd, &file) != 0 || !S_ISCHR(file.st_mode))
            return 2 + fd;
    }
    sigaction(SIGPIPE, NULL, &after);
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    gp_server_destroy(server);
    if (after.sa_handler != before.sa_handler)
        return 5;
    return sigismember(&blocked, SIGPIPE) || sigismember(&blocked, SIGTERM) ? 6 : 0;
}

static void test_library_in_a_process_without_descriptors(void **state)
{
    int status;
    (void)state;
    const pid_t pid = fork();
    if (pid == 0)
        _exit(serve_without_descriptors());
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_descriptor_that_is_none),
        cmocka_unit_test(test_lines_are_handed_over_together),
        cmocka_unit_test(test_descriptor_that_cannot_be_copied),
        cmocka_unit_test(test_silent_log),
        cmocka_unit_test(test_ended_log),
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_descriptor_is_copied),
        cmocka_unit_test(test_reader_that_has_gone),
        cmocka_unit_test(test_reader_that_stalls),
        cmocka_unit_test(test_slow_reader),
        cmocka_unit_test(test_most_that_is_kept),
        cmocka_unit_test(test_lines_are_gathered),
        cmocka_unit_test(test_library_in_a_process_without_descriptors),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
