/* base/pool.h - the buffers of tensors: aligned to 64 bytes, reused by size class.
 *
 * Bodies are received into them and outputs written into them. A buffer that was used
 * before has its pages in place, which is why reuse matters: receiving 77 MB into fresh
 * pages costs two and a half times as much as into warm ones. Any thread may take and
 * give.
 */
#ifndef GP_BASE_POOL_H
#define GP_BASE_POOL_H

#include <stdbool.h>
#include <stddef.h>

struct pool;

struct pool_buffer {
    unsigned char *data;
    size_t size_bytes; /* what can be used: at least what was asked for */
};

struct pool_counts {
    size_t used_bytes; /* taken and not given back */
    size_t idle_bytes; /* kept warm for the next taker */
};

/* A pool that keeps at most idle_limit_bytes warm. NULL when memory is short. */
struct pool *pool_create(size_t idle_limit_bytes);

/* A buffer of at least size_bytes; false when memory is short. */
bool pool_take(struct pool *pool, size_t size_bytes, struct pool_buffer *buffer);

/* Gives it back and empties *buffer; an empty one is ignored. */
void pool_give(struct pool *pool, struct pool_buffer *buffer);

struct pool_counts pool_count(struct pool *pool);

/* Frees it; every buffer has been given back. Takes NULL. */
void pool_destroy(struct pool *pool);

#endif
