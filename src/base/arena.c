/* The arena of graphpipe/message.h: a list of chunks, the newest in front. Reset keeps
 * one heap chunk of the usual size, so that a steady load of small requests allocates
 * nothing. */
#include "base/arena.h"

#include "base/checked.h"
#include "base/mem.h"

#include <assert.h>
#include <stdalign.h>

enum {
    CHUNK_BYTES = 16 * 1024,
    POOL_CHUNK_BYTES = 32 * 1024,
    ALIGNMENT = alignof(max_align_t)
};

/* The head of a chunk: before its data, but for data that other processes see. */
struct chunk {
    alignas(max_align_t) struct chunk *next;
    unsigned char *data;
    size_t size_bytes;
    struct pool_buffer buffer; /* where the data are the pool's */
};

struct gp_arena {
    struct chunk *chunks;
    size_t used_bytes; /* of the front chunk */
    struct pool *pool; /* NULL: all chunks are the heap's */
    struct pool_promise *promise;
    bool is_shared;            /* no chunk is the heap's */
    struct pool_arena *shared; /* where they are then */
};

struct gp_arena *gp_arena_create(void)
{
    return mem_zalloc(sizeof(struct gp_arena));
}

struct gp_arena *arena_create_shared(void)
{
    struct gp_arena *arena = gp_arena_create();
    if (arena)
        arena->is_shared = true;
    return arena;
}

void arena_pay_from(struct gp_arena *arena, struct pool *pool,
                    struct pool_promise *promise)
{
    arena->pool = pool;
    arena->promise = promise;
}

void arena_share_from(struct gp_arena *arena, struct pool *pool,
                      struct pool_arena *shared, struct pool_promise *promise)
{
    assert(arena->is_shared && (!arena->chunks || arena->shared == shared));
    arena->shared = shared;
    arena_pay_from(arena, pool, promise);
}

void arena_disown(struct gp_arena *arena)
{
    arena->promise = NULL;
    for (struct chunk *chunk = arena->chunks; chunk; chunk = chunk->next)
        if (chunk->buffer.data)
            pool_disown(arena->pool, &chunk->buffer);
}

static struct chunk *heap_chunk(size_t size_bytes)
{
    struct chunk *chunk = mem_alloc(sizeof *chunk + size_bytes);
    if (!chunk)
        return NULL;
    *chunk = (struct chunk){.data = (void *)(chunk + 1), .size_bytes = size_bytes};
    return chunk;
}

/* A buffer with its pages in place; false when there is no room for it. */
static bool buy_buffer(const struct gp_arena *arena, size_t size_bytes,
                       struct pool_buffer *buffer)
{
    if (size_bytes < POOL_CHUNK_BYTES)
        size_bytes = POOL_CHUNK_BYTES;
    if (!arena->promise || pool_buy(arena->pool, arena->shared, size_bytes,
                                    arena->promise, buffer) != POOL_GRANTED)
        return false;
    if (pool_touch(arena->pool, buffer, size_bytes))
        return true;
    pool_give(arena->pool, buffer);
    return false;
}

static struct chunk *pool_chunk(const struct gp_arena *arena, size_t size_bytes)
{
    struct pool_buffer buffer;
    if (!buy_buffer(arena, sizeof(struct chunk) + size_bytes, &buffer))
        return NULL;
    struct chunk *chunk = (void *)buffer.data;
    *chunk = (struct chunk){.data = (void *)(chunk + 1),
                            .size_bytes = buffer.size_bytes - sizeof *chunk,
                            .buffer = buffer};
    return chunk;
}

static struct chunk *shared_chunk(const struct gp_arena *arena, size_t size_bytes)
{
    struct chunk *chunk = mem_zalloc(sizeof *chunk);
    if (!chunk || !buy_buffer(arena, size_bytes, &chunk->buffer)) {
        mem_free(chunk);
        return NULL;
    }
    chunk->data = chunk->buffer.data;
    chunk->size_bytes = chunk->buffer.size_bytes;
    return chunk;
}

static struct chunk *chunk_add(struct gp_arena *arena, size_t size_bytes)
{
    size_t total;
    if (!checked_add(size_bytes, sizeof(struct chunk), &total))
        return NULL;
    struct chunk *chunk;
    if (arena->is_shared)
        chunk = shared_chunk(arena, size_bytes);
    else if (arena->pool && (arena->chunks || size_bytes > CHUNK_BYTES))
        chunk = pool_chunk(arena, size_bytes);
    else
        chunk = heap_chunk(size_bytes < CHUNK_BYTES ? CHUNK_BYTES : size_bytes);
    if (!chunk)
        return NULL;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    arena->used_bytes = 0;
    return chunk;
}

void *gp_arena_alloc(struct gp_arena *arena, size_t size_bytes)
{
    size_t size;
    if (!checked_add(size_bytes ? size_bytes : 1, ALIGNMENT - 1, &size))
        return NULL;
    size -= size % ALIGNMENT;
    struct chunk *chunk = arena->chunks;
    if (!chunk || chunk->size_bytes - arena->used_bytes < size) {
        chunk = chunk_add(arena, size);
        if (!chunk)
            return NULL;
    }
    void *block = chunk->data + arena->used_bytes;
    arena->used_bytes += size;
    return block;
}

static void chunks_free(struct pool *pool, struct chunk *chunk)
{
    while (chunk) {
        struct chunk *next = chunk->next;
        struct pool_buffer buffer = chunk->buffer; /* which the head may lie in */
        if ((void *)chunk != buffer.data)
            mem_free(chunk);
        pool_give(pool, &buffer);
        chunk = next;
    }
}

void gp_arena_reset(struct gp_arena *arena)
{
    struct chunk *kept = NULL;
    for (struct chunk **at = &arena->chunks; *at; at = &(*at)->next)
        if (!(*at)->buffer.data && (*at)->size_bytes == CHUNK_BYTES) {
            kept = *at;
            *at = kept->next;
            break;
        }
    chunks_free(arena->pool, arena->chunks);
    if (kept)
        kept->next = NULL;
    arena->chunks = kept;
    arena->used_bytes = 0;
}

void gp_arena_destroy(struct gp_arena *arena)
{
    if (!arena)
        return;
    chunks_free(arena->pool, arena->chunks);
    mem_free(arena);
}
