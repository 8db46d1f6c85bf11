/* cache/store_parts.h - what a store consists of: store_open.c, store_put.c and store_look.c are its face,
 * store_files.c follows the folder, store_writer.c is its thread.
 *
 * Only the thread opens, closes and turns files, and whoever opens or closes the store while there is no
 * thread. Others look at a pair of them, which stays until their looks have ended.
 */
#ifndef GP_CACHE_STORE_PARTS_H
#define GP_CACHE_STORE_PARTS_H

#include "cache/store.h"
#include "cache/store_folder.h"
#include "cache/store_pending.h"
#include "cache/store_rows.h"

#include <pthread.h>

enum {
    STORE_MOST_PENDING_BYTES = 32 << 20,
    STORE_MOST_PENDING_ROWS = 1 << 18,
    STORE_BATCH_BYTES = 4 << 20, /* are written at once */
    STORE_BATCH_PAUSE_MS = 50,   /* or if no row comes for so long */
    STORE_BATCH_PAUSES = 10,     /* or after so many times that */
    STORE_CLOSE_MS = 2000,
    STORE_N_RENEWED = 1024
};

struct store_pair {
    struct store_pair *next; /* retired */
    uint64_t number;         /* of the young file */
    uint64_t n_flushes;      /* before it */
    struct rows_file *young; /* NULL: it could not be opened */
    struct rows_file *old;   /* NULL: there is none */
    unsigned n_looks;
};

struct store {
    struct store_folder folder;
    size_t max_bytes;  /* of all files */
    size_t file_bytes; /* of one file of rows */
    size_t row_bytes;
    uint32_t ttl_s;
    pthread_t thread;
    bool has_thread;
    bool has_told_full; /* the thread's: that nothing could be written */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t news;  /* for the thread */
    pthread_cond_t done;  /* for those who await it */
    struct store_pair *pair, *retired;
    struct pending filling, writing;
    bool is_writing_void; /* its rows were flushed */
    bool is_poked;
    bool is_ending;
    bool has_ended;     /* the thread */
    int64_t give_up_ns; /* when it ends with rows that are not written */
    uint64_t n_flushes; /* that the pending rows came after */

    /* Keys of rows that were found in the old file only, each where it belongs by its bytes. */
    struct digest *renewed;
    bool *is_renewed;
    unsigned n_renewed;

    atomic_size_t n_pending; /* in both tables */
    /* grows after a commit or another pair, before rows leave the tables */
    _Atomic uint64_t n_written;
    _Atomic uint64_t n_put, n_stored, n_dropped, n_damaged, n_turns;
    _Atomic int64_t damage_told_ns;
};

/* store_files.c: brings the pair up to what the folder says, sets damaged files aside, and closes pairs that
 * nobody looks at. With `is_full`, the young file becomes the old one first. False if there is no young
 * file: *result says why. */
bool store_follow(struct store *store, bool is_full, int *result);
void store_close_files(struct store *store);

/* store_writer.c */
enum gp_status store_start_writer(struct store *store, struct gp_error *err);
bool store_end_writer(struct store *store); /* false: it hangs, and keeps the store */

/* store_put.c, with the lock held. The thread looks after the files at once. */
void store_poke(struct store *store);

/* Forgets pending rows if the folder was flushed since they were put; gives those that are to be dropped when
 * the lock is not held. */
struct cache_row *store_notice_flush(struct store *store);

/* Not held. */
struct cache_row *store_find_pending(const struct store *store, const struct digest *key);

#endif
