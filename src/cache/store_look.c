/* Looking at a store. What a look finds is in the tables of pending rows, or in a snapshot of the two files.
 * A row that left the tables after the snapshot was made is looked for in a newer one, so there is no moment
 * at which it cannot be found. */
#include "cache/store_parts.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

enum { CLOCK_SLACK_S = 60 };

static MDB_txn *take_idle(struct rows_file *file)
{
    return file && file->n_idle > 0 ? file->idle[--file->n_idle] : NULL;
}

static MDB_txn *begin_look(struct rows_file *file, MDB_txn *txn)
{
    return file && rows_look(file, &txn) == 0 ? txn : NULL;
}

bool store_look_begin(struct store *store, struct store_look *look)
{
    MDB_txn *young = NULL, *old = NULL;
    struct store_pair *pair;
    *look = (struct store_look){.store = store};
    if (!store)
        return false;
    const struct folder_shared *shared = store->folder.shared;
    pthread_mutex_lock(&store->lock);
    struct cache_row *flushed = store_notice_flush(store);
    pair = store->pair->n_flushes == shared->n_flushes ? store->pair : NULL;
    if (store->pair->number != shared->number && !store->is_poked)
        store_poke(store);
    if (pair) {
        pair->n_looks++;
        young = take_idle(pair->young);
        old = take_idle(pair->old);
    }
    look->n_written = atomic_load(&store->n_written);
    pthread_mutex_unlock(&store->lock);
    pending_drop_chain(flushed);
    if (pair) {
        look->generation = pair;
        look->young = begin_look(pair->young, young);
        look->old = begin_look(pair->old, old);
    }
    return true;
}

static void give_idle(struct rows_file *file, MDB_txn *txn)
{
    if (!txn)
        return;
    if (file->n_idle < ROWS_MAX_IDLE)
        file->idle[file->n_idle++] = txn;
    else
        mdb_txn_abort(txn);
}

void store_look_end(struct store_look *look)
{
    struct store *store = look->store;
    struct store_pair *pair = look->generation;
    if (!pair)
        return;
    mdb_txn_reset(look->young); /* takes NULL */
    mdb_txn_reset(look->old);
    pthread_mutex_lock(&store->lock);
    give_idle(pair->young, look->young);
    give_idle(pair->old, look->old);
    if (--pair->n_looks == 0 && pair != store->pair)
        store_poke(store);
    pthread_mutex_unlock(&store->lock);
    *look = (struct store_look){.store = store};
}

/* --- rows --- */

static bool get_pending(struct store *store, const struct digest *key,
                        struct store_found *found)
{
    if (atomic_load(&store->n_pending) == 0)
        return false;
    pthread_mutex_lock(&store->lock);
    struct cache_row *row = store_find_pending(store, key);
    if (row)
        cache_row_hold(row);
    pthread_mutex_unlock(&store->lock);
    if (!row)
        return false;
    *found = (struct store_found){row->bytes, row->size_bytes, row};
    return true;
}

static bool is_fresh(const struct store *store, uint64_t stored_s)
{
    if (store->ttl_s == 0)
        return true;
    const uint64_t now_s = (uint64_t)time(NULL);
    return stored_s > now_s ? stored_s - now_s < CLOCK_SLACK_S
                            : now_s - stored_s < store->ttl_s;
}

static void tell_damage(struct store *store)
{
    const int64_t now_ns = clock_now_ns();
    struct log *log = store->folder.log;
    int64_t told_ns = atomic_load(&store->damage_told_ns);
    atomic_fetch_add(&store->n_damaged, 1);
    if (!log || (told_ns > 0 && now_ns - told_ns < 60 * CLOCK_S) ||
        !atomic_compare_exchange_strong(&store->damage_told_ns, &told_ns, now_ns))
        return;
    log_line(log, GP_LOG_WARNING,
             "a row in %s is not what was stored, and is computed again; %" PRIu64
             " so far: check the disk and the memory",
             store->folder.path, atomic_load(&store->n_damaged));
}

static bool find_in(struct store *store, struct rows_file *file, MDB_txn *txn,
                    const struct digest *key, struct rows_value *value)
{
    if (!txn || atomic_load(&file->is_damaged))
        return false;
    const int result = rows_find(file, txn, key, value);
    if (result == EBADMSG) {
        tell_damage(store);
    } else if (rows_is_damage(result)) {
        atomic_store(&file->is_damaged, true);
        pthread_mutex_lock(&store->lock);
        store_poke(store);
        pthread_mutex_unlock(&store->lock);
    }
    return result == 0 && is_fresh(store, value->stored_s);
}

static void renew_row(struct store *store, const struct digest *key)
{
    uint32_t bits;
    memcpy(&bits, key->bytes, sizeof bits);
    const size_t at = bits % STORE_N_RENEWED;
    pthread_mutex_lock(&store->lock);
    if (!store->is_renewed[at]) {
        store->is_renewed[at] = true;
        store->renewed[at] = *key;
        if (store->n_renewed++ == 0)
            pthread_cond_signal(&store->news);
    }
    pthread_mutex_unlock(&store->lock);
}

static bool find_on_disk(const struct store_look *look, const struct digest *key,
                         struct rows_value *value)
{
    const struct store_pair *pair = look->generation;
    if (!pair)
        return false;
    if (find_in(look->store, pair->young, look->young, key, value))
        return true;
    if (!find_in(look->store, pair->old, look->old, key, value))
        return false;
    renew_row(look->store, key);
    return true;
}

/* In what was written since the look began, by a look of its own, so a copy is what is found. */
static bool look_again(struct store *store, const struct digest *key,
                       struct store_found *found)
{
    struct store_look look;
    struct rows_value value;
    struct cache_row *row = NULL;
    (void)store_look_begin(store, &look);
    if (find_on_disk(&look, key, &value))
        row = cache_row_create(key, value.size_bytes);
    if (row) {
        memcpy(row->bytes, value.bytes, value.size_bytes);
        *found = (struct store_found){row->bytes, row->size_bytes, row};
    }
    store_look_end(&look);
    return row;
}

bool store_get(struct store_look *look, const struct digest *key,
               struct store_found *found)
{
    struct rows_value value;
    struct store *store = look->store;
    *found = (struct store_found){0};
    if (!store)
        return false;
    if (get_pending(store, key, found))
        return true;
    if (find_on_disk(look, key, &value)) {
        *found = (struct store_found){value.bytes, value.size_bytes, NULL};
        return true;
    }
    return atomic_load(&store->n_written) != look->n_written &&
           look_again(store, key, found);
}
