/* The shared cache with servers that are none, or mean harm: no look takes longer than it may, or finds
 * anything. */
#include "base/clock.h"
#include "cache/shared_parts.h"
#include "kept_log.h"
#include "shared_fixture.h"

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { DEADLINE_MS = 50, GENEROUS = 20 };

#define PONG "+PONG\r\n"
#define LATE "it did not answer in time"
#define GARBAGE "it answered something else than a Redis does"
#define CLOSED "it closed the connection"

/* What it sends for the first bytes that come on a connection, and for the next; NULL: nothing more. */
struct trouble {
    const char *greeting, *answer;
    const char *said; /* "": anything */
    bool drips;       /* goes on, byte by byte */
    bool floods;      /* goes on, with zeros */
    bool closes;
    size_t answer_size; /* 0: it is text */
};

struct fake {
    const struct trouble *trouble;
    int listener;
    unsigned port;
    pthread_t thread;
    atomic_bool is_ending;
};

static struct fake fake;
static struct log kept;

/* False if the other side has gone, or the test ends. */
static bool await_bytes(int fd)
{
    struct pollfd pollfd = {.fd = fd, .events = POLLIN};
    while (!fake.is_ending)
        if (poll(&pollfd, 1, 5) > 0)
            return true;
    return false;
}

static bool send_all(int fd, const char *bytes, size_t size)
{
    while (size > 0 && !fake.is_ending) {
        struct pollfd pollfd = {.fd = fd, .events = POLLOUT};
        if (poll(&pollfd, 1, 5) <= 0)
            continue;
        const ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n < 0)
            return false;
        bytes += n;
        size -= (size_t)n;
    }
    return !fake.is_ending;
}

static void serve_client(int fd)
{
    static const char zeros[65536];
    char buffer[4096];
    const struct trouble *trouble = fake.trouble;
    const char *const answers[] = {trouble->greeting, trouble->answer};
    for (int i = 0; i < 2 && answers[i]; i++) {
        const size_t size =
            i && trouble->answer_size ? trouble->answer_size : strlen(answers[i]);
        if (!await_bytes(fd) || recv(fd, buffer, sizeof buffer, 0) <= 0 ||
            !send_all(fd, answers[i], size))
            return;
    }
    while (fake.trouble->floods && send_all(fd, zeros, sizeof zeros))
        ;
    while (fake.trouble->drips && send_all(fd, "x", 1))
        poll(NULL, 0, 2);
    while (!fake.trouble->closes && await_bytes(fd))
        if (recv(fd, buffer, sizeof buffer, 0) <= 0)
            return;
}

static void *fake_main(void *arg)
{
    while (await_bytes(fake.listener)) {
        const int fd = accept(fake.listener, NULL, NULL);
        serve_client(fd);
        close(fd);
    }
    return arg;
}

static void fake_begin(const struct trouble *trouble)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    fake.trouble = trouble;
    fake.is_ending = false;
    fake.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fake.listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(getsockname(fake.listener, (struct sockaddr *)&name, &size), 0);
    assert_int_equal(listen(fake.listener, 16), 0);
    fake.port = ntohs(name.sin_port);
    assert_int_equal(pthread_create(&fake.thread, NULL, fake_main, NULL), 0);
}

static void fake_end(void)
{
    fake.is_ending = true;
    pthread_join(fake.thread, NULL);
    close(fake.listener);
}

/* What is said depends on the server, so that a look may wait for it. */
enum { PATIENT_MS = 20 * DEADLINE_MS };

static struct shared *open_fake(uint32_t deadline_ms)
{
    char url[64];
    struct gp_error err;
    snprintf(url, sizeof url, "redis://127.0.0.1:%u", fake.port);
    const struct shared_options options = {
        .url = url, .deadline_ms = deadline_ms, .log = &kept};
    struct shared *shared = shared_open(&options, &err);
    assert_non_null(shared);
    return shared;
}

static void assert_finds_nothing_soon(struct shared *shared)
{
    const struct digest keys[] = {shared_key(1), shared_key(2)};
    struct cache_row *rows[2];
    const int64_t began_ns = clock_now_ns();
    assert_int_equal(shared_get(shared, keys, 2, rows), 0);
    assert_in_range((clock_now_ns() - began_ns) / CLOCK_MS, 0,
                    GENEROUS * shared->deadline_ms);
    assert_null(rows[0]);
    assert_null(rows[1]);
}

/* Until the server is known as one that cannot be used. */
static void meet_trouble(const struct trouble *trouble)
{
    fake_begin(trouble);
    const bool is_late = strcmp(trouble->said, LATE) == 0;
    struct shared *shared = open_fake(is_late ? DEADLINE_MS : PATIENT_MS);
    for (int i = 0; !kept_log_has(&kept, "cannot be used"); i++) {
        if (i > SHARED_PATIENCE_MS / 5)
            fail_msg("no trouble with %s", trouble->answer);
        assert_finds_nothing_soon(shared);
        poll(NULL, 0, 5);
    }
    assert_finds_nothing_soon(shared);
    if (!kept_log_has(&kept, trouble->said))
        fail_msg("%s: %s", trouble->answer, kept.pending.data);
    shared_close(shared);
    assert_logged(&kept,
                  "warning: the shared cache at 127.0.0.1:* cannot be used: *; the "
                  "server goes on without it\n");
    fake_end();
}

static void greetings(void **state)
{
    static const struct trouble troubles[] = {
        {NULL, NULL, .said = LATE},
        {"", NULL, .said = LATE, .drips = true},
        {"", NULL, .said = CLOSED, .closes = true},
        {"", NULL, .said = "", .floods = true},
        {"HTTP/1.1 400 Bad Request\r\n\r\n", NULL, .said = GARBAGE},
        {"$4\r\nPONG\r\n", NULL, .said = GARBAGE},
        {"-DENIED it is in protected mode\r\n", NULL,
         .said = "it refused PING: DENIED it is in protected mode"},
        {"-ERR \x1b[2J\x80\r\n", NULL, .said = "it refused PING: ERR \\x1b[2J\\x80;"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++)
        meet_trouble(&troubles[i]);
}

static void answers(void **state)
{
    static const struct trouble troubles[] = {
        {PONG, NULL, .said = LATE},
        {PONG, "", .said = CLOSED, .closes = true},
        {PONG, "$100\r\n", .said = LATE, .drips = true},
        {PONG, "", .said = LATE, .drips = true},
        {PONG, "$20\r\nabc", .said = CLOSED, .closes = true},
        {PONG, "$20\r\n0123456789012345abcd", .said = LATE},
        {PONG, "$4\r\nabcdXY", .said = GARBAGE},
        {PONG, "$-1\r\n", .said = LATE},
        {PONG, "$-1\r\n:1\r\n", .said = GARBAGE},
        {PONG, "+OK\r\n", .said = "it answered to no question"},
        {PONG, "*1\r\n$1\r\nx\r\n", .said = GARBAGE},
        {PONG, "*2000000000\r\n", .said = GARBAGE},
        {PONG, "$9999999999999\r\n", .said = GARBAGE},
        {PONG, "$536870912\r\n", .said = "it sent a value of 536870912 bytes",
         .floods = true},
        {PONG, "$8388625\r\n", .said = "it sent a value of 8388625 bytes",
         .floods = true},
        {PONG, "$8388624\r\n", .said = "", .floods = true},
        {PONG, "$-5\r\n", .said = GARBAGE},
        {PONG, "$\r\n", .said = GARBAGE},
        {PONG, "$1x\r\n", .said = GARBAGE},
        {PONG, "$ 1\r\n", .said = GARBAGE},
        {PONG, "$1\n", .said = GARBAGE},
        {PONG, "\r\n", .said = GARBAGE},
        {PONG, "", .said = "", .floods = true},
        {PONG, "-MOVED 3999 127.0.0.1:6381\r\n",
         .said = "it is part of a cluster, which is not supported: MOVED 3999"},
        {PONG, "-LOADING it reads its file\r\n",
         .said = "it refused: LOADING it reads its file"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++)
        meet_trouble(&troubles[i]);
}

/* A look on a thread that was late itself: the answer is there, and is taken after the deadline. */
static void late_thread(void **state)
{
    static const struct trouble trouble = {PONG, "$-1\r\n$-1\r\n", .said = ""};
    const struct digest keys[] = {shared_key(1), shared_key(2)};
    (void)state;
    fake_begin(&trouble);
    struct shared *shared = open_fake(PATIENT_MS);
    shared_await_link(shared);
    struct redis *link = shared_take_link(shared);
    struct gp_error err;
    struct redis_reply reply;
    const int64_t deadline_ns = clock_now_ns() + PATIENT_MS * CLOCK_MS;
    assert_true(redis_send(link, keys, sizeof keys, deadline_ns, &err));
    while (redis_is_idle(link))
        poll(NULL, 0, 1);
    poll(NULL, 0, 5);                                     /* for the rest of it */
    assert_true(redis_read_reply(link, &reply, 1, &err)); /* that was long ago */
    assert_true(redis_read_reply(link, &reply, 1, &err));
    assert_int_equal(reply.kind, REDIS_NOTHING);
    assert_false(redis_read_reply(link, &reply, 1, &err));
    assert_int_equal(err.status, GP_TIMEOUT);
    shared_drop_link(shared, link, NULL);
    shared_close(shared);
    fake_end();
}

/* Nothing of what nobody has asked for is taken for an answer. */
static void unasked_bytes(void **state)
{
    static const struct trouble trouble = {PONG "$-1\r\n$-1\r\n", NULL, .drips = false};
    (void)state;
    fake_begin(&trouble);
    struct shared *shared = open_fake(DEADLINE_MS);
    for (int i = 0; i < 20; i++) {
        assert_finds_nothing_soon(shared);
        poll(NULL, 0, 5);
    }
    assert_int_equal(shared_count(shared).n_failed, 0);
    shared_close(shared);
    assert_logged(&kept, "");
    fake_end();
}

/* A look whose rows come in part has these, and the server is asked again. */
static void part_of_the_rows(void **state)
{
    char answer[64] = "$17\r\n";
    const size_t head = strlen(answer);
    struct cache_row *row = shared_row(1, 1);
    (void)state;
    shared_make_check(row, (unsigned char *)answer + head);
    answer[head + SHARED_CHECK_BYTES] = (char)row->bytes[0];
    memcpy(answer + head + SHARED_CHECK_BYTES + 1, "\r\n", 2);
    cache_row_drop(row);
    const struct trouble trouble = {
        .greeting = PONG, .answer = answer, .answer_size = head + SHARED_CHECK_BYTES + 3};
    fake_begin(&trouble);
    struct shared *shared = open_fake(PATIENT_MS);
    for (unsigned n = 0; n < 2;) {
        const struct digest keys[] = {shared_key(1), shared_key(2)};
        struct cache_row *rows[2];
        n += shared_get(shared, keys, 2, rows) == 1;
        assert_null(rows[1]);
        cache_row_drop(rows[0]);
        assert_int_equal(shared_count(shared).n_failed, n);
        poll(NULL, 0, 1);
    }
    assert_int_equal(shared->retry_ns, 0);
    shared_close(shared);
    assert_logged(&kept, "");
    fake_end();
}

static void a_look_takes_five_milliseconds_unless_told(void **state)
{
    static const struct trouble trouble = {PONG, NULL, .drips = false};
    (void)state;
    fake_begin(&trouble);
    struct shared *shared = open_fake(0);
    assert_int_equal(shared->deadline_ms, 5);
    shared_close(shared);
    fake_end();
}

static void write_that_hangs(void **state)
{
    static const struct trouble trouble = {PONG, "", .drips = false};
    (void)state;
    fake_begin(&trouble);
    struct shared *shared = open_fake(DEADLINE_MS);
    enum { N = 20 };
    for (unsigned i = 0; i < N; i++)
        shared_put(shared, shared_row(i, 1 << 20));
    const uint64_t n_dropped = shared_count(shared).n_dropped;
    assert_in_range(n_dropped, N - 16, N);
    const int64_t began_ns = clock_now_ns();
    shared_close(shared);
    assert_in_range((clock_now_ns() - began_ns) / CLOCK_MS, 0, 20 * SHARED_CLOSE_MS);
    fake_end();
}

/* Rows that are written are dropped then, and nothing is written or asked for a while. */
static void writes_that_are_answered_oddly(void **state)
{
    static const struct trouble troubles[] = {
        {PONG, "$1\r\nx\r\n", .said = "it answered to no question"},
        {PONG, "$-1\r\n", .said = "it answered to no question"},
        {PONG, ":1\r\n", .said = GARBAGE},
        {PONG, "", .said = CLOSED, .closes = true},
    };
    (void)state;
    for (size_t i = 0; i < sizeof troubles / sizeof *troubles; i++) {
        fake_begin(&troubles[i]);
        struct shared *shared = open_fake(PATIENT_MS);
        shared_await_link(shared);
        /* the server takes one connection at a time */
        shared_drop_link(shared, shared_take_link(shared), NULL);
        shared_put(shared, shared_row(1, 10));
        shared_await_put(shared, 1);
        assert_int_equal(shared_count(shared).n_stored, 0);
        assert_int_equal(shared->queued_bytes, 0);
        assert_true(kept_log_has(&kept, troubles[i].said));
        assert_finds_nothing_soon(shared);
        shared_put(shared, shared_row(2, 10));
        assert_int_equal(shared_count(shared).n_dropped, 2);
        shared_close(shared);
        assert_logged(&kept, "warning: the shared cache at 127.0.0.1:* cannot be used: "
                             "*; the server goes on without it\n");
        fake_end();
    }
}

static int begin(void **state)
{
    (void)state;
    kept_log_begin(&kept);
    return 0;
}

static int end(void **state)
{
    (void)state;
    kept_log_end(&kept);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(greetings),
                                       TEST(answers),
                                       TEST(late_thread),
                                       TEST(unasked_bytes),
                                       TEST(part_of_the_rows),
                                       TEST(write_that_hangs),
                                       TEST(writes_that_are_answered_oddly),
                                       TEST(a_look_takes_five_milliseconds_unless_told)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
