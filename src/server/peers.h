/* server/peers.h - who the clients are: connections of one address are one peer.
 *
 * The pool counts what each peer holds. A connection keeps its peer's record from accept to
 * close, so a request looks nothing up and takes no lock for it. A record goes with its peer's last
 * connection, which by then has given everything back.
 */
#ifndef GP_SERVER_PEERS_H
#define GP_SERVER_PEERS_H

#include "base/pool.h"

#include <stdint.h>
#include <sys/socket.h>

enum { PEERS_N_BUCKETS = 1024 };

/* An IPv4 address, the network (/64) of an IPv6 one, which a single host may have all of, or a
 * unix socket's user. */
struct peer_name {
    uint32_t family;
    uint64_t value;
};

struct peer_record {
    struct pool_peer memory; /* under the pool's lock */
    struct peer_name name;
    unsigned n_connections;
    struct peer_record *next; /* in its bucket */
};

/* Zero at first; under the lock of the server. */
struct peers {
    struct peer_record *buckets[PEERS_N_BUCKETS];
    unsigned n;
};

/* Who is at the other end of a socket that was accepted from this address. */
struct peer_name peers_name(int fd, const struct sockaddr *from);

/* The record of a peer for one connection more; NULL when memory is short. */
struct peer_record *peers_join(struct peers *peers, struct peer_name name);
void peers_leave(struct peers *peers, struct peer_record *peer);

#endif
