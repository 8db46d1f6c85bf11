/* HTTP: the third byte and all after it are what a connection brings, messages one behind
 * the other. They are read whole and again in pieces, the head from memory that moves and
 * that ends where the bytes do, and both times the same has to be said of them. The first
 * byte chooses request or response and the size of the pieces, the second their seed. */
#include "fuzz.h"

#include "http/http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_MESSAGES = 4, MAX_FEEDS = 64, SAID_BYTES = 32 * 1024 };

/* What was said, to be compared. */
struct said {
    size_t size;
    unsigned char bytes[SAID_BYTES];
};

struct stream {
    const uint8_t *bytes;
    size_t size;
    size_t at;  /* what was taken */
    size_t end; /* what has come */
    struct fuzz_pieces pieces;
    unsigned n_feeds;
    struct http_message message;
    struct said *said;
};

static void say(struct said *said, const void *bytes, size_t size)
{
    if (size > sizeof said->bytes - said->size)
        size = sizeof said->bytes - said->size;
    if (size)
        memcpy(said->bytes + said->size, bytes, size);
    said->size += size;
}

static void say_number(struct said *said, int64_t number)
{
    say(said, &number, sizeof number);
}

static void say_span(struct said *said, const char *base, struct http_span span,
                     size_t head_size)
{
    FUZZ_CHECK(span.start <= head_size && span.size <= head_size - span.start);
    say_number(said, span.size);
    say(said, base + span.start, span.size);
}

/* As RFC 9112 has it: a request line is three parts with a space between them, and only empty
 * lines come before it; nothing comes before a status line. */
static void check_line(const char *base, size_t head_size, bool is_response)
{
    while (!is_response && head_size > 1 && memcmp(base, "\r\n", 2) == 0) {
        base += 2;
        head_size -= 2;
    }
    FUZZ_CHECK(head_size > 0 && (unsigned char)base[0] > ' ');
    const char *end = memchr(base, '\n', head_size);
    FUZZ_CHECK(end && end > base && end[-1] == '\r');
    size_t n_spaces = 0;
    for (const char *at = base; at < end - 1 && !is_response; at++) {
        FUZZ_CHECK((unsigned char)*at >= ' ');
        n_spaces += *at == ' ';
    }
    FUZZ_CHECK(is_response || n_spaces == 2);
}

static void say_head(struct stream *stream, const char *base, size_t head_size)
{
    const struct http_message *message = &stream->message;
    struct said *said = stream->said;
    size_t size;
    say_number(said, (int64_t)head_size);
    say_number(said, message->method);
    say_number(said, message->status);
    say_number(said, message->content_length);
    say_number(said, message->is_http10 | message->is_kept_alive << 1 |
                         message->is_chunked << 2 | message->expects_continue << 3 |
                         message->has_bad_expect << 4);
    say_span(said, base, message->target, head_size);
    FUZZ_CHECK(message->n_fields <= HTTP_MAX_FIELDS);
    for (uint32_t i = 0; i < message->n_fields; i++) {
        say_span(said, base, message->fields[i].name, head_size);
        say_span(said, base, message->fields[i].value, head_size);
    }
    const char *accept = http_field(message, base, "Accept", &size);
    if (accept)
        say_number(said, http_has_token(accept, size, "application/json"));
    FUZZ_CHECK(!message->is_chunked || message->content_length < 0);
}

/* One piece more has come; false at the end. */
static bool come(struct stream *stream)
{
    const size_t left = stream->size - stream->end;
    if (stream->n_feeds++ >= MAX_FEEDS)
        stream->pieces.most = 0;
    stream->end += fuzz_next_piece(&stream->pieces, left);
    return left > 0;
}

static bool say_refusal(struct said *said, const struct gp_error *err)
{
    fuzz_check_refusal(err->status, err);
    say_number(said, err->status);
    say(said, err->message, strlen(err->message));
    return false;
}

static bool read_head(struct stream *stream)
{
    const size_t start = stream->at;
    size_t fed = 0, head_size = 0;
    struct gp_error err = {0};
    for (;;) {
        const size_t size = stream->end - start;
        void *block;
        const char *base =
            (const char *)fuzz_copy(stream->bytes + start, size, 0, &block);
        const enum http_progress progress =
            http_head(&stream->message, base, fed, size, &head_size, &err);
        if (progress == HTTP_DONE) {
            FUZZ_CHECK(head_size <= size && head_size > 0);
            check_line(base, head_size, stream->message.llhttp.type == HTTP_RESPONSE);
            say_head(stream, base, head_size);
        }
        free(block);
        stream->at = start + head_size;
        if (progress == HTTP_BAD)
            return say_refusal(stream->said, &err);
        if (progress == HTTP_DONE)
            return true;
        fed = size;
        if (!come(stream))
            return false;
    }
}

static bool read_chunked(struct stream *stream)
{
    struct gp_error err = {0};
    for (;;) {
        const size_t size = stream->end - stream->at;
        const size_t rest = http_chunk_rest(&stream->message);
        void *block;
        const char *bytes =
            (const char *)fuzz_copy(stream->bytes + stream->at, size, 0, &block);
        struct iovec payload;
        size_t used = 0;
        const enum http_progress progress =
            http_chunked(&stream->message, bytes, size, &used, &payload, &err);
        if (progress != HTTP_BAD) {
            const char *from = payload.iov_base;
            FUZZ_CHECK(used <= size && payload.iov_len <= used);
            FUZZ_CHECK(payload.iov_len == 0 ||
                       (from >= bytes && from + payload.iov_len <= bytes + used));
            FUZZ_CHECK(rest == 0 || size == 0 ||
                       payload.iov_len == (rest < size ? rest : size));
            say(stream->said, from, payload.iov_len);
        }
        free(block);
        if (progress == HTTP_BAD)
            return say_refusal(stream->said, &err);
        stream->at += used;
        if (progress == HTTP_DONE)
            return true;
        if (stream->at == stream->end && !come(stream))
            return false;
    }
}

/* A body of known length, or one that lasts until the end. */
static bool read_known(struct stream *stream, bool is_response)
{
    const int64_t length = stream->message.content_length;
    const size_t left = stream->size - stream->at;
    size_t size = length < 0 ? (is_response ? left : 0) : (size_t)length;
    const bool is_whole = size <= left;
    if (!is_whole)
        size = left;
    say(stream->said, stream->bytes + stream->at, size);
    stream->at += size;
    if (stream->end < stream->at)
        stream->end = stream->at;
    return is_whole;
}

static void read_stream(struct stream *stream, bool is_response)
{
    bool goes_on = true;
    for (int i = 0; i < MAX_MESSAGES && goes_on && stream->at < stream->size; i++) {
        memset(&stream->message, 0xa5, sizeof stream->message);
        http_init(&stream->message, is_response ? HTTP_KIND_RESPONSE : HTTP_KIND_REQUEST);
        goes_on = read_head(stream) &&
                  (stream->message.is_chunked ? read_chunked(stream)
                                              : read_known(stream, is_response));
        say_number(stream->said, goes_on ? (int64_t)stream->at : -1);
    }
}

static void show(const char *how, const struct said *said)
{
    fprintf(stderr, "%s, %zu bytes: ", how, said->size);
    for (size_t i = 0; i < said->size; i++)
        if (said->bytes[i] >= ' ' && said->bytes[i] < 0x7f)
            fputc(said->bytes[i], stderr);
    fputc('\n', stderr);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    static struct said whole, cut;
    if (size < 2)
        return 0;
    const bool is_response = bytes[0] & 1;
    const uint32_t most = 1u << (bytes[0] >> 1) % 8;
    struct stream stream = {.bytes = bytes + 2, .size = size - 2, .said = &whole};
    whole.size = cut.size = 0;
    stream.end = stream.size;
    read_stream(&stream, is_response);

    struct stream pieces = {.bytes = bytes + 2, .size = size - 2, .said = &cut};
    pieces.pieces = (struct fuzz_pieces){bytes[1], most};
    read_stream(&pieces, is_response);
    const bool is_same =
        whole.size == cut.size && memcmp(whole.bytes, cut.bytes, cut.size) == 0;
    if (!is_same) {
        show("whole", &whole);
        show("in pieces", &cut);
    }
    FUZZ_CHECK(is_same);
    return 0;
}
