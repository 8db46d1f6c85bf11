/* Who is let in, who has to go for it, and who is told what, of connections without sockets. */
#include "server/connections.h"

#include "base/clock.h"
#include "still_poller.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { MOST = 8, N = 64 };

struct fixture {
    struct poller poller;
    struct timers timers;
    struct connections connections;
    struct guest guests[N];
    const char *why; /* of the last */
};

static void begin(struct fixture *f)
{
    *f = (struct fixture){.connections.n_most = MOST};
    still_begin(&f->poller);
    assert_int_equal(timers_init(&f->timers, &f->poller, NULL), GP_OK);
    connections_init(&f->connections, &f->timers);
    assert_int_equal(f->connections.n_spares, CONNECTIONS_N_SPARES);
}

static void leave(struct fixture *f, int i)
{
    timers_leave(&f->timers, &f->guests[i].timer);
    connections_remove(&f->connections, &f->guests[i]);
    f->guests[i] = (struct guest){0};
}

static void end(struct fixture *f)
{
    for (int i = 0; i < N; i++)
        if (f->guests[i].peer)
            leave(f, i);
    assert_int_equal(connections_count(&f->connections), 0);
    assert_int_equal(connections_count_peers(&f->connections), 0);
    for (int i = 0; i < PEERS_N_BUCKETS; i++)
        assert_null(f->connections.peers.buckets[i]);
    assert_int_equal(f->connections.n_for_health, 0);
    assert_int_equal(f->connections.n_refused, 0);
    assert_null(f->connections.first);
    connections_finish(&f->connections);
    timers_finish(&f->timers);
    poller_finish(&f->poller);
}

static void set_address(struct sockaddr_in6 *to, const char *text)
{
    struct sockaddr_in *in = (void *)to;
    *to = (struct sockaddr_in6){.sin6_family = AF_INET6};
    if (!strchr(text, ':')) {
        in->sin_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &in->sin_addr), 1);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &to->sin6_addr), 1);
    }
}

/* A new connection from this address, with descriptors left or not. */
static enum admission come_with(struct fixture *f, int i, const char *address,
                                bool has_descriptors)
{
    struct guest *guest = &f->guests[i];
    assert_null(guest->peer);
    set_address(&guest->from, address);
    assert_true(connections_add(&f->connections, guest, -1, (const void *)&guest->from));
    timer_init(&f->timers, &guest->timer, -1, &guest->peer->idle,
               guest->peer->site ? &guest->peer->site->idle : NULL);
    f->why = NULL;
    return connections_admit(&f->connections, guest, has_descriptors, &f->why);
}

static enum admission come(struct fixture *f, int i, const char *address)
{
    return come_with(f, i, address, true);
}

static void idle(struct fixture *f, int i)
{
    timers_join(&f->timers, &f->guests[i].timer, TIMER_IDLE,
                clock_now_ns() + 1000 * CLOCK_S);
}

/* Whether it was told to go; it goes then. */
static bool has_gone(struct fixture *f, int i)
{
    if (timers_leave(&f->timers, &f->guests[i].timer) != TIMER_EVICTED)
        return false;
    leave(f, i);
    return true;
}

/* All places, by several clients that are at work. */
static void fill(struct fixture *f)
{
    static const char *const addresses[] = {"10.0.0.1", "10.0.0.2", "10.0.0.3",
                                            "10.0.0.4"};
    for (int i = 0; i < MOST; i++)
        assert_int_equal(come(f, i, addresses[i % 4]), ADMISSION_GRANTED);
}

static void the_one_that_idled_longest_makes_room(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    fill(&f);
    idle(&f, 3);
    idle(&f, 2);
    assert_int_equal(come(&f, MOST, "10.0.0.9"), ADMISSION_GRANTED_FOR_ANOTHER);
    assert_true(has_gone(&f, 3));
    assert_int_equal(come(&f, MOST + 1, "10.0.0.9"), ADMISSION_GRANTED_FOR_ANOTHER);
    assert_true(has_gone(&f, 2));
    assert_int_equal(connections_count(&f.connections), MOST);
    leave(&f, 0);
    assert_int_equal(come(&f, 0, "10.0.0.8"), ADMISSION_GRANTED);
    assert_int_equal(connections_count_peers(&f.connections), 6);
    end(&f);
}

/* Some may stay until they have read why, and some ask for health, from this machine; they take
 * nobody's place. */
static void beyond_the_limit(void **state)
{
    struct fixture f;
    int i = MOST;
    (void)state;
    begin(&f);
    fill(&f);
    for (int n = 0; n < CONNECTIONS_N_FOR_HEALTH; n++, i++)
        assert_int_equal(come(&f, i, "127.0.0.1"), ADMISSION_FOR_HEALTH);
    const int first_refused = i;
    assert_int_equal(come(&f, i++, "127.0.0.1"), ADMISSION_REFUSED);
    assert_int_equal(come(&f, i++, "10.0.0.9"), ADMISSION_REFUSED);
    assert_non_null(strstr(f.why, "all connections (--max-connections) are taken"));
    for (int n = 2; n < CONNECTIONS_N_REFUSED; n++, i++)
        assert_int_equal(come(&f, i, "10.0.0.9"), ADMISSION_REFUSED);
    assert_int_equal(come(&f, i, "10.0.0.9"), ADMISSION_REFUSED_AT_ONCE);
    leave(&f, i);
    leave(&f, first_refused);
    assert_int_equal(come(&f, i, "10.0.0.9"), ADMISSION_REFUSED);
    leave(&f, MOST);
    assert_int_equal(come(&f, MOST, "::1"), ADMISSION_FOR_HEALTH);
    leave(&f, 0);
    assert_int_equal(come(&f, 0, "10.0.0.8"), ADMISSION_GRANTED);
    end(&f);
}

/* Of eight places one client gets six. Then an idle one of its own has to go, not another's that has
 * idled for longer. */
static void a_client_has_its_share(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    assert_int_equal(come(&f, 0, "10.0.0.2"), ADMISSION_GRANTED);
    idle(&f, 0);
    for (int i = 1; i < 6; i++)
        assert_int_equal(come(&f, i, "10.0.0.1"), ADMISSION_GRANTED);
    assert_int_equal(come(&f, 6, "10.0.0.1"), ADMISSION_REFUSED);
    assert_non_null(strstr(f.why, "this client's share"));
    leave(&f, 6);
    idle(&f, 4);
    assert_int_equal(come(&f, 6, "10.0.0.1"), ADMISSION_GRANTED_FOR_ANOTHER);
    assert_true(has_gone(&f, 4));
    assert_false(has_gone(&f, 0));
    assert_int_equal(come(&f, 4, "10.0.0.3"), ADMISSION_GRANTED);
    end(&f);
}

/* Of so few there are no shares: a newcomer finds room where anybody's is idle. */
static void few_places_are_not_shared(void **state)
{
    (void)state;
    for (int most = 1; most < 4; most++) {
        struct fixture f;
        begin(&f);
        f.connections.n_most = (unsigned)most;
        for (int i = 0; i < most; i++)
            assert_int_equal(come(&f, i, "10.0.0.1"), ADMISSION_GRANTED);
        assert_int_equal(come(&f, most, "10.0.0.2"), ADMISSION_REFUSED);
        assert_non_null(strstr(f.why, "all connections"));
        idle(&f, 0);
        assert_int_equal(come(&f, most + 1, "10.0.0.2"), ADMISSION_GRANTED_FOR_ANOTHER);
        assert_true(has_gone(&f, 0));
        end(&f);
    }
}

/* Seven eighths are for the many addresses of one owner. */
static void a_site_has_its_share(void **state)
{
    static const char *const addresses[] = {
        "2001:db8:1:1::1", "2001:db8:1:2::1", "2001:db8:1:3::1", "2001:db8:1:4::1",
        "2001:db8:1:5::1", "2001:db8:1:6::1", "2001:db8:1:7::1", "2001:db8:1:8::1"};
    struct fixture f;
    (void)state;
    begin(&f);
    for (int i = 0; i < 7; i++)
        assert_int_equal(come(&f, i, addresses[i]), ADMISSION_GRANTED);
    assert_int_equal(come(&f, 7, addresses[7]), ADMISSION_REFUSED);
    leave(&f, 7);
    assert_int_equal(come(&f, 8, "10.0.0.1"), ADMISSION_GRANTED);
    idle(&f, 8);
    idle(&f, 5);
    assert_int_equal(come(&f, 7, addresses[7]), ADMISSION_GRANTED_FOR_ANOTHER);
    assert_true(has_gone(&f, 5)); /* a neighbour's */
    assert_false(has_gone(&f, 8));
    end(&f);
}

/* With no descriptors left, places are no use. */
static void without_descriptors(void **state)
{
    struct fixture f;
    (void)state;
    begin(&f);
    assert_int_equal(come(&f, 0, "10.0.0.1"), ADMISSION_GRANTED);
    idle(&f, 0);
    assert_int_equal(come_with(&f, 1, "10.0.0.2", false), ADMISSION_GRANTED_FOR_ANOTHER);
    assert_true(has_gone(&f, 0));
    assert_int_equal(come_with(&f, 2, "10.0.0.2", false), ADMISSION_REFUSED_AT_ONCE);
    assert_non_null(strstr(f.why, "out of file descriptors"));
    leave(&f, 2);
    assert_int_equal(come_with(&f, 2, "127.0.0.1", false), ADMISSION_FOR_HEALTH);
    leave(&f, 2);

    /* where the last spare one is in use, nobody stays, and nobody has to go for that */
    idle(&f, 1);
    while (f.connections.n_spares)
        close(f.connections.spares[--f.connections.n_spares]);
    assert_int_equal(come_with(&f, 2, "127.0.0.1", false), ADMISSION_REFUSED_AT_ONCE);
    assert_false(has_gone(&f, 1));
    end(&f);
}

static int listen_anywhere(struct sockaddr_un *name, socklen_t *size)
{
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
    *name = (struct sockaddr_un){.sun_family = AF_UNIX};
    *size = sizeof name->sun_family; /* the kernel names it */
    assert_int_equal(bind(fd, (const void *)name, *size), 0);
    assert_int_equal(listen(fd, 4), 0);
    *size = sizeof *name;
    assert_int_equal(getsockname(fd, (void *)name, size), 0);
    return fd;
}

static void a_spare_descriptor_lets_one_in(void **state)
{
    struct fixture f;
    struct sockaddr_un name;
    struct sockaddr_storage from;
    socklen_t size, from_size = sizeof from;
    (void)state;
    begin(&f);
    const int listener = listen_anywhere(&name, &size);
    const int client = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(connect(client, (const void *)&name, size), 0);
    const int spare = f.connections.spares[CONNECTIONS_N_SPARES - 1];
    int fd = connections_accept_by_spare(&f.connections, listener, &from, &from_size);
    assert_true(fd >= 0);
    assert_int_equal(f.connections.n_spares, CONNECTIONS_N_SPARES - 1);
    assert_true(fd == spare || fcntl(spare, F_GETFD) < 0);
    assert_true(fcntl(fd, F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    close(fd);

    /* one that was not needed is kept again */
    fd = connections_accept_by_spare(&f.connections, listener, &from, &from_size);
    assert_int_equal(errno, EAGAIN);
    assert_int_equal(fd, -1);
    assert_int_equal(f.connections.n_spares, CONNECTIONS_N_SPARES);
    for (int i = 0; i < CONNECTIONS_N_SPARES; i++)
        assert_true(fcntl(f.connections.spares[i], F_GETFD) & FD_CLOEXEC);

    while (f.connections.n_spares)
        close(f.connections.spares[--f.connections.n_spares]);
    f.connections.n_spares = 0;
    assert_int_equal(connections_accept_by_spare(&f.connections, -1, &from, &from_size),
                     -1);
    close(client);
    close(listener);
    end(&f);
}

/* A listener pauses until a connection goes: not when there is none. */
static void a_listener_pauses(void **state)
{
    struct fixture f;
    struct listener listener = {0};
    (void)state;
    begin(&f);
    assert_false(connections_pause(&f.connections, &listener));
    assert_false(connections_resume(&f.connections, &listener));
    assert_int_equal(come(&f, 0, "10.0.0.1"), ADMISSION_GRANTED);
    assert_false(connections_resume(&f.connections, &listener));
    assert_true(connections_pause(&f.connections, &listener));
    assert_true(connections_resume(&f.connections, &listener));
    assert_false(connections_resume(&f.connections, &listener)); /* by one alone */
    end(&f);
}

/* From the front, the middle and the end of the list of all. */
static void they_leave_in_any_order(void **state)
{
    static const int orders[][3] = {{0, 1, 2}, {1, 0, 2}, {1, 2, 0}, {2, 1, 0}};
    struct fixture f;
    (void)state;
    for (size_t k = 0; k < sizeof orders / sizeof *orders; k++) {
        begin(&f);
        for (int i = 0; i < 3; i++)
            assert_int_equal(come(&f, i, "10.0.0.1"), ADMISSION_GRANTED);
        for (unsigned n = 3; n > 0; n--) {
            unsigned n_listed = 0;
            for (const struct guest *at = f.connections.first; at; at = at->next)
                n_listed++;
            assert_int_equal(n_listed, n);
            leave(&f, orders[k][3 - n]);
        }
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_one_that_idled_longest_makes_room),
        cmocka_unit_test(beyond_the_limit),
        cmocka_unit_test(a_client_has_its_share),
        cmocka_unit_test(few_places_are_not_shared),
        cmocka_unit_test(a_site_has_its_share),
        cmocka_unit_test(without_descriptors),
        cmocka_unit_test(a_spare_descriptor_lets_one_in),
        cmocka_unit_test(a_listener_pauses),
        cmocka_unit_test(they_leave_in_any_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
