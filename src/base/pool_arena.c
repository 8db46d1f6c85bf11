/* Idle slots are in a list of their class, the last used in front. A slot costs the memory of
 * its touched pages, not its size, so large classes waste nothing. Classes are powers of two
 * from 4 KiB on: nothing is ever split or joined. */
#include "base/pool_arena.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>

bool pool_arena_init(struct pool_arena *arena, struct pool_counts *counts,
                     size_t size_bytes)
{
    *arena = (struct pool_arena){.counts = counts, .n_holds = 1};
    errno = ENOMEM;
    return size_bytes && pool_space_init(&arena->space, counts->budget_bytes, size_bytes);
}

void pool_arena_finish(struct pool_arena *arena)
{
    assert(arena->n_holds == 0); /* no buffer is in use */
    pool_space_finish(&arena->space);
}

void pool_arena_unpin(struct pool_arena *arena, int class, uint32_t number)
{
    struct pool_slot *slot = pool_arena_slot(arena, class, number);
    if (slot->pinned_bytes)
        arena->unpin(pool_space_data(&arena->space, class, number));
    arena->counts->pinned_bytes -= slot->pinned_bytes;
    slot->pinned_bytes = 0;
}

/* A device would go on using the old pages of pinned memory, and we new ones. */
void pool_arena_punch(struct pool_arena *arena, int class, uint32_t number, size_t keep)
{
    struct pool_slot *slot = pool_arena_slot(arena, class, number);
    unsigned char *data = pool_space_data(&arena->space, class, number);
    if (slot->touched_bytes <= keep)
        return;
    pool_arena_unpin(arena, class, number);
    if (pool_range_punch(&arena->space.range, data + keep, slot->touched_bytes - keep))
        slot->touched_bytes = keep;
}

void pool_arena_chill(struct pool_arena *arena, int class, uint32_t number)
{
    const struct pool_slot *slot = pool_arena_slot(arena, class, number);
    const size_t before = slot->touched_bytes;
    pool_arena_punch(arena, class, number, 0);
    arena->idle_bytes -= before - slot->touched_bytes;
    arena->counts->idle_bytes -= before - slot->touched_bytes;
}

size_t pool_arena_chill_idle(struct pool_arena *arena, int64_t since_ns, size_t enough)
{
    const size_t before = arena->idle_bytes;
    for (int class = POOL_N_CLASSES - 1; class >= 0 && arena->idle_bytes; class --) {
        uint32_t at = arena->space.classes[class].idle;
        for (; at != POOL_NONE; at = pool_arena_slot(arena, class, at)->next) {
            if (before - arena->idle_bytes >= enough)
                return before - arena->idle_bytes;
            if (pool_arena_slot(arena, class, at)->idle_since_ns <= since_ns)
                pool_arena_chill(arena, class, at);
        }
    }
    return before - arena->idle_bytes;
}

/* Gives up chunks of idle slots if that makes room for a slot of this class. */
static bool clear_chunks(struct pool_arena *arena, int class)
{
    struct pool_space *space = &arena->space;
    const uint32_t at = pool_space_idle_chunks(space, class);
    for (uint32_t i = 0; i < space->classes[class].n_chunks && at != POOL_NONE; i++) {
        if (!space->chunks[at + i].is_taken)
            continue;
        const uint32_t first = space->chunks[at + i].first;
        const int owner = space->chunks[first].class;
        for (uint32_t k = 0; k < space->chunks[first].n_made; k++) {
            const uint32_t slot = (first << space->classes[owner].slots_shift) + k;
            pool_arena_chill(arena, owner, slot);
            if (pool_arena_slot(arena, owner, slot)->touched_bytes)
                return false;
        }
        pool_space_drop(space, first);
    }
    return at != POOL_NONE;
}

uint32_t pool_arena_take(struct pool_arena *arena, int number)
{
    struct pool_class *class = &arena->space.classes[number];
    uint32_t slot = class->idle;
    assert(!arena->is_closed);
    if (slot != POOL_NONE) {
        const struct pool_slot *warm = pool_arena_slot(arena, number, slot);
        class->idle = warm->next;
        arena->idle_bytes -= warm->touched_bytes;
        arena->counts->idle_bytes -= warm->touched_bytes;
    } else {
        slot = pool_space_add(&arena->space, number);
        if (slot == POOL_NONE && clear_chunks(arena, number))
            slot = pool_space_add(&arena->space, number);
    }
    if (slot == POOL_NONE)
        return POOL_NONE;
    pool_space_chunk(&arena->space, number, slot)->n_live++;
    arena->n_holds++;
    return slot;
}

void pool_arena_give(struct pool_arena *arena, int number, uint32_t at,
                     size_t touched_bytes)
{
    struct pool_class *class = &arena->space.classes[number];
    struct pool_slot *slot = pool_arena_slot(arena, number, at);
    slot->next = class->idle;
    slot->touched_bytes = touched_bytes;
    slot->idle_since_ns = arena->given_ns = clock_now_ns();
    class->idle = at;
    arena->idle_bytes += touched_bytes;
    arena->counts->idle_bytes += touched_bytes;
    pool_space_chunk(&arena->space, number, at)->n_live--;
    arena->n_holds--;
}
