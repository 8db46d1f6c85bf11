/* base/pool_range.h - what the pool asks of the system: a range of addresses is a sparse file of
 * shared memory, mapped once, whose pages are put in place and returned. */
#ifndef GP_BASE_POOL_RANGE_H
#define GP_BASE_POOL_RANGE_H

#include "base/pool.h"

#define PAGE_BYTES ((size_t)4096)
#define HUGE_BYTES ((size_t)2 << 20)

static inline size_t round_up(size_t size, size_t unit)
{
    return (size + unit - 1) / unit * unit;
}

/* True if shared memory may have huge pages. */
bool pool_range_has_huge_pages(void);

/* Makes and maps the file; false and errno when memory, addresses or descriptors are short.
 * There is no descriptor (-1) if the limit on the size of files forbids one. */
bool pool_range_map(struct pool_range *range, size_t size_bytes);
void pool_range_unmap(struct pool_range *range);

/* No huge pages in the first small_bytes; huge pages in the rest if the system has them. */
void pool_range_choose_pages(const struct pool_range *range, size_t small_bytes);

/* Puts pages in place, for writing; false when memory is short. */
bool pool_range_touch(unsigned char *data, size_t size_bytes);

/* Returns pages to the system; the range is zeros afterwards. */
bool pool_range_punch(const struct pool_range *range, unsigned char *data,
                      size_t size_bytes);

#endif
