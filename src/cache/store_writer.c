/* The thread that writes what was put, in batches: a commit waits for the disk, and costs as much for one row
 * as for thousands. It also brings rows that are still asked for from the old file into the young one. */
#include "cache/store_parts.h"

#include "base/clock.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <time.h>

/* Of a batch that could not be written. */
static void tell_failure(struct store *store, int result, unsigned n_rows)
{
    atomic_fetch_add(&store->n_dropped, n_rows);
    struct log *log = store->folder.log;
    if (store->has_told_full || !log)
        return;
    store->has_told_full = true;
    log_line(log, GP_LOG_WARNING,
             "the row cache in %s cannot be written: %s; rows are dropped until it can",
             store->folder.path, mdb_strerror(result));
}

static void tell_success(struct store *store, unsigned n_rows)
{
    atomic_fetch_add(&store->n_stored, n_rows);
    atomic_fetch_add(&store->n_written, 1);
    struct log *log = store->folder.log;
    if (store->has_told_full && log)
        log_line(log, GP_LOG_INFO, "the row cache in %s is written again",
                 store->folder.path);
    store->has_told_full = false;
}

/* Since the rows were put nobody has flushed the folder, and the young file is of after that. */
static bool is_wanted(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    struct cache_row *flushed = store_notice_flush(store);
    const bool is_wanted = !store->is_writing_void;
    pthread_mutex_unlock(&store->lock);
    pending_drop_chain(flushed);
    return is_wanted;
}

/* --- rows that were put --- */

/* Writes rows from *row on, until there are enough for a commit; *row is the first that was not taken. */
static int write_batch(struct store *store, const struct cache_row **row,
                       unsigned *n_rows)
{
    struct rows_file *file = store->pair->young;
    MDB_txn *txn;
    const size_t most = store->row_bytes < STORE_BATCH_BYTES ? store->row_bytes
                                                             : (size_t)STORE_BATCH_BYTES;
    *n_rows = 0;
    int result = rows_begin(file, &txn);
    if (result)
        return result;
    const uint64_t now_s = (uint64_t)time(NULL);
    for (size_t size = 0; *row && size < most && result == 0; ++*n_rows) {
        size += pending_cost(*row);
        result =
            rows_put(file, txn, &(*row)->key, now_s, (*row)->bytes, (*row)->size_bytes);
        *row = pending_next(&store->writing, *row);
    }
    return rows_end(txn, result);
}

static bool is_given_up(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    const bool is_given_up = store->is_ending && clock_now_ns() > store->give_up_ns;
    pthread_mutex_unlock(&store->lock);
    return is_given_up;
}

/* A result after which the same can be tried with another young file. */
static bool find_room(struct store *store, int *result)
{
    if (*result == MDB_MAP_FULL)
        return store_follow(store, true, result);
    if (!rows_is_damage(*result))
        return false;
    atomic_store(&store->pair->young->is_damaged, true);
    return store_follow(store, false, result);
}

static void write_rows(struct store *store)
{
    const struct cache_row *row = pending_next(&store->writing, NULL);
    bool is_retry = false;
    while (row && is_wanted(store)) {
        const struct cache_row *first = row;
        unsigned n_rows = 0;
        int result = ETIMEDOUT;
        if (!is_given_up(store) && store_follow(store, false, &result))
            result = write_batch(store, &row, &n_rows);
        if (result == 0) {
            tell_success(store, n_rows);
            is_retry = false;
        } else if (n_rows > 0 && !is_retry && find_room(store, &result)) {
            row = first;
            is_retry = true;
        } else {
            for (; n_rows == 0 && row; row = pending_next(&store->writing, row))
                n_rows++; /* no file to write to: the others would have none either */
            tell_failure(store, result, n_rows);
            is_retry = false;
        }
    }
}

/* --- rows that are asked for again --- */

static unsigned take_renewed(struct store *store, struct digest *keys)
{
    unsigned n = 0;
    pthread_mutex_lock(&store->lock);
    for (size_t i = 0; i < STORE_N_RENEWED && store->n_renewed > 0; i++) {
        if (!store->is_renewed[i])
            continue;
        store->is_renewed[i] = false;
        store->n_renewed--;
        keys[n++] = store->renewed[i];
    }
    pthread_mutex_unlock(&store->lock);
    return n;
}

static int renew_rows(struct store *store, const struct digest *keys, unsigned n_keys)
{
    struct rows_file *young = store->pair->young, *old = store->pair->old;
    struct rows_value value;
    MDB_txn *from = NULL, *to;
    int result = rows_look(old, &from);
    if (result)
        return result;
    result = rows_begin(young, &to);
    if (result == 0) {
        size_t size = 0;
        for (unsigned i = 0; i < n_keys && result == 0 && size < store->row_bytes; i++) {
            if (rows_find(old, from, &keys[i], &value) != 0)
                continue;
            size += value.size_bytes;
            result = rows_put_whole(young, to, &keys[i], &value.whole);
        }
        result = rows_end(to, result);
    }
    mdb_txn_abort(from);
    return result;
}

/* A full young file is left to the next rows that are put: what is renewed must not turn out others that
 * are as young. */
static void bring_renewed(struct store *store)
{
    struct digest keys[STORE_N_RENEWED];
    const unsigned n_keys = take_renewed(store, keys);
    int result;
    if (n_keys == 0 || !store_follow(store, false, &result) || !store->pair->old)
        return;
    result = renew_rows(store, keys, n_keys);
    if (result == 0)
        atomic_fetch_add(&store->n_written, 1);
    else if (rows_is_damage(result))
        atomic_store(&store->pair->young->is_damaged, true);
}

/* --- the thread --- */

static struct timespec pause_end(void)
{
    struct timespec end;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_nsec += STORE_BATCH_PAUSE_MS * 1000000L;
    if (end.tv_nsec >= 1000000000L) {
        end.tv_nsec -= 1000000000L;
        end.tv_sec++;
    }
    return end;
}

static bool is_batch_closed(const struct store *store)
{
    return store->is_poked || store->is_ending ||
           store->filling.size_bytes >= STORE_BATCH_BYTES;
}

/* Rows that keep coming are written together. */
static void await_batch(struct store *store)
{
    for (int i = 0; i < STORE_BATCH_PAUSES; i++) {
        const size_t n_rows = store->filling.n_rows;
        const struct timespec end = pause_end();
        while (!is_batch_closed(store) &&
               pthread_cond_timedwait(&store->news, &store->lock, &end) != ETIMEDOUT)
            ;
        if (is_batch_closed(store) || store->filling.n_rows == n_rows)
            return;
    }
}

/* False when it is to end and all is written. The rows that were put are in `writing` then. */
static bool await_work(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    while (store->filling.n_rows == 0 && store->n_renewed == 0 && !store->is_poked &&
           !store->is_ending)
        pthread_cond_wait(&store->news, &store->lock);
    await_batch(store);
    const bool has_work = !store->is_ending || store->filling.n_rows > 0;
    const struct pending empty = store->writing;
    store->writing = store->filling;
    store->filling = empty;
    store->is_writing_void = false;
    store->is_poked = false;
    pthread_mutex_unlock(&store->lock);
    return has_work;
}

static void forget_written(struct store *store)
{
    pthread_mutex_lock(&store->lock);
    atomic_fetch_sub(&store->n_pending, store->writing.n_rows);
    struct cache_row *rows = pending_take_all(&store->writing);
    pthread_mutex_unlock(&store->lock);
    pending_drop_chain(rows);
}

static void *write_main(void *arg)
{
    struct store *store = arg;
    int result;
    while (await_work(store)) {
        (void)store_follow(store, false, &result);
        write_rows(store);
        bring_renewed(store);
        forget_written(store);
    }
    pthread_mutex_lock(&store->lock);
    store->has_ended = true;
    pthread_cond_broadcast(&store->done);
    pthread_mutex_unlock(&store->lock);
    return NULL;
}

enum gp_status store_start_writer(struct store *store, struct gp_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&store->thread, NULL, write_main, store);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    store->has_thread = error == 0;
    if (store->has_thread)
        (void)pthread_setname_np(store->thread, "row cache");
    return error == 0 ? GP_OK
                      : gp_error_set(err, GP_NO_MEMORY,
                                     "cannot make the thread of the row cache: %s",
                                     strerror(error));
}

/* A disk that does not answer, or another process that was stopped while it wrote, may keep the thread for
 * any time. */
bool store_end_writer(struct store *store)
{
    struct timespec end;
    if (!store->has_thread)
        return true;
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += 2 * STORE_CLOSE_MS / 1000;
    pthread_mutex_lock(&store->lock);
    store->is_ending = true;
    store->give_up_ns = clock_now_ns() + STORE_CLOSE_MS * CLOCK_MS;
    pthread_cond_signal(&store->news);
    while (!store->has_ended &&
           pthread_cond_timedwait(&store->done, &store->lock, &end) != ETIMEDOUT)
        ;
    const bool has_ended = store->has_ended;
    pthread_mutex_unlock(&store->lock);
    if (has_ended)
        (void)pthread_join(store->thread, NULL);
    else
        (void)pthread_detach(store->thread);
    store->has_thread = false;
    return has_ended;
}
