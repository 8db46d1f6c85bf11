/* A store from its opening to its end, its counts, and the flush. */
#include "cache/store_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <string.h>
#include <time.h>

enum { LEAST_BYTES = 1 << 20, PAGE_BYTES = 4096, FLUSH_WAIT_S = 5 };

/* --- opening and closing --- */

static bool is_sane_size(uint64_t size_bytes)
{
    return size_bytes >= LEAST_BYTES && size_bytes <= 2 * ROWS_MAX_MAP_BYTES;
}

static enum gp_status check_size(size_t size_bytes, struct gp_error *err)
{
    if (size_bytes == 0 || is_sane_size(size_bytes))
        return GP_OK;
    return gp_error_set(err, GP_INVALID,
                        "--cache-size is %zu bytes; wanted 1 MiB to 64 TiB", size_bytes);
}

static void set_size(struct store *store, uint64_t size_bytes)
{
    struct folder_shared *shared = store->folder.shared;
    if (size_bytes > 0)
        shared->size_bytes = size_bytes;
    else
        size_bytes = shared->size_bytes;
    if (!is_sane_size(size_bytes))
        size_bytes = LEAST_BYTES;
    store->max_bytes = size_bytes;
    store->file_bytes =
        (size_bytes / 2 - ROWS_LOCK_BYTES - PAGE_BYTES) / PAGE_BYTES * PAGE_BYTES;
    store->row_bytes = store->file_bytes / 8;
}

static void init_locks(struct store *store)
{
    pthread_condattr_t monotonic;
    pthread_mutex_init(&store->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&store->news, &monotonic);
    pthread_cond_init(&store->done, &monotonic);
    pthread_condattr_destroy(&monotonic);
}

static bool init_tables(struct store *store)
{
    store->renewed = mem_array(STORE_N_RENEWED, sizeof *store->renewed);
    store->is_renewed = mem_array(STORE_N_RENEWED, sizeof *store->is_renewed);
    return pending_init(&store->filling) && pending_init(&store->writing) &&
           store->renewed && store->is_renewed;
}

/* Files that were made for another size give way. */
static bool fit_files(struct store *store, int *result)
{
    for (int i = 0; i < 2; i++) {
        uint64_t n_rows, of_old = 0;
        if (store->pair->old)
            rows_measure(store->pair->old, &n_rows, &of_old);
        if (store->pair->young->map_bytes <= store->file_bytes &&
            of_old <= store->file_bytes)
            return true;
        if (!store_follow(store, true, result))
            return false;
    }
    return true;
}

static enum gp_status open_files(struct store *store, size_t size_bytes,
                                 struct gp_error *err)
{
    int result;
    set_size(store, size_bytes);
    store->n_flushes = store->folder.shared->n_flushes;
    if (folder_lock(&store->folder)) {
        const uint64_t young = store->folder.shared->number;
        folder_clean(&store->folder, young, young - 1);
        folder_unlock(&store->folder);
    }
    if (store_follow(store, false, &result) && fit_files(store, &result))
        return GP_OK;
    return gp_error_set(
        err, result == ENOMEM ? GP_NO_MEMORY : GP_UNAVAILABLE,
        "--cache-dir %.*s: cannot open a file of rows of %zu bytes: %s; a disk with "
        "room is needed, and as many addresses (ulimit -v)",
        gp_cut(store->folder.path, 200), store->folder.path, store->file_bytes,
        mdb_strerror(result));
}

struct store *store_open(const struct store_options *options, struct gp_error *err)
{
    struct store *store = mem_zalloc(sizeof *store);
    if (!store) {
        (void)gp_error_set(err, GP_NO_MEMORY, "no memory for the row cache");
        return NULL;
    }
    init_locks(store);
    store->folder = (struct store_folder){.fd = -1, .lock_fd = -1, .pid_fd = -1};
    store->ttl_s = options->ttl_s;
    enum gp_status status = check_size(options->size_bytes, err);
    if (status == GP_OK && !init_tables(store))
        status = gp_error_set(err, GP_NO_MEMORY, "no memory for the row cache");
    if (status == GP_OK)
        status = folder_open(&store->folder, options->dir, options->log, err);
    if (status == GP_OK)
        status = open_files(store, options->size_bytes, err);
    if (status == GP_OK)
        status = store_start_writer(store, err);
    if (status == GP_OK)
        return store;
    store_close(store);
    return NULL;
}

void store_close(struct store *store)
{
    if (!store)
        return;
    if (!store_end_writer(store)) {
        if (store->folder.log)
            log_line(store->folder.log, GP_LOG_WARNING,
                     "the row cache in %s cannot be closed: its disk, or another process "
                     "that uses it, does not answer",
                     store->folder.path);
        store->folder.log = NULL;
        return;
    }
    store_close_files(store);
    folder_close(&store->folder);
    pending_finish(&store->filling);
    pending_finish(&store->writing);
    mem_free(store->renewed);
    mem_free(store->is_renewed);
    pthread_cond_destroy(&store->news);
    pthread_cond_destroy(&store->done);
    pthread_mutex_destroy(&store->lock);
    mem_free(store);
}

/* --- for operators --- */

struct store_counts store_count(struct store *store)
{
    struct store_look look;
    struct store_counts counts = {.max_bytes = store->max_bytes,
                                  .n_stored = atomic_load(&store->n_stored),
                                  .n_dropped = atomic_load(&store->n_dropped),
                                  .n_damaged = atomic_load(&store->n_damaged),
                                  .n_turns = atomic_load(&store->n_turns)};
    (void)store_look_begin(store, &look);
    const struct store_pair *pair = look.generation;
    struct rows_file *const files[] = {pair ? pair->young : NULL,
                                       pair ? pair->old : NULL};
    for (int i = 0; i < 2; i++) {
        uint64_t n_rows, size_bytes;
        if (!files[i])
            continue;
        rows_measure(files[i], &n_rows, &size_bytes);
        counts.n_rows += n_rows;
        counts.size_bytes += size_bytes;
    }
    store_look_end(&look);
    return counts;
}

enum gp_status store_flush(struct store *store, struct gp_error *err)
{
    struct folder_shared *shared = store->folder.shared;
    struct timespec end;
    if (!folder_lock(&store->folder))
        return gp_error_set(err, GP_BUSY,
                            "%.*s: another process keeps the file \"lock\"; try again",
                            gp_cut(store->folder.path, 200), store->folder.path);
    shared->n_flushes++;
    shared->number += 2;
    folder_clean(&store->folder, UINT64_MAX, UINT64_MAX);
    folder_unlock(&store->folder);

    /* rows that are put from now on are found at once; this waits for them to be written again */
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += FLUSH_WAIT_S;
    pthread_mutex_lock(&store->lock);
    struct cache_row *flushed = store_notice_flush(store);
    store_poke(store);
    while (store->pair->n_flushes != shared->n_flushes &&
           pthread_cond_timedwait(&store->done, &store->lock, &end) == 0)
        ;
    pthread_mutex_unlock(&store->lock);
    pending_drop_chain(flushed);
    return GP_OK;
}
