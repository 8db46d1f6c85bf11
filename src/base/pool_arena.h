/* base/pool_arena.h - one arena of the pool: its slots in use and idle, and which are pinned.
 * An idle slot is warm until its pages are returned to the system. There are several arenas
 * because a process that holds the file of one sees nothing of the others.
 *
 * Called with the pool's lock held, except for init and finish. */
#ifndef GP_BASE_POOL_ARENA_H
#define GP_BASE_POOL_ARENA_H

#include "base/pool_space.h"

struct pool_arena {
    struct pool_space space;
    struct pool_arena *next; /* in the pool's list */
    struct pool_counts *counts;
    int (*pin)(void *memory, size_t size_bytes); /* NULL: nothing is pinned */
    void (*unpin)(void *memory);
    size_t idle_bytes;
    int64_t given_ns; /* when a buffer was last given back */
    size_t n_holds;   /* buffers in use, and one while it is open */
    bool is_closed;
};

/* False and errno when memory, addresses (size_bytes 0) or descriptors are short. */
bool pool_arena_init(struct pool_arena *arena, struct pool_counts *counts,
                     size_t size_bytes);

/* Nothing holds it, and no slot is pinned. */
void pool_arena_finish(struct pool_arena *arena);

/* The warmest idle slot of the class, or a new one; POOL_NONE when memory or addresses are short. */
uint32_t pool_arena_take(struct pool_arena *arena, int class);
void pool_arena_give(struct pool_arena *arena, int class, uint32_t slot,
                     size_t touched_bytes);

/* Returns the pages of a slot in use to the system, except for the first `keep` bytes. */
void pool_arena_punch(struct pool_arena *arena, int class, uint32_t slot, size_t keep);

/* Returns the pages of an idle slot to the system. */
void pool_arena_chill(struct pool_arena *arena, int class, uint32_t slot);

/* Chills slots that became idle at `since_ns` or before, the largest first, until `enough`
 * bytes were returned. Gives how many. */
size_t pool_arena_chill_idle(struct pool_arena *arena, int64_t since_ns, size_t enough);

void pool_arena_unpin(struct pool_arena *arena, int class, uint32_t slot);

static inline struct pool_slot *pool_arena_slot(const struct pool_arena *arena, int class,
                                                uint32_t slot)
{
    return pool_space_slot(&arena->space, class, slot);
}

#endif
