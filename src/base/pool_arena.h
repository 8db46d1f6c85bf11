/* base/pool_arena.h - one arena of the pool: its buffers in use, its idle ones, which are warm until
 * their pages go back, and what of them is pinned. The pool's lock is held by whoever calls.
 *
 * The file of one arena says nothing about what lies in another: that is why there are several. */
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
    size_t n_holds;   /* buffers in use, and whoever has it open */
    bool is_closed;
};

/* Maps it, without huge pages; false and errno. */
bool pool_arena_init(struct pool_arena *arena, struct pool_counts *counts,
                     size_t size_bytes);

/* No slot is in use, or pinned. */
void pool_arena_finish(struct pool_arena *arena);

/* The warmest idle slot of the class, or a new one; POOL_NONE when memory or addresses are short. */
uint32_t pool_arena_take(struct pool_arena *arena, int class);
void pool_arena_give(struct pool_arena *arena, int class, uint32_t slot,
                     size_t touched_bytes);

/* Gives the pages of a slot that the caller has taken back, but for its first `keep` bytes. */
void pool_arena_punch(struct pool_arena *arena, int class, uint32_t slot, size_t keep);

/* Gives the pages of an idle slot back. */
void pool_arena_chill(struct pool_arena *arena, int class, uint32_t slot);

/* Chills the slots that are idle since `since_ns` or longer, largest class first, until `enough`
 * bytes have gone back. */
size_t pool_arena_chill_idle(struct pool_arena *arena, int64_t since_ns, size_t enough);

void pool_arena_unpin(struct pool_arena *arena, int class, uint32_t slot);

static inline struct pool_slot *pool_arena_slot(const struct pool_arena *arena, int class,
                                                uint32_t slot)
{
    return pool_space_slot(&arena->space, class, slot);
}

#endif
