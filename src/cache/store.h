/* cache/store.h - rows that were computed, in a folder that outlives the server and that several
 * servers may share.
 *
 * A row is found as soon as it was put, by this process; a thread of the store writes it to disk, and
 * then others find it too. What cannot be written, or is too much at a time, is dropped: the cache
 * forgets, but is never wrong, whoever is killed at whatever moment. Any thread may call.
 */
#ifndef GP_CACHE_STORE_H
#define GP_CACHE_STORE_H

#include "cache/row.h"

#include <graphpipe/status.h>

#include <stdbool.h>

struct log;
struct store;

struct store_options {
    const char *dir;   /* made if it is missing, with its parents */
    size_t size_bytes; /* of all files in it, at most; 0: as the last server had it */
    uint32_t ttl_s;    /* rows are forgotten after that; 0: only for want of room */
    struct log *log;   /* may be NULL */
};

/* What is known of the folder, and what this process has done. */
struct store_counts {
    uint64_t n_rows; /* on disk */
    uint64_t size_bytes;
    uint64_t max_bytes;
    uint64_t n_stored;
    uint64_t n_dropped; /* put, but never written */
    uint64_t n_damaged; /* found to be other than what was stored, and not answered */
    uint64_t n_turns;   /* how often the older half was dropped to make room */
};

/* NULL and *err if the folder cannot be used: the message says why. One that holds something else than a
 * cache of this release, or a damaged one, is set aside, which is logged, and begun anew. */
struct store *store_open(const struct store_options *options, struct gp_error *err);

/* Writes what was put, for seconds at most, and closes. Takes NULL. */
void store_close(struct store *store);

/* A look at the store: what is found in it stays in place until its end. */
struct store_look {
    struct store *store;
    void *young, *old; /* transactions */
    void *generation;
    uint64_t n_written;
};

/* False if there is nothing to look at, for whatever reason. */
bool store_look_begin(struct store *store, struct store_look *look);
void store_look_end(struct store_look *look);

struct store_found {
    const unsigned char *bytes; /* misaligned maybe */
    size_t size_bytes;
    /* Held for the caller, who drops it; NULL if the look keeps the bytes. */
    struct cache_row *row;
};

/* False if the row is not known, too old or damaged. */
bool store_get(struct store_look *look, const struct digest *key,
               struct store_found *found);

/* Takes over the caller's hold of the row. */
void store_put(struct store *store, struct cache_row *row);

/* Changes with each row that was put here: what was not found before may be known now. */
uint64_t store_n_put(const struct store *store);

struct store_counts store_count(struct store *store);

/* Forgets all rows, for all processes that share the folder. */
enum gp_status store_flush(struct store *store, struct gp_error *err);

#endif
