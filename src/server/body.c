#include "server/body.h"

#include "server/server.h"

#include <string.h>

enum {
    FIRST_CHUNKED_BYTES = 64 * 1024,
    MOST_ROOM_BYTES = 4 << 20, /* made at a time */
    LONG_COPY_BYTES =
        1 << 20 /* counts as being in an engine: the watcher finds a stand-in */
};

uint64_t body_limit(const struct exchange *x)
{
    return x->http.method == HTTP_METHOD_POST ? x->server->options.max_body_bytes
                                              : BODY_MAX_IGNORED_BYTES;
}

/* Bytes of an output whose shape is known before the run; 0 when it is not. */
static size_t known_bytes(const struct gp_io *io)
{
    const int64_t n =
        io->flags & GP_IO_ANY_RANK ? -1 : gp_shape_count(io->shape, io->rank);
    return n > 0 ? (size_t)n * gp_dtype_stride(io->dtype) : 0;
}

/* What the answer may take: the described outputs', else as much as the body. */
static size_t expected_answer(const struct exchange *x, size_t body_bytes)
{
    const struct gp_description *d = &x->server->model.description;
    size_t total = 0;
    for (uint32_t i = 0; i < d->n_outputs; i++) {
        const size_t bytes = known_bytes(&d->outputs[i]);
        if (!bytes)
            return body_bytes;
        total += bytes;
    }
    return total;
}

/* Promises memory for the answer of a request of body_bytes, of which `held` are counted. One
 * client holds at most a quarter of the pool. */
static bool reserve_answer(struct exchange *x, size_t body_bytes)
{
    struct pool *pool = x->server->pool;
    const size_t answer =
        x->http.method == HTTP_METHOD_POST ? expected_answer(x, body_bytes) : 0;
    const size_t share = pool_count(pool).budget_bytes / 4;
    if (answer > share || body_bytes > share - answer) {
        gp_error_set(
            &x->error, GP_TOO_LARGE,
            "a body of %zu bytes and an answer of %zu are over one client's share of "
            "the pool: %zu bytes, a quarter of --pool",
            body_bytes, answer, share);
        return false;
    }
    if (!pool_reserve(pool, answer)) {
        gp_error_set(
            &x->error, GP_NO_MEMORY,
            "the pool (--pool) has no room for an answer of %zu bytes; try again later",
            answer);
        return false;
    }
    x->run.reserved_bytes = pool_rounded(answer);
    return true;
}

static bool take(struct exchange *x, size_t size_bytes, struct pool_buffer *buffer)
{
    if (pool_take(x->server->pool, size_bytes, NULL, buffer))
        return true;
    gp_error_set(&x->error, GP_NO_MEMORY,
                 "the pool (--pool) has no room for a body of %zu bytes; try again later",
                 size_bytes);
    return false;
}

bool body_begin(struct exchange *x)
{
    return reserve_answer(x, x->body_length) && take(x, x->body_length, &x->body);
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
    x->body_length = FIRST_CHUNKED_BYTES;
    return take(x, FIRST_CHUNKED_BYTES, &x->body) && body_touch(x, FIRST_CHUNKED_BYTES);
}

/* Twice the room, in another buffer: the one way by which a body's bytes move. */
static bool grow(struct exchange *x, size_t more)
{
    struct pool_buffer larger;
    const size_t needed = x->body_size + more;
    if (!take(x, needed > 2 * x->body_size ? needed : 2 * x->body_size, &larger))
        return false;
    const bool is_long = x->body_size >= LONG_COPY_BYTES;
    if (is_long)
        poller_engage(&x->server->poller);
    const bool is_touched = pool_touch(x->server->pool, &larger, x->body_size);
    if (is_touched)
        memcpy(larger.data, x->body.data, x->body_size);
    pool_give(x->server->pool, is_touched ? &x->body : &larger);
    if (is_long)
        poller_disengage(&x->server->poller);
    if (is_touched)
        x->body = larger;
    else
        gp_error_set(&x->error, GP_NO_MEMORY, "no memory for a body of %zu bytes",
                     needed);
    return is_touched;
}

bool body_make_room(struct exchange *x, size_t more)
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
    if (x->body.size_bytes - x->body_size < more && !grow(x, more))
        return false;
    return body_touch(x, x->body_size + more);
}

bool body_end_chunked(struct exchange *x)
{
    return reserve_answer(x, x->body_size);
}
