/* base/pool_parts.h - what the pool's files share: pool.c makes it and has its arenas, pool_promise.c
 * its budget, pool_buffer.c its buffers. */
#ifndef GP_BASE_POOL_PARTS_H
#define GP_BASE_POOL_PARTS_H

#include "base/pool_arena.h"

#include <pthread.h>

struct pool {
    struct pool_arena private;
    bool
        has_huge_pages; /* larger buffers are counted, touched and punched in units of them */

    pthread_mutex_t lock;      /* of what follows, and of all arenas */
    struct pool_arena *arenas; /* the private one, and all that are not gone */
    struct pool_counts counts;
};

/* The smallest class that holds size_bytes; -1 when none does. */
static inline int pool_class_of(size_t size_bytes)
{
    const size_t rest = size_bytes ? (size_bytes - 1) >> POOL_SMALLEST_SHIFT : 0;
    const int class = rest ? 64 - __builtin_clzll(rest) : 0;
    return class < POOL_N_CLASSES ? class : -1;
}

/* What a buffer of size_bytes is counted as when its slot has no pages yet. */
static inline size_t pool_whole_pages(const struct pool *pool, size_t size_bytes)
{
    const bool is_huge =
        pool->has_huge_pages && pool_class_of(size_bytes) >= POOL_FIRST_HUGE_CLASS;
    return round_up(size_bytes, is_huge ? HUGE_BYTES : PAGE_BYTES);
}

/* --- pool.c --- */

/* With the lock held: gives idle memory back until `wanted` bytes are free or none is warm. */
void pool_make_room(struct pool *pool, size_t wanted);

/* With the lock held: takes an arena that nobody holds out of the list, and returns it for pool_free
 * to free when the lock is not; NULL: somebody holds it. */
struct pool_arena *pool_unlink(struct pool *pool, struct pool_arena *arena);
void pool_free(struct pool_arena *arena);

/* --- pool_promise.c, with the lock held --- */

/* True when the promise's peer, or its site, must leave what is left to others. */
bool pool_promise_is_over_share(const struct pool *pool,
                                const struct pool_promise *promise, size_t more);

/* True when what the promise does not pay of `counted` bytes is more than the peer may hold. */
bool pool_promise_is_beyond_share(struct pool *pool, const struct pool_promise *promise,
                                  size_t counted);

/* True when the budget has room for it, idle memory aside. */
bool pool_promise_affords(const struct pool *pool, const struct pool_promise *promise,
                          size_t wanted);

/* Counts a buffer, first against what was promised; false when it does not fit. */
bool pool_promise_pay(struct pool *pool, struct pool_promise *promise, size_t wanted);

/* The peer holds less. */
void pool_peer_let_go(struct pool_peer *peer, size_t size_bytes);

#endif
