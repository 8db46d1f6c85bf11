/* The kernel copies a body of known length straight into its place. Of a chunked one only
 * the bytes between the chunks, and payload that was read along with them, pass through
 * the scratch memory: the rest of a chunk is received into its place, and the parser is
 * only told about it. A body that lasts until the connection ends is rare, and is
 * copied. */
#include "client/body.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <string.h>

enum { SMALLEST_BYTES = 64 * 1024, FRAME_BYTES = 4096 };

static enum gp_status too_large(const struct client_body *body, const char *label,
                                size_t size, bool is_known, struct gp_error *err)
{
    const bool is_own = !body->buffers && size > body->capacity_bytes;
    return gp_error_set(err, GP_TOO_LARGE, "%s: the answer has %s%zu bytes, %s %zu",
                        label, is_known ? "" : "at least ", size,
                        is_own ? "but the buffer holds" : "over the limit of",
                        is_own ? body->capacity_bytes : body->limit_bytes);
}

/* Makes room for size_bytes in all; is_known: no more will come. */
static enum gp_status body_reserve(struct client_body *body, const char *label,
                                   size_t size_bytes, bool is_known, struct gp_error *err)
{
    if (size_bytes > body->limit_bytes ||
        (!body->buffers && size_bytes > body->capacity_bytes))
        return too_large(body, label, size_bytes, is_known, err);
    if (!body->buffers || (body->data && size_bytes <= body->capacity_bytes))
        return GP_OK;

    size_t wanted = size_bytes;
    if (!is_known && wanted < SMALLEST_BYTES)
        wanted = SMALLEST_BYTES;
    if (!is_known && wanted < 2 * body->capacity_bytes)
        wanted = 2 * body->capacity_bytes;
    if (wanted > body->limit_bytes)
        wanted = body->limit_bytes;
    struct client_buffer larger;
    if (!buffers_take(body->buffers, wanted, &larger))
        return gp_error_set(err, GP_NO_MEMORY, "%s: no memory for an answer of %zu bytes",
                            label, wanted);
    if (body->data)
        memcpy(larger.data, body->data, body->size_bytes);
    buffers_give(body->buffers, &body->buffer);
    body->buffer = larger;
    body->data = larger.data;
    body->capacity_bytes = larger.size_bytes;
    return GP_OK;
}

static enum gp_status body_add(struct client_body *body, const char *label,
                               const void *bytes, size_t size, struct gp_error *err)
{
    if (size == 0)
        return GP_OK;
    const enum gp_status status =
        body_reserve(body, label, body->size_bytes + size, false, err);
    if (status != GP_OK)
        return status;
    assert(body->data);
    memcpy(body->data + body->size_bytes, bytes, size);
    body->size_bytes += size;
    return GP_OK;
}

/* Receives at least one byte; *got is 0 if the server has closed and may_end. */
static enum gp_status receive_some(struct client_source *source, void *bytes, size_t size,
                                   bool may_end, size_t *got, struct gp_error *err)
{
    const char *label = source->link->address.label;
    char memory[128];
    for (;;) {
        switch (link_receive(source->link, bytes, size, got)) {
        case LINK_MOVED:
            return GP_OK;
        case LINK_LATER:
            if (link_wait(source->link, POLLIN, source->deadline_ns) == 0)
                return gp_error_set(err, GP_DEADLINE,
                                    "%s: the deadline passed while receiving the answer",
                                    label);
            break;
        case LINK_CLOSED:
            if (may_end)
                return GP_OK;
            return gp_error_set(err, GP_IO,
                                "%s: the connection ended in the middle of the answer",
                                label);
        case LINK_FAILED:
            return gp_error_set(err, GP_IO, "%s: receiving the answer: %s", label,
                                strerror_r(errno, memory, sizeof memory));
        }
    }
}

/* Takes at most `size` of the bytes that came with the head; returns how many. */
static size_t scratch_take(struct client_source *source, void *to, size_t size)
{
    const size_t held = source->scratch_end - source->scratch_at;
    const size_t taken = held < size ? held : size;
    memcpy(to, source->scratch + source->scratch_at, taken);
    source->scratch_at += taken;
    return taken;
}

static enum gp_status receive_known(struct client_body *body,
                                    struct client_source *source, size_t size_bytes,
                                    struct gp_error *err)
{
    enum gp_status status =
        body_reserve(body, source->link->address.label, size_bytes, true, err);
    if (status != GP_OK || size_bytes == 0)
        return status;
    body->size_bytes = scratch_take(source, body->data, size_bytes);
    while (status == GP_OK && body->size_bytes < size_bytes) {
        size_t got;
        status = receive_some(source, body->data + body->size_bytes,
                              size_bytes - body->size_bytes, false, &got, err);
        body->size_bytes += got;
    }
    return status;
}

static enum gp_status receive_until_end(struct client_body *body,
                                        struct client_source *source,
                                        struct gp_error *err)
{
    const char *label = source->link->address.label;
    enum gp_status status = body_add(body, label, source->scratch + source->scratch_at,
                                     source->scratch_end - source->scratch_at, err);
    source->scratch_at = source->scratch_end;
    while (status == GP_OK) {
        size_t got;
        status =
            receive_some(source, source->scratch, source->scratch_size, true, &got, err);
        if (status == GP_OK && got == 0)
            break;
        if (status == GP_OK)
            status = body_add(body, label, source->scratch, got, err);
    }
    return status;
}

/* Feeds bytes to the parser, and moves payload to its place unless it is there
 * already. */
static enum gp_status chunk_feed(struct client_body *body, struct client_source *source,
                                 struct http_message *head, const char *bytes,
                                 size_t size, size_t *used, bool *is_complete,
                                 struct gp_error *err)
{
    const char *label = source->link->address.label;
    struct iovec payload;
    struct gp_error why;
    const enum http_progress progress =
        http_chunked(head, bytes, size, used, &payload, &why);
    if (progress == HTTP_BAD)
        return gp_error_set(err, GP_MALFORMED, "%s: answer: %.*s", label,
                            gp_cut(why.message, 300), why.message);
    *is_complete = progress == HTTP_DONE;
    if (payload.iov_len == 0)
        return GP_OK;
    if (!body->data || payload.iov_base != body->data + body->size_bytes)
        return body_add(body, label, payload.iov_base, payload.iov_len, err);
    body->size_bytes += payload.iov_len;
    return GP_OK;
}

/* Receives the rest of a chunk, or some of it, into its place. */
static enum gp_status receive_rest(struct client_body *body, struct client_source *source,
                                   struct http_message *head, size_t rest,
                                   bool *is_complete, struct gp_error *err)
{
    const char *label = source->link->address.label;
    size_t needed;
    if (__builtin_add_overflow(body->size_bytes, rest, &needed))
        needed = SIZE_MAX;
    if (needed > body->limit_bytes || (!body->buffers && needed > body->capacity_bytes))
        return too_large(body, label, needed, false, err);
    /* a chunk's size is only a claim: allocate for what has come */
    enum gp_status status = body_reserve(body, label, body->size_bytes + 1, false, err);
    if (status != GP_OK)
        return status;
    const size_t room = body->capacity_bytes - body->size_bytes;
    char *place = (char *)body->data + body->size_bytes;
    size_t got;
    size_t used;
    status = receive_some(source, place, rest < room ? rest : room, false, &got, err);
    if (status != GP_OK)
        return status;
    return chunk_feed(body, source, head, place, got, &used, is_complete, err);
}

static enum gp_status receive_chunked(struct client_body *body,
                                      struct client_source *source,
                                      struct http_message *head, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    bool is_complete = false;
    while (status == GP_OK && !is_complete) {
        const size_t rest = http_chunk_rest(head);
        if (source->scratch_at < source->scratch_end) {
            size_t used;
            status = chunk_feed(body, source, head, source->scratch + source->scratch_at,
                                source->scratch_end - source->scratch_at, &used,
                                &is_complete, err);
            source->scratch_at += used;
        } else if (rest > 0) {
            status = receive_rest(body, source, head, rest, &is_complete, err);
        } else {
            size_t got;
            status = receive_some(source, source->scratch, FRAME_BYTES, false, &got, err);
            source->scratch_at = 0;
            source->scratch_end = got;
        }
    }
    return status;
}

enum gp_status body_receive(struct client_body *body, struct client_source *source,
                            struct http_message *head, struct gp_error *err)
{
    if (head->is_chunked)
        return receive_chunked(body, source, head, err);
    if (head->content_length >= 0)
        return receive_known(body, source, (size_t)head->content_length, err);
    return receive_until_end(body, source, err);
}
