/* Buffers are taken, touched and given back. A buffer is a slot of an arena whose pages are
 * paid for. */
#include "base/pool_parts.h"

#include <assert.h>
#include <string.h>

enum {
    FIRST_PINNED_CLASS = 6, /* of 256 KiB; drivers copy smaller ones aside as quickly */
    AHEAD_BYTES = 4 << 20
};

/* Pins a whole buffer, which only its taker uses: a device refuses memory that is pinned in
 * part, so a buffer that was pinned for a smaller taker is pinned anew. That takes a while, so
 * the lock is not held. */
static void pin_buffer(struct pool *pool, struct pool_buffer *buffer, int class,
                       uint32_t slot)
{
    struct pool_arena *arena = buffer->arena;
    const bool is_whole = pool_touch(pool, buffer, buffer->size_bytes);
    pthread_mutex_lock(&pool->lock);
    pool_arena_unpin(arena, class, slot);
    pthread_mutex_unlock(&pool->lock);
    const bool is_done = is_whole && arena->pin(buffer->data, buffer->size_bytes);
    const size_t pinned_bytes = is_done ? buffer->size_bytes : 0;
    pthread_mutex_lock(&pool->lock);
    assert(!arena->is_closed);
    pool_arena_slot(arena, class, slot)->pinned_bytes = pinned_bytes;
    pool->counts.pinned_bytes += pinned_bytes;
    pool->counts.n_unpinned += !pinned_bytes;
    pthread_mutex_unlock(&pool->lock);
}

/* With the lock held. */
static bool is_pinned(const struct pool_buffer *buffer, int class, uint32_t slot)
{
    return pool_arena_slot(buffer->arena, class, slot)->pinned_bytes >=
           buffer->size_bytes;
}

/* Pays for the slot and has the buffer, which has its arena and size, lie there. */
static enum pool_answer buy_slot(struct pool *pool, bool is_by_share, int class,
                                 uint32_t number, struct pool_promise *promise,
                                 struct pool_buffer *buffer)
{
    struct pool_slot *slot = pool_arena_slot(buffer->arena, class, number);
    const size_t size = buffer->size_bytes;
    /* Pages that an earlier taker left must not cost this one its share. */
    if (slot->touched_bytes > size &&
        pool_promise_is_over_share(pool, promise, slot->touched_bytes - size))
        pool_arena_punch(buffer->arena, class, number, size);
    const size_t counted = slot->touched_bytes > size ? slot->touched_bytes : size;
    if (is_by_share && pool_promise_is_beyond_share(pool, promise, counted))
        return POOL_OVER_SHARE;
    if (!pool_promise_pay(pool, promise, counted))
        return POOL_FULL;
    buffer->data = pool_space_data(&buffer->arena->space, class, number);
    buffer->touched_bytes = slot->touched_bytes;
    buffer->counted_bytes = counted;
    buffer->peer = promise->peer;
    slot->touched_bytes = 0;
    return POOL_GRANTED;
}

/* With the lock held. No new slot is made for a taker that cannot pay. */
static enum pool_answer take_slot(struct pool *pool, bool is_by_share, int class,
                                  uint32_t *slot, struct pool_promise *promise,
                                  struct pool_buffer *buffer)
{
    if (is_by_share && pool_promise_is_beyond_share(pool, promise, buffer->size_bytes))
        return POOL_OVER_SHARE;
    *slot = pool_promise_affords(pool, promise, buffer->size_bytes)
                ? pool_arena_take(buffer->arena, class)
                : POOL_NONE;
    if (*slot == POOL_NONE) {
        pool->counts.n_refused++;
        return POOL_FULL;
    }
    const enum pool_answer answer =
        buy_slot(pool, is_by_share, class, *slot, promise, buffer);
    if (answer != POOL_GRANTED)
        pool_arena_give(buffer->arena, class, *slot,
                        pool_arena_slot(buffer->arena, class, *slot)->touched_bytes);
    return answer;
}

static enum pool_answer take_buffer(struct pool *pool, struct pool_arena *arena,
                                    bool is_by_share, size_t size_bytes,
                                    struct pool_promise *promise,
                                    struct pool_buffer *buffer)
{
    struct pool_promise none = {0};
    uint32_t slot = POOL_NONE;
    const int class = pool_class_of(size_bytes);
    *buffer = (struct pool_buffer){0};
    if (class < 0)
        return POOL_FULL;
    buffer->arena = arena ? arena : &pool->private;
    buffer->size_bytes = pool_whole_pages(pool, size_bytes ? size_bytes : 1);
    pthread_mutex_lock(&pool->lock);
    const enum pool_answer answer =
        take_slot(pool, is_by_share, class, &slot, promise ? promise : &none, buffer);
    const bool is_unpinned = buffer->arena->pin && class >= FIRST_PINNED_CLASS &&
                             answer == POOL_GRANTED && !is_pinned(buffer, class, slot);
    pthread_mutex_unlock(&pool->lock);
    if (answer != POOL_GRANTED)
        *buffer = (struct pool_buffer){0};
    else if (is_unpinned)
        pin_buffer(pool, buffer, class, slot);
    return answer;
}

bool pool_take(struct pool *pool, struct pool_arena *arena, size_t size_bytes,
               struct pool_promise *promise, struct pool_buffer *buffer)
{
    return take_buffer(pool, arena, false, size_bytes, promise, buffer) == POOL_GRANTED;
}

enum pool_answer pool_buy(struct pool *pool, struct pool_arena *arena, size_t size_bytes,
                          struct pool_promise *promise, struct pool_buffer *buffer)
{
    return take_buffer(pool, arena, true, size_bytes, promise, buffer);
}

bool pool_touch(struct pool *pool, struct pool_buffer *buffer, size_t end)
{
    if (end <= buffer->touched_bytes)
        return true;
    size_t upto = round_up(end, AHEAD_BYTES);
    if (upto > buffer->size_bytes)
        upto = buffer->size_bytes;
    const size_t n = upto - buffer->touched_bytes;
    if (!pool_range_touch(buffer->data + buffer->touched_bytes, n))
        return false;
    buffer->touched_bytes = upto;
    pthread_mutex_lock(&pool->lock);
    pool->counts.touched_bytes += n;
    pthread_mutex_unlock(&pool->lock);
    return true;
}

/* Pages that are put in place now are zero already. */
bool pool_touch_zeroed(struct pool *pool, struct pool_buffer *buffer, size_t end)
{
    const size_t warm = buffer->touched_bytes < end ? buffer->touched_bytes : end;
    const bool is_touched = pool_touch(pool, buffer, end);
    if (is_touched)
        memset(buffer->data, 0, warm);
    return is_touched;
}

void pool_disown(struct pool *pool, struct pool_buffer *buffer)
{
    pthread_mutex_lock(&pool->lock);
    pool_peer_let_go(buffer->peer, buffer->counted_bytes);
    pthread_mutex_unlock(&pool->lock);
    buffer->peer = NULL;
}

void pool_give(struct pool *pool, struct pool_buffer *buffer)
{
    if (!buffer->data)
        return;
    struct pool_arena *arena = buffer->arena;
    const struct pool_space *space = &arena->space;
    const size_t offset = pool_offset(buffer);
    pthread_mutex_lock(&pool->lock);
    const int class = space->chunks[offset >> space->chunk_shift].class;
    const uint32_t slot = (uint32_t)(offset >> space->classes[class].unit_shift);
    pool->counts.used_bytes -= buffer->counted_bytes;
    pool_peer_let_go(buffer->peer, buffer->counted_bytes);
    pool_arena_give(arena, class, slot, buffer->touched_bytes);
    if (arena->is_closed)
        pool_arena_chill(arena, class, slot);
    struct pool_arena *unheld = arena->n_holds ? NULL : pool_unlink(pool, arena);
    pthread_mutex_unlock(&pool->lock);
    if (unheld)
        pool_free(unheld);
    *buffer = (struct pool_buffer){0};
}
