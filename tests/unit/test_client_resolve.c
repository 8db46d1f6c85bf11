/* Names of servers: who looks them up, what is told when that fails or lasts too long, and which of
 * several addresses is taken. The linker puts the functions below in the place of the C library's. */
#include "client/link.h"

#include "turned_clock.h"

#include <arpa/inet.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* --- what names mean
 * --------------------------------------------------------------------- */

static struct {
    int ports[3]; /* of the addresses of every name, on 127.0.0.1 */
    int n_ports;
    int outcome;         /* when a name is looked up */
    int numeric_outcome; /* 0: the C library's */
    bool is_slow;        /* until it is released */
    sem_t released;
    sem_t begun, ended;
    sem_t freed; /* a list was given back */

    /* the last lookup of a name */
    int n_lookups;
    char host[256];
    char port[8];
    struct addrinfo hints;
    pthread_t thread;
    pid_t task;
    sigset_t blocked;
} names;

int __real_getaddrinfo(const char *, const char *, const struct addrinfo *,
                       struct addrinfo **);
int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **list);
void __real_freeaddrinfo(struct addrinfo *);
void __wrap_freeaddrinfo(struct addrinfo *list);

static void list_addresses(struct addrinfo **list)
{
    const struct addrinfo numeric = {.ai_socktype = SOCK_STREAM,
                                     .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV};
    for (int i = 0; i < names.n_ports; i++) {
        char text[8];
        snprintf(text, sizeof text, "%d", names.ports[i]);
        if (__real_getaddrinfo("127.0.0.1", text, &numeric, list) != 0)
            abort();
        list = &(*list)->ai_next;
    }
}

int __wrap_getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                       struct addrinfo **list)
{
    const bool is_numeric = hints->ai_flags & AI_NUMERICHOST;
    if (is_numeric && !names.numeric_outcome)
        return __real_getaddrinfo(host, port, hints, list);
    if (is_numeric)
        return names.numeric_outcome;
    names.n_lookups++;
    snprintf(names.host, sizeof names.host, "%s", host);
    snprintf(names.port, sizeof names.port, "%s", port);
    names.hints = *hints;
    names.thread = pthread_self();
    names.task = gettid();
    pthread_sigmask(SIG_BLOCK, NULL, &names.blocked);
    sem_post(&names.begun);
    if (names.is_slow)
        sem_wait(&names.released);
    const int outcome = names.outcome;
    if (outcome == 0)
        list_addresses(list);
    sem_post(&names.ended);
    return outcome;
}

void __wrap_freeaddrinfo(struct addrinfo *list)
{
    __real_freeaddrinfo(list);
    sem_post(&names.freed);
}

static int n_freed(void)
{
    int n;
    sem_getvalue(&names.freed, &n);
    return n;
}

static int begin(void **state)
{
    (void)state;
    memset(&names, 0, sizeof names);
    sem_init(&names.released, 0, 0);
    sem_init(&names.begun, 0, 0);
    sem_init(&names.ended, 0, 0);
    sem_init(&names.freed, 0, 0);
    names.ports[0] = 1;
    names.n_ports = 1;
    return 0;
}

static int end(void **state)
{
    (void)state;
    turned_clock_end();
    sem_destroy(&names.released);
    sem_destroy(&names.begun);
    sem_destroy(&names.ended);
    sem_destroy(&names.freed);
    return 0;
}

static void await_freed(void)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += 20;
    assert_int_equal(sem_timedwait(&names.freed, &until), 0);
}

/* --- looking up
 * -------------------------------------------------------------------------- */

static enum gp_status resolve(const char *text, int64_t deadline_ns, struct gp_error *err)
{
    struct client_address address;
    struct addrinfo *list = NULL;
    assert_int_equal(client_address_init(&address, text, NULL), GP_OK);
    const enum gp_status status = client_resolve(&address, deadline_ns, &list, err);
    if (status == GP_OK) {
        assert_non_null(list);
        assert_int_equal(list->ai_socktype, SOCK_STREAM);
        freeaddrinfo(list);
    }
    client_address_finish(&address);
    return status;
}

static void numbers_are_not_looked_up(void **state)
{
    (void)state;
    static const char *const texts[] = {"127.0.0.1:1", "[::1]:1", "10.0.0.1",
                                        "[fe80::1%lo]"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_int_equal(resolve(texts[i], 0, NULL), GP_OK);
    assert_int_equal(names.n_lookups, 0);
}

/* getaddrinfo cannot be stopped, so it runs on a thread of its own, which must not take the
 * application's signals. */
static void names_are_looked_up_on_another_thread(void **state)
{
    (void)state;
    sigset_t before, after;
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    assert_int_equal(resolve("example:65432", clock_now_ns() + 60 * CLOCK_S, NULL),
                     GP_OK);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    assert_int_equal(names.n_lookups, 1);
    assert_string_equal(names.host, "example");
    assert_string_equal(names.port, "65432");
    assert_int_equal(names.hints.ai_flags, AI_NUMERICSERV);
    assert_int_equal(names.hints.ai_socktype, SOCK_STREAM);
    assert_int_equal(names.hints.ai_family, AF_UNSPEC);
    assert_false(pthread_equal(names.thread, pthread_self()));
    for (int number = 1; number < 32; number++) {
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
        if (number != SIGKILL && number != SIGSTOP)
            assert_true(sigismember(&names.blocked, number));
    }
}

static void a_name_may_be_unknown(void **state)
{
    (void)state;
    static const int outcomes[] = {EAI_NONAME, EAI_AGAIN, EAI_FAIL};
    for (size_t i = 0; i < 2 * sizeof outcomes / sizeof *outcomes; i++) {
        const bool is_numeric = i % 2; /* then there is nothing to look up */
        const int outcome = outcomes[i / 2];
        if (is_numeric && outcome == EAI_NONAME)
            continue;
        begin(state);
        names.outcome = outcome;
        names.numeric_outcome = is_numeric ? outcome : 0;
        struct gp_error err;
        char message[200];
        snprintf(message, sizeof message, "http://example:9000: unknown host: %s",
                 gai_strerror(outcome));
        assert_int_equal(resolve("example", clock_now_ns() + 60 * CLOCK_S, &err), GP_IO);
        assert_string_equal(err.message, message);
        assert_int_equal(names.n_lookups, !is_numeric);
        assert_int_equal(n_freed(), 0);
    }
}

/* Its thread frees what it found. */
static void a_lookup_that_lasts_too_long_is_left_alone(void **state)
{
    (void)state;
    static const int64_t waits_ns[] = {-CLOCK_S, 0, 5 * CLOCK_MS};
    for (size_t i = 0; i < sizeof waits_ns / sizeof *waits_ns; i++) {
        begin(state);
        names.is_slow = true;
        const int64_t deadline_ns = clock_now_ns() + waits_ns[i];
        struct gp_error err;
        assert_int_equal(resolve("example", deadline_ns, &err), GP_TIMEOUT);
        assert_string_equal(err.message,
                            "http://example:9000: looking the host up took too long");
        assert_true(clock_now_ns() >= deadline_ns);
        assert_int_equal(n_freed(), 0);
        sem_post(&names.released);
        await_freed();
    }
}

/* A lookup that lasts until it has been given up, and the end of its thread. */
static void look_up_late(void)
{
    char task[64];
    names.is_slow = true;
    assert_int_equal(resolve("example", 0, NULL), GP_TIMEOUT);
    sem_wait(&names.begun);
    pthread_attr_t attributes; /* nobody joins it */
    int detached = PTHREAD_CREATE_JOINABLE;
    assert_int_equal(pthread_getattr_np(names.thread, &attributes), 0);
    pthread_attr_getdetachstate(&attributes, &detached);
    pthread_attr_destroy(&attributes);
    assert_int_equal(detached, PTHREAD_CREATE_DETACHED);
    snprintf(task, sizeof task, "/proc/self/task/%d", (int)names.task);
    sem_post(&names.released);
    sem_wait(&names.ended);
    for (int i = 0; access(task, F_OK) == 0; i++) {
        assert_true(i < 20000);
        poll(NULL, 0, 1);
    }
}

static void a_late_lookup_may_find_nothing(void **state)
{
    (void)state;
    names.outcome = EAI_AGAIN;
    look_up_late();
    assert_int_equal(n_freed(), 0);
}

/* After some rounds, when the C library has the memory that it keeps for itself. */
static void nothing_is_left_of_lookups(void **state)
{
    (void)state;
    size_t before = 0;
    for (int round = 0; round < 40; round++) {
        names.is_slow = false;
        assert_int_equal(resolve("example", clock_now_ns() + 60 * CLOCK_S, NULL), GP_OK);
        sem_wait(&names.begun);
        sem_wait(&names.ended);
        look_up_late();
        if (round == 20)
            before = mallinfo2().uordblks;
    }
    assert_true(mallinfo2().uordblks < before + 3000);
}

/* The link's own timeout, or the deadline. */
static void connecting_waits_no_longer_for_a_name(void **state)
{
    (void)state;
    for (int is_deadline = 0; is_deadline < 2; is_deadline++) {
        begin(state);
        names.is_slow = true;
        struct client_link link = {.fd = -1,
                                   .connect_timeout_ms = is_deadline ? 60000 : 3};
        assert_int_equal(client_address_init(&link.address, "example", NULL), GP_OK);
        const int64_t now_ns = clock_now_ns();
        struct gp_error err;
        assert_int_equal(
            link_open(&link, is_deadline ? now_ns + 3 * CLOCK_MS : INT64_MAX, &err),
            is_deadline ? GP_DEADLINE : GP_TIMEOUT);
        assert_string_equal(
            err.message, is_deadline
                             ? "http://example:9000: the deadline passed while connecting"
                             : "http://example:9000: looking the host up took too long");
        assert_int_equal(link.fd, -1);
        sem_post(&names.released);
        await_freed();
        client_address_finish(&link.address);
    }
}

/* --- several addresses
 * ------------------------------------------------------------------- */

/* The next of the name's addresses. A queue of -1: nobody listens; else it has room for one. */
static int add_address(int queue)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    if (queue >= 0)
        assert_int_equal(listen(fd, 0), 0);
    names.ports[names.n_ports++] = ntohs(name.sin_port);
    return fd;
}

static void fill_queue(int listener, int fillers[2])
{
    struct sockaddr_in name;
    socklen_t size = sizeof name;
    getsockname(listener, (struct sockaddr *)&name, &size);
    for (int i = 0; i < 2; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&name, size);
    }
}

static enum gp_status open_link(struct client_link *link, uint32_t timeout_ms,
                                struct gp_error *err)
{
    *link = (struct client_link){.fd = -1, .connect_timeout_ms = timeout_ms};
    assert_int_equal(client_address_init(&link->address, "example", NULL), GP_OK);
    const enum gp_status status = link_open(link, INT64_MAX, err);
    client_address_finish(&link->address);
    return status;
}

static int peer_port(const struct client_link *link)
{
    struct sockaddr_in name = {.sin_port = 0};
    socklen_t size = sizeof name;
    getpeername(link->fd, (struct sockaddr *)&name, &size);
    return ntohs(name.sin_port);
}

static void the_first_that_answers_is_taken(void **state)
{
    for (int first = 0; first < 4; first++) {
        begin(state);
        names.n_ports = 0;
        int fds[3];
        for (int i = 0; i < 3; i++)
            fds[i] = add_address(i < first ? -1 : 0);
        struct client_link link;
        struct gp_error err;
        const enum gp_status status = open_link(&link, 60000, &err);
        if (first < 3) {
            assert_int_equal(status, GP_OK);
            assert_int_equal(peer_port(&link), names.ports[first]);
        } else {
            assert_int_equal(status, GP_IO);
            assert_string_equal(err.message, "http://example:9000: connection refused; "
                                             "is the server running?");
            assert_int_equal(link.fd, -1);
        }
        assert_int_equal(n_freed(), 1);
        link_close(&link);
        for (int i = 0; i < 3; i++)
            close(fds[i]);
    }
}

/* Each has a share of the time that is left, so that one that swallows packets does not use up that of
 * the others: with 12 ms for three, the first one has 4. */
static void the_time_is_shared(void **state)
{
    (void)state;
    int fds[3], fillers[2][2];
    names.n_ports = 0;
    for (int i = 0; i < 3; i++)
        fds[i] = add_address(0);
    for (int n_full = 1; n_full < 3; n_full++) {
        fill_queue(fds[n_full - 1], fillers[n_full - 1]);
        /* far ahead of the real one, by which the lookup is waited for */
        turned_clock_set(clock_now_ns() + 3600 * CLOCK_S);
        turned_clock_add_at_each_look(CLOCK_MS / 8);
        const int64_t start_ns = clock_now_ns();
        struct client_link link;
        struct gp_error err;
        if (open_link(&link, 12, &err) != GP_OK)
            fail_msg("%s", err.message);
        const int64_t took_ns = clock_now_ns() - start_ns;
        turned_clock_end();
        assert_int_equal(peer_port(&link), names.ports[n_full]);
        assert_in_range(took_ns, n_full * 4 * CLOCK_MS - CLOCK_MS,
                        n_full * 4 * CLOCK_MS + 2 * CLOCK_MS);
        link_close(&link);
    }
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    for (int i = 0; i < 4; i++)
        close(fillers[i / 2][i % 2]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(numbers_are_not_looked_up),
        TEST(names_are_looked_up_on_another_thread),
        TEST(a_name_may_be_unknown),
        TEST(a_lookup_that_lasts_too_long_is_left_alone),
        TEST(a_late_lookup_may_find_nothing),
        TEST(nothing_is_left_of_lookups),
        TEST(connecting_waits_no_longer_for_a_name),
        TEST(the_first_that_answers_is_taken),
        TEST(the_time_is_shared),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
