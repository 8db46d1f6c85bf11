/* net/peers.h - who the clients are, and what each of them holds.
 *
 * The connections of one address are one peer, and the peers of one IPv6 /48 are counted once
 * more as a site: its owner may have all of the /64s in it. A connection keeps its peer's record
 * from accept to close, so a request looks nothing up and takes no lock for it. What is limited
 * has shares (base/share.h) by these counts: the pool's memory, connections, places in the queue.
 * A record goes with its last connection, which by then has given everything back.
 */
#ifndef GP_NET_PEERS_H
#define GP_NET_PEERS_H

#include "base/pool.h"
#include "base/share.h"
#include "net/timers.h"

#include <stdint.h>
#include <sys/socket.h>

enum { PEERS_N_BUCKETS = 1024 };

/* An IPv4 address, the network (/64) of an IPv6 one, which a single host may have all of, or a
 * unix socket's user; or the /48 of a site. */
struct peer_name {
    uint32_t family;
    uint32_t n_bits; /* of an IPv6 address; else 0 */
    uint64_t value;
};

struct peer_record {
    struct pool_peer memory;  /* under the pool's lock */
    struct peer_record *site; /* of an IPv6 peer; else NULL */
    struct peer_name name;
    unsigned n_connections;
    struct timer_link idle;     /* of its connections; under the timers' lock */
    struct share_taker waiting; /* of places in queues */
    struct peer_record *next;   /* in its bucket */
};

/* Zero at first; under a lock of the owner's. */
struct peers {
    struct peer_record *buckets[PEERS_N_BUCKETS];
    unsigned n; /* without sites */
};

/* Who is at the other end of a socket that was accepted from this address. */
struct peer_name peers_name(int fd, const struct sockaddr *from);

/* True of a loopback address and of a unix socket. */
bool peers_is_local(const struct sockaddr *from);

/* The record of a peer for one connection more; NULL when memory is short. */
struct peer_record *peers_join(struct peers *peers, struct peer_name name);
void peers_leave(struct peers *peers, struct peer_record *peer);

/* With its new connection counted, but not in the n_open of n_most: whose share of connections
 * is used up by it, the peer's own or its site's; NULL: nobody's. */
const struct peer_record *peers_over_connections(const struct peer_record *peer,
                                                 unsigned n_most, unsigned n_open);

#endif
