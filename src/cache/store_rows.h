/* cache/store_rows.h - one file of rows, which is an LMDB environment.
 *
 * A value is a head, which is the second since 1970 when the row was stored and a check, and the bytes. The
 * check is a digest keyed with the row's key, over the second and the bytes: finding a row takes one pass
 * over it, and in return nothing is answered that a disk, or memory, has changed.
 *
 * Results are 0, an errno, or one of LMDB's MDB_*; rows_is_damage tells those by which a file is given up.
 */
#ifndef GP_CACHE_STORE_ROWS_H
#define GP_CACHE_STORE_ROWS_H

#include "cache/digest.h"

#include <lmdb.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    ROWS_CHECK_BYTES = 16,
    ROWS_MAX_READERS = 1000,
    ROWS_MAX_IDLE = 64,
    ROWS_LOCK_BYTES = (ROWS_MAX_READERS + 8) * 64 /* of the file that LMDB adds */
};

#define ROWS_MAX_MAP_BYTES (UINT64_C(32) << 40)

struct rows_head {
    uint64_t stored_s;
    unsigned char check[ROWS_CHECK_BYTES];
};

struct rows_file {
    uint64_t number;
    MDB_env *env;
    MDB_dbi dbi;
    size_t map_bytes;
    size_t page_bytes;
    unsigned n_pairs;       /* that have it */
    atomic_bool is_damaged; /* whoever sees that sets it */
    unsigned n_idle;        /* transactions that were looked with, for the next */
    MDB_txn *idle[ROWS_MAX_IDLE];
};

/* A new one may grow to so many bytes; one that is there says itself. The folder's lock is held, for both. */
int rows_open(const char *path, size_t map_bytes, struct rows_file **file);
void rows_close(struct rows_file *file); /* takes NULL */

bool rows_is_damage(int result);

/* *txn is NULL, or an idle one; it is NULL after a failure. */
int rows_look(struct rows_file *file, MDB_txn **txn);

struct rows_value {
    const unsigned char *bytes; /* misaligned maybe */
    size_t size_bytes;
    uint64_t stored_s;
    MDB_val whole; /* with the head */
};

/* EBADMSG: there is one, but its bytes are not those that were stored. */
int rows_find(struct rows_file *file, MDB_txn *txn, const struct digest *key,
              struct rows_value *value);

/* Writing. rows_end commits if `result` is 0, and gives back what became of it. */
int rows_begin(struct rows_file *file, MDB_txn **txn);
int rows_put(struct rows_file *file, MDB_txn *txn, const struct digest *key,
             uint64_t stored_s, const unsigned char *bytes, size_t size_bytes);
int rows_put_whole(struct rows_file *file, MDB_txn *txn, const struct digest *key,
                   const MDB_val *whole); /* unless there is one */
int rows_end(MDB_txn *txn, int result);

void rows_measure(struct rows_file *file, uint64_t *n_rows, uint64_t *size_bytes);

#endif
