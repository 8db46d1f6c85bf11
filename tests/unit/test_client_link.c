/* The client's connection: how it is made and for how long that is tried, when it counts as stale, how
 * it is waited for, and what moves over it. */
#include "client/link.h"

#include "temp_tree.h"
#include "turned_clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#define NOON (1000 * CLOCK_S)

/* What poll is asked to wait, for a test that plays it: then all have come at once. The linker puts it in
 * the place of the C library's. */
static struct {
    bool is_played;
    int timeout_ms;
} polling;

int __real_poll(struct pollfd *, nfds_t, int);
int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms);

int __wrap_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    if (!polling.is_played)
        return __real_poll(fds, n, timeout_ms);
    polling.timeout_ms = timeout_ms;
    fds[0].revents = fds[0].events;
    return 1;
}

static int teardown(void **state)
{
    turned_clock_end();
    return tree_remove(state);
}

/* --- the other side
 * ---------------------------------------------------------------------- */

struct peer {
    int listener;
    int fillers[3]; /* connections that nobody accepts */
    int n_fillers;
    char address[128];
};

static void peer_bind(struct peer *peer, bool is_unix)
{
    struct sockaddr_un path = {.sun_family = AF_UNIX};
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    memset(peer, 0, sizeof *peer);
    peer->listener = socket(is_unix ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (is_unix) {
        snprintf(path.sun_path, sizeof path.sun_path, "%s", tree_path("/socket"));
        unlink(path.sun_path);
        assert_int_equal(bind(peer->listener, (struct sockaddr *)&path, sizeof path), 0);
        snprintf(peer->address, sizeof peer->address, "unix:%s", path.sun_path);
        return;
    }
    assert_int_equal(bind(peer->listener, (struct sockaddr *)&name, size), 0);
    assert_int_equal(getsockname(peer->listener, (struct sockaddr *)&name, &size), 0);
    snprintf(peer->address, sizeof peer->address, "http://127.0.0.1:%d",
             ntohs(name.sin_port));
}

/* Its queue has room for one. */
static void peer_listen(struct peer *peer, bool is_unix)
{
    peer_bind(peer, is_unix);
    assert_int_equal(listen(peer->listener, 0), 0);
}

/* From now on connections have to wait. */
static void peer_fill(struct peer *peer, bool is_unix)
{
    struct sockaddr_storage name;
    socklen_t size = sizeof name;
    getsockname(peer->listener, (struct sockaddr *)&name, &size);
    for (peer->n_fillers = 0; peer->n_fillers < 3; peer->n_fillers++) {
        const int type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
        const int fd = socket(is_unix ? AF_UNIX : AF_INET, type, 0);
        (void)connect(fd, (struct sockaddr *)&name, size);
        peer->fillers[peer->n_fillers] = fd;
    }
}

static void peer_end(struct peer *peer)
{
    for (int i = 0; i < peer->n_fillers; i++)
        close(peer->fillers[i]);
    close(peer->listener);
}

static struct client_link link_to(const char *address, uint32_t connect_timeout_ms)
{
    struct client_link link = {.fd = -1, .connect_timeout_ms = connect_timeout_ms};
    assert_int_equal(client_address_init(&link.address, address, NULL), GP_OK);
    return link;
}

static void link_end(struct client_link *link)
{
    link_close(link);
    client_address_finish(&link->address);
}

/* A connection to `other`, which is the test's. */
static struct client_link link_with(int *other)
{
    int fds[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    *other = fds[1];
    return (struct client_link){.fd = fds[0]};
}

static int lowest_free_descriptor(void)
{
    const int fd = dup(STDERR_FILENO);
    close(fd);
    return fd;
}

static rlim_t limit_descriptors(rlim_t n)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    const rlim_t before = limit.rlim_cur;
    limit.rlim_cur = n;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    return before;
}

/* --- connecting
 * -------------------------------------------------------------------------- */

static void a_connection_is_made(void **state)
{
    (void)state;
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct peer peer;
        peer_listen(&peer, is_unix);
        struct client_link link = link_to(peer.address, 5000);
        struct gp_error err;
        if (link_open(&link, INT64_MAX, &err) != GP_OK)
            fail_msg("%s", err.message);
        const int fd = accept(peer.listener, NULL, NULL);
        assert_int_equal(send(fd, "x", 1, 0), 1);
        assert_int_equal(link_wait(&link, POLLIN, INT64_MAX), POLLIN);
        assert_true(fcntl(link.fd, F_GETFL) & O_NONBLOCK);
        assert_true(fcntl(link.fd, F_GETFD) & FD_CLOEXEC);
        int at_once = 1; /* small requests must not wait for acknowledgements */
        socklen_t size = sizeof at_once;
        if (!is_unix)
            getsockopt(link.fd, IPPROTO_TCP, TCP_NODELAY, &at_once, &size);
        assert_true(at_once);
        link_end(&link);
        close(fd);
        peer_end(&peer);
    }
}

static void assert_fails(const char *address, enum gp_status status, const char *words)
{
    struct client_link link = link_to(address, 5000);
    struct gp_error err = {GP_OK, ""};
    char message[300];
    snprintf(message, sizeof message, "%s: %s", address, words);
    const int lowest = lowest_free_descriptor();
    assert_int_equal(link_open(&link, INT64_MAX, &err), status);
    assert_string_equal(err.message, message);
    assert_int_equal(err.status, status);
    assert_int_equal(link.fd, -1);
    assert_int_equal(lowest_free_descriptor(), lowest);
    link_end(&link);
}

/* Where nobody listens, the server may not have been started; elsewhere that would be no help. */
static void the_reason_is_told(void **state)
{
    (void)state;
    static const char refused[] = "connection refused; is the server running?";
    char address[128];
    for (int is_unix = 0; is_unix < 2; is_unix++) {
        struct peer peer;
        peer_bind(&peer, is_unix);
        assert_fails(peer.address, GP_IO, refused);
        peer_end(&peer);
    }
    snprintf(address, sizeof address, "unix:%s", tree_path("/absent"));
    assert_fails(address, GP_IO, "no such file or directory; is the server running?");
    tree_put("/file", "");
    snprintf(address, sizeof address, "unix:%s", tree_path("/file/socket"));
    assert_fails(address, GP_IO, "not a directory");

    const rlim_t before = limit_descriptors((rlim_t)lowest_free_descriptor());
    struct client_link link = link_to("127.0.0.1:1", 5000);
    struct gp_error err;
    const enum gp_status status = link_open(&link, INT64_MAX, &err);
    limit_descriptors(before);
    assert_int_equal(status, GP_IO);
    assert_string_equal(err.message, "http://127.0.0.1:1: too many open files");
    link_end(&link);
}

/* Of the link's own timeout and the deadline, whichever comes first. */
static void a_full_queue_is_waited_for(void **state)
{
    (void)state;
    static const char late[] = "the deadline passed while connecting";
    static const struct {
        int64_t deadline_ns;
        uint32_t timeout_ms;
        int takes_ms;
        enum gp_status status;
        const char *words;
    } cases[] = {
        {INT64_MAX, 6, 6, GP_TIMEOUT, "no connection within 6 ms"},
        {NOON + 7 * CLOCK_MS, 6, 6, GP_TIMEOUT, "no connection within 6 ms"},
        {NOON + 6 * CLOCK_MS, 6, 6, GP_DEADLINE, late},
        {NOON + 5 * CLOCK_MS, 6, 5, GP_DEADLINE, late},
        {NOON + 5 * CLOCK_MS, UINT32_MAX, 5, GP_DEADLINE, late},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const bool is_unix = i % 2;
        struct peer peer;
        peer_listen(&peer, is_unix);
        peer_fill(&peer, is_unix);
        struct client_link link = link_to(peer.address, cases[i / 2].timeout_ms);
        struct gp_error err;
        char message[300];
        snprintf(message, sizeof message, "%s: %s", peer.address, cases[i / 2].words);
        const int lowest = lowest_free_descriptor();
        turned_clock_set(NOON);
        turned_clock_add_at_each_look(CLOCK_MS);
        assert_int_equal(link_open(&link, cases[i / 2].deadline_ns, &err),
                         cases[i / 2].status);
        assert_string_equal(err.message, message);
        /* the look that tells, and its own step */
        const int64_t took_ns = clock_now_ns() - NOON;
        assert_in_range(took_ns, cases[i / 2].takes_ms * CLOCK_MS,
                        (cases[i / 2].takes_ms + 3) * CLOCK_MS);
        assert_int_equal(link.fd, -1);
        assert_int_equal(lowest_free_descriptor(), lowest);
        link_end(&link);
        peer_end(&peer);
    }
}

static void *accept_later(void *arg)
{
    const struct peer *peer = arg;
    poll(NULL, 0, 10);
    close(accept(peer->listener, NULL, NULL));
    return NULL;
}

static void room_in_a_full_queue_is_taken(void **state)
{
    (void)state;
    struct peer peer;
    pthread_t thread;
    peer_listen(&peer, true);
    peer_fill(&peer, true);
    struct client_link link = link_to(peer.address, 5000);
    turned_clock_set(NOON);
    assert_int_equal(pthread_create(&thread, NULL, accept_later, &peer), 0);
    assert_int_equal(link_open(&link, INT64_MAX, NULL), GP_OK);
    pthread_join(thread, NULL);
    link_end(&link);
    peer_end(&peer);
}

static void closing_twice_closes_once(void **state)
{
    (void)state;
    int other;
    char byte;
    struct client_link link = link_with(&other);
    const int number = link.fd;
    link_close(&link);
    assert_int_equal(link.fd, -1);
    assert_int_equal(recv(other, &byte, 1, 0), 0);
    assert_int_equal(dup2(other, number), number); /* somebody else has it now */
    link_close(&link);
    assert_true(fcntl(number, F_GETFD) >= 0);
    close(number);
    close(other);
}

/* --- waiting
 * ----------------------------------------------------------------------------- */

static void waiting_tells_what_came(void **state)
{
    (void)state;
    int other;
    struct client_link link = link_with(&other);
    turned_clock_set(NOON);
    assert_int_equal(link_wait(&link, POLLIN, NOON), 0);
    assert_int_equal(link_wait(&link, POLLIN, NOON - 1), 0);
    assert_int_equal(link_wait(&link, POLLIN | POLLOUT, INT64_MAX), POLLOUT);
    turned_clock_add_at_each_look(CLOCK_MS);
    assert_int_equal(link_wait(&link, POLLIN, NOON + 3 * CLOCK_MS), 0);
    assert_true(clock_now_ns() > NOON + 3 * CLOCK_MS);
    assert_int_equal(send(other, "x", 1, 0), 1);
    assert_int_equal(link_wait(&link, POLLIN, INT64_MAX), POLLIN);
    assert_int_equal(link_wait(&link, POLLIN, 1), POLLIN); /* late, but it is there */
    close(other);
    assert_true(link_wait(&link, 0, INT64_MAX) & POLLHUP);
    link_close(&link);
}

/* A wait that cannot be is no wait without end. */
static void waiting_may_fail(void **state)
{
    (void)state;
    int other;
    struct client_link link = link_with(&other);
    const rlim_t before = limit_descriptors(0);
    const short events = link_wait(&link, POLLIN, INT64_MAX);
    limit_descriptors(before);
    assert_int_equal(events, POLLERR);
    link_close(&link);
    close(other);
}

/* Rounded up: a wait that ends a moment before its time would be followed by another. */
static void a_wait_takes_what_is_left(void **state)
{
    (void)state;
    static const struct {
        int64_t deadline_ns;
        int timeout_ms;
    } cases[] = {{INT64_MAX, -1},
                 {NOON - CLOCK_S, 0},
                 {NOON, 0},
                 {NOON + 1, 1},
                 {NOON + CLOCK_MS, 1},
                 {NOON + CLOCK_MS + 1, 2},
                 {NOON + CLOCK_S, 1000},
                 {NOON + CLOCK_S + 1, 1001},
                 {NOON + CLOCK_MS * INT_MAX + 1, INT_MAX}};
    const struct client_link link = {.fd = -1};
    turned_clock_set(NOON);
    polling.is_played = true;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        polling.timeout_ms = -2;
        assert_int_equal(link_wait(&link, POLLIN, cases[i].deadline_ns), POLLIN);
        assert_int_equal(polling.timeout_ms, cases[i].timeout_ms);
    }
    polling.is_played = false;
}

/* --- moving bytes
 * ------------------------------------------------------------------------ */

/* Idle and open, a kept connection may carry another request. */
static void a_connection_that_has_ended_or_spoken_is_stale(void **state)
{
    (void)state;
    int other;
    char byte;
    struct client_link link = link_with(&other);
    assert_false(link_is_stale(&link));
    assert_int_equal(send(other, "x", 1, 0), 1);
    assert_true(link_is_stale(&link));
    assert_int_equal(recv(link.fd, &byte, 1, MSG_DONTWAIT),
                     1); /* it was only looked at */
    assert_false(link_is_stale(&link));
    close(other);
    assert_true(link_is_stale(&link));
    link_close(&link);

    link = link_with(&other);
    assert_int_equal(send(link.fd, "x", 1, 0), 1);
    close(other); /* which resets it */
    assert_true(link_is_stale(&link));
    link_close(&link);
}

static void what_is_received_is_counted(void **state)
{
    (void)state;
    int other;
    char bytes[8];
    size_t moved = 99;
    struct client_link link = link_with(&other);
    assert_int_equal(link_receive(&link, bytes, sizeof bytes, &moved), LINK_LATER);
    assert_int_equal(moved, 0);
    assert_int_equal(send(other, "01234", 5, 0), 5);
    assert_int_equal(link_receive(&link, bytes, 1, &moved), LINK_MOVED);
    assert_int_equal(moved, 1);
    assert_int_equal(link_receive(&link, bytes + 1, sizeof bytes - 1, &moved),
                     LINK_MOVED);
    assert_int_equal(moved, 4);
    assert_memory_equal(bytes, "01234", 5);
    close(other);
    assert_int_equal(link_receive(&link, bytes, sizeof bytes, &moved), LINK_CLOSED);
    assert_int_equal(moved, 0);
    link_close(&link);
    assert_int_equal(link_receive(&link, bytes, sizeof bytes, &moved), LINK_FAILED);
    assert_int_equal(errno, EBADF);
    assert_int_equal(moved, 0);
}

/* Without SIGPIPE, which would end this test. */
static void what_is_sent_is_counted(void **state)
{
    (void)state;
    int other;
    char bytes[65536];
    size_t moved = 99;
    struct client_link link = link_with(&other);
    struct iovec parts[] = {{"01", 2}, {"", 0}, {"234", 3}};
    assert_int_equal(link_send(&link, parts, 3, &moved), LINK_MOVED);
    assert_int_equal(moved, 5);
    assert_int_equal(recv(other, bytes, sizeof bytes, 0), 5);
    assert_memory_equal(bytes, "01234", 5);
    assert_int_equal(link_send(&link, &(struct iovec){"x", 1}, 1, &moved), LINK_MOVED);
    assert_int_equal(moved, 1);
    struct iovec much = {bytes, sizeof bytes};
    enum link_outcome outcome;
    while ((outcome = link_send(&link, &much, 1, &moved)) == LINK_MOVED)
        assert_in_range(moved, 1, sizeof bytes);
    assert_int_equal(outcome, LINK_LATER);
    assert_int_equal(moved, 0);
    close(other);
    assert_int_equal(link_send(&link, parts, 3, &moved), LINK_FAILED);
    assert_int_equal(errno, EPIPE);
    assert_int_equal(moved, 0);
    link_close(&link);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_connection_is_made),
        TEST(the_reason_is_told),
        TEST(a_full_queue_is_waited_for),
        TEST(room_in_a_full_queue_is_taken),
        TEST(closing_twice_closes_once),
        TEST(waiting_tells_what_came),
        TEST(waiting_may_fail),
        TEST(a_wait_takes_what_is_left),
        TEST(a_connection_that_has_ended_or_spoken_is_stale),
        TEST(what_is_received_is_counted),
        TEST(what_is_sent_is_counted),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
