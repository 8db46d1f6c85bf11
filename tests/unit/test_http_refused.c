/* Heads of HTTP requests that are refused: with which status and words, and at which limits. */
#include "http_heads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define H "Host: a\r\n"

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
    {"OPTIONS / RTSP/1.0\r\n" H "\r\n", GP_MALFORMED, "the protocol is not HTTP"},
    {"SOURCE / ICE/1.0\r\n" H "\r\n", GP_MALFORMED, "the protocol is not HTTP"},
    {"GET /\r\n\r\n", GP_MALFORMED, ""},
    {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", GP_MALFORMED, "HTTP/2"},
    {"BREW / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"GETX / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"get / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"0 / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"9 / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"a / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"z / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"AA / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"Z / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {"- / HTTP/1.1\r\n" H "\r\n", GP_METHOD, "method"},
    {": / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"@ / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"[ / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
    {"` / HTTP/1.1\r\n" H "\r\n", GP_MALFORMED, "request line"},
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
        struct outcome *o = head_parse_request(want->head);
        if (o->progress != HTTP_BAD)
            fail_msg("accepted: %s", want->head);
        if (o->err.status != want->status || !strstr(o->err.message, want->message))
            fail_msg("%s\ngave %d: %s", want->head, o->err.status, o->err.message);
        assert_null(strchr(o->err.message, '\n'));
        head_end(o);
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
        struct outcome *o = head_parse(HTTP_KIND_REQUEST, heads[i].bytes, heads[i].size);
        assert_int_equal(o->progress, HTTP_BAD);
        assert_int_equal(o->err.status, GP_MALFORMED);
        head_end(o);
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
    struct outcome *o = head_begin(HTTP_KIND_REQUEST);
    head_feed(o, text, 0, strlen(text));
    assert_int_equal(o->progress, want);
    if (want == HTTP_BAD)
        assert_int_equal(o->err.status, GP_HEAD_TOO_LARGE);
    head_end(o);
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
    struct outcome *o = head_begin(HTTP_KIND_REQUEST);
    for (size_t at = 0; at < HTTP_MAX_HEAD_BYTES; at += 4096) {
        head_feed(o, text, at, at + 4096);
        assert_int_equal(o->progress,
                         at + 4096 < HTTP_MAX_HEAD_BYTES ? HTTP_MORE : HTTP_BAD);
    }
    assert_int_equal(o->err.status, GP_HEAD_TOO_LARGE);
    head_end(o);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_refused),
        cmocka_unit_test(nul_bytes_are_refused),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(errors_may_be_unwanted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
