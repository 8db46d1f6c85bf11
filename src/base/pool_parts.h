/* base/pool_parts.h - what the pool's files share. pool.c has the arenas, pool_promise.c the
 * budget, pool_buffer.c the buffers. */
#ifndef GP_BASE_POOL_PARTS_H
#define GP_BASE_POOL_PARTS_H

#include "base/pool_arena.h"

#include <pthread.h>

struct pool {
    struct pool_arena private;
    bool has_huge_pages; /* count large buffers in units of them */

    pthread_mutex_t lock;      /* protects what follows, and all arenas */
    struct pool_arena *arenas; /* the private one last */
    struct pool_counts counts;
};

/* The smallest class that holds size_bytes; -1 when none does. */
static inline int pool_class_of(size_t size_bytes)
{
    const size_t rest = size_bytes ? (size_bytes - 1) >> POOL_SMALLEST_SHIFT : 0;
    const int class = rest ? 64 - __builtin_clzll(rest) : 0;
    return class < POOL_N_CLASSES ? class : -1;
}

/* What a buffer of size_bytes counts if its slot has no pages yet. */
static inline size_t pool_whole_pages(const struct pool *pool, size_t size_bytes)
{
    const bool is_huge =
        pool->has_huge_pages && pool_class_of(size_bytes) >= POOL_FIRST_HUGE_CLASS;
    return round_up(size_bytes, is_huge ? HUGE_BYTES : PAGE_BYTES);
}

/* --- pool.c --- */

/* With the lock held: returns idle memory to the system until `wanted` bytes are free or none
 * is idle. */
void pool_make_room(struct pool *pool, size_t wanted);

/* With the lock held: takes an arena out of the list unless it is held, and returns it for
 * pool_free, which wants the lock released; else NULL. */
struct pool_arena *pool_unlink(struct pool *pool, struct pool_arena *arena);
void pool_free(struct pool_arena *arena);

/* --- pool_promise.c, with the lock held --- */

/* True if the promise's peer, or its site, must not take `more` of what is left. */
bool pool_promise_is_over_share(const struct pool *pool,
                                const struct pool_promise *promise, size_t more);

/* The same for the part of `counted` bytes that the promise does not pay; counts a refusal. */
bool pool_promise_is_beyond_share(struct pool *pool, const struct pool_promise *promise,
                                  size_t counted);

/* True if promise and budget can pay, once all idle memory is returned. */
bool pool_promise_affords(const struct pool *pool, const struct pool_promise *promise,
                          size_t wanted);

/* Pays for a buffer, from the promise first; false if the budget has no room. */
bool pool_promise_pay(struct pool *pool, struct pool_promise *promise, size_t wanted);

void pool_peer_let_go(struct pool_peer *peer, size_t size_bytes);

#endif
