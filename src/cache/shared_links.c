/* Nothing is done but on demand: after a failure and its pause, the next look has the thread connect again,
 * and finds nothing itself. Whether the server is back is decided by a look that goes well, since one that
 * connects may still be too slow to be asked. */
#include "cache/shared_parts.h"

#include "base/clock.h"
#include "base/log.h"

#include <string.h>

enum { S_BETWEEN_LINES = 60 };

/* The lock is held. */
static bool may_say(int64_t *said_ns)
{
    const int64_t now = clock_now_ns();
    if (*said_ns && now - *said_ns < S_BETWEEN_LINES * CLOCK_S)
        return false;
    *said_ns = now;
    return true;
}

bool shared_may_say(struct shared *shared, int64_t *said_ns)
{
    pthread_mutex_lock(&shared->lock);
    const bool may = shared->log && may_say(said_ns);
    pthread_mutex_unlock(&shared->lock);
    return may;
}

bool shared_is_paused(const struct shared *shared)
{
    return shared->retry_ns && clock_now_ns() < shared->retry_ns;
}

/* --- connections --- */

struct redis *shared_take_link(struct shared *shared)
{
    for (;;) {
        struct redis *link = NULL;
        pthread_mutex_lock(&shared->lock);
        if (!shared_is_paused(shared) && shared->n_idle > 0) {
            link = shared->idle[--shared->n_idle];
        } else if (!shared_is_paused(shared) && shared->n_links < SHARED_MOST_LINKS) {
            shared->is_wanted = true;
            pthread_cond_signal(&shared->news);
        }
        pthread_mutex_unlock(&shared->lock);
        if (!link || redis_is_idle(link))
            return link;
        /* servers close connections that were idle for long: no failure */
        shared_drop_link(shared, link, NULL);
    }
}

void shared_add_link(struct shared *shared, struct redis *link)
{
    pthread_mutex_lock(&shared->lock);
    shared->idle[shared->n_idle++] = link;
    shared->n_links++;
    shared->is_wanted = false;
    pthread_mutex_unlock(&shared->lock);
}

void shared_give_link(struct shared *shared, struct redis *link)
{
    bool is_back = false;
    pthread_mutex_lock(&shared->lock);
    shared->idle[shared->n_idle++] = link;
    if (!shared_is_paused(shared)) {
        is_back = shared->is_said_down;
        shared->is_said_down = false;
        shared->pause_ms = SHARED_FIRST_PAUSE_MS;
    }
    pthread_mutex_unlock(&shared->lock);
    if (is_back)
        log_line(shared->log, GP_LOG_INFO, "the shared cache at %s is back",
                 shared->url.label);
}

void shared_drop_link(struct shared *shared, struct redis *link,
                      const struct gp_error *why)
{
    pthread_mutex_lock(&shared->lock);
    shared->n_links--;
    pthread_mutex_unlock(&shared->lock);
    redis_close(link);
    if (why && why->status != GP_NO_MEMORY)
        shared_fail(shared, why);
}

/* --- failures --- */

/* The lock is held. */
static void empty_queue(struct shared *shared)
{
    for (; shared->n_queued > 0; shared->n_queued--) {
        struct cache_row *row = shared->queue[shared->first];
        shared->first = (shared->first + 1) % SHARED_MOST_QUEUED;
        shared->queued_bytes -= row->size_bytes;
        atomic_fetch_add(&shared->n_dropped, 1);
        cache_row_drop(row);
    }
}

void shared_fail(struct shared *shared, const struct gp_error *why)
{
    struct redis *closed[SHARED_MOST_LINKS];
    pthread_mutex_lock(&shared->lock);
    const bool is_first = !shared_is_paused(shared); /* of several that look */
    if (is_first) {
        shared->retry_ns = clock_now_ns() + shared->pause_ms * CLOCK_MS;
        shared->pause_ms = shared->pause_ms < SHARED_MOST_PAUSE_MS / 2
                               ? 2 * shared->pause_ms
                               : SHARED_MOST_PAUSE_MS;
    }
    const unsigned n_closed = shared->n_idle;
    memcpy(closed, shared->idle, n_closed * sizeof *closed);
    shared->n_idle = 0;
    shared->n_links -= n_closed;
    shared->is_wanted = false;
    empty_queue(shared);
    const bool is_news = is_first && shared->log && !shared->is_said_down &&
                         may_say(&shared->down_said_ns);
    shared->is_said_down |= is_news;
    pthread_mutex_unlock(&shared->lock);
    for (unsigned i = 0; i < n_closed; i++)
        redis_close(closed[i]);
    if (is_news)
        log_line(shared->log, GP_LOG_WARNING,
                 "the shared cache at %s cannot be used: %s; the server goes on without "
                 "it",
                 shared->url.label, why->message);
}
