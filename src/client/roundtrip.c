/* The head and the parts of the message are sent together. While the socket takes no
 * more, and when it breaks, we look for an answer: a server may refuse a request before
 * it has read all of it, and its words matter more than the broken pipe. The server may
 * have closed a kept connection in the meantime: if it fails before the first byte of an
 * answer, the request is sent once more on a new one. */
#include "client/roundtrip.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>

enum {
    PARTS_AT_ONCE = 128, /* well below IOV_MAX */
    MAX_INTERIM = 32,    /* 1xx answers before the final one */
    MAX_REASON_BYTES = 1 << 20,
    HEAD_BYTES = 8192,
    READ_BYTES =
        /* read at once while waiting for a head: body bytes among them get copied */
    16 * 1024
};

struct trip {
    struct client_link *link;
    const struct client_question *question;
    struct client_reply *reply;
    struct gp_error *err;
    struct client_source source;
    struct http_message answer;
    size_t fed_bytes; /* of source.scratch, given to the parser */
    unsigned n_interim;
    bool has_answered; /* a byte has come */
    bool has_head;     /* of the final answer */
    bool is_retriable; /* failed the way a closed kept connection does */
};

static const char *label_of(const struct trip *trip)
{
    return trip->link->address.label;
}

static enum gp_status fail_deadline(const struct trip *trip, const char *doing)
{
    return gp_error_set(trip->err, GP_DEADLINE, "%s: the deadline passed while %s",
                        label_of(trip), doing);
}

/* The connection is gone, and the answer with it; error is 0 if it was closed in
 * order. */
static enum gp_status fail_lost(struct trip *trip, int error)
{
    char memory[128];
    if (trip->has_answered)
        return gp_error_set(trip->err, GP_IO,
                            "%s: the connection ended in the middle of the answer",
                            label_of(trip));
    trip->is_retriable = error == 0 || error == ECONNRESET || error == EPIPE;
    if (trip->is_retriable)
        return gp_error_set(trip->err, GP_IO,
                            "%s: the server closed the connection without an answer",
                            label_of(trip));
    return gp_error_set(trip->err, GP_IO, "%s: %s", label_of(trip),
                        strerror_r(error, memory, sizeof memory));
}

/* Drops a 1xx answer and moves what follows it to the front. */
static enum gp_status interim_drop(struct trip *trip, size_t head_size)
{
    struct client_source *source = &trip->source;
    if (trip->answer.status == 101 || ++trip->n_interim > MAX_INTERIM)
        return gp_error_set(
            trip->err, GP_MALFORMED, "%s: %s", label_of(trip),
            trip->answer.status == 101
                ? "the server switched to a protocol that nobody asked for"
                : "too many answers of 1xx");
    source->scratch_end -= head_size;
    memmove(source->scratch, source->scratch + head_size, source->scratch_end);
    trip->fed_bytes = 0;
    http_init(&trip->answer, HTTP_KIND_RESPONSE);
    return GP_OK;
}

static enum gp_status head_parse(struct trip *trip)
{
    struct client_source *source = &trip->source;
    struct gp_error why;
    enum gp_status status = GP_OK;
    while (status == GP_OK && !trip->has_head && trip->fed_bytes < source->scratch_end) {
        size_t head_size;
        switch (http_head(&trip->answer, source->scratch, trip->fed_bytes,
                          source->scratch_end, &head_size, &why)) {
        case HTTP_MORE:
            trip->fed_bytes = source->scratch_end;
            break;
        case HTTP_BAD:
            return gp_error_set(trip->err, GP_MALFORMED, "%s: answer: %.*s",
                                label_of(trip), gp_cut(why.message, 300), why.message);
        case HTTP_DONE:
            if (trip->answer.status < 200) {
                status = interim_drop(trip, head_size);
                break;
            }
            trip->has_head = true;
            source->scratch_at = head_size;
            break;
        }
    }
    return status;
}

/* Receives what is there of the answer's head; *is_later: nothing yet. */
static enum gp_status head_receive(struct trip *trip, bool *is_later)
{
    struct client_source *source = &trip->source;
    const size_t room = source->scratch_size - source->scratch_end;
    size_t got;
    *is_later = false;
    switch (link_receive(trip->link, source->scratch + source->scratch_end,
                         room < READ_BYTES ? room : READ_BYTES, &got)) {
    case LINK_MOVED:
        trip->has_answered = true;
        source->scratch_end += got;
        return head_parse(trip);
    case LINK_LATER:
        *is_later = true;
        return GP_OK;
    case LINK_CLOSED:
        return fail_lost(trip, 0);
    case LINK_FAILED:
        break;
    }
    return fail_lost(trip, errno);
}

static enum gp_status head_await(struct trip *trip)
{
    while (!trip->has_head) {
        bool is_later;
        const enum gp_status status = head_receive(trip, &is_later);
        if (status != GP_OK)
            return status;
        if (is_later && link_wait(trip->link, POLLIN, trip->source.deadline_ns) == 0)
            return fail_deadline(trip, "waiting for the answer");
    }
    return GP_OK;
}

/* --- sending
 * ------------------------------------------------------------------------------ */

/* What remains to be sent: from byte `offset` of part `index`, the head being part 0. */
struct cursor {
    struct iovec head;
    const struct gp_encoding *message;
    size_t index;
    size_t offset;
};

static struct iovec part_of(const struct cursor *cursor, size_t index)
{
    return index == 0 ? cursor->head : cursor->message->parts[index - 1];
}

static bool is_at_end(const struct cursor *cursor)
{
    return cursor->index > cursor->message->n_parts;
}

static void cursor_move(struct cursor *cursor, size_t moved)
{
    while (!is_at_end(cursor)) {
        const size_t left = part_of(cursor, cursor->index).iov_len - cursor->offset;
        if (moved < left) {
            cursor->offset += moved;
            return;
        }
        moved -= left;
        cursor->index++;
        cursor->offset = 0;
    }
}

static enum link_outcome cursor_send(struct cursor *cursor, struct client_link *link)
{
    struct iovec parts[PARTS_AT_ONCE];
    size_t n_parts = 0;
    for (size_t i = cursor->index;
         i <= cursor->message->n_parts && n_parts < PARTS_AT_ONCE; i++)
        parts[n_parts++] = part_of(cursor, i);
    parts[0].iov_base = (char *)parts[0].iov_base + cursor->offset;
    parts[0].iov_len -= cursor->offset;
    size_t moved;
    const enum link_outcome outcome = link_send(link, parts, n_parts, &moved);
    cursor_move(cursor, moved);
    return outcome;
}

/* Sends until everything is sent or an answer has come. */
static enum gp_status send_all(struct trip *trip, struct cursor *cursor)
{
    enum gp_status status = GP_OK;
    while (status == GP_OK && !trip->has_head && !is_at_end(cursor)) {
        const enum link_outcome outcome = cursor_send(cursor, trip->link);
        if (outcome == LINK_LATER) {
            bool is_later;
            const short events =
                link_wait(trip->link, POLLOUT | POLLIN, trip->source.deadline_ns);
            if (events == 0)
                return fail_deadline(trip, "sending the request");
            if (events & (POLLIN | POLLHUP | POLLERR))
                status = head_receive(trip, &is_later);
        } else if (outcome != LINK_MOVED) {
            if (errno != EPIPE && errno != ECONNRESET)
                return fail_lost(trip, errno);
            return head_await(trip); /* the server may have said why */
        }
    }
    return status;
}

/* --- the whole
 * ---------------------------------------------------------------------------- */

static enum gp_status head_write(struct trip *trip, char *out, size_t out_size,
                                 size_t *size)
{
    const struct client_address *address = &trip->link->address;
    const int64_t deadline_ns = trip->question->deadline_ns;
    char extra[64] = "";
    if (deadline_ns != INT64_MAX) {
        int64_t left_ns = deadline_ns - clock_now_ns();
        if (left_ns < 1)
            left_ns = 1; /* waiting for the answer will tell */
        snprintf(extra, sizeof extra, "X-GraphPipe-Timeout-Ms: %" PRId64 "\r\n",
                 (left_ns - 1) / CLOCK_MS + 1);
    }
    *size = http_write_request(
        out, out_size,
        &(struct http_ask){.method = "POST",
                           .target = address->target,
                           .host = address->host_field,
                           .content_type = CLIENT_MEDIA_TYPE,
                           .accept = CLIENT_MEDIA_TYPE,
                           .content_length = trip->question->message->size_bytes,
                           .extra = extra});
    if (*size == 0)
        return gp_error_set(trip->err, GP_INVALID, "%s: the path is too long",
                            label_of(trip));
    return GP_OK;
}

/* A reason that cannot be received in full is worth less than the status that we have. */
static enum gp_status reply_receive(struct trip *trip)
{
    struct client_reply *reply = trip->reply;
    size_t size;
    reply->status = trip->answer.status;
    const char *type =
        http_field(&trip->answer, trip->source.scratch, "Content-Type", &size);
    reply->is_message = type && http_has_token(type, size, CLIENT_MEDIA_TYPE);

    const bool is_good = reply->status == 200;
    if (is_good && reply->own)
        reply->body = (struct client_body){.data = reply->own,
                                           .capacity_bytes = reply->own_size_bytes,
                                           .limit_bytes = reply->limit_bytes};
    else
        reply->body = (struct client_body){.buffers = reply->buffers,
                                           .limit_bytes = is_good ? reply->limit_bytes
                                                                  : MAX_REASON_BYTES};

    enum gp_status status =
        body_receive(&reply->body, &trip->source, &trip->answer, trip->err);
    if (!is_good && (status == GP_TOO_LARGE || status == GP_IO)) {
        reply->body.size_bytes = 0;
        trip->answer.is_kept_alive = false;
        status = GP_OK;
    }
    return status;
}

static enum gp_status trip_make(struct trip *trip, char *scratch)
{
    char head[HEAD_BYTES];
    struct cursor cursor = {.message = trip->question->message};
    trip->source = (struct client_source){.link = trip->link,
                                          .deadline_ns = trip->question->deadline_ns,
                                          .scratch = scratch,
                                          .scratch_size = HTTP_MAX_HEAD_BYTES};
    http_init(&trip->answer, HTTP_KIND_RESPONSE);
    cursor.head.iov_base = head;
    enum gp_status status = head_write(trip, head, sizeof head, &cursor.head.iov_len);
    if (status == GP_OK)
        status = send_all(trip, &cursor);
    if (status == GP_OK)
        status = head_await(trip);
    if (status == GP_OK)
        status = reply_receive(trip);

    const bool has_surplus = trip->source.scratch_at < trip->source.scratch_end;
    if (status != GP_OK || !trip->answer.is_kept_alive || !is_at_end(&cursor) ||
        has_surplus)
        link_close(trip->link);
    return status;
}

enum gp_status client_roundtrip(struct client_link *link, char *scratch,
                                const struct client_question *question,
                                struct client_reply *reply, struct gp_error *err)
{
    for (;;) {
        struct trip trip = {
            .link = link, .question = question, .reply = reply, .err = err};
        if (clock_now_ns() >= question->deadline_ns)
            return fail_deadline(&trip, "nothing was sent yet");
        if (link->fd >= 0 && link_is_stale(link))
            link_close(link);
        const bool was_kept = link->fd >= 0;
        enum gp_status status =
            was_kept ? GP_OK : link_open(link, question->deadline_ns, err);
        if (status == GP_OK)
            status = trip_make(&trip, scratch);
        if (status == GP_OK || !was_kept || !trip.is_retriable)
            return status;
    }
}
