/* cache/row.h - one output of one row, as it is kept.
 *
 * It is held by whoever uses it: the store until it is on disk, and those that have found it.
 */
#ifndef GP_CACHE_ROW_H
#define GP_CACHE_ROW_H

#include "cache/digest.h"

#include <stdatomic.h>

struct cache_row {
    struct cache_row *next; /* in the store */
    struct digest key;
    atomic_uint n_holds;
    size_t size_bytes;
    _Alignas(16) unsigned char bytes[];
};

/* The caller holds it. NULL if memory is short. */
struct cache_row *cache_row_create(const struct digest *key, size_t size_bytes);
void cache_row_hold(struct cache_row *row);
void cache_row_drop(struct cache_row *row); /* takes NULL */

#endif
