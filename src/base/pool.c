/* Size classes are powers of two in four steps (4, 5, 6, 7, 8, 10, 12, 14, 16 ... KiB),
 * so at most a fifth of a buffer is wasted; only touched pages cost memory. Each class
 * has a list of idle buffers, the warmest in front, whose link lies in the buffer itself.
 * Large buffers come from mmap, on huge pages where the system gives them. */
#include "base/pool.h"

#include "base/mem.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>

enum {
    SMALLEST_SHIFT = 12,
    N_CLASSES = 4 * 22,
    MMAP_BYTES = 1 << 20,
    HUGE_BYTES = 4 << 20
};

struct idle {
    struct idle *next;
};

struct pool {
    pthread_mutex_t lock;
    struct idle *idle[N_CLASSES];
    struct pool_counts counts;
    size_t idle_limit_bytes;
};

/* The smallest class that holds size_bytes, and the size of its buffers; -1 when none
 * does. */
static int class_of(size_t size_bytes, size_t *class_bytes)
{
    size_t step = (size_t)1 << (SMALLEST_SHIFT - 2);
    size_t size = 4 * step;
    for (int i = 0; i < N_CLASSES; i++) {
        if (size_bytes <= size) {
            *class_bytes = size;
            return i;
        }
        size += step;
        if (size == 8 * step)
            step *= 2;
    }
    return -1;
}

static void *fresh(size_t size_bytes)
{
    if (size_bytes < MMAP_BYTES)
        return aligned_alloc(64, size_bytes);
    void *data = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED)
        return NULL;
    if (size_bytes >= HUGE_BYTES)
        (void)madvise(data, size_bytes, MADV_HUGEPAGE);
    return data;
}

static void discard(void *data, size_t size_bytes)
{
    if (size_bytes < MMAP_BYTES)
        free(data);
    else
        munmap(data, size_bytes);
}

struct pool *pool_create(size_t idle_limit_bytes)
{
    struct pool *pool = mem_zalloc(sizeof *pool);
    if (!pool)
        return NULL;
    pthread_mutex_init(&pool->lock, NULL);
    pool->idle_limit_bytes = idle_limit_bytes;
    return pool;
}

bool pool_take(struct pool *pool, size_t size_bytes, struct pool_buffer *buffer)
{
    size_t size;
    const int class = class_of(size_bytes, &size);
    if (class < 0)
        return false;
    pthread_mutex_lock(&pool->lock);
    struct idle *idle = pool->idle[class];
    if (idle) {
        pool->idle[class] = idle->next;
        pool->counts.idle_bytes -= size;
    }
    pool->counts.used_bytes += size;
    pthread_mutex_unlock(&pool->lock);

    buffer->data = idle ? (unsigned char *)idle : fresh(size);
    buffer->size_bytes = buffer->data ? size : 0;
    if (!buffer->data) {
        pthread_mutex_lock(&pool->lock);
        pool->counts.used_bytes -= size;
        pthread_mutex_unlock(&pool->lock);
    }
    return buffer->data != NULL;
}

void pool_give(struct pool *pool, struct pool_buffer *buffer)
{
    if (!buffer->data)
        return;
    size_t size = 0; /* of a class, as every buffer is */
    const int class = class_of(buffer->size_bytes, &size);
    struct idle *idle = (struct idle *)(void *)buffer->data;
    pthread_mutex_lock(&pool->lock);
    pool->counts.used_bytes -= size;
    const bool is_kept = pool->counts.idle_bytes + size <= pool->idle_limit_bytes;
    if (is_kept) {
        idle->next = pool->idle[class];
        pool->idle[class] = idle;
        pool->counts.idle_bytes += size;
    }
    pthread_mutex_unlock(&pool->lock);
    if (!is_kept)
        discard(idle, size);
    *buffer = (struct pool_buffer){0};
}

struct pool_counts pool_count(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    const struct pool_counts counts = pool->counts;
    pthread_mutex_unlock(&pool->lock);
    return counts;
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    size_t step = (size_t)1 << (SMALLEST_SHIFT - 2);
    size_t size = 4 * step;
    for (int i = 0; i < N_CLASSES; i++) {
        for (struct idle *idle = pool->idle[i], *next; idle; idle = next) {
            next = idle->next;
            discard(idle, size);
        }
        size += step;
        if (size == 8 * step)
            step *= 2;
    }
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool);
}
