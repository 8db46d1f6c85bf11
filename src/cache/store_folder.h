/* cache/store_folder.h - the folder of a store, and what the processes that share it agree on.
 *
 *     generation   the number of the young file, mapped by all, so that a turn is seen by a load
 *     rows-N.mdb   the young file; rows-(N-1).mdb is the old one; LMDB adds "-lock" to each
 *     lock         flock: who opens, closes, makes, removes or renames files. And a lock of one byte for
 *                  each process, at its number: see folder_open.
 *     *.damaged    what could not be read, for a person to look at
 *
 * A number is never used twice, so that no process has a file open under a name that means another.
 */
#ifndef GP_CACHE_STORE_FOLDER_H
#define GP_CACHE_STORE_FOLDER_H

#include "base/log.h"

#include <limits.h>

struct folder_shared {
    char magic[8];
    uint64_t format;
    _Atomic uint64_t number;
    _Atomic uint64_t n_flushes;  /* grows before the number does */
    _Atomic uint64_t size_bytes; /* that the last server gave */
};

struct store_folder {
    char path[PATH_MAX];
    int fd;      /* -1: closed, as are the others */
    int lock_fd; /* for flock */
    int pid_fd;  /* holds the byte */
    struct folder_shared *shared;
    struct log *_Atomic log; /* NULL: there is none, or it may have ended */
};

enum { FOLDER_FILE_BYTES = PATH_MAX + 32 };

/* Makes it if it is missing. A `generation` of another format is set aside, with the rows.
 *
 * LMDB knows processes by their numbers alone, so one that has the same number as another that uses the
 * folder is refused: two containers whose servers are both process 1. So is a second store in a process. */
enum gp_status folder_open(struct store_folder *folder, const char *path, struct log *log,
                           struct gp_error *err);
void folder_close(struct store_folder *folder);

/* False if another process has had the lock for seconds. */
bool folder_lock(struct store_folder *folder);
void folder_unlock(struct store_folder *folder);

void folder_name(const struct store_folder *folder, uint64_t number,
                 char file[FOLDER_FILE_BYTES]);
bool folder_has(const struct store_folder *folder, uint64_t number);

/* With the lock held. */
void folder_remove(const struct store_folder *folder, uint64_t number);
void folder_set_aside(const struct store_folder *folder, uint64_t number,
                      const char *why);
/* Removes all files of rows but these two; UINT64_MAX for none. */
void folder_clean(const struct store_folder *folder, uint64_t young, uint64_t old);

/* "NFS" and the like for what statfs says a file system is; NULL for a local one. */
const char *folder_network_name(uint64_t type);

#endif
