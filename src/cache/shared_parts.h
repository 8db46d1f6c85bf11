/* cache/shared_parts.h - a shared cache's parts, for the files that make it up.
 *
 * shared_rows.c looks rows up and takes them, shared_links.c keeps its connections and knows whether the
 * server can be used, shared_thread.c connects and writes.
 */
#ifndef GP_CACHE_SHARED_PARTS_H
#define GP_CACHE_SHARED_PARTS_H

#include "cache/redis.h"
#include "cache/shared.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum {
    SHARED_MOST_ROW_BYTES = 8 << 20,
    SHARED_MOST_QUEUED_BYTES = 16 << 20,
    SHARED_MOST_QUEUED = 4096,
    SHARED_MOST_LINKS = 8, /* for looks */
    SHARED_CHECK_BYTES = 16,
    SHARED_KEY_BYTES = 5 + sizeof(struct digest),
    SHARED_FIRST_PAUSE_MS = 1000, /* after a failure; doubled after each that follows */
    SHARED_MOST_PAUSE_MS = 30000,
    SHARED_CONNECT_MS = 1000,
    SHARED_CLOSE_MS = 1000
};

struct shared {
    struct curl curl;
    struct redis_url url;
    uint32_t deadline_ms;
    uint32_t ttl_s;
    struct log *log;
    pthread_t thread;
    bool has_thread;
    struct redis *writing; /* the thread's own connection */

    pthread_mutex_t lock; /* of what follows, up to the counts */
    pthread_cond_t news;  /* for the thread */
    struct redis *idle[SHARED_MOST_LINKS];
    unsigned n_idle;
    unsigned n_links; /* with those that are in use */
    bool is_wanted;   /* a look has found none */
    bool is_ending;
    int64_t give_up_ns; /* when it is ending */

    int64_t retry_ns; /* until then nobody asks; 0: there was no failure */
    uint32_t pause_ms;
    bool is_said_down;
    int64_t down_said_ns; /* 0: never */

    struct cache_row *queue[SHARED_MOST_QUEUED]; /* a ring */
    unsigned first;
    unsigned n_queued;
    size_t queued_bytes; /* with those that are being written */

    int64_t damage_said_ns;
    int64_t refusal_said_ns;

    atomic_ulong n_asked, n_found, n_stored, n_dropped, n_failed, n_damaged;
};

/* --- shared_links.c --- */

/* The lock is held: a failure was so recent that nobody asks. */
bool shared_is_paused(const struct shared *shared);

/* For one look; NULL if it would have to wait. */
struct redis *shared_take_link(struct shared *shared);

/* After a look that went well, and a new one. */
void shared_give_link(struct shared *shared, struct redis *link);
void shared_add_link(struct shared *shared, struct redis *link);

/* Closes it after a look that did not, for whatever reason. */
void shared_drop_link(struct shared *shared, struct redis *link,
                      const struct gp_error *why);

/* The server cannot be used for a while: drops what waits for it, and says so once. */
void shared_fail(struct shared *shared, const struct gp_error *why);

/* True once a minute. The lock is not held. */
bool shared_may_say(struct shared *shared, int64_t *said_ns);

/* --- shared_rows.c --- */

void shared_make_key(const struct digest *key, char bytes[SHARED_KEY_BYTES]);

/* By which a row is known to be what was stored under its key. */
void shared_make_check(const struct cache_row *row,
                       unsigned char check[SHARED_CHECK_BYTES]);

/* --- shared_thread.c --- */

enum gp_status shared_start_thread(struct shared *shared, struct gp_error *err);
void shared_end_thread(struct shared *shared);

#endif
