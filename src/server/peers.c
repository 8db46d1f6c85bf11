#include "server/peers.h"

#include "base/mem.h"

#include <netinet/in.h>
#include <string.h>

struct peer_name peers_name(int fd, const struct sockaddr *from)
{
    struct peer_name name = {.family = from->sa_family};
    if (from->sa_family == AF_INET) {
        name.value = ((const struct sockaddr_in *)(const void *)from)->sin_addr.s_addr;
    } else if (from->sa_family == AF_INET6) {
        const struct in6_addr *in6 =
            &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
        uint32_t v4;
        memcpy(&v4, in6->s6_addr + 12, sizeof v4);
        memcpy(&name.value, in6->s6_addr, sizeof name.value);
        if (IN6_IS_ADDR_V4MAPPED(in6)) /* of a socket that takes both */
            name = (struct peer_name){AF_INET, v4};
    } else {
        struct ucred who = {.uid = UINT32_MAX}; /* those unknown are one */
        socklen_t size = sizeof who;
        (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
        name.value = who.uid;
    }
    return name;
}

/* A salt (where the buckets lie) keeps clients from choosing addresses that meet in one bucket. */
static struct peer_record **bucket_of(struct peers *peers, struct peer_name name)
{
    uint64_t hash = (name.value ^ name.family ^ (uintptr_t)peers) * 0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15u;
    return &peers->buckets[(hash >> 32) % PEERS_N_BUCKETS];
}

struct peer_record *peers_join(struct peers *peers, struct peer_name name)
{
    struct peer_record **bucket = bucket_of(peers, name);
    struct peer_record *peer = *bucket;
    while (peer && (peer->name.value != name.value || peer->name.family != name.family))
        peer = peer->next;
    if (!peer) {
        peer = mem_zalloc(sizeof *peer);
        if (!peer)
            return NULL;
        peer->name = name;
        peer->next = *bucket;
        *bucket = peer;
        peers->n++;
    }
    peer->n_connections++;
    return peer;
}

void peers_leave(struct peers *peers, struct peer_record *peer)
{
    if (--peer->n_connections)
        return;
    struct peer_record **at = bucket_of(peers, peer->name);
    while (*at != peer)
        at = &(*at)->next;
    *at = peer->next;
    peers->n--;
    mem_free(peer);
}
