/* base/pool_range.h - what the pool asks of the system: ranges of addresses, each a sparse file of
 * shared memory that is mapped once, and pages put in place and given back. */
#ifndef GP_BASE_POOL_RANGE_H
#define GP_BASE_POOL_RANGE_H

#include "base/pool.h"

#define PAGE_BYTES ((size_t)4096)
#define HUGE_BYTES ((size_t)2 << 20)

static inline size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* True when shared memory may have huge pages. */
bool pool_range_has_huge_pages(void);

/* Makes the file and maps it; false and errno when memory, addresses or descriptors are short.
 * There is no descriptor (-1) where the limit on the size of files is below it. */
bool pool_range_map(struct pool_range *range, size_t size_bytes);
void pool_range_unmap(struct pool_range *range);

/* No huge pages in the first small_bytes, and such where the system has them in the rest. */
void pool_range_choose_pages(const struct pool_range *range, size_t small_bytes);

/* Puts pages in place, for writing; false when memory is short. */
bool pool_range_touch(unsigned char *data, size_t size_bytes);

/* Gives pages back; what lies there is zeros afterwards. */
bool pool_range_punch(const struct pool_range *range, unsigned char *data,
                      size_t size_bytes);

#endif
