/* How clients are let in: as which sockets, how many at a time, and without descriptors. The test's own
 * thread polls. */
#include "server/accept.h"

#include "live.h"
#include "server/turn.h"
#include "still_poller.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

enum { A_TURN = 64 /* clients */ };

static struct live live;
static struct rlimit before;

static void watch(const char *const *listen, size_t n)
{
    struct gp_server_options options = live_options();
    if (listen) {
        options.listen = listen;
        options.n_listen = n;
    }
    live_create(&live, &options);
    still_join(&live.server->poller);
    for (struct listener *l = live.server->listeners; l; l = l->next)
        assert_true(poller_add(&live.server->poller, &l->source, EPOLLIN));
}

static void end(void)
{
    (void)still_serve(&live.server->poller);
    turn_close_all(live.server);
    live_destroy(&live);
}

static bool serve_one(void)
{
    return still_serve_one(&live.server->poller);
}

static unsigned n_open(void)
{
    return connections_count(&live.server->connections);
}

static unsigned long n_accepted(void)
{
    return atomic_load(&live.server->metrics.n_accepted);
}

static int newest_fd(void)
{
    return connection_of(live.server->connections.first)->source.fd;
}

/* --- with descriptors --- */

static void sockets_neither_block_nor_wait_to_fill_packets(void **state)
{
    static const char *const listen[] = {"127.0.0.1:0"};
    int is_on = 0;
    socklen_t size = sizeof is_on;
    (void)state;
    watch(listen, 1);
    const int client = live_connect(&live, 0);
    assert_true(serve_one());
    assert_int_equal(n_open(), 1);
    const int fd = newest_fd();
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    assert_int_equal(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &is_on, &size), 0);
    assert_true(is_on);
    assert_int_equal(live.server->connections.first->from.sin6_family, AF_INET);
    close(client);
    end();
}

/* What others wait for is served in between. */
static void so_many_a_turn(void **state)
{
    enum { N = A_TURN + 3 };
    int clients[N];
    (void)state;
    watch(NULL, 0);
    for (int i = 0; i < N; i++)
        clients[i] = live_connect(&live, 0);
    assert_true(serve_one());
    assert_int_equal(n_open(), A_TURN);
    assert_int_equal(n_accepted(), A_TURN);
    assert_true(serve_one());
    assert_int_equal(n_open(), N);
    assert_int_equal(n_accepted(), N);
    assert_false(serve_one());
    for (int i = 0; i < N; i++)
        close(clients[i]);
    end();
}

static void none_while_it_drains(void **state)
{
    (void)state;
    watch(NULL, 0);
    const int client = live_connect(&live, 0);
    atomic_store(&live.server->is_draining, true);
    assert_true(serve_one());
    assert_false(serve_one());
    assert_int_equal(n_accepted(), 0);
    close(client);
    end();
}

/* --- without --- */

/* No descriptor is left. */
static void use_descriptors_up(void)
{
    const int next = dup(0);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = {(rlim_t)next, before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
}

static void give_descriptors_back(void)
{
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

static void drop_spares(void)
{
    struct connections *connections = &live.server->connections;
    while (connections->n_spares)
        close(connections->spares[--connections->n_spares]);
}

static bool is_answered(int client)
{
    static const char request[] = "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n";
    char bytes[256];
    (void)send(client, request, sizeof request - 1, MSG_NOSIGNAL);
    (void)still_serve(&live.server->poller);
    const ssize_t n = recv(client, bytes, sizeof bytes, MSG_DONTWAIT);
    return n > 12 && memcmp(bytes, "HTTP/1.1 200", 12) == 0;
}

/* It comes by a spare descriptor, which is the next one's spare again. */
static void one_that_idles_makes_room(void **state)
{
    (void)state;
    watch(NULL, 0);
    const int first = live_connect(&live, 0);
    assert_true(is_answered(first));
    const int second = live_connect(&live, 0);
    use_descriptors_up();
    assert_true(is_answered(second));
    give_descriptors_back();
    assert_false(is_answered(first));
    assert_int_equal(n_open(), 1);
    assert_int_equal(n_accepted(), 2);
    assert_int_equal(atomic_load(&live.server->metrics.n_evicted), 1);
    assert_int_equal(live.server->connections.n_spares, CONNECTIONS_N_SPARES);
    close(first);
    close(second);
    end();
}

/* Nothing is accepted until a connection goes; and then at once. */
static void without_spares_it_waits_for_a_connection_to_go(void **state)
{
    (void)state;
    watch(NULL, 0);
    struct listener *listener = live.server->listeners;
    const int first = live_connect(&live, 0);
    assert_true(serve_one());
    const int second = live_connect(&live, 0);
    drop_spares();
    use_descriptors_up();
    assert_true(serve_one());
    assert_true(listener->is_paused);
    assert_false(serve_one());
    give_descriptors_back();
    assert_false(serve_one());
    close(first);
    assert_true(is_answered(second));
    assert_false(listener->is_paused);
    assert_int_equal(n_open(), 1);
    assert_int_equal(n_accepted(), 2);
    close(second);
    end();
}

/* There is none to wait for. */
static void without_connections_it_tries_again(void **state)
{
    (void)state;
    watch(NULL, 0);
    const int client = live_connect(&live, 0);
    drop_spares();
    use_descriptors_up();
    assert_true(serve_one());
    give_descriptors_back();
    assert_false(live.server->listeners->is_paused);
    assert_int_equal(n_accepted(), 0);
    assert_true(is_answered(client));
    assert_int_equal(n_accepted(), 1);
    close(client);
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sockets_neither_block_nor_wait_to_fill_packets),
        cmocka_unit_test(so_many_a_turn),
        cmocka_unit_test(none_while_it_drains),
        cmocka_unit_test(one_that_idles_makes_room),
        cmocka_unit_test(without_spares_it_waits_for_a_connection_to_go),
        cmocka_unit_test(without_connections_it_tries_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
