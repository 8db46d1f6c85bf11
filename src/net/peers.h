/* net/peers.h - who the clients are, and what each of them holds.
 *
 * The connections of one address are one peer. The peers of an IPv6 /48 also count as a site,
 * since one owner may have all of its /64s. A connection keeps its peer's record from accept
 * to close, so a request needs no lookup and no lock for it. These counts give each client
 * its share (base/share.h) of what is limited: the pool's memory, connections, and places in
 * the queue. A record is freed with its last connection, which by then holds nothing.
 */
#ifndef GP_NET_PEERS_H
#define GP_NET_PEERS_H

#include "base/pool.h"
#include "base/share.h"
#include "net/timers.h"

#include <stdint.h>
#include <sys/socket.h>

enum { PEERS_N_BUCKETS = 1024 };

/* An IPv4 address, the /64 of an IPv6 address, all of which a single host may have, or the user
 * of a unix socket; or the /48 of a site. */
struct peer_name {
    uint32_t family;
    uint32_t n_bits; /* of an IPv6 address; otherwise 0 */
    uint64_t value;
};

struct peer_record {
    struct pool_peer memory;  /* under the pool's lock */
    struct peer_record *site; /* of an IPv6 peer; otherwise NULL */
    struct peer_name name;
    unsigned n_connections;
    struct timer_link idle;     /* of its connections; under the timers' lock */
    struct share_taker waiting; /* of places in queues */
    struct peer_record *next;   /* in its bucket */
};

/* Zero at first; protected by the owner's lock. */
struct peers {
    struct peer_record *buckets[PEERS_N_BUCKETS];
    unsigned n; /* without sites */
};

/* The client at the other end of a socket that was accepted from this address. */
struct peer_name peers_name(int fd, const struct sockaddr *from);

/* True for a loopback address or a unix socket. */
bool peers_is_local(const struct sockaddr *from);

/* The record of a peer with one more connection; NULL if memory is short. */
struct peer_record *peers_join(struct peers *peers, struct peer_name name);
void peers_leave(struct peers *peers, struct peer_record *peer);

/* The record whose share of connections a peer's new connection exceeds, the peer's own or its
 * site's; NULL if neither. The connection counts in the peer, but not yet in n_open of n_most. */
const struct peer_record *peers_over_connections(const struct peer_record *peer,
                                                 unsigned n_most, unsigned n_open);

#endif
