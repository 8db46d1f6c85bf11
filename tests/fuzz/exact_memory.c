/* The arena and the client's buffers as the targets have them: each allocation is a block
 * of its own and of exactly the size that was asked for, and nothing is kept for later. */
#include "base/mem.h"
#include "client/buffers.h"

#include <graphpipe/message.h>

#include <stdalign.h>
#include <stdlib.h>

struct block {
    struct block *next;
    alignas(max_align_t) unsigned char data[];
};

struct gp_arena {
    struct block *blocks;
};

struct gp_arena *gp_arena_create(void)
{
    return mem_zalloc(sizeof(struct gp_arena));
}

void *gp_arena_alloc(struct gp_arena *arena, size_t size_bytes)
{
    if (size_bytes > SIZE_MAX - sizeof(struct block))
        return NULL;
    struct block *block = mem_alloc(sizeof *block + size_bytes);
    if (!block)
        return NULL;
    block->next = arena->blocks;
    arena->blocks = block;
    return block->data;
}

void gp_arena_reset(struct gp_arena *arena)
{
    while (arena->blocks) {
        struct block *next = arena->blocks->next;
        mem_free(arena->blocks);
        arena->blocks = next;
    }
}

void gp_arena_destroy(struct gp_arena *arena)
{
    if (arena)
        gp_arena_reset(arena);
    mem_free(arena);
}

bool buffers_take(struct client_buffers *buffers, size_t size_bytes,
                  struct client_buffer *buffer)
{
    void *data = NULL;
    (void)buffers;
    if (posix_memalign(&data, 64, size_bytes ? size_bytes : 1) != 0)
        return false;
    *buffer = (struct client_buffer){data, size_bytes};
    return true;
}

void buffers_give(struct client_buffers *buffers, struct client_buffer *buffer)
{
    (void)buffers;
    free(buffer->data);
    *buffer = (struct client_buffer){0};
}

void buffers_finish(struct client_buffers *buffers)
{
    (void)buffers;
}
