/* Chunked bodies: payloads come back whole however the bytes are cut, limits hold, and
 * garbage is refused with the same words. */
#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct outcome {
    struct http_message message;
    enum http_progress progress;
    size_t used; /* up to the end of the body */
    char *payload;
    size_t payload_size;
    struct gp_error err;
};

static void begin(struct outcome *o, size_t size)
{
    static const char head[] =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    size_t head_size;
    memset(o, 0, sizeof *o);
    o->payload = malloc(size + 1);
    assert_non_null(o->payload);
    http_init(&o->message, HTTP_KIND_REQUEST);
    assert_int_equal(http_head(&o->message, head, 0, sizeof head - 1, &head_size, NULL),
                     HTTP_DONE);
}

/* Feeds a copy of the bytes that ends where they end. */
static void feed(struct outcome *o, const char *bytes, size_t size)
{
    char *moved = malloc(size ? size : 1);
    assert_non_null(moved);
    memcpy(moved, bytes, size);
    size_t at = 0;
    o->progress = HTTP_MORE;
    while (at < size && o->progress == HTTP_MORE) {
        size_t used = 0;
        struct iovec span = {NULL, 0};
        const size_t rest = http_chunk_rest(&o->message);
        o->progress =
            http_chunked(&o->message, moved + at, size - at, &used, &span, &o->err);
        if (o->progress == HTTP_BAD)
            break;
        assert_true(used > 0 && used <= size - at);
        if (rest > 0) /* what the caller was promised is payload, at once */
            assert_int_equal(span.iov_len, rest < size - at ? rest : size - at);
        if (span.iov_len > 0) {
            assert_true((char *)span.iov_base >= moved + at);
            assert_true((char *)span.iov_base + span.iov_len <= moved + at + used);
            memcpy(o->payload + o->payload_size, span.iov_base, span.iov_len);
            o->payload_size += span.iov_len;
        }
        at += used;
        o->used += used;
    }
    free(moved);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    assert_int_equal(a->progress, b->progress);
    if (a->progress == HTTP_BAD) {
        assert_int_equal(a->err.status, b->err.status);
        assert_string_equal(a->err.message, b->err.message);
        return;
    }
    assert_int_equal(a->used, b->used);
    assert_int_equal(a->payload_size, b->payload_size);
    assert_memory_equal(a->payload, b->payload, a->payload_size);
}

/* In one piece, in pieces of `step` bytes, and split at each point. */
static void parse(struct outcome *whole, const char *bytes, size_t size)
{
    begin(whole, size);
    feed(whole, bytes, size);
    for (size_t step = 1; step < size && step < 4; step++) {
        struct outcome o;
        begin(&o, size);
        for (size_t at = 0; at < size; at += step) {
            feed(&o, bytes + at, size - at < step ? size - at : step);
            if (o.progress != HTTP_MORE)
                break;
        }
        assert_same(whole, &o);
        free(o.payload);
    }
    for (size_t at = 1; at < size && size < 2000; at++) {
        struct outcome o;
        begin(&o, size);
        feed(&o, bytes, at);
        if (o.progress == HTTP_MORE)
            feed(&o, bytes + at, size - at);
        assert_same(whole, &o);
        free(o.payload);
    }
}

static const struct sample {
    const char *body;
    const char *payload; /* NULL: refused */
    size_t rest;         /* bytes after the body */
} samples[] = {
    {"0\r\n\r\n", "", 0},
    {"5\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"5\r\nhello\r\n1\r\n!\r\n0\r\n\r\nGET /", "hello!", 5},
    {"a\r\n0123456789\r\nA\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789", 0},
    {"00000005\r\nhello\r\n000\r\n\r\n", "hello", 0},
    {"4\r\n\r\n\r\n\r\n0\r\n\r\n", "\r\n\r\n", 0},
    {"5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello", 0},
    {"5;a=\"x;y\";b\r\nhello\r\n0\r\n\r\n", "hello", 0},
    {"5\r\nhello\r\n0\r\nTrailer: x\r\nHost: y\r\n\r\n+", "hello", 1},
    {"\r\n", NULL, 0},
    {"x\r\n", NULL, 0},
    {"-1\r\n", NULL, 0},
    {"+5\r\nhello\r\n", NULL, 0},
    {"0x5\r\nhello\r\n", NULL, 0},
    {" 5\r\nhello\r\n", NULL, 0},
    {"5 \r\nhello\r\n", NULL, 0},
    {"5\nhello\r\n", NULL, 0},
    {"5\r\nhello\n0\r\n\r\n", NULL, 0},
    {"5\r\nhello0\r\n\r\n", NULL, 0},
    {"5\r\nhello!\r\n0\r\n\r\n", NULL, 0},
    {"5;a=\"\x01\"\r\nhello\r\n", NULL, 0},
    {"5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", NULL, 0},
    {"5\r\nhello\r\n0\r\nA: \x01\r\n\r\n", NULL, 0},
    {"5\r\nhello\r\n0\r\n\rx", NULL, 0},
};

static void bodies(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++) {
        const struct sample *want = &samples[i];
        struct outcome o;
        parse(&o, want->body, strlen(want->body));
        if (o.progress != (want->payload ? HTTP_DONE : HTTP_BAD))
            fail_msg("%s\ngave %d: %s", want->body, o.progress, o.err.message);
        if (want->payload) {
            assert_int_equal(o.payload_size, strlen(want->payload));
            assert_memory_equal(o.payload, want->payload, o.payload_size);
            assert_int_equal(o.used, strlen(want->body) - want->rest);
        } else {
            assert_int_equal(o.err.status, GP_MALFORMED);
            assert_non_null(strstr(o.err.message, "chunked body"));
        }
        free(o.payload);
    }
}

static void sizes_over_any_limit(void **state)
{
    (void)state;
    static const char *const bodies[] = {"8000000000000000\r\n", "ffffffffffffffff\r\n",
                                         "10000000000000000\r\n",
                                         "fffffffffffffffffffff\r\n"};
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        struct outcome o;
        parse(&o, bodies[i], strlen(bodies[i]));
        assert_int_equal(o.progress, HTTP_BAD);
        assert_int_equal(o.err.status, GP_TOO_LARGE);
        free(o.payload);
    }
}

static void rest_is_told(void **state)
{
    (void)state;
    struct outcome o;
    begin(&o, 100);
    assert_int_equal(http_chunk_rest(&o.message), 0);
    feed(&o, "7ffffff", 7);
    assert_int_equal(http_chunk_rest(&o.message), 0);
    feed(&o, "fffffffff\r\n", 11);
    assert_true(http_chunk_rest(&o.message) == INT64_MAX);
    feed(&o, "hello", 5);
    assert_true(http_chunk_rest(&o.message) == INT64_MAX - 5);
    free(o.payload);

    begin(&o, 100);
    feed(&o, "5\r\nhel", 6);
    assert_int_equal(http_chunk_rest(&o.message), 2);
    feed(&o, "lo", 2);
    assert_int_equal(http_chunk_rest(&o.message), 0);
    feed(&o, "\r\n10\r\n", 6);
    assert_int_equal(http_chunk_rest(&o.message), 16);
    free(o.payload);
}

/* A body made of `times` times `part`, then `tail`. */
static void assert_repeated(const char *start, const char *part, size_t times,
                            const char *tail, enum http_progress want)
{
    char *body = calloc(1, strlen(start) + strlen(part) * times + strlen(tail) + 1);
    assert_non_null(body);
    char *at = stpcpy(body, start);
    for (size_t i = 0; i < times; i++)
        at = stpcpy(at, part);
    at = stpcpy(at, tail);
    struct outcome o;
    parse(&o, body, (size_t)(at - body));
    if (o.progress != want)
        fail_msg("%s %s x %zu: %d", start, part, times, o.progress);
    if (want == HTTP_BAD)
        assert_non_null(strstr(o.err.message, "4096"));
    free(o.payload);
    free(body);
}

static void limits_hold(void **state)
{
    (void)state;
    static const char end[] = "\r\n!\r\n0\r\n\r\n";
    /* 20 bytes of a frame are free: here two before the extension and two behind it */
    assert_repeated("1;", "x", 4096 + 16, end, HTTP_DONE);
    assert_repeated("1;", "x", 4096 + 17, end, HTTP_BAD);
    assert_repeated("", "0", 4200, "1\r\n!\r\n0\r\n\r\n", HTTP_BAD);
    assert_repeated("", "1;extension-of-fifty-bytes-or-something-of-that-size\r\n!\r\n",
                    200, "0\r\n\r\n", HTTP_BAD);
    assert_repeated("0\r\n", "A: b\r\n", 600, "\r\n", HTTP_DONE);
    assert_repeated("0\r\n", "A: b\r\n", 700, "\r\n", HTTP_BAD);
    /* many small chunks are not extensions */
    assert_repeated("", "1\r\nx\r\n", 5000, "0\r\n\r\n", HTTP_DONE);
    assert_repeated("", "0000000000000001\r\nx\r\n", 5000, "0\r\n\r\n", HTTP_DONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bodies),
        cmocka_unit_test(sizes_over_any_limit),
        cmocka_unit_test(rest_is_told),
        cmocka_unit_test(limits_hold),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
