/* Addresses to listen on: which sockets come of them, which are refused and why, and what becomes of
 * a unix socket's file. */
#include "net/listen.h"
#include "temp_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct gp_error err;

static struct listener *open_one(const char *where)
{
    struct listener *list = NULL;
    err = (struct gp_error){0};
    if (listen_open(where, &list, &err) != GP_OK)
        fail_msg("%s", err.message);
    assert_non_null(list);
    assert_null(list->next);
    return list;
}

static void assert_refused(const char *where, enum gp_status status, const char *says)
{
    struct listener *list = NULL;
    err = (struct gp_error){0};
    assert_int_equal(listen_open(where, &list, &err), status);
    assert_int_equal(err.status, status);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" lacks \"%s\"", err.message, says);
    assert_null(list);
}

/* The lowest that is free: what is left open raises it. */
static int free_descriptor(void)
{
    const int fd = dup(STDOUT_FILENO);
    close(fd);
    return fd;
}

static bool connects(const void *address, socklen_t size)
{
    const int fd = socket(*(const sa_family_t *)address, SOCK_STREAM, 0);
    assert_true(fd >= 0);
    const bool is_connected = connect(fd, address, size) == 0;
    close(fd);
    return is_connected;
}

static bool connects_to_port(uint32_t host, unsigned port)
{
    const struct sockaddr_in to = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)port),
                                   .sin_addr.s_addr = htonl(host)};
    return connects(&to, sizeof to);
}

static bool connects_to_path(const char *path)
{
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    return connects(&to, sizeof to);
}

static int value_of(const struct listener *listener, int level, int option)
{
    int value = -1;
    socklen_t size = sizeof value;
    assert_int_equal(getsockopt(listener->source.fd, level, option, &value, &size), 0);
    return value;
}

static unsigned port_of(const char *address)
{
    unsigned port = 0;
    assert_int_equal(sscanf(strrchr(address, ':'), ":%u", &port), 1);
    assert_true(port > 0);
    return port;
}

static void test_tcp(void **state)
{
    char again[64];
    (void)state;
    struct listener *listener = open_one("127.0.0.1:0");
    const unsigned port = port_of(listener->address);
    (void)snprintf(again, sizeof again, "http://127.0.0.1:%u", port);
    assert_string_equal(listener->address, again);
    assert_true(listener->is_local);
    assert_false(listener->is_stopped);
    assert_null(listener->unix_path);
    assert_int_equal(value_of(listener, SOL_SOCKET, SO_ACCEPTCONN), 1);
    assert_int_equal(value_of(listener, SOL_SOCKET, SO_REUSEADDR), 1);
    assert_true(connects_to_port(INADDR_LOOPBACK, port));

    (void)snprintf(again, sizeof again, "127.0.0.1:%u", port);
    assert_refused(again, GP_IO, "; another program has it (another --listen?)");
    assert_true(strstr(err.message, again));

    /* the port is asked for by its number, once it is free */
    listen_close(listener);
    assert_false(connects_to_port(INADDR_LOOPBACK, port));
    listener = open_one(again);
    assert_int_equal(port_of(listener->address), port);
    listen_close(listener);
}

/* Where nobody else can connect. */
static void test_port_alone(void **state)
{
    (void)state;
    struct listener *listener = open_one("0");
    assert_memory_equal(listener->address, "http://127.0.0.1:", 17);
    assert_true(listener->is_local);
    listen_close(listener);
}

/* One socket for all addresses of the machine, which is not local. */
static void test_any(void **state)
{
    (void)state;
    struct listener *listener = open_one(":0");
    assert_false(listener->is_local);
    assert_true(connects_to_port(INADDR_LOOPBACK, port_of(listener->address)));
    if (strstr(listener->address, "[::]"))
        assert_int_equal(value_of(listener, IPPROTO_IPV6, IPV6_V6ONLY), 0);
    else
        assert_non_null(strstr(listener->address, "http://0.0.0.0:"));
    listen_close(listener);
}

static void test_v6(void **state)
{
    struct listener *list = NULL;
    (void)state;
    if (listen_open("[::1]:0", &list, &err) != GP_OK) {
        /* but the address is understood */
        assert_true(strstr(err.message, strerror(EADDRNOTAVAIL)) ||
                    strstr(err.message, strerror(EAFNOSUPPORT)));
        print_message("skipped: the machine has no IPv6\n");
        skip();
    }
    assert_memory_equal(list->address, "http://[::1]:", 13);
    assert_true(list->is_local);
    struct sockaddr_in6 to = {.sin6_family = AF_INET6,
                              .sin6_port = htons((uint16_t)port_of(list->address)),
                              .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    assert_true(connects(&to, sizeof to));
    listen_close(list);
}

static void test_several(void **state)
{
    struct listener *list = NULL;
    (void)state;
    assert_int_equal(listen_open("127.0.0.1:0", &list, &err), GP_OK);
    const struct listener *first = list;
    assert_int_equal(listen_open("127.0.0.1:0", &list, &err), GP_OK);
    assert_ptr_equal(list->next, first);
    assert_true(port_of(list->address) != port_of(first->address));
    listen_close(list);
}

static void test_refused(void **state)
{
    static const char *const wrong[] = {"",
                                        "localhost",
                                        "127.0.0.1:",
                                        ":",
                                        "127.0.0.1:80x",
                                        "127.0.0.1:-1",
                                        ":65536",
                                        "65536",
                                        "123456",
                                        "127.0.0.1: 9000",
                                        "127.0.0.1:99999",
                                        "[::1]80",
                                        "[::1]"};
    char host[300];
    (void)state;
    const int before = free_descriptor();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_refused(wrong[i], GP_INVALID,
                       "wanted HOST:PORT, PORT (of 127.0.0.1), :PORT");
    assert_refused("[]:0", GP_IO,
                   "cannot listen on []:0: "); /* which is not every address */
    assert_refused("192.0.2.1:80", GP_IO, "cannot listen on 192.0.2.1:80: ");
    assert_null(strstr(err.message, "another program"));

    memset(host, 'a', sizeof host);
    memcpy(host + 255, ":80", 4); /* the longest that is looked up */
    assert_refused(host, GP_IO, "cannot listen on aaaa");
    memcpy(host + 256, ":80", 4);
    host[255] = 'a';
    assert_refused(host, GP_INVALID, "wanted HOST:PORT");
    assert_int_equal(free_descriptor(), before);
}

static void test_unix(void **state)
{
    char where[96];
    const char *path = tree_path("/socket");
    (void)state;
    (void)snprintf(where, sizeof where, "unix:%s", path);
    struct listener *listener = open_one(where);
    assert_string_equal(listener->address, where);
    assert_string_equal(listener->unix_path, path);
    assert_true(listener->is_local);
    assert_true(connects_to_path(path));
    assert_refused(where, GP_IO, "; another program has it");
    assert_true(connects_to_path(path)); /* it was left alone */

    listen_stop(listener);
    assert_true(listener->is_stopped);
    assert_int_equal(access(path, F_OK), -1);
    /* another server has the path by now */
    struct listener *next = open_one(where);
    listen_close(listener);
    assert_true(connects_to_path(path));
    listen_close(next);
    assert_int_equal(access(path, F_OK), -1);
}

/* What a process that died has left is replaced; a file that is no socket is not. */
static void test_stale(void **state)
{
    char where[96];
    (void)state;
    const char *path = tree_path("/socket");
    struct sockaddr_un left = {.sun_family = AF_UNIX};
    (void)snprintf(left.sun_path, sizeof left.sun_path, "%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (void *)&left, sizeof left), 0);
    close(fd);
    (void)snprintf(where, sizeof where, "unix:%s", path);
    const int before = free_descriptor();
    listen_close(open_one(where));
    assert_int_equal(free_descriptor(), before);

    tree_put("/file", "precious");
    (void)snprintf(where, sizeof where, "unix:%s", tree_path("/file"));
    assert_refused(where, GP_IO, "cannot listen on unix:");
    struct stat info;
    assert_int_equal(stat(where + strlen("unix:"), &info), 0);
    assert_int_equal(info.st_size, 8);
}

/* One with so many waiting clients that it takes no more is alive. */
static void test_busy(void **state)
{
    enum { MOST = 100 };
    char where[96];
    int clients[MOST], n = 0;
    (void)state;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = tree_path("/socket");
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    (void)snprintf(where, sizeof where, "unix:%s", path);
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(fd, (void *)&to, sizeof to), 0);
    assert_int_equal(listen(fd, 0), 0);
    do {
        clients[n] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(clients[n] >= 0);
    } while (connect(clients[n++], (void *)&to, sizeof to) == 0 && n < MOST);
    assert_true(n < MOST);
    const int before = free_descriptor();
    assert_refused(where, GP_IO, "; another program has it");
    assert_int_equal(access(path, F_OK), 0);
    assert_int_equal(free_descriptor(), before);
    while (n)
        close(clients[--n]);
    close(fd);
}

/* Many clients may come at once, before a thread accepts them; no thread waits for one, and no child has
 * the socket. */
static void test_sockets(void **state)
{
    enum { MANY = 200 };
    char where[96];
    int clients[MANY];
    (void)state;
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    const char *path = tree_path("/socket");
    (void)snprintf(to.sun_path, sizeof to.sun_path, "%s", path);
    (void)snprintf(where, sizeof where, "unix:%s", path);
    struct listener *at_path = open_one(where), *at_port = open_one("127.0.0.1:0");
    for (int i = 0; i < MANY; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        assert_true(clients[i] >= 0);
        assert_int_equal(connect(clients[i], (void *)&to, sizeof to), 0);
    }
    const int fds[] = {at_path->source.fd, at_port->source.fd};
    for (int i = 0; i < 2; i++) {
        assert_true(fcntl(fds[i], F_GETFD) & FD_CLOEXEC);
        assert_true(fcntl(fds[i], F_GETFL) & O_NONBLOCK);
    }
    for (int i = 0; i < MANY; i++)
        close(clients[i]);
    listen_close(at_path);
    listen_close(at_port);
}

static void test_unix_refused(void **state)
{
    char where[5 + sizeof((struct sockaddr_un *)0)->sun_path + 1];
    (void)state;
    memset(where, 'a', sizeof where);
    memcpy(where, "unix:", 5);
    where[sizeof where - 1] = '\0';
    assert_refused(where, GP_INVALID, "a socket's path has 1 to 107 bytes");
    assert_refused("unix:", GP_INVALID, "a socket's path has 1 to 107 bytes");
    assert_refused("unix:/nonexistent/socket", GP_IO, "cannot listen on unix:/nonexist");
}

/* --- arming again --- */

static struct poller poller;
static struct listener *refused; /* by epoll, until there were so many pauses */
static unsigned n_pauses, n_needed;

/* In place of libc's: the test does not wait. */
int poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
    assert_true(!fds && !n && timeout_ms > 0);
    if (++n_pauses == n_needed)
        assert_true(poller_add(&poller, &refused->source, 0));
    return 0;
}

/* It is tried again and again, but not for ever. */
static void test_rearm(void **state)
{
    static const struct {
        unsigned n_needed, n_pauses;
        bool is_armed;
    } cases[] = {{1, 1, true}, {3, 3, true}, {50, 50, true}, {51, 50, false}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        poller = (struct poller){0};
        assert_int_equal(poller_init(&poller, NULL, 1, NULL), GP_OK);
        refused = open_one("127.0.0.1:0");
        n_pauses = 0;
        n_needed = cases[i].n_needed;
        assert_int_equal(listen_rearm(refused, &poller), cases[i].is_armed);
        assert_int_equal(n_pauses, cases[i].n_pauses);
        if (cases[i].is_armed) { /* what is in the set needs no pause */
            assert_true(listen_rearm(refused, &poller));
            assert_int_equal(n_pauses, cases[i].n_pauses);
        }
        listen_close(refused);
        poller_finish(&poller);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tcp),
        cmocka_unit_test(test_port_alone),
        cmocka_unit_test(test_any),
        cmocka_unit_test(test_v6),
        cmocka_unit_test(test_several),
        cmocka_unit_test(test_refused),
        cmocka_unit_test_setup_teardown(test_unix, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(test_stale, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(test_busy, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(test_sockets, tree_make, tree_remove),
        cmocka_unit_test(test_unix_refused),
        cmocka_unit_test(test_rearm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
