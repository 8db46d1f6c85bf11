/* The two files of a store: which the folder says they are, opened once and kept by the pairs that have
 * them. */
#include "cache/store_parts.h"

#include "base/mem.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static struct rows_file *file_in(const struct store_pair *pair, uint64_t number)
{
    if (pair && pair->young && pair->young->number == number)
        return pair->young;
    return pair && pair->old && pair->old->number == number ? pair->old : NULL;
}

/* LMDB wants a file to be open once in a process. */
static struct rows_file *file_of(const struct store *store, uint64_t number)
{
    struct rows_file *file = file_in(store->pair, number);
    for (const struct store_pair *pair = store->retired; pair && !file; pair = pair->next)
        file = file_in(pair, number);
    return file;
}

/* The file, held once more; NULL and *result. */
static struct rows_file *open_file(struct store *store, uint64_t number, int *result)
{
    char path[FOLDER_FILE_BYTES];
    struct rows_file *file = file_of(store, number);
    *result = 0;
    if (!file) {
        folder_name(&store->folder, number, path);
        *result = rows_open(path, store->file_bytes, &file);
        if (*result)
            return NULL;
        file->number = number;
    }
    file->n_pairs++;
    return file;
}

static void drop_file(struct store *store, struct rows_file *file)
{
    if (!file || --file->n_pairs > 0)
        return;
    /* LMDB wants no process to open a file while another closes it */
    const bool has_lock = folder_lock(&store->folder);
    rows_close(file);
    if (has_lock)
        folder_unlock(&store->folder);
}

static void close_retired(struct store *store)
{
    struct store_pair *closed = NULL;
    pthread_mutex_lock(&store->lock);
    for (struct store_pair **at = &store->retired; *at;) {
        struct store_pair *pair = *at;
        if (pair->n_looks > 0) {
            at = &pair->next;
            continue;
        }
        *at = pair->next;
        pair->next = closed;
        closed = pair;
    }
    pthread_mutex_unlock(&store->lock);
    while (closed) {
        struct store_pair *next = closed->next;
        drop_file(store, closed->young);
        drop_file(store, closed->old);
        mem_free(closed);
        closed = next;
    }
}

/* The young file was left, or set aside: the one before it is nobody's any more. */
static void begin_young(const struct store *store)
{
    struct folder_shared *shared = store->folder.shared;
    folder_remove(&store->folder, shared->number - 1);
    shared->number++;
}

/* The lock is held. A damaged file of the pair is set aside unless another process has done it. */
static void set_aside_damaged(struct store *store)
{
    const struct folder_shared *shared = store->folder.shared;
    const struct store_pair *pair = store->pair;
    struct rows_file *files[] = {pair ? pair->young : NULL, pair ? pair->old : NULL};
    for (int i = 0; i < 2; i++) {
        if (!files[i] || !atomic_load(&files[i]->is_damaged))
            continue;
        if (folder_has(&store->folder, files[i]->number))
            folder_set_aside(&store->folder, files[i]->number, "it is damaged");
        if (files[i]->number == shared->number)
            begin_young(store);
    }
}

static void turn_files(struct store *store)
{
    if (!store->pair || store->folder.shared->number != store->pair->number)
        return; /* another process was first */
    begin_young(store);
    atomic_fetch_add(&store->n_turns, 1);
}

/* The lock is held. The young file, made if need be, and the old one, if there is one: without room for a
 * young one, what there was is still found. */
static int open_pair(struct store *store, struct store_pair *pair)
{
    struct folder_shared *shared = store->folder.shared;
    int result, of_old;
    pair->n_flushes = shared->n_flushes;
    pair->young = open_file(store, shared->number, &result);
    if (!pair->young && rows_is_damage(result)) {
        folder_set_aside(&store->folder, shared->number, mdb_strerror(result));
        begin_young(store);
        pair->young = open_file(store, shared->number, &result);
    }
    pair->number = shared->number;
    if (!folder_has(&store->folder, pair->number - 1))
        return result;
    pair->old = open_file(store, pair->number - 1, &of_old);
    if (!pair->old && rows_is_damage(of_old))
        folder_set_aside(&store->folder, pair->number - 1, mdb_strerror(of_old));
    return result;
}

static void install_pair(struct store *store, struct store_pair *pair)
{
    pthread_mutex_lock(&store->lock);
    if (store->pair) {
        store->pair->next = store->retired;
        store->retired = store->pair;
    }
    store->pair = pair;
    atomic_fetch_add(&store->n_written, 1);
    struct cache_row *flushed = store_notice_flush(store);
    pthread_cond_broadcast(&store->done);
    pthread_mutex_unlock(&store->lock);
    pending_drop_chain(flushed);
}

static bool is_current(const struct store *store)
{
    const struct store_pair *pair = store->pair;
    return pair && pair->young && pair->number == store->folder.shared->number &&
           pair->n_flushes == store->folder.shared->n_flushes &&
           !atomic_load(&pair->young->is_damaged) &&
           !(pair->old && atomic_load(&pair->old->is_damaged));
}

bool store_follow(struct store *store, bool is_full, int *result)
{
    *result = 0;
    if (is_full || !is_current(store)) {
        struct store_pair *pair = mem_zalloc(sizeof *pair);
        if (!pair) {
            *result = ENOMEM;
            return false;
        }
        if (!folder_lock(&store->folder)) {
            *result = errno;
            mem_free(pair);
            return false;
        }
        if (is_full)
            turn_files(store);
        set_aside_damaged(store);
        *result = open_pair(store, pair);
        folder_unlock(&store->folder);
        install_pair(store, pair);
    }
    close_retired(store);
    return store->pair->young;
}

void store_close_files(struct store *store)
{
    if (store->pair) {
        store->pair->next = store->retired;
        store->retired = store->pair;
        store->pair = NULL;
    }
    close_retired(store);
}
