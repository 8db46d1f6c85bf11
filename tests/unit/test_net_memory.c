/* The poller and what it serves when descriptors, threads or memory are refused: it is told, nothing is
 * left of it, and once there are some again the same goes well. */
#include "fault.h"
#include "net/alarm.h"
#include "net/listen.h"
#include "net/peers.h"
#include "net/timers.h"
#include "net/transport.h"
#include "still_poller.h"
#include "temp_tree.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

enum { WAIT_MS = 20000 };

static struct gp_error err;

/* The call of a kind that comes after `from` others fails, on this thread. */
static void fail_one(unsigned calls, unsigned from, int error)
{
    err = (struct gp_error){0};
    fault_begin(&(struct fault){.calls = calls, .from = from, .n = 1, .error = error});
}

static void assert_failed(enum gp_status status, enum gp_status wanted, const char *says)
{
    assert_int_equal(fault_end(), 1);
    assert_int_equal(status, wanted);
    assert_int_equal(err.status, wanted);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" lacks \"%s\"", err.message, says);
}

/* --- descriptors --- */

static void a_poller_without_descriptors(void **state)
{
    static const struct {
        unsigned call, from;
    } cases[] = {{FAULT_EPOLL_CREATE1, 0},
                 {FAULT_EVENTFD, 0},
                 {FAULT_EVENTFD, 1},
                 {FAULT_EPOLL_ADD, 0},
                 {FAULT_EPOLL_ADD, 1}};
    (void)state;
    const unsigned n_descriptors = fault_n_descriptors();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct poller poller = {0};
        fail_one(cases[i].call, cases[i].from, ENFILE);
        const enum gp_status status = poller_init(&poller, NULL, 1, &err);
        assert_failed(status, GP_IO,
                      "cannot make an epoll set: Too many open files in system");
        poller_finish(&poller);
        assert_int_equal(fault_n_descriptors(), n_descriptors);
    }
    struct poller none = {0}; /* that was never made */
    poller_finish(&none);
    assert_int_equal(close(dup(STDIN_FILENO)), 0);
}

static void timers_without_a_descriptor(void **state)
{
    static const unsigned calls[] = {FAULT_TIMERFD_CREATE, FAULT_EPOLL_ADD};
    struct poller poller;
    (void)state;
    still_begin(&poller);
    const unsigned n_descriptors = fault_n_descriptors();
    for (int i = 0; i < 2; i++) {
        struct timers timers = {0};
        fail_one(calls[i], 0, ENFILE);
        const enum gp_status status = timers_init(&timers, &poller, &err);
        assert_failed(status, GP_IO,
                      "cannot make a timer: Too many open files in system");
        timers_finish(&timers);
        assert_int_equal(fault_n_descriptors(), n_descriptors);
    }
    still_end(&poller);
}

static int64_t ring_never(struct worker *worker, struct alarm *alarm)
{
    (void)worker, (void)alarm;
    return 0;
}

/* One without a timer is not on the list, and the next one makes it. */
static void an_alarm_without_a_descriptor(void **state)
{
    static const unsigned calls[] = {FAULT_TIMERFD_CREATE, FAULT_EPOLL_ADD};
    struct poller poller;
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct alarm refused = {.ring = ring_never}, added = {.ring = ring_never};
        still_begin(&poller);
        const unsigned n_descriptors = fault_n_descriptors();
        fail_one(calls[i], 0, ENFILE);
        const enum gp_status status = alarm_add(&poller, &refused, &err);
        assert_failed(status, GP_IO,
                      "cannot make a timer: Too many open files in system");
        assert_null(poller.alarms);
        assert_int_equal(fault_n_descriptors(), n_descriptors);
        assert_int_equal(alarm_add(&poller, &added, &err), GP_OK);
        assert_ptr_equal(poller.alarms, &added);
        assert_null(added.next);
        assert_int_equal(fault_n_descriptors(), n_descriptors + 1);
        still_end(&poller);
    }
}

/* --- threads --- */

static unsigned count_workers(struct poller *poller)
{
    pthread_mutex_lock(&poller->lock);
    const unsigned n = poller->n_workers;
    pthread_mutex_unlock(&poller->lock);
    return n;
}

static void await_workers(struct poller *poller, unsigned n, int n_polling)
{
    for (int i = 0; i < WAIT_MS; i++) {
        if (count_workers(poller) == n && atomic_load(&poller->n_polling) == n_polling &&
            atomic_load(&poller->n_awake) == n_polling)
            return;
        poll(NULL, 0, 1);
    }
    fail_msg("%u workers, %d poll", count_workers(poller),
             atomic_load(&poller->n_polling));
}

/* Those that there were serve on, and none counts that there is not. */
static void more_threads_than_there_may_be(void **state)
{
    static const struct {
        unsigned call;
        int error;
        const char *says;
    } cases[] = {
        {FAULT_PTHREAD_CREATE, EPERM,
         "cannot make thread 4 of 5: Operation not permitted; fewer --pollers and "
         "--instances need fewer threads"},
        {FAULT_MEM, ENOMEM, "cannot make thread 4 of 5: Cannot allocate memory"}};
    struct poller poller = {0};
    (void)state;
    const long n_live = fault_n_live();
    assert_int_equal(poller_init(&poller, NULL, 1, NULL), GP_OK);
    assert_int_equal(poller_start(&poller, NULL), GP_OK);
    for (int i = 0; i < 2; i++) {
        await_workers(&poller, 2, 1);
        fail_one(cases[i].call, 1, cases[i].error);
        const enum gp_status status = poller_need(&poller, 3, &err);
        assert_failed(status, GP_UNAVAILABLE, cases[i].says);
        assert_int_equal(poller.n_needed, 0);
        await_workers(&poller, 2, 1);
    }
    assert_int_equal(poller_need(&poller, 3, &err), GP_OK);
    await_workers(&poller, 5, 1);
    poller_stop(&poller);
    poller_finish(&poller);
    assert_int_equal(fault_n_live(), n_live);
}

/* The watcher's is the first, then come two that poll or are parked. */
static void a_start_without_threads(void **state)
{
    static const char *const says[] = {
        "cannot make the watcher's thread: Operation not permitted",
        "cannot make thread 1 of 2: Operation not permitted",
        "cannot make thread 2 of 2: Operation not permitted"};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        struct poller poller = {0};
        assert_int_equal(poller_init(&poller, NULL, 1, NULL), GP_OK);
        fail_one(FAULT_PTHREAD_CREATE, i, EPERM);
        const enum gp_status status = poller_start(&poller, &err);
        assert_failed(status, GP_UNAVAILABLE, says[i]);
        assert_int_equal(poller.has_watcher, i > 0);
        assert_int_equal(count_workers(&poller), i > 1);
        poller_stop(&poller);
        poller_finish(&poller);
    }
}

/* What is needed before the start, or when the end has begun, needs no threads. */
static void threads_are_made_while_the_poller_runs(void **state)
{
    struct poller poller = {0};
    unsigned numbers = 0;
    (void)state;
    const long n_live = fault_n_live();
    assert_int_equal(poller_init(&poller, NULL, 1, NULL), GP_OK);
    assert_int_equal(poller_need(&poller, 2, NULL), GP_OK);
    assert_int_equal(count_workers(&poller), 0);
    assert_int_equal(poller_start(&poller, NULL), GP_OK);
    assert_int_equal(count_workers(&poller), 4);
    for (const struct worker *one = poller.workers; one; one = one->next)
        numbers |= 1u << one->number;
    assert_int_equal(numbers, 0xf); /* each its own, from 0 */
    poller_stop(&poller);
    assert_int_equal(poller_need(&poller, 1, NULL), GP_OK);
    assert_int_equal(count_workers(&poller), 4);
    poller_finish(&poller);
    assert_int_equal(fault_n_live(), n_live);
}

/* --- peers --- */

/* A host has a record, and one of its site; without one of them it has none. */
static void peers_without_memory(void **state)
{
    const struct peer_name host = {.family = AF_INET6, .value = 1, .n_bits = 64};
    struct peers peers = {0};
    (void)state;
    const long n_live = fault_n_live_here();
    for (unsigned i = 0; i < 2; i++) {
        fail_one(FAULT_MEM, i, ENOMEM);
        assert_null(peers_join(&peers, host));
        assert_int_equal(fault_end(), 1);
        assert_int_equal(peers.n, 0);
        assert_int_equal(fault_n_live_here(), n_live);
    }
    struct peer_record *peer = peers_join(&peers, host);
    assert_non_null(peer);
    assert_int_equal(peer->n_connections, 1);
    assert_int_equal(peer->site->n_connections, 1);
    peers_leave(&peers, peer);
    assert_int_equal(fault_n_live_here(), n_live);
}

/* --- listeners --- */

static enum gp_status listen_and_close(void *where, struct gp_error *error)
{
    struct listener *list = NULL;
    const enum gp_status status = listen_open(where, &list, error);
    assert_true(status == GP_OK ? list && !list->next : !list || list->unix_path == NULL);
    listen_close(list);
    if (strncmp(where, "unix:", 5) == 0)
        assert_int_equal(access((const char *)where + 5, F_OK), -1);
    return status;
}

static void a_listener_without_memory(void **state)
{
    char where[96];
    (void)state;
    (void)snprintf(where, sizeof where, "unix:%s", tree_path("/socket"));
    assert_int_equal(fault_each_allocation(listen_and_close, where), 3);
    assert_int_equal(fault_each_allocation(listen_and_close, "127.0.0.1:0"), 2);
}

/* Nothing is left of a socket that cannot listen, nor its file. */
static void a_socket_that_cannot_listen(void **state)
{
    static const unsigned calls[] = {FAULT_SOCKET, FAULT_BIND, FAULT_LISTEN};
    char path[96];
    (void)state;
    (void)snprintf(path, sizeof path, "unix:%s", tree_path("/socket"));
    const char *where[] = {path, "127.0.0.1:0"};
    const unsigned n_descriptors = fault_n_descriptors();
    for (int i = 0; i < 6; i++) {
        char says[160];
        (void)snprintf(says, sizeof says, "cannot listen on %s: No buffer space",
                       where[i % 2]);
        fail_one(calls[i / 2], 0, ENOBUFS);
        const enum gp_status status = listen_and_close((void *)where[i % 2], &err);
        assert_failed(status, GP_IO, says);
        assert_int_equal(fault_n_descriptors(), n_descriptors);
    }
}

/* Where there is no IPv6, every address is every one of IPv4. */
static void every_address_without_ipv6(void **state)
{
    struct listener *list = NULL;
    (void)state;
    fail_one(FAULT_SOCKET, 0, EAFNOSUPPORT);
    assert_int_equal(listen_open(":0", &list, &err), GP_OK);
    assert_int_equal(fault_end(), 1);
    assert_memory_equal(list->address, "http://0.0.0.0:", 15);
    assert_null(list->next);
    listen_close(list);
}

/* --- bytes --- */

/* A signal that comes meanwhile says nothing about the connection; an error does. */
static void a_call_that_is_interrupted(void **state)
{
    static const struct {
        int error;
        enum transport_result read, written;
    } cases[] = {{EINTR, TRANSPORT_OK, TRANSPORT_OK},
                 {EAGAIN, TRANSPORT_WANT_READ, TRANSPORT_WANT_WRITE},
                 {EIO, TRANSPORT_FAILED, TRANSPORT_FAILED}};
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
    for (int i = 0; i < 3; i++) {
        struct transport transport = {ends[0]};
        char bytes[4] = "abc";
        const struct iovec part = {bytes, 3};
        size_t n_moved = 0;
        assert_int_equal(write(ends[1], "xyz", 3), 3);
        fail_one(FAULT_SENDMSG, 0, cases[i].error);
        assert_int_equal(transport_writev(&transport, &part, 1, &n_moved),
                         cases[i].written);
        assert_int_equal(fault_end(), 1);
        assert_int_equal(n_moved, i ? 0 : 3);
        n_moved = 0;
        fail_one(FAULT_READV, 0, cases[i].error);
        assert_int_equal(transport_readv(&transport, &part, 1, &n_moved), cases[i].read);
        assert_int_equal(fault_end(), 1);
        assert_int_equal(n_moved, i ? 0 : 3);
    }
    close(ends[0]);
    close(ends[1]);
}

#define BELOW_A_ROOT(test) cmocka_unit_test_setup_teardown(test, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_poller_without_descriptors),
        cmocka_unit_test(timers_without_a_descriptor),
        cmocka_unit_test(an_alarm_without_a_descriptor),
        cmocka_unit_test(more_threads_than_there_may_be),
        cmocka_unit_test(a_start_without_threads),
        cmocka_unit_test(threads_are_made_while_the_poller_runs),
        cmocka_unit_test(peers_without_memory),
        BELOW_A_ROOT(a_listener_without_memory),
        BELOW_A_ROOT(a_socket_that_cannot_listen),
        cmocka_unit_test(every_address_without_ipv6),
        cmocka_unit_test(a_call_that_is_interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
