/* cache/shared.h - rows that several hosts share, in a Redis.
 *
 * It may be slow, full, gone or hostile: a look takes its deadline at most and else finds nothing, rows
 * that are put are dropped where writing them is behind, and after a failure nobody asks for a while. A
 * thread of its own connects and writes, so that requests do neither. Any thread may call.
 */
#ifndef GP_CACHE_SHARED_H
#define GP_CACHE_SHARED_H

#include "cache/row.h"

#include <graphpipe/status.h>

struct log;
struct shared;

struct shared_options {
    const char *url;      /* redis_url.h */
    uint32_t deadline_ms; /* of a look; 0: 5 */
    uint32_t ttl_s;       /* rows are forgotten after that; 0: as the server likes */
    struct log *log;      /* may be NULL */
};

struct shared_counts {
    uint64_t n_asked; /* rows */
    uint64_t n_found;
    uint64_t n_stored;
    uint64_t n_dropped; /* put, but never written */
    uint64_t n_failed;  /* looks that came too late or failed */
    uint64_t n_damaged; /* found to be other than what was stored, and not answered */
};

/* Does not wait for the server. NULL and *err if the URL is wrong, or libcurl is missing. */
struct shared *shared_open(const struct shared_options *options, struct gp_error *err);

/* Writes what was put, for at most a second. Takes NULL. */
void shared_close(struct shared *shared);

/* Looks for n rows in one round trip: rows[i] is held for the caller, or NULL. Returns how many it found. */
size_t shared_get(struct shared *shared, const struct digest *keys, size_t n,
                  struct cache_row **rows);

/* Takes over the caller's hold of the row. */
void shared_put(struct shared *shared, struct cache_row *row);

struct shared_counts shared_count(const struct shared *shared);

#endif
