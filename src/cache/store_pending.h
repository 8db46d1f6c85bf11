/* cache/store_pending.h - rows that are not on disk yet, by their keys. Under the store's lock. */
#ifndef GP_CACHE_STORE_PENDING_H
#define GP_CACHE_STORE_PENDING_H

#include "cache/row.h"

#include <stdbool.h>

enum { PENDING_BUCKETS = 1 << 14 };

struct pending {
    struct cache_row **buckets; /* chains by `next` */
    size_t n_rows;
    size_t size_bytes; /* with what a row itself takes */
};

bool pending_init(struct pending *pending);
void pending_finish(struct pending *pending); /* takes a zeroed one */

struct cache_row *pending_find(const struct pending *pending, const struct digest *key);
void pending_add(struct pending *pending, struct cache_row *row);

/* Empties it, and gives all rows as one chain. */
struct cache_row *pending_take_all(struct pending *pending);
void pending_drop_chain(struct cache_row *rows);

/* The row after this one, or the first after NULL; NULL after the last. */
struct cache_row *pending_next(const struct pending *pending,
                               const struct cache_row *row);

static inline size_t pending_cost(const struct cache_row *row)
{
    return sizeof *row + row->size_bytes;
}

#endif
