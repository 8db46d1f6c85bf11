#include "server/body.h"

#include "net/worker.h"
#include "server/access.h"

#include <string.h>

enum {
    FIRST_CHUNKED_BYTES = 64 * 1024,
    MOST_ROOM_BYTES = 4 << 20, /* made at a time */
    /* A copy over this counts as being in an engine: the watcher finds a stand-in. */
    LONG_COPY_BYTES = 1 << 20
};

uint64_t body_limit(const struct exchange *x)
{
    const uint64_t own = x->model ? x->model->max_body_bytes : 0;
    const uint64_t most = atomic_load(&x->server->max_body_bytes);
    if (x->http.method != HTTP_METHOD_POST)
        return BODY_MAX_IGNORED_BYTES;
    return own && own < most ? own : most;
}

/* The size of an output whose shape is known before the run; 0 if it is not. */
static size_t known_bytes(const struct gp_io *io)
{
    const int64_t n =
        io->flags & GP_IO_ANY_RANK ? -1 : gp_shape_count(io->shape, io->rank);
    return n > 0 ? (size_t)n * gp_dtype_stride(io->dtype) : 0;
}

/* The size to expect of the answer: that of the described outputs, or that of the body. */
static size_t expected_answer(const struct exchange *x, size_t body_bytes)
{
    const struct gp_description *d = &x->model->description;
    size_t total = 0;
    for (uint32_t i = 0; i < d->n_outputs; i++) {
        const size_t bytes = known_bytes(&d->outputs[i]);
        if (!bytes)
            return body_bytes;
        total += bytes;
    }
    return total;
}

/* No single request may have more than a quarter of the pool. */
static bool check_share(struct exchange *x, size_t body, size_t answer)
{
    const size_t share = pool_share(x->server->pool);
    if (answer <= share && body <= share - answer)
        return true;
    gp_error_set(
        &x->error, GP_TOO_LARGE,
        "a body of %zu bytes and an answer of %zu are more than one request may have: "
        "%zu bytes, a quarter of the pool (--pool)",
        body, answer, share);
    return false;
}

/* Reserves room in the pool for so many more bytes of the body, and for the answer. If there is
 * none, takes back what stalled requests hold. */
static bool reserve_room(struct exchange *x, size_t body, size_t answer)
{
    struct pool *pool = x->server->pool;
    enum pool_answer got =
        pool_reserve(pool, &x->inference.run.engine_run.promise, body, answer);
    while (got != POOL_GRANTED && timers_revoke(&x->server->timers, body + answer))
        got = pool_reserve(pool, &x->inference.run.engine_run.promise, body, answer);
    if (got == POOL_GRANTED)
        return true;
    if (got == POOL_FULL)
        gp_error_set(&x->error, GP_NO_MEMORY,
                     "the pool (--pool) has no room for %zu bytes of body and %zu of "
                     "answer; try again later",
                     body, answer);
    else
        gp_error_set(
            &x->error, GP_NO_MEMORY,
            "this client's share is used up: with %zu bytes of body and %zu of "
            "answer its requests would hold over a quarter of the pool (--pool), "
            "%zu bytes, and the last quarter is kept for others; try again later",
            body, answer, pool_share(pool));
    access_refused(x->server, METRICS_REFUSED_BODY, &x->guest->from, x->error.message);
    return false;
}

/* Takes a buffer for what was reserved. */
static bool take_buffer(struct exchange *x, size_t size_bytes, struct pool_buffer *buffer)
{
    if (pool_take(x->server->pool, x->inference.run.engine_run.memory.inputs, size_bytes,
                  &x->inference.run.engine_run.promise, buffer))
        return true;
    gp_error_set(&x->error, GP_NO_MEMORY, "no memory for a body of %zu bytes",
                 size_bytes);
    return false;
}

/* The size to promise for the answer to a body of body_bytes. */
static size_t answer_bytes(const struct exchange *x, size_t body_bytes)
{
    const bool is_inference = x->http.method == HTTP_METHOD_POST && x->model;
    return is_inference ? expected_answer(x, body_bytes) : 0;
}

bool body_begin(struct exchange *x)
{
    const size_t answer = answer_bytes(x, x->body_length);
    return check_share(x, x->body_length, answer) &&
           reserve_room(x, x->body_length, answer) &&
           take_buffer(x, x->body_length, &x->body);
}

bool body_touch(struct exchange *x, size_t end)
{
    if (pool_touch(x->server->pool, &x->body, end))
        return true;
    gp_error_set(&x->error, GP_NO_MEMORY, "no memory for a body of %zu bytes",
                 x->body.size_bytes);
    return false;
}

bool body_begin_chunked(struct exchange *x)
{
    return reserve_room(x, FIRST_CHUNKED_BYTES, 0) &&
           take_buffer(x, FIRST_CHUNKED_BYTES, &x->body) &&
           body_touch(x, FIRST_CHUNKED_BYTES);
}

/* Doubles the room, in another buffer: the only time that a body's bytes are moved. */
static bool grow_body(struct worker *worker, struct exchange *x, size_t more)
{
    struct pool_buffer larger;
    const size_t needed = x->body_size + more;
    const size_t size = needed > 2 * x->body_size ? needed : 2 * x->body_size;
    if (!check_share(x, needed, answer_bytes(x, needed)) || !reserve_room(x, size, 0) ||
        !take_buffer(x, size, &larger))
        return false;
    const bool is_long = x->body_size >= LONG_COPY_BYTES;
    if (is_long)
        worker_engage(worker);
    const bool is_touched = pool_touch(x->server->pool, &larger, x->body_size);
    if (is_touched)
        memcpy(larger.data, x->body.data, x->body_size);
    pool_give(x->server->pool, is_touched ? &x->body : &larger);
    if (is_long)
        worker_disengage(worker);
    if (is_touched)
        x->body = larger;
    else
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for a body of %zu bytes",
                     needed);
    return is_touched;
}

bool body_make_room(struct worker *worker, struct exchange *x, size_t more)
{
    const uint64_t limit = body_limit(x);
    if (more > limit - x->body_size) {
        gp_error_set(
            &x->error, GP_TOO_LARGE,
            "a chunked body of %zu bytes and %zu more is over the limit (--max-body) "
            "of %llu",
            x->body_size, more, (unsigned long long)limit);
        return false;
    }
    if (more > MOST_ROOM_BYTES)
        more = MOST_ROOM_BYTES;
    /* What the window holds must fit. A chunk being received makes do with what is left: growing
     * for all of it at each read would move the body again and again. */
    const size_t least = more < WINDOW_BYTES ? more : WINDOW_BYTES;
    if (x->body.size_bytes - x->body_size < least && !grow_body(worker, x, more))
        return false;
    const size_t room = x->body.size_bytes - x->body_size;
    return body_touch(x, x->body_size + (more < room ? more : room));
}

bool body_end_chunked(struct exchange *x)
{
    const size_t answer = answer_bytes(x, x->body_size);
    return check_share(x, x->body_size, answer) && reserve_room(x, 0, answer);
}
