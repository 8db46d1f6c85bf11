/* The thread that connects and writes. It has nothing to do on time: what failed is dropped, and whoever
 * asks after the pause wakes it. */
#include "cache/shared_parts.h"

#include "base/clock.h"
#include "base/log.h"

#include <signal.h>
#include <string.h>

enum { MOST_ROWS = 64, MOST_BYTES = 1 << 20, WRITE_MS = 1000, COPIED_BYTES = 16 << 10 };

struct shared_batch {
    struct cache_row *rows[MOST_ROWS];
    unsigned n;
    size_t size_bytes;
    int64_t deadline_ns;
};

static struct redis *connect_link(struct shared *shared)
{
    struct gp_error err;
    struct redis *link =
        redis_connect(&shared->curl, &shared->url, SHARED_CONNECT_MS, &err);
    if (!link)
        shared_fail(shared, &err);
    return link;
}

/* --- writing --- */

static void take_batch(struct shared *shared, struct shared_batch *batch)
{
    batch->n = 0;
    batch->size_bytes = 0;
    pthread_mutex_lock(&shared->lock);
    while (shared->n_queued > 0 && batch->n < MOST_ROWS &&
           batch->size_bytes < MOST_BYTES) {
        struct cache_row *row = shared->queue[shared->first];
        shared->first = (shared->first + 1) % SHARED_MOST_QUEUED;
        shared->n_queued--;
        batch->rows[batch->n++] = row;
        batch->size_bytes += row->size_bytes;
    }
    batch->deadline_ns = clock_now_ns() + WRITE_MS * CLOCK_MS;
    if (shared->is_ending && shared->give_up_ns < batch->deadline_ns)
        batch->deadline_ns = shared->give_up_ns;
    pthread_mutex_unlock(&shared->lock);
}

static void drop_batch(struct shared *shared, const struct shared_batch *batch,
                       unsigned n_stored)
{
    pthread_mutex_lock(&shared->lock);
    shared->queued_bytes -= batch->size_bytes;
    pthread_mutex_unlock(&shared->lock);
    for (unsigned i = 0; i < batch->n; i++)
        cache_row_drop(batch->rows[i]);
    atomic_fetch_add(&shared->n_stored, n_stored);
    atomic_fetch_add(&shared->n_dropped, batch->n - n_stored);
}

/* SET KEY VALUE [EX SECONDS], without the row's bytes and what follows them. */
static void put_head(const struct shared *shared, const struct cache_row *row,
                     struct text *text)
{
    char key[SHARED_KEY_BYTES];
    unsigned char check[SHARED_CHECK_BYTES];
    shared_make_key(&row->key, key);
    shared_make_check(row, check);
    redis_put_command(text, shared->ttl_s ? 5 : 3);
    redis_put_part(text, "SET", 3);
    redis_put_part(text, key, sizeof key);
    text_puts(text, "$");
    text_number(text, sizeof check + row->size_bytes);
    text_puts(text, "\r\n");
    text_add(text, (const char *)check, sizeof check);
}

static void put_tail(const struct shared *shared, struct text *text)
{
    char seconds[12];
    text_puts(text, "\r\n");
    if (!shared->ttl_s)
        return;
    redis_put_part(text, "EX", 2);
    const int n = snprintf(seconds, sizeof seconds, "%u", (unsigned)shared->ttl_s);
    redis_put_part(text, seconds, (size_t)n);
}

static bool send_text(struct redis *link, struct text *text, int64_t deadline_ns,
                      struct gp_error *err)
{
    if (text->is_short) {
        gp_error_set(err, GP_NO_MEMORY, "no memory to write rows");
        return false;
    }
    const size_t size = text->size_bytes;
    text->size_bytes = 0;
    return redis_send(link, text->data, size, deadline_ns, err);
}

/* Small rows together; large ones from where they are. */
static bool send_batch(struct shared *shared, const struct shared_batch *batch,
                       struct text *text, struct gp_error *err)
{
    for (unsigned i = 0; i < batch->n; i++) {
        const struct cache_row *row = batch->rows[i];
        put_head(shared, row, text);
        if (row->size_bytes <= COPIED_BYTES)
            text_add(text, (const char *)row->bytes, row->size_bytes);
        else if (!send_text(shared->writing, text, batch->deadline_ns, err) ||
                 !redis_send(shared->writing, row->bytes, row->size_bytes,
                             batch->deadline_ns, err))
            return false;
        put_tail(shared, text);
    }
    return send_text(shared->writing, text, batch->deadline_ns, err);
}

/* A server that is full or a replica refuses rows, but may still be asked for them. */
static bool read_replies(struct shared *shared, const struct shared_batch *batch,
                         unsigned *n_stored, struct gp_error *err)
{
    struct redis_reply reply;
    for (unsigned i = 0; i < batch->n; i++) {
        if (!redis_read_reply(shared->writing, &reply, batch->deadline_ns, err))
            return false;
        if (reply.kind == REDIS_VALUE || reply.kind == REDIS_NOTHING) {
            gp_error_set(err, GP_MALFORMED, "it answered to no question");
            return false;
        }
        if (reply.kind == REDIS_STATUS)
            ++*n_stored;
        else if (!redis_set_refusal(&reply, err) &&
                 shared_may_say(shared, &shared->refusal_said_ns))
            log_line(shared->log, GP_LOG_WARNING,
                     "the shared cache at %s takes no rows: %s", shared->url.label,
                     err->message);
    }
    return true;
}

static void write_batch(struct shared *shared)
{
    struct shared_batch batch;
    struct gp_error err;
    struct text text = {0};
    unsigned n_stored = 0;
    take_batch(shared, &batch);
    if (shared->writing && !redis_is_idle(shared->writing)) {
        redis_close(shared->writing);
        shared->writing = NULL;
    }
    if (batch.n > 0 && !shared->writing)
        shared->writing = connect_link(shared);
    if (batch.n > 0 && shared->writing &&
        (!send_batch(shared, &batch, &text, &err) ||
         !read_replies(shared, &batch, &n_stored, &err))) {
        redis_close(shared->writing);
        shared->writing = NULL;
        if (err.status != GP_NO_MEMORY)
            shared_fail(shared, &err);
    }
    text_finish(&text);
    drop_batch(shared, &batch, n_stored);
}

/* --- the thread --- */

enum work { WORK_CONNECT, WORK_WRITE, WORK_END };

static enum work await_work(struct shared *shared)
{
    enum work work = WORK_END;
    pthread_mutex_lock(&shared->lock);
    while (!shared->is_ending && !shared->is_wanted && shared->n_queued == 0)
        pthread_cond_wait(&shared->news, &shared->lock);
    if (shared->is_wanted && !shared->is_ending)
        work = WORK_CONNECT;
    else if (shared->n_queued > 0 &&
             (!shared->is_ending || clock_now_ns() < shared->give_up_ns))
        work = WORK_WRITE;
    pthread_mutex_unlock(&shared->lock);
    return work;
}

static void *shared_main(void *arg)
{
    struct shared *shared = arg;
    for (;;) {
        const enum work work = await_work(shared);
        if (work == WORK_END)
            return NULL;
        if (work == WORK_WRITE) {
            write_batch(shared);
            continue;
        }
        struct redis *link = connect_link(shared);
        if (link)
            shared_add_link(shared, link);
    }
}

enum gp_status shared_start_thread(struct shared *shared, struct gp_error *err)
{
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int error = pthread_create(&shared->thread, NULL, shared_main, shared);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    shared->has_thread = error == 0;
    if (error)
        return gp_error_set(err, GP_NO_MEMORY,
                            "cannot make the thread of the shared cache: %s",
                            strerror(error));
    (void)pthread_setname_np(shared->thread, "shared cache");
    return GP_OK;
}

void shared_end_thread(struct shared *shared)
{
    if (!shared->has_thread)
        return;
    pthread_mutex_lock(&shared->lock);
    shared->is_ending = true;
    shared->give_up_ns = clock_now_ns() + SHARED_CLOSE_MS * CLOCK_MS;
    pthread_cond_signal(&shared->news);
    pthread_mutex_unlock(&shared->lock);
    (void)pthread_join(shared->thread, NULL);
    redis_close(shared->writing);
    for (; shared->n_queued > 0; shared->n_queued--) {
        cache_row_drop(shared->queue[shared->first]);
        shared->first = (shared->first + 1) % SHARED_MOST_QUEUED;
    }
}
