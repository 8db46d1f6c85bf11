#include "net/peers.h"

#include "base/mem.h"
#include "base/share.h"

#include <netinet/in.h>
#include <string.h>

/* The bits of an IPv6 address that name a host's network, and those that name its owner. */
enum { HOST_BITS = 64, SITE_BITS = 48 };

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
        name.n_bits = HOST_BITS;
        memcpy(&name.value, in6->s6_addr, HOST_BITS / 8);
        if (IN6_IS_ADDR_V4MAPPED(in6)) /* from a socket that accepts both */
            name = (struct peer_name){.family = AF_INET, .value = v4};
    } else {
        struct ucred who = {.uid = UINT32_MAX}; /* all unknown users are one */
        socklen_t size = sizeof who;
        (void)getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &size);
        name.value = who.uid;
    }
    return name;
}

bool peers_is_local(const struct sockaddr *from)
{
    if (from->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)from;
        return ntohl(in->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    if (from->sa_family != AF_INET6)
        return true; /* a unix socket */
    const struct in6_addr *in6 =
        &((const struct sockaddr_in6 *)(const void *)from)->sin6_addr;
    return IN6_IS_ADDR_LOOPBACK(in6) ||
           (IN6_IS_ADDR_V4MAPPED(in6) && in6->s6_addr[12] == IN_LOOPBACKNET);
}

static struct peer_name site_of(struct peer_name host)
{
    struct peer_name site = {.family = host.family, .n_bits = SITE_BITS};
    memcpy(&site.value, &host.value, SITE_BITS / 8); /* in network order */
    return site;
}

static bool is_same(struct peer_name a, struct peer_name b)
{
    return a.value == b.value && a.family == b.family && a.n_bits == b.n_bits;
}

/* A salt (the address of the buckets) keeps clients from choosing addresses that collide. */
static struct peer_record **bucket_of(struct peers *peers, struct peer_name name)
{
    uint64_t hash =
        (name.value ^ name.family ^ (uint64_t)name.n_bits << 32 ^ (uintptr_t)peers) *
        0x9e3779b97f4a7c15u;
    hash = (hash ^ hash >> 32) * 0x9e3779b97f4a7c15u;
    return &peers->buckets[(hash >> 32) % PEERS_N_BUCKETS];
}

static void drop_connection(struct peers *peers, struct peer_record *record)
{
    if (--record->n_connections)
        return;
    struct peer_record **at = bucket_of(peers, record->name);
    while (*at != record)
        at = &(*at)->next;
    *at = record->next;
    peers->n -= record->name.n_bits != SITE_BITS;
    mem_free(record);
}

/* The record of a host or a site, with one more connection. */
static struct peer_record *add_connection(struct peers *peers, struct peer_name name)
{
    struct peer_record **bucket = bucket_of(peers, name);
    struct peer_record *record = *bucket;
    while (record && !is_same(record->name, name))
        record = record->next;
    if (!record) {
        record = mem_zalloc(sizeof *record);
        if (!record)
            return NULL;
        record->name = name;
        timer_list_init(&record->idle);
        record->next = *bucket;
        *bucket = record;
        peers->n += name.n_bits != SITE_BITS;
    }
    record->n_connections++;
    return record;
}

struct peer_record *peers_join(struct peers *peers, struct peer_name name)
{
    struct peer_record *peer = add_connection(peers, name);
    if (!peer || name.n_bits != HOST_BITS)
        return peer;
    peer->site = add_connection(peers, site_of(name));
    if (!peer->site) {
        drop_connection(peers, peer);
        return NULL;
    }
    peer->memory.site = &peer->site->memory;
    peer->waiting.site = &peer->site->waiting;
    return peer;
}

void peers_leave(struct peers *peers, struct peer_record *peer)
{
    struct peer_record *site = peer->site;
    drop_connection(peers, peer);
    if (site)
        drop_connection(peers, site);
}

const struct peer_record *peers_over_connections(const struct peer_record *peer,
                                                 unsigned n_most, unsigned n_open)
{
    enum share_of whose = SHARE_OF_ADDRESS;
    for (; peer; peer = peer->site, whose = SHARE_OF_SITE)
        if (share_is_over(whose, n_most, n_open, peer->n_connections - 1u, 1))
            return peer;
    return NULL;
}
