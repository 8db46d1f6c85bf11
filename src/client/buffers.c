#include "client/buffers.h"

#include "base/checked.h"

#include <stdlib.h>
#include <sys/mman.h>

enum { ALIGNMENT = 64, MMAP_BYTES = 1 << 20 };

static bool is_mapped(size_t size_bytes)
{
    return size_bytes >= MMAP_BYTES;
}

/* Takes an empty one, too. */
static void discard(struct client_buffer *buffer)
{
    if (is_mapped(buffer->size_bytes))
        munmap(buffer->data, buffer->size_bytes);
    else
        free(buffer->data);
    *buffer = (struct client_buffer){0};
}

/* A little more than requested, so that the next answer fits even if it is slightly
 * larger. */
static bool make(size_t size_bytes, struct client_buffer *buffer)
{
    size_t size;
    if (!checked_add(size_bytes, size_bytes / 8 + ALIGNMENT, &size))
        return false;
    size -= size % ALIGNMENT;
    void *data;
    if (is_mapped(size))
        data =
            mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    else
        data = aligned_alloc(ALIGNMENT, size);
    if (!data || data == MAP_FAILED)
        return false;
    if (is_mapped(size))
        (void)madvise(data, size, MADV_HUGEPAGE);
    *buffer = (struct client_buffer){data, size};
    return true;
}

bool buffers_take(struct client_buffers *buffers, size_t size_bytes,
                  struct client_buffer *buffer)
{
    struct client_buffer *best = NULL;
    for (int i = 0; i < CLIENT_IDLE_BUFFERS; i++) {
        struct client_buffer *idle = &buffers->idle[i];
        if (idle->data && idle->size_bytes >= size_bytes &&
            (!best || idle->size_bytes < best->size_bytes))
            best = idle;
    }
    if (!best)
        return make(size_bytes, buffer);
    *buffer = *best;
    *best = (struct client_buffer){0};
    return true;
}

void buffers_give(struct client_buffers *buffers, struct client_buffer *buffer)
{
    if (!buffer->data)
        return;
    struct client_buffer *smallest = &buffers->idle[0];
    for (int i = 1; i < CLIENT_IDLE_BUFFERS; i++)
        if (buffers->idle[i].size_bytes < smallest->size_bytes)
            smallest = &buffers->idle[i];
    if (smallest->size_bytes < buffer->size_bytes) {
        const struct client_buffer given = *buffer;
        *buffer = *smallest;
        *smallest = given;
    }
    discard(buffer);
}

void buffers_finish(struct client_buffers *buffers)
{
    for (int i = 0; i < CLIENT_IDLE_BUFFERS; i++)
        discard(&buffers->idle[i]);
}
