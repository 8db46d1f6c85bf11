/* client/buffers.h - the memory that answers are received into, kept for later ones:
 * pages that are already in place make large answers more than twice as fast. One
 * thread. */
#ifndef GP_CLIENT_BUFFERS_H
#define GP_CLIENT_BUFFERS_H

#include <stdbool.h>
#include <stddef.h>

/* Aligned to 64 bytes. */
struct client_buffer {
    unsigned char *data;
    size_t size_bytes; /* at least what was requested */
};

enum { CLIENT_IDLE_BUFFERS = 4 };

struct client_buffers {
    struct client_buffer idle[CLIENT_IDLE_BUFFERS];
};

/* Takes a buffer of at least size_bytes; false when memory is short. */
bool buffers_take(struct client_buffers *buffers, size_t size_bytes,
                  struct client_buffer *buffer);

/* Keeps the buffer in place of the smallest one that is kept, and empties *buffer. */
void buffers_give(struct client_buffers *buffers, struct client_buffer *buffer);

/* Frees all kept buffers. */
void buffers_finish(struct client_buffers *buffers);

#endif
