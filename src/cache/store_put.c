/* Rows that are put: they wait in a table for the thread that writes them, and are found there. */
#include "cache/store_parts.h"

#include <string.h>

void store_poke(struct store *store)
{
    store->is_poked = true;
    pthread_cond_signal(&store->news);
}

struct cache_row *store_notice_flush(struct store *store)
{
    const uint64_t n_flushes = store->folder.shared->n_flushes;
    if (store->n_flushes == n_flushes)
        return NULL;
    store->n_flushes = n_flushes;
    store->is_writing_void = true;
    memset(store->is_renewed, 0, STORE_N_RENEWED * sizeof *store->is_renewed);
    store->n_renewed = 0;
    atomic_fetch_sub(&store->n_pending, store->filling.n_rows);
    return pending_take_all(&store->filling);
}

struct cache_row *store_find_pending(const struct store *store, const struct digest *key)
{
    struct cache_row *row = pending_find(&store->filling, key);
    if (!row && !store->is_writing_void)
        row = pending_find(&store->writing, key);
    return row;
}

void store_put(struct store *store, struct cache_row *row)
{
    bool is_dropped = sizeof(struct rows_head) + row->size_bytes > store->row_bytes;
    pthread_mutex_lock(&store->lock);
    struct cache_row *flushed = store_notice_flush(store);
    const bool is_known = store_find_pending(store, &row->key);
    const struct pending *filling = &store->filling, *writing = &store->writing;
    if (filling->size_bytes + writing->size_bytes + pending_cost(row) >
            STORE_MOST_PENDING_BYTES ||
        filling->n_rows >= STORE_MOST_PENDING_ROWS)
        is_dropped = true;
    if (!is_known && !is_dropped) {
        pending_add(&store->filling, row);
        atomic_fetch_add(&store->n_pending, 1);
        atomic_fetch_add(&store->n_put, 1);
        if (filling->n_rows == 1 || filling->size_bytes >= STORE_BATCH_BYTES)
            pthread_cond_signal(&store->news);
        row = NULL;
    }
    pthread_mutex_unlock(&store->lock);
    if (!is_known && is_dropped)
        atomic_fetch_add(&store->n_dropped, 1);
    cache_row_drop(row);
    pending_drop_chain(flushed);
}

uint64_t store_n_put(const struct store *store)
{
    return atomic_load(&store->n_put);
}
