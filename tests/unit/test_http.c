/* HTTP heads: what is accepted, what it says, and what is refused with which status.
 * Every head is fed in one piece, byte by byte, and split at each point, each time from
 * memory that moves between the feeds and ends where the bytes end; the outcome has to be
 * the same. */
#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct outcome {
    enum http_progress progress;
    size_t head_size;
    struct gp_error err;
    struct http_message message;
    char *base;
};

/* Feeds up to `end`; the head's memory is a new one of exactly that size. */
static void feed(struct outcome *o, const char *bytes, size_t from, size_t end)
{
    char *moved = malloc(end);
    assert_non_null(moved);
    memcpy(moved, bytes, end);
    free(o->base);
    o->base = moved;
    o->progress = http_head(&o->message, moved, from, end, &o->head_size, &o->err);
}

static struct outcome *begin(enum http_kind kind)
{
    struct outcome *o = calloc(1, sizeof *o);
    assert_non_null(o);
    memset(&o->message, 0xA5, sizeof o->message); /* http_init must not rely on zeros */
    http_init(&o->message, kind);
    return o;
}

static void end(struct outcome *o)
{
    free(o->base);
    free(o);
}

static void assert_same(const struct outcome *a, const struct outcome *b)
{
    const struct http_message *m = &a->message, *n = &b->message;
    assert_int_equal(a->progress, b->progress);
    if (a->progress == HTTP_BAD) {
        assert_int_equal(a->err.status, b->err.status);
        assert_string_equal(a->err.message, b->err.message);
    }
    if (a->progress != HTTP_DONE)
        return;
    assert_int_equal(a->head_size, b->head_size);
    assert_int_equal(m->method, n->method);
    assert_int_equal(m->status, n->status);
    assert_int_equal(m->content_length, n->content_length);
    assert_int_equal(m->is_chunked, n->is_chunked);
    assert_int_equal(m->is_kept_alive, n->is_kept_alive);
    assert_int_equal(m->expects_continue, n->expects_continue);
    assert_int_equal(m->n_fields, n->n_fields);
    assert_memory_equal(&m->target, &n->target, sizeof m->target);
    assert_memory_equal(m->fields, n->fields, m->n_fields * sizeof *m->fields);
}

/* The outcome of the whole, after all other ways of feeding it gave the same. */
static struct outcome *parse(enum http_kind kind, const char *bytes, size_t size)
{
    struct outcome *whole = begin(kind);
    feed(whole, bytes, 0, size);

    struct outcome *single = begin(kind);
    for (size_t i = 0; i < size; i++) {
        feed(single, bytes, i, i + 1);
        if (single->progress != HTTP_MORE)
            break;
    }
    assert_same(whole, single);
    end(single);

    for (size_t at = 1; at < size; at++) {
        struct outcome *split = begin(kind);
        feed(split, bytes, 0, at);
        if (split->progress == HTTP_MORE)
            feed(split, bytes, at, size);
        assert_same(whole, split);
        end(split);
    }
    return whole;
}

static struct outcome *parse_request(const char *text)
{
    return parse(HTTP_KIND_REQUEST, text, strlen(text));
}

/* --- accepted
 * ---------------------------------------------------------------------------- */

#define H "Host: a\r\n"

static const struct accepted {
    const char *head;
    enum http_method method;
    const char *target;
    int64_t content_length;
    bool is_chunked;
    bool is_kept_alive;
    bool is_http10;
} accepted[] = {
    {"GET / HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_GET, "/", -1, false, true, false},
    {"\r\n\r\nGET / HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_GET, "/", -1, false, true, false},
    {"HEAD /a/b?c=d HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_HEAD, "/a/b?c=d", -1, false, true,
     false},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", HTTP_METHOD_POST, "/", 0, false,
     true, false},
    {"POST / HTTP/1.1\r\n" H "content-LENGTH:\t5 \r\n\r\n", HTTP_METHOD_POST, "/", 5,
     false, true, false},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775807\r\n\r\n",
     HTTP_METHOD_POST, "/", INT64_MAX, false, true, false},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", HTTP_METHOD_POST, "/",
     -1, true, true, false},
    {"POST / HTTP/1.1\r\n" H "transfer-encoding:  CHUNKED \r\n\r\n", HTTP_METHOD_POST,
     "/", -1, true, true, false},
    {"PUT /x HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_OTHER, "/x", -1, false, true, false},
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_OTHER, "*", -1, false, true, false},
    {"CONNECT a:80 HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_OTHER, "a:80", -1, false, false,
     false},
    {"GET / HTTP/1.0\r\n\r\n", HTTP_METHOD_GET, "/", -1, false, false, true},
    {"GET / HTTP/1.1\r\nHost: [fe80::1%25en0]:80\r\n\r\n", HTTP_METHOD_GET, "/", -1,
     false, true, false},
    {"GET / HTTP/1.1\r\nHost: a_b-c.example~:9000\r\n\r\n", HTTP_METHOD_GET, "/", -1,
     false, true, false},
    {"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", HTTP_METHOD_GET, "/", -1, false,
     true, true},
    {"GET / HTTP/1.1\r\n" H "Connection: close\r\n\r\n", HTTP_METHOD_GET, "/", -1, false,
     false, false},
    {"GET / HTTP/1.1\r\n" H "Connection: keep-alive, Close\r\n\r\n", HTTP_METHOD_GET, "/",
     -1, false, false, false},
    {"GET http://h:1/p?q HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_GET, "/p?q", -1, false, true,
     false},
    {"GET HTTPS://h/p HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_GET, "/p", -1, false, true,
     false},
    {"GET http://host HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_GET, "/", -1, false, true,
     false},
    {"GET http://host?q HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_GET, "/", -1, false, true,
     false},
    {"POST / HTTP/1.1\r\n" H
     "Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
     HTTP_METHOD_POST, "/", 3, false, true, false},
    {"GET / HTTP/1.1\r\n" H "Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
     HTTP_METHOD_GET, "/", -1, false, true, false},
    {"GET / HTTP/1.1\r\n" H "Empty:\r\nBlank:   \r\nHigh: \x80\xff\r\n\r\n",
     HTTP_METHOD_GET, "/", -1, false, true, false},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 4\r\n\r\nbody", HTTP_METHOD_POST, "/", 4,
     false, true, false},
};

static void heads_are_accepted(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof accepted / sizeof *accepted; i++) {
        const struct accepted *want = &accepted[i];
        struct outcome *o = parse_request(want->head);
        const struct http_message *m = &o->message;
        if (o->progress != HTTP_DONE)
            fail_msg("%s\n%s", want->head, o->err.message);
        assert_int_equal(o->head_size,
                         strstr(want->head + 4, "\r\n\r\n") + 4 - want->head);
        assert_int_equal(m->method, want->method);
        assert_int_equal(m->target.size, strlen(want->target));
        assert_memory_equal(o->base + m->target.start, want->target, m->target.size);
        assert_int_equal(m->content_length, want->content_length);
        assert_int_equal(m->is_chunked, want->is_chunked);
        assert_int_equal(m->is_kept_alive, want->is_kept_alive);
        assert_int_equal(m->is_http10, want->is_http10);
        assert_false(m->expects_continue || m->has_bad_expect);
        end(o);
    }
}

static void requests_are_for_a_host(void **state)
{
    (void)state;
    static const char *const heads[][2] = {
        {"GET / HTTP/1.1\r\nX: y\r\nhost: \ta:1 \r\n\r\n", "a:1"},
        {"GET / HTTP/1.0\r\n\r\n", ""},
        {"GET / HTTP/1.0\r\nHost: a\r\n\r\n", "a"},
        {"GET http://h:1/p HTTP/1.1\r\n" H "\r\n", "h:1"},
        {"GET http://h?q HTTP/1.1\r\n" H "\r\n", "h"},
        {"GET HTTPS://u@[::1]:2 HTTP/1.0\r\n\r\n", "u@[::1]:2"},
    };
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        struct outcome *o = parse_request(heads[i][0]);
        const struct http_span *authority = &o->message.authority;
        assert_int_equal(o->progress, HTTP_DONE);
        assert_int_equal(authority->size, strlen(heads[i][1]));
        assert_memory_equal(o->base + authority->start, heads[i][1], authority->size);
        end(o);
    }
}

static void expectations(void **state)
{
    (void)state;
    struct outcome *o =
        parse_request("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\n\r\n");
    assert_true(o->message.expects_continue);
    end(o);
    o = parse_request("POST / HTTP/1.1\r\n" H "Expect: cake\r\n\r\n");
    assert_true(o->message.has_bad_expect);
    end(o);
    o = parse_request("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert_false(o->message.expects_continue);
    end(o);
}

static void fields_are_found(void **state)
{
    (void)state;
    struct outcome *o = parse_request(
        "GET / HTTP/1.1\r\n" H "Accept:\t a/b , c/d \t\r\nEmpty:\r\nAccept: e\r\n\r\n");
    size_t size;
    const char *value = http_field(&o->message, o->base, "ACCEPT", &size);
    assert_int_equal(size, 9);
    assert_memory_equal(value, "a/b , c/d", size);
    assert_non_null(http_field(&o->message, o->base, "empty", &size));
    assert_int_equal(size, 0);
    assert_null(http_field(&o->message, o->base, "Accep", &size));
    assert_int_equal(o->message.n_fields, 4);
    end(o);
}

/* --- refused
 * ----------------------------------------------------------------------------- */

static const struct refused {
    const char *head;
    enum gp_status status;
    const char *message; /* a part of it */
} refused[] = {
    {"GET / HTTP/1.1\r\n\r\n", GP_MALFORMED, "\"Host\" is missing"},
    {"GET / HTTP/1.1\r\n" H H "\r\n", GP_MALFORMED, "\"Host\" came 2 times"},
    {"GET / HTTP/1.1\r\nHost:\r\n\r\n", GP_MALFORMED, "\"Host\" is empty"},
    {"GET / HTTP/1.0\r\n" H H "\r\n", GP_MALFORMED, "\"Host\" came 2 times"},
    {"GET https://?q HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "has no host"},
    {"GET / HTTP/0.9\r\n" H "\r\n", GP_MALFORMED, ""},
    {"GET / HTTP/1.2\r\n" H "\r\n", GP_MALFORMED, ""},
    {"GET / HTTP/2.0\r\n" H "\r\n", GP_MALFORMED, ""},
    {"GET /\r\n\r\n", GP_MALFORMED, ""},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", GP_MALFORMED, "HTTP/2"},
    {"BREW / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"GETX / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"get / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"\x16\x03\x01\x02", GP_MALFORMED, "request line"},
    {"{\"a\": 1}", GP_MALFORMED, "request line"},
    {"GET x HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"GET * HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "begin with"},
    {"GET ftp://a/b HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "begin with"},
    {"GET /\x01 HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"GET / HTTP/1.1 \r\n" H "\r\n", GP_MALFORMED, ""},
    {"GET /  HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"GET  / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"CONNECT a:1  HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"OPTIONS  * HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"GET\t/ HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"GET /\tHTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"GET /\x0bHTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {" GET / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"\nGET / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"\rGET / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"\n\rGET / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"\r\n\r\r\nGET / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"GET / HTTP/1.1\r\r\n" H "\r\n", GP_MALFORMED, ""},
    {"GET /a#b HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "\"#\""},
    {"GET http:///a HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "no host"},
    {"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", GP_MALFORMED, "\"Host\""},
    {"GET / HTTP/1.1\r\nHost: a\tb\r\n\r\n", GP_MALFORMED, "\"Host\""},
    {"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", GP_MALFORMED, "\"Host\""},
    {"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", GP_MALFORMED, "\"Host\""},
    {"GET / HTTP/1.1\r\nHost: \xc3\xa4\r\n\r\n", GP_MALFORMED, "\"Host\""},
    {"GET / HTTP/1.1\n" H "\r\n", GP_MALFORMED, ""},
    {"GET / HTTP/1.1\r\nHost: a\n\r\n", GP_MALFORMED, "\"Host\""},
    {"GET / HTTP/1.1\r\n" H "\n", GP_MALFORMED, "\"Host\""},
    {"GET / HTTP/1.1\r\n" H "A: b\r\n c\r\n\r\n", GP_MALFORMED, "\"A\""},
    {"GET / HTTP/1.1\r\n A: b\r\n" H "\r\n", GP_MALFORMED, "in the first field"},
    {"GET / HTTP/1.1\r\n" H "A : b\r\n\r\n", GP_MALFORMED, "after field \"Host\""},
    {"GET / HTTP/1.1\r\n" H "A b\r\n\r\n", GP_MALFORMED, "after field \"Host\""},
    {"GET / HTTP/1.1\r\n" H ": b\r\n\r\n", GP_MALFORMED, "after field \"Host\""},
    {"GET / HTTP/1.1\r\n" H "A: b\x01\r\n\r\n", GP_MALFORMED, "in field \"A\""},
    {"GET / HTTP/1.1\r\n" H "A: b\x7f\r\n\r\n", GP_MALFORMED, "in field \"A\""},
    {"GET / HTTP/1.1\r\n" H "A: b\rc\r\n\r\n", GP_MALFORMED, "field \"A\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: +5\r\n\r\n", GP_MALFORMED,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: -5\r\n\r\n", GP_MALFORMED,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5, 5\r\n\r\n", GP_MALFORMED,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5 5\r\n\r\n", GP_MALFORMED,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 0x5\r\n\r\n", GP_MALFORMED,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5a\r\n\r\n", GP_MALFORMED,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", GP_MALFORMED,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 5\r\n\r\n",
     GP_MALFORMED, "Content-Length"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nContent-Length: 6\r\n\r\n",
     GP_MALFORMED, "Content-Length"},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 9223372036854775808\r\n\r\n", GP_TOO_LARGE,
     "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999999\r\n\r\n",
     GP_TOO_LARGE, "\"Content-Length\""},
    {"POST / HTTP/1.1\r\n" H "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
     GP_MALFORMED, "Content-Length"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
     GP_MALFORMED, "Content-Length"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked, chunked\r\n\r\n", GP_MALFORMED,
     "Transfer-Encoding"},
    {"POST / HTTP/1.1\r\n" H
     "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
     GP_MALFORMED, "Transfer-Encoding"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n", GP_MALFORMED,
     "Transfer-Encoding"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: identity\r\n\r\n", GP_MALFORMED,
     "Transfer-Encoding"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", GP_MALFORMED,
     "Transfer-Encoding"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked;a=b\r\n\r\n", GP_MALFORMED,
     "Transfer-Encoding"},
    {"POST / HTTP/1.1\r\n" H "Transfer-Encoding:\r\n\r\n", GP_MALFORMED,
     "Transfer-Encoding"},
    {"POST / HTTP/1.0\r\n" H "Transfer-Encoding: chunked\r\n\r\n", GP_MALFORMED,
     "HTTP/1.0"},
};

static void heads_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const struct refused *want = &refused[i];
        struct outcome *o = parse_request(want->head);
        if (o->progress != HTTP_BAD)
            fail_msg("accepted: %s", want->head);
        if (o->err.status != want->status || !strstr(o->err.message, want->message))
            fail_msg("%s\ngave %d: %s", want->head, o->err.status, o->err.message);
        assert_null(strchr(o->err.message, '\n'));
        end(o);
    }
}

static void nul_bytes_are_refused(void **state)
{
    (void)state;
    static const char in_value[] = "GET / HTTP/1.1\r\n" H "A: b\0c\r\n\r\n";
    static const char in_name[] = "GET / HTTP/1.1\r\n" H "A\0: b\r\n\r\n";
    static const char in_target[] = "GET /\0 HTTP/1.1\r\n" H "\r\n";
    const struct {
        const char *bytes;
        size_t size;
    } heads[] = {{in_value, sizeof in_value - 1},
                 {in_name, sizeof in_name - 1},
                 {in_target, sizeof in_target - 1}};
    for (size_t i = 0; i < 3; i++) {
        struct outcome *o = parse(HTTP_KIND_REQUEST, heads[i].bytes, heads[i].size);
        assert_int_equal(o->progress, HTTP_BAD);
        assert_int_equal(o->err.status, GP_MALFORMED);
        end(o);
    }
}

/* --- limits
 * ------------------------------------------------------------------------------ */

static char *head_with(size_t n_fields, size_t total)
{
    char *text = malloc(total + 4096);
    assert_non_null(text);
    size_t at = (size_t)sprintf(text, "GET / HTTP/1.1\r\n" H);
    for (size_t i = 1; i < n_fields; i++)
        at += (size_t)sprintf(text + at, "X-%zu: y\r\n", i);
    if (total > 0) {
        at += (size_t)sprintf(text + at, "Pad: ");
        memset(text + at, 'p', total - at - 4);
        at = total - 4;
        at += (size_t)sprintf(text + at, "\r\n\r\n");
    } else {
        sprintf(text + at, "\r\n");
    }
    return text;
}

static void assert_limit(char *text, enum http_progress want)
{
    struct outcome *o = begin(HTTP_KIND_REQUEST);
    feed(o, text, 0, strlen(text));
    assert_int_equal(o->progress, want);
    if (want == HTTP_BAD)
        assert_int_equal(o->err.status, GP_HEAD_TOO_LARGE);
    end(o);
    free(text);
}

static void limits_hold(void **state)
{
    (void)state;
    assert_limit(head_with(HTTP_MAX_FIELDS, 0), HTTP_DONE);
    assert_limit(head_with(HTTP_MAX_FIELDS + 1, 0), HTTP_BAD);
    assert_limit(head_with(1, HTTP_MAX_HEAD_BYTES), HTTP_DONE);
    assert_limit(head_with(1, HTTP_MAX_HEAD_BYTES + 1), HTTP_BAD);

    /* a head that never ends is refused as soon as the limit is there, in whatever pieces
     */
    char *text = head_with(1, 2 * HTTP_MAX_HEAD_BYTES);
    struct outcome *o = begin(HTTP_KIND_REQUEST);
    for (size_t at = 0; at < HTTP_MAX_HEAD_BYTES; at += 4096) {
        feed(o, text, at, at + 4096);
        assert_int_equal(o->progress,
                         at + 4096 < HTTP_MAX_HEAD_BYTES ? HTTP_MORE : HTTP_BAD);
    }
    assert_int_equal(o->err.status, GP_HEAD_TOO_LARGE);
    end(o);
    memset(text, '\r', HTTP_MAX_HEAD_BYTES);
    for (size_t i = 1; i < HTTP_MAX_HEAD_BYTES; i += 2)
        text[i] = '\n';
    text[HTTP_MAX_HEAD_BYTES] = '\0';
    assert_limit(text, HTTP_BAD);
}

static void errors_may_be_unwanted(void **state)
{
    (void)state;
    struct http_message message;
    size_t size;
    http_init(&message, HTTP_KIND_REQUEST);
    assert_int_equal(http_head(&message, "FOO", 0, 3, &size, NULL), HTTP_BAD);
    assert_int_equal(message.refusal, GP_METHOD);
    http_init(&message, HTTP_KIND_REQUEST);
    assert_int_equal(http_head(&message, "", 0, 0, &size, NULL), HTTP_MORE);
}

/* --- responses
 * --------------------------------------------------------------------------- */

static const struct reply {
    const char *head;
    int status; /* 0: refused */
    int64_t content_length;
    bool is_chunked;
    bool is_kept_alive;
} answers[] = {
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 200, 3, false, true},
    {"HTTP/1.1 200\r\nContent-Length: 3\r\n\r\n", 200, 3, false, true},
    {"HTTP/1.1 200 \r\nContent-Length: 3\r\nConnection: close\r\n\r\n", 200, 3, false,
     false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 200, -1, true, true},
    {"HTTP/1.1 200 OK\r\n\r\n", 200, -1, false, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\n", 200, 3, false, false},
    {"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: keep-alive\r\n\r\n", 200, 3,
     false, true},
    {"HTTP/1.1 100 Continue\r\n\r\n", 100, 0, false, true},
    {"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", 101,
     0, false, true},
    {"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n", 103, 0, false, true},
    {"HTTP/1.1 204 No Content\r\n\r\n", 204, 0, false, true},
    {"HTTP/1.1 304 Not Modified\r\nContent-Length: 70\r\n\r\n", 304, 0, false, true},
    {"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n", 503, 0, false,
     true},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n", 0, 0, false,
     false},
    {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 0, 0,
     false, false},
    {"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n", 0, 0, false, false},
    {"HTTP/1.1 20 OK\r\nContent-Length: 3\r\n\r\n", 0, 0, false, false},
    {"HTTP/1.1 2000 OK\r\nContent-Length: 3\r\n\r\n", 0, 0, false, false},
    {"HTTP/2.0 200 OK\r\nContent-Length: 3\r\n\r\n", 0, 0, false, false},
    {"HTTP/1.1 200 OK\nContent-Length: 3\n\n", 0, 0, false, false},
    {"HTTP/1.1 099 OK\r\nContent-Length: 3\r\n\r\n", 0, 0, false, false},
    {"HTTP/1.1  200 OK\r\nContent-Length: 3\r\n\r\n", 0, 0, false, false},
    {"\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 0, 0, false, false},
    {"\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", 0, 0, false, false},
    {"SSH-2.0-OpenSSH\r\n", 0, 0, false, false},
    {"POST / HTTP/1.1\r\n\r\n", 0, 0, false, false},
};

static void answers_are_read(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        const struct reply *want = &answers[i];
        struct outcome *o = parse(HTTP_KIND_RESPONSE, want->head, strlen(want->head));
        if (o->progress != (want->status ? HTTP_DONE : HTTP_BAD))
            fail_msg("%s\n%d %s", want->head, o->progress, o->err.message);
        if (o->progress == HTTP_DONE) {
            assert_int_equal(o->message.status, want->status);
            assert_int_equal(o->message.content_length, want->content_length);
            assert_int_equal(o->message.is_chunked, want->is_chunked);
            assert_int_equal(o->message.is_kept_alive, want->is_kept_alive);
        }
        end(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_accepted),
        cmocka_unit_test(expectations),
        cmocka_unit_test(requests_are_for_a_host),
        cmocka_unit_test(fields_are_found),
        cmocka_unit_test(heads_are_refused),
        cmocka_unit_test(nul_bytes_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(errors_may_be_unwanted),
        cmocka_unit_test(answers_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
