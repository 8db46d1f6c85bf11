#include "cache/row.h"

#include "base/checked.h"
#include "base/mem.h"

struct cache_row *cache_row_create(const struct digest *key, size_t size_bytes)
{
    size_t whole;
    struct cache_row *row = NULL;
    if (checked_add(sizeof *row, size_bytes, &whole))
        row = mem_alloc(whole);
    if (!row)
        return NULL;
    row->next = NULL;
    row->key = *key;
    atomic_init(&row->n_holds, 1);
    row->size_bytes = size_bytes;
    return row;
}

void cache_row_hold(struct cache_row *row)
{
    atomic_fetch_add_explicit(&row->n_holds, 1, memory_order_relaxed);
}

void cache_row_drop(struct cache_row *row)
{
    if (row && atomic_fetch_sub_explicit(&row->n_holds, 1, memory_order_acq_rel) == 1)
        mem_free(row);
}
