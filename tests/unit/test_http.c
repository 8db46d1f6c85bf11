/* HTTP heads that are accepted, of requests and of answers, and what they say. Of answers also those that
 * are refused. */
#include "http_heads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

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
    {"OPTIONS * HTTP/1.1\r\n" H "\r\n", HTTP_METHOD_OPTIONS, "*", -1, false, true, false},
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
        struct outcome *o = head_parse_request(want->head);
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
        head_end(o);
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
        struct outcome *o = head_parse_request(heads[i][0]);
        const struct http_span *authority = &o->message.authority;
        assert_int_equal(o->progress, HTTP_DONE);
        assert_int_equal(authority->size, strlen(heads[i][1]));
        assert_memory_equal(o->base + authority->start, heads[i][1], authority->size);
        head_end(o);
    }
}

static void expectations(void **state)
{
    (void)state;
    struct outcome *o =
        head_parse_request("POST / HTTP/1.1\r\n" H "Expect: 100-Continue\r\n\r\n");
    assert_true(o->message.expects_continue);
    head_end(o);
    o = head_parse_request("POST / HTTP/1.1\r\n" H "Expect: cake\r\n\r\n");
    assert_true(o->message.has_bad_expect);
    head_end(o);
    o = head_parse_request("POST / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n");
    assert_false(o->message.expects_continue);
    head_end(o);
}

static void fields_are_found(void **state)
{
    (void)state;
    struct outcome *o = head_parse_request(
        "GET / HTTP/1.1\r\n" H "Accept:\t a/b , c/d \t\r\nEmpty:\r\nAccept: e\r\n\r\n");
    size_t size;
    const char *value = http_field(&o->message, o->base, "ACCEPT", &size);
    assert_int_equal(size, 9);
    assert_memory_equal(value, "a/b , c/d", size);
    assert_non_null(http_field(&o->message, o->base, "empty", &size));
    assert_int_equal(size, 0);
    assert_null(http_field(&o->message, o->base, "Accep", &size));
    assert_int_equal(o->message.n_fields, 4);
    head_end(o);
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
    {"HTTP/1.1 200 OK\r\nHost:\r\nContent-Length: 3\r\n\r\n", 200, 3, false, true},
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
        struct outcome *o =
            head_parse(HTTP_KIND_RESPONSE, want->head, strlen(want->head));
        if (o->progress != (want->status ? HTTP_DONE : HTTP_BAD))
            fail_msg("%s\n%d %s", want->head, o->progress, o->err.message);
        if (o->progress == HTTP_DONE) {
            assert_int_equal(o->message.status, want->status);
            assert_int_equal(o->message.content_length, want->content_length);
            assert_int_equal(o->message.is_chunked, want->is_chunked);
            assert_int_equal(o->message.is_kept_alive, want->is_kept_alive);
        }
        head_end(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(heads_are_accepted),      cmocka_unit_test(expectations),
        cmocka_unit_test(requests_are_for_a_host), cmocka_unit_test(fields_are_found),
        cmocka_unit_test(answers_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
