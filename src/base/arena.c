/* The arena of graphpipe/message.h: a list of chunks, the newest in front. Reset keeps
 * one chunk of the usual size, so that a steady load of small requests allocates
 * nothing. */
#include "base/checked.h"
#include "base/mem.h"

#include <graphpipe/message.h>

#include <stdalign.h>

enum { CHUNK_BYTES = 16 * 1024, ALIGNMENT = alignof(max_align_t) };

struct chunk {
    struct chunk *next;
    size_t size_bytes; /* of data */
    alignas(max_align_t) unsigned char data[];
};

struct gp_arena {
    struct chunk *chunks;
    size_t used_bytes; /* of the front chunk */
};

struct gp_arena *gp_arena_create(void)
{
    return mem_zalloc(sizeof(struct gp_arena));
}

static struct chunk *chunk_add(struct gp_arena *arena, size_t size_bytes)
{
    size_t total;
    if (!checked_add(size_bytes, sizeof(struct chunk), &total))
        return NULL;
    struct chunk *chunk = mem_alloc(total);
    if (!chunk)
        return NULL;
    chunk->size_bytes = size_bytes;
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
        chunk = chunk_add(arena, size > CHUNK_BYTES ? size : CHUNK_BYTES);
        if (!chunk)
            return NULL;
    }
    void *block = chunk->data + arena->used_bytes;
    arena->used_bytes += size;
    return block;
}

static void chunks_free(struct chunk *chunk)
{
    while (chunk) {
        struct chunk *next = chunk->next;
        mem_free(chunk);
        chunk = next;
    }
}

void gp_arena_reset(struct gp_arena *arena)
{
    struct chunk *kept = NULL;
    for (struct chunk **at = &arena->chunks; *at; at = &(*at)->next)
        if ((*at)->size_bytes == CHUNK_BYTES) {
            kept = *at;
            *at = kept->next;
            break;
        }
    chunks_free(arena->chunks);
    if (kept)
        kept->next = NULL;
    arena->chunks = kept;
    arena->used_bytes = 0;
}

void gp_arena_destroy(struct gp_arena *arena)
{
    if (!arena)
        return;
    chunks_free(arena->chunks);
    mem_free(arena);
}
