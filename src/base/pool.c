/* The pool has a private arena all its life; others come and go with their models.
 *
 * If the system gives huge pages to shared memory, they come whole: classes from 2 MiB on
 * then count, touch and punch in units of 2 MiB, and no others get any, so that the counts
 * are what is held. */
#include "base/pool.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/pool_parts.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>

/* It has all its addresses, and is aligned for huge pages. */
static bool may_have_huge_pages(const struct pool_arena *arena)
{
    const struct pool_range *range = &arena->space.range;
    return range->size_bytes == pool_space_most_bytes(arena->counts->budget_bytes) &&
           (uintptr_t)range->base % HUGE_BYTES == 0;
}

/* Huge pages for the classes that can fill them, and for no others. */
static void choose_pages(const struct pool *pool, const struct pool_arena *arena)
{
    const struct pool_range *range = &arena->space.range;
    pool_range_choose_pages(range, pool->has_huge_pages && may_have_huge_pages(arena)
                                       ? pool_space_huge_at(&arena->space)
                                       : range->size_bytes);
}

struct pool *pool_create(size_t budget_bytes)
{
    struct pool *pool = mem_zalloc(sizeof *pool);
    if (!pool)
        return NULL;
    pool->counts.budget_bytes = round_up(budget_bytes ? budget_bytes : 1, PAGE_BYTES);
    if (!pool_arena_init(&pool->private, &pool->counts,
                         pool_space_first_bytes(pool->counts.budget_bytes))) {
        const int error = errno;
        mem_free(pool);
        errno = error;
        return NULL;
    }
    pool->arenas = &pool->private;
    pool->has_huge_pages =
        pool_range_has_huge_pages() && may_have_huge_pages(&pool->private);
    choose_pages(pool, &pool->private);
    pthread_mutex_init(&pool->lock, NULL);
    return pool;
}

void pool_destroy(struct pool *pool)
{
    if (!pool)
        return;
    assert(pool->arenas == &pool->private && !pool->private.next); /* all are closed */
    pool->private.n_holds--;
    pool_arena_finish(&pool->private);
    pthread_mutex_destroy(&pool->lock);
    mem_free(pool);
}

/* --- arenas --- */

static struct pool_arena *arena_create(struct pool *pool, size_t size_bytes)
{
    struct pool_arena *arena = mem_alloc(sizeof *arena);
    if (!arena)
        errno = ENOMEM;
    if (arena && pool_arena_init(arena, &pool->counts, size_bytes)) {
        choose_pages(pool, arena);
        pthread_mutex_lock(&pool->lock);
        arena->next = pool->arenas;
        pool->arenas = arena;
        pthread_mutex_unlock(&pool->lock);
        return arena;
    }
    const int error = errno;
    mem_free(arena);
    errno = error;
    return NULL;
}

bool pool_open(struct pool *pool, struct pool_pair *pair)
{
    const size_t size_bytes = pool_space_next_bytes(pool->counts.budget_bytes, 2);
    *pair = (struct pool_pair){.inputs = arena_create(pool, size_bytes)};
    if (pair->inputs)
        pair->outputs = arena_create(pool, size_bytes);
    if (pair->outputs)
        return true;
    const int error = errno;
    pool_close(pool, pair);
    errno = error;
    return false;
}

bool pool_open_pinned(struct pool *pool, int (*pin)(void *memory, size_t size_bytes),
                      void (*unpin)(void *memory), struct pool_pair *pair)
{
    struct pool_arena *arena =
        arena_create(pool, pool_space_next_bytes(pool->counts.budget_bytes, 1));
    *pair = (struct pool_pair){arena, arena};
    if (!arena)
        return false;
    arena->pin = pin;
    arena->unpin = unpin;
    return true;
}

/* Unpins all buffers, even those in use, and returns the pages of idle ones: one at a time,
 * so that others get the lock in between. */
static void cool_down(struct pool *pool, struct pool_arena *arena)
{
    const struct pool_space *space = &arena->space;
    for (uint32_t at = 0; at < space->n_chunks; at++) {
        const struct pool_chunk *chunk = &space->chunks[at];
        for (uint32_t i = 0; i < chunk->n_made; i++) {
            const uint32_t slot = (at << space->classes[chunk->class].slots_shift) + i;
            pthread_mutex_lock(&pool->lock);
            pool_arena_unpin(arena, chunk->class, slot);
            pool_arena_chill(arena, chunk->class, slot);
            pthread_mutex_unlock(&pool->lock);
        }
    }
}

struct pool_arena *pool_unlink(struct pool *pool, struct pool_arena *arena)
{
    struct pool_arena **link = &pool->arenas;
    if (arena->n_holds)
        return NULL;
    while (*link != arena)
        link = &(*link)->next;
    *link = arena->next;
    pool->counts.idle_bytes -= arena->idle_bytes; /* that could not be punched */
    return arena;
}

void pool_free(struct pool_arena *arena)
{
    pool_arena_finish(arena);
    mem_free(arena);
}

static void close_arena(struct pool *pool, struct pool_arena *arena)
{
    if (!arena)
        return;
    pthread_mutex_lock(&pool->lock);
    arena->is_closed = true;
    pthread_mutex_unlock(&pool->lock);
    cool_down(pool, arena);
    pthread_mutex_lock(&pool->lock);
    arena->n_holds--;
    struct pool_arena *unheld = pool_unlink(pool, arena);
    pthread_mutex_unlock(&pool->lock);
    if (unheld)
        pool_free(unheld);
}

void pool_close(struct pool *pool, struct pool_pair *pair)
{
    close_arena(pool, pair->inputs);
    if (pair->outputs != pair->inputs)
        close_arena(pool, pair->outputs);
    *pair = (struct pool_pair){0};
}

const struct pool_range *pool_range(const struct pool *pool,
                                    const struct pool_arena *arena)
{
    return &(arena ? arena : &pool->private)->space.range;
}

size_t pool_offset(const struct pool_buffer *buffer)
{
    return (size_t)(buffer->data - buffer->arena->space.range.base);
}

/* --- idle memory --- */

/* The least recently used arena that has idle memory, or NULL. */
static struct pool_arena *find_idle(const struct pool *pool)
{
    struct pool_arena *found = NULL;
    for (struct pool_arena *at = pool->arenas; at; at = at->next)
        if (at->idle_bytes && (!found || at->given_ns < found->given_ns))
            found = at;
    return found;
}

void pool_make_room(struct pool *pool, size_t wanted)
{
    const struct pool_counts *n = &pool->counts;
    size_t held, gone = 1;
    while (gone && (held = n->used_bytes + n->reserved_bytes + n->idle_bytes) + wanted >
                       n->budget_bytes) {
        struct pool_arena *arena = find_idle(pool);
        const size_t missing = held + wanted - n->budget_bytes;
        gone = arena ? pool_arena_chill_idle(arena, INT64_MAX, missing) : 0;
    }
}

void pool_trim(struct pool *pool, int64_t idle_ns)
{
    const int64_t since_ns = clock_now_ns() - idle_ns;
    pthread_mutex_lock(&pool->lock);
    for (struct pool_arena *at = pool->arenas; at; at = at->next)
        (void)pool_arena_chill_idle(at, since_ns, SIZE_MAX);
    pthread_mutex_unlock(&pool->lock);
}

struct pool_counts pool_count(struct pool *pool)
{
    pthread_mutex_lock(&pool->lock);
    const struct pool_counts counts = pool->counts;
    pthread_mutex_unlock(&pool->lock);
    return counts;
}
