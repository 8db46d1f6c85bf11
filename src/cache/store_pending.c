#include "cache/store_pending.h"

#include "base/mem.h"

#include <string.h>

/* Keys are digests, or digests' next of kin: any bytes of them spread evenly. */
static size_t bucket_of(const struct digest *key)
{
    uint32_t bits;
    memcpy(&bits, key->bytes, sizeof bits);
    return bits & (PENDING_BUCKETS - 1);
}

bool pending_init(struct pending *pending)
{
    *pending =
        (struct pending){.buckets = mem_array(PENDING_BUCKETS, sizeof *pending->buckets)};
    return pending->buckets;
}

void pending_finish(struct pending *pending)
{
    if (pending->buckets)
        pending_drop_chain(pending_take_all(pending));
    mem_free(pending->buckets);
}

struct cache_row *pending_find(const struct pending *pending, const struct digest *key)
{
    if (pending->n_rows == 0)
        return NULL;
    struct cache_row *row = pending->buckets[bucket_of(key)];
    while (row && memcmp(&row->key, key, sizeof *key) != 0)
        row = row->next;
    return row;
}

void pending_add(struct pending *pending, struct cache_row *row)
{
    struct cache_row **bucket = &pending->buckets[bucket_of(&row->key)];
    row->next = *bucket;
    *bucket = row;
    pending->n_rows++;
    pending->size_bytes += pending_cost(row);
}

struct cache_row *pending_next(const struct pending *pending, const struct cache_row *row)
{
    if (row && row->next)
        return row->next;
    for (size_t i = row ? bucket_of(&row->key) + 1 : 0; i < PENDING_BUCKETS; i++)
        if (pending->buckets[i])
            return pending->buckets[i];
    return NULL;
}

struct cache_row *pending_take_all(struct pending *pending)
{
    struct cache_row *rows = NULL;
    for (size_t i = 0; pending->n_rows > 0; i++)
        while (pending->buckets[i]) {
            struct cache_row *row = pending->buckets[i];
            pending->buckets[i] = row->next;
            row->next = rows;
            rows = row;
            pending->n_rows--;
        }
    pending->size_bytes = 0;
    return rows;
}

void pending_drop_chain(struct cache_row *rows)
{
    while (rows) {
        struct cache_row *next = rows->next;
        cache_row_drop(rows);
        rows = next;
    }
}
