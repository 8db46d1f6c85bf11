/* Who is one peer, and what its share is of what is limited: without sockets. */
#include "base/share.h"
#include "net/peers.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static struct sockaddr_in6 address(const char *text)
{
    struct sockaddr_in6 to = {.sin6_family = AF_INET6};
    struct sockaddr_in *in = (void *)&to;
    if (strchr(text, ':')) {
        assert_int_equal(inet_pton(AF_INET6, text, &to.sin6_addr), 1);
    } else {
        in->sin_family = AF_INET;
        assert_int_equal(inet_pton(AF_INET, text, &in->sin_addr), 1);
    }
    return to;
}

static struct peer_name named(const char *text)
{
    const struct sockaddr_in6 from = address(text);
    return peers_name(-1, (const void *)&from);
}

static bool is_local(const char *text)
{
    const struct sockaddr_in6 from = address(text);
    return peers_is_local((const void *)&from);
}

static struct peer_record *join(struct peers *peers, const char *text)
{
    struct peer_record *peer = peers_join(peers, named(text));
    assert_non_null(peer);
    return peer;
}

static void who_is_one_peer(void **state)
{
    (void)state;
    static const struct {
        const char *one, *other;
        bool is_same, is_same_site;
    } pairs[] = {
        {"10.0.0.1", "10.0.0.2", false, false},
        {"10.0.0.1", "::ffff:10.0.0.1", true, false},
        {"2001:db8:1:2::1", "2001:db8:1:2:ffff::9", true, true},
        {"2001:db8:1:2::1", "2001:db8:1:3::1", false, true},
        {"2001:db8:1:2::1", "2001:db8:2:2::1", false, false},
        {"::", "::1", true, true},
        {"0.0.0.0", "::", false, false}, /* of the same bytes */
    };
    for (size_t i = 0; i < sizeof pairs / sizeof *pairs; i++) {
        struct peers peers = {0};
        struct peer_record *one = join(&peers, pairs[i].one);
        struct peer_record *other = join(&peers, pairs[i].other);
        assert_int_equal(one == other, pairs[i].is_same);
        assert_int_equal(one->site && one->site == other->site, pairs[i].is_same_site);
        assert_int_equal(peers.n, pairs[i].is_same ? 1 : 2);
        peers_leave(&peers, one);
        peers_leave(&peers, other);
        assert_int_equal(peers.n, 0);
        for (int b = 0; b < PEERS_N_BUCKETS; b++)
            assert_null(peers.buckets[b]);
    }
}

/* Those at a unix socket, whose addresses say nothing; all that are unknown are one. */
static void users_of_this_machine(void **state)
{
    const struct sockaddr_un from = {.sun_family = AF_UNIX};
    struct peers peers = {0};
    int ends[2];
    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
    const struct peer_name user = peers_name(ends[0], (const void *)&from);
    const struct peer_name unknown = peers_name(-1, (const void *)&from);
    assert_int_equal(user.family, AF_UNIX);
    assert_int_equal(user.value, getuid());
    assert_int_equal(unknown.value, UINT32_MAX);
    struct peer_record *peer = peers_join(&peers, user);
    assert_non_null(peer);
    assert_ptr_equal(peers_join(&peers, user), peer);
    assert_null(peer->site); /* as an IPv4 address */
    struct peer_record *other = peers_join(&peers, unknown);
    assert_ptr_not_equal(other, peer);
    assert_int_equal(peers.n, 2);
    peers_leave(&peers, other);
    peers_leave(&peers, peer);
    peers_leave(&peers, peer);
    assert_int_equal(peers.n, 0);
    close(ends[0]);
    close(ends[1]);
}

static void what_is_local(void **state)
{
    (void)state;
    const struct sockaddr_un unix_socket = {.sun_family = AF_UNIX};
    assert_true(is_local("127.0.0.1"));
    assert_true(is_local("127.3.2.1"));
    assert_true(is_local("::1"));
    assert_true(is_local("::ffff:127.0.0.1"));
    assert_true(peers_is_local((const void *)&unix_socket));
    assert_false(is_local("128.0.0.1"));
    assert_false(is_local("10.0.0.127"));
    assert_false(is_local("::"));
    assert_false(is_local("::2"));
    assert_false(is_local("::ffff:10.0.0.1"));
    assert_false(is_local("::127.0.0.1"));
}

/* More than there are buckets: each is found again, whoever else is there or has left. */
static void many_peers(void **state)
{
    enum { MANY = 2 * PEERS_N_BUCKETS };
    static struct peer_record *records[MANY];
    struct peers peers = {0};
    (void)state;
    for (uint64_t i = 0; i < 2 * MANY; i++) {
        const struct peer_name name = {.family = AF_INET, .value = i / 2};
        struct peer_record *peer = peers_join(&peers, name);
        assert_non_null(peer);
        assert_true(i % 2 == 0 || peer == records[i / 2]);
        records[i / 2] = peer;
    }
    assert_int_equal(peers.n, MANY);
    for (unsigned i = 0; i < MANY; i += 2)
        for (int n = 0; n < 2; n++)
            peers_leave(&peers, records[i]);
    assert_int_equal(peers.n, MANY / 2);
    for (unsigned i = 1; i < MANY; i += 2) {
        const struct peer_name name = {.family = AF_INET, .value = i};
        assert_ptr_equal(peers_join(&peers, name), records[i]);
        assert_int_equal(records[i]->n_connections, 3);
        for (int n = 0; n < 3; n++)
            peers_leave(&peers, records[i]);
    }
    assert_int_equal(peers.n, 0);
    for (int b = 0; b < PEERS_N_BUCKETS; b++)
        assert_null(peers.buckets[b]);
}

/* A record that has connections. */
static struct peer_record *named_record(struct peers *peers, const char *text)
{
    struct peer_record *peer = join(peers, text);
    peers_leave(peers, peer);
    return peer;
}

/* How many connections a peer gets of n_most, n_open of which are there. */
static unsigned connect_all(struct peers *peers, const char *text, unsigned n_most,
                            unsigned *n_open)
{
    for (unsigned n = 0;; n++) {
        struct peer_record *peer = join(peers, text);
        if (*n_open >= n_most || peers_over_connections(peer, n_most, *n_open)) {
            peers_leave(peers, peer);
            return n;
        }
        ++*n_open;
    }
}

static void connections_have_shares(void **state)
{
    (void)state;
    struct peers peers = {0};
    unsigned n_open = 0;
    assert_int_equal(connect_all(&peers, "10.0.0.1", 64, &n_open), 48);
    assert_int_equal(connect_all(&peers, "10.0.0.1", 64, &n_open), 0);
    assert_int_equal(connect_all(&peers, "::ffff:10.0.0.1", 64, &n_open), 0);
    assert_int_equal(connect_all(&peers, "10.0.0.2", 64, &n_open), 16);
    for (; n_open > 48; n_open--)
        peers_leave(&peers, named_record(&peers, "10.0.0.2"));
    for (; n_open > 0; n_open--)
        peers_leave(&peers, named_record(&peers, "10.0.0.1"));
    assert_int_equal(peers.n, 0);

    /* a site with many networks gets seven eighths, and the last of them is for another site */
    unsigned n_of_site = 0;
    char text[32];
    for (unsigned i = 0; i < 64; i++) {
        (void)snprintf(text, sizeof text, "2001:db8:1:%x::1", i);
        struct peer_record *peer = join(&peers, text);
        if (peers_over_connections(peer, 64, n_open)) {
            assert_ptr_equal(peers_over_connections(peer, 64, n_open), peer->site);
            peers_leave(&peers, peer);
        } else {
            n_of_site++;
            n_open++;
        }
    }
    assert_int_equal(n_of_site, 56);
    assert_int_equal(peers.n, 56);
    assert_int_equal(connect_all(&peers, "2001:db8:2::1", 64, &n_open), 8);
    for (unsigned i = 0; i < 56; i++) {
        (void)snprintf(text, sizeof text, "2001:db8:1:%x::1", i);
        peers_leave(&peers, named_record(&peers, text));
    }
    for (int i = 0; i < 8; i++)
        peers_leave(&peers, named_record(&peers, "2001:db8:2::1"));
    assert_int_equal(peers.n, 0);
}

static unsigned wait_all(struct peer_record *peer, unsigned n_most, unsigned *n_waiting)
{
    unsigned n = 0;
    for (;
         *n_waiting < n_most && !share_taker_is_over(&peer->waiting, n_most, *n_waiting);
         n++) {
        share_taker_add(&peer->waiting);
        ++*n_waiting;
    }
    return n;
}

static void places_in_the_queue_have_shares(void **state)
{
    (void)state;
    struct peers peers = {0};
    struct peer_record *greedy = join(&peers, "2001:db8:1:1::1");
    struct peer_record *neighbour = join(&peers, "2001:db8:1:2::1");
    struct peer_record *other = join(&peers, "10.0.0.1");
    unsigned n_waiting = 0;
    assert_null(other->site);
    assert_ptr_equal(greedy->memory.site, &greedy->site->memory);
    assert_ptr_equal(greedy->waiting.site, &greedy->site->waiting);
    assert_int_equal(wait_all(greedy, 16, &n_waiting), 12);
    assert_int_equal(wait_all(neighbour, 16, &n_waiting), 2);
    assert_int_equal(wait_all(other, 16, &n_waiting), 2);
    for (; n_waiting > 4; n_waiting--)
        share_taker_drop(&greedy->waiting);
    assert_int_equal(greedy->waiting.n_held, 0);
    assert_int_equal(greedy->site->waiting.n_held, 2);
    assert_int_equal(wait_all(greedy, 16, &n_waiting), 8);
    peers_leave(&peers, greedy);
    peers_leave(&peers, neighbour);
    peers_leave(&peers, other);
}

/* One who is alone may have all of what is too little to be shared; when it is used up, a newcomer is
 * not the one who has had too much. */
static void little_is_not_shared(void **state)
{
    (void)state;
    for (size_t total = 1; total < 4; total++)
        for (size_t used = 0; used <= total; used++)
            for (size_t held = 0; held <= used; held++) {
                assert_false(share_is_over(SHARE_OF_ADDRESS, total, used, held, 1));
                assert_false(share_is_over(SHARE_OF_SITE, total, used, held, 1));
            }
    assert_true(share_is_over(SHARE_OF_ADDRESS, 4, 3, 3, 1));
    assert_false(share_is_over(SHARE_OF_ADDRESS, 4, 3, 0, 1));
    assert_true(
        share_is_over(SHARE_OF_ADDRESS, 4, 9, 3, 1)); /* more than there should be */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_is_one_peer),
        cmocka_unit_test(users_of_this_machine),
        cmocka_unit_test(what_is_local),
        cmocka_unit_test(many_peers),
        cmocka_unit_test(connections_have_shares),
        cmocka_unit_test(places_in_the_queue_have_shares),
        cmocka_unit_test(little_is_not_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
