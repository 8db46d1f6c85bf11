/* The budget: promises of memory, and who may hold how much. Only counts matter here: a promise
 * is made before it is known in which arena the buffer will lie. */
#include "base/pool_parts.h"
#include "base/share.h"

size_t pool_share(const struct pool *pool)
{
    return pool->counts.budget_bytes / 4; /* constant: no lock */
}

/* True if `wanted` more bytes fit into the budget; idle memory makes room for them, as far as the
 * kernel takes its pages back. */
static bool has_room(struct pool *pool, size_t wanted)
{
    struct pool_counts *n = &pool->counts;
    const size_t left = n->budget_bytes - n->used_bytes - n->reserved_bytes;
    if (wanted <= left)
        pool_make_room(pool, wanted);
    if (wanted <= left && wanted <= left - n->idle_bytes)
        return true;
    n->n_refused++;
    return false;
}

static void peer_hold(struct pool_peer *peer, size_t size_bytes)
{
    for (; peer; peer = peer->site)
        peer->held_bytes += size_bytes;
}

void pool_peer_let_go(struct pool_peer *peer, size_t size_bytes)
{
    for (; peer; peer = peer->site)
        peer->held_bytes -= size_bytes;
}

bool pool_promise_is_over_share(const struct pool *pool,
                                const struct pool_promise *promise, size_t more)
{
    const struct pool_counts *n = &pool->counts;
    const size_t used = n->used_bytes + n->reserved_bytes;
    enum share_of whose = SHARE_OF_ADDRESS;
    for (const struct pool_peer *peer = promise->peer; peer;
         peer = peer->site, whose = SHARE_OF_SITE)
        if (share_is_over(whose, n->budget_bytes, used, peer->held_bytes, more))
            return true;
    return false;
}

/* The part of `wanted` bytes that was promised. */
static size_t paid_bytes(const struct pool_promise *promise, size_t wanted)
{
    return promise->size_bytes < wanted ? promise->size_bytes : wanted;
}

bool pool_promise_is_beyond_share(struct pool *pool, const struct pool_promise *promise,
                                  size_t counted)
{
    const size_t more = counted - paid_bytes(promise, counted);
    if (!more || !pool_promise_is_over_share(pool, promise, more))
        return false;
    pool->counts.n_over_share++;
    return true;
}

bool pool_promise_affords(const struct pool *pool, const struct pool_promise *promise,
                          size_t wanted)
{
    const struct pool_counts *n = &pool->counts;
    return wanted - paid_bytes(promise, wanted) <=
           n->budget_bytes - n->used_bytes - n->reserved_bytes;
}

bool pool_promise_pay(struct pool *pool, struct pool_promise *promise, size_t wanted)
{
    const size_t paid = paid_bytes(promise, wanted);
    pool->counts.reserved_bytes -= paid;
    if (!has_room(pool, wanted)) {
        pool->counts.reserved_bytes += paid;
        return false;
    }
    promise->size_bytes -= paid;
    peer_hold(promise->peer, wanted - paid);
    pool->counts.used_bytes += wanted;
    pool->counts.n_taken++;
    return true;
}

enum pool_answer pool_reserve(struct pool *pool, struct pool_promise *promise,
                              size_t size_bytes, size_t other_bytes)
{
    const size_t more =
        pool_whole_pages(pool, size_bytes) + pool_whole_pages(pool, other_bytes);
    enum pool_answer answer = POOL_GRANTED;
    pthread_mutex_lock(&pool->lock);
    if (pool_promise_is_over_share(pool, promise, more)) {
        pool->counts.n_over_share++;
        answer = POOL_OVER_SHARE;
    } else if (!has_room(pool, more)) {
        answer = POOL_FULL;
    } else {
        pool->counts.reserved_bytes += more;
        promise->size_bytes += more;
        peer_hold(promise->peer, more);
    }
    pthread_mutex_unlock(&pool->lock);
    return answer;
}

void pool_unreserve(struct pool *pool, struct pool_promise *promise)
{
    if (!promise->size_bytes)
        return;
    pthread_mutex_lock(&pool->lock);
    pool->counts.reserved_bytes -= promise->size_bytes;
    pool_peer_let_go(promise->peer, promise->size_bytes);
    pthread_mutex_unlock(&pool->lock);
    promise->size_bytes = 0;
}
