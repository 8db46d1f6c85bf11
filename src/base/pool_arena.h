/* base/pool_arena.h - what the pool asks of the system: an arena (a sparse file of shared memory,
 * mapped once), pages put in place and given back. */
#ifndef GP_BASE_POOL_ARENA_H
#define GP_BASE_POOL_ARENA_H

#include "base/pool.h"

#define PAGE_BYTES ((size_t)4096)
#define HUGE_BYTES ((size_t)2 << 20)

static inline size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* True when shared memory may have huge pages. */
bool pool_arena_has_huge_pages(void);

/* Makes an arena and maps it; false and errno when memory, addresses or descriptors are short.
 * The arena has no descriptor (-1) where the limit on the size of files is below it. */
bool pool_arena_map(struct pool_range *arena, size_t size_bytes);
void pool_arena_unmap(struct pool_range *arena);

/* No huge pages in the first small_bytes, and such where the system has them in the rest. */
void pool_arena_choose_pages(const struct pool_range *arena, size_t small_bytes);

/* Puts pages in place, for writing; false when memory is short. */
bool pool_arena_touch(unsigned char *data, size_t size_bytes);

/* Gives pages back; what lies there is zeros afterwards. */
bool pool_arena_punch(const struct pool_range *arena, unsigned char *data,
                      size_t size_bytes);

#endif
