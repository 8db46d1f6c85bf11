#include "cache/shared_parts.h"

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

#include <inttypes.h>
#include <string.h>

enum { DEFAULT_DEADLINE_MS = 5 };

void shared_make_key(const struct digest *key, char bytes[SHARED_KEY_BYTES])
{
    static const char prefix[] = {'g', 'p', ':', '1', ':'};
    memcpy(bytes, prefix, sizeof prefix);
    memcpy(bytes + sizeof prefix, key, sizeof *key);
}

void shared_make_check(const struct cache_row *row,
                       unsigned char check[SHARED_CHECK_BYTES])
{
    struct digester digester;
    struct digest digest;
    digest_begin_keyed(&digester, &row->key);
    digest_add(&digester, row->bytes, row->size_bytes);
    digest_end(&digester, &digest);
    memcpy(check, digest.bytes, SHARED_CHECK_BYTES);
}

/* --- looks --- */

struct shared_look {
    struct shared *shared;
    struct redis *link;
    int64_t deadline_ns;
    struct gp_error err;
};

static bool send_look(struct shared_look *look, const struct digest *keys, size_t n)
{
    struct text text = {0};
    char key[SHARED_KEY_BYTES];
    for (size_t i = 0; i < n; i++) {
        shared_make_key(&keys[i], key);
        redis_put_command(&text, 2);
        redis_put_part(&text, "GET", 3);
        redis_put_part(&text, key, sizeof key);
    }
    const bool is_sent =
        !text.is_short &&
        redis_send(look->link, text.data, text.size_bytes, look->deadline_ns, &look->err);
    if (text.is_short)
        gp_error_set(&look->err, GP_NO_MEMORY, "no memory to look for rows");
    text_finish(&text);
    return is_sent;
}

static void tell_damage(struct shared *shared)
{
    const uint64_t n = atomic_fetch_add(&shared->n_damaged, 1) + 1;
    if (shared_may_say(shared, &shared->damage_said_ns))
        log_line(
            shared->log, GP_LOG_WARNING,
            "a row in the shared cache at %s is not what was stored, and is computed "
            "again; %" PRIu64 " so far",
            shared->url.label, n);
}

/* The row of a value, or NULL if that is damaged; false if it cannot be read. */
static bool read_value(struct shared_look *look, const struct digest *key,
                       size_t size_bytes, struct cache_row **found)
{
    unsigned char stored[SHARED_CHECK_BYTES], check[SHARED_CHECK_BYTES];
    const size_t head = size_bytes < sizeof stored ? size_bytes : sizeof stored;
    if (size_bytes > SHARED_MOST_ROW_BYTES + sizeof stored)
        return gp_error_set(&look->err, GP_TOO_LARGE, "it sent a value of %zu bytes",
                            size_bytes) == GP_OK;
    struct cache_row *row = cache_row_create(key, size_bytes - head);
    if (!row)
        return gp_error_set(&look->err, GP_NO_MEMORY, "no memory for a row") == GP_OK;
    if (!redis_read(look->link, stored, head, look->deadline_ns, &look->err) ||
        !redis_read(look->link, row->bytes, row->size_bytes, look->deadline_ns,
                    &look->err) ||
        !redis_read_end(look->link, look->deadline_ns, &look->err)) {
        cache_row_drop(row);
        return false;
    }
    shared_make_check(row, check);
    if (head == sizeof stored && memcmp(stored, check, sizeof check) == 0) {
        *found = row;
        return true;
    }
    cache_row_drop(row);
    tell_damage(look->shared);
    return true;
}

static bool read_row(struct shared_look *look, const struct digest *key,
                     struct cache_row **found)
{
    struct redis_reply reply;
    if (!redis_read_reply(look->link, &reply, look->deadline_ns, &look->err))
        return false;
    switch (reply.kind) {
    case REDIS_NOTHING:
        return true;
    case REDIS_VALUE:
        return read_value(look, key, reply.size_bytes, found);
    case REDIS_REFUSAL:
        return redis_set_refusal(&reply, &look->err);
    case REDIS_STATUS:
        break;
    }
    return gp_error_set(&look->err, GP_MALFORMED, "it answered to no question") == GP_OK;
}

/* What has come before the deadline is found, also if the rest has not: then it was much, and the server is
 * not to blame. */
size_t shared_get(struct shared *shared, const struct digest *keys, size_t n,
                  struct cache_row **rows)
{
    memset(rows, 0, n * sizeof *rows);
    atomic_fetch_add(&shared->n_asked, n);
    struct shared_look look = {
        .shared = shared, .deadline_ns = clock_now_ns() + shared->deadline_ms * CLOCK_MS};
    if (n > 0)
        look.link = shared_take_link(shared);
    if (!look.link)
        return 0;
    size_t n_found = 0;
    bool is_well = send_look(&look, keys, n);
    for (size_t i = 0; i < n && is_well; i++) {
        is_well = read_row(&look, &keys[i], &rows[i]);
        n_found += rows[i] != NULL;
    }
    if (is_well) {
        shared_give_link(shared, look.link);
    } else {
        const bool is_part = look.err.status == GP_TIMEOUT && n_found > 0;
        atomic_fetch_add(&shared->n_failed, 1);
        shared_drop_link(shared, look.link, is_part ? NULL : &look.err);
    }
    atomic_fetch_add(&shared->n_found, n_found);
    return n_found;
}

/* --- rows that are put --- */

void shared_put(struct shared *shared, struct cache_row *row)
{
    pthread_mutex_lock(&shared->lock);
    const bool has_room =
        row->size_bytes <= SHARED_MOST_ROW_BYTES && !shared_is_paused(shared) &&
        shared->n_queued < SHARED_MOST_QUEUED &&
        shared->queued_bytes + row->size_bytes <= SHARED_MOST_QUEUED_BYTES;
    if (has_room) {
        shared->queue[(shared->first + shared->n_queued) % SHARED_MOST_QUEUED] = row;
        shared->queued_bytes += row->size_bytes;
        if (shared->n_queued++ == 0)
            pthread_cond_signal(&shared->news);
    }
    pthread_mutex_unlock(&shared->lock);
    if (has_room)
        return;
    atomic_fetch_add(&shared->n_dropped, 1);
    cache_row_drop(row);
}

/* --- life --- */

struct shared *shared_open(const struct shared_options *options, struct gp_error *err)
{
    struct shared *shared = mem_zalloc(sizeof *shared);
    if (!shared) {
        gp_error_set(err, GP_NO_MEMORY, "no memory for the shared cache");
        return NULL;
    }
    shared->deadline_ms =
        options->deadline_ms ? options->deadline_ms : DEFAULT_DEADLINE_MS;
    shared->ttl_s = options->ttl_s;
    shared->log = options->log;
    shared->pause_ms = SHARED_FIRST_PAUSE_MS;
    shared->is_wanted = true;
    pthread_mutex_init(&shared->lock, NULL);
    pthread_cond_init(&shared->news, NULL);
    if (redis_url_init(&shared->url, options->url, err) == GP_OK &&
        curl_open(&shared->curl, "the shared cache", err) &&
        shared_start_thread(shared, err) == GP_OK)
        return shared;
    shared_close(shared);
    return NULL;
}

void shared_close(struct shared *shared)
{
    if (!shared)
        return;
    shared_end_thread(shared);
    for (unsigned i = 0; i < shared->n_idle; i++)
        redis_close(shared->idle[i]);
    pthread_cond_destroy(&shared->news);
    pthread_mutex_destroy(&shared->lock);
    redis_url_finish(&shared->url);
    mem_free(shared);
}

struct shared_counts shared_count(const struct shared *shared)
{
    return (struct shared_counts){
        .n_asked = atomic_load(&shared->n_asked),
        .n_found = atomic_load(&shared->n_found),
        .n_stored = atomic_load(&shared->n_stored),
        .n_dropped = atomic_load(&shared->n_dropped),
        .n_failed = atomic_load(&shared->n_failed),
        .n_damaged = atomic_load(&shared->n_damaged),
    };
}
