/* Heads that are written, and lists of tokens. */
#include "http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* The head has to come out as `want`, and only when there is room for all of it. */
static void assert_answer(const struct http_answer *answer, const char *want)
{
    const size_t size = strlen(want);
    for (size_t room = 0; room <= size + 1; room++) {
        char *out = malloc(room + 1);
        assert_non_null(out);
        const size_t got = http_write_answer(out, room, answer);
        assert_int_equal(got, room < size ? 0 : size);
        if (got > 0)
            assert_memory_equal(out, want, size);
        free(out);
    }
}

static void answers(void **state)
{
    (void)state;
    assert_answer(&(struct http_answer){.status = 200,
                                        .content_type = "application/x-graphpipe",
                                        .content_length = 18446744073709551615u,
                                        .is_kept_alive = true},
                  "HTTP/1.1 200 OK\r\nContent-Type: application/x-graphpipe\r\n"
                  "Content-Length: 18446744073709551615\r\n\r\n");
    assert_answer(
        &(struct http_answer){.status = 405, .extra = "Allow: GET\r\nA: b\r\n"},
        "HTTP/1.1 405 Method Not Allowed\r\nContent-Length: 0\r\nConnection: close\r\n"
        "Allow: GET\r\nA: b\r\n\r\n");
    assert_answer(
        &(struct http_answer){.status = 503, .is_http10 = true, .is_kept_alive = true},
        "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n"
        "Connection: keep-alive\r\n\r\n");
    assert_answer(&(struct http_answer){.status = 100}, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_answer(&(struct http_answer){.status = 204, .is_kept_alive = true},
                  "HTTP/1.1 204 No Content\r\n\r\n");
    assert_answer(&(struct http_answer){.status = 204,
                                        .is_kept_alive = true,
                                        .cors = "Vary: x\r\n",
                                        .extra = "A: b\r\n"},
                  "HTTP/1.1 204 No Content\r\nVary: x\r\nA: b\r\n\r\n");
    assert_answer(&(struct http_answer){.status = 799, .is_kept_alive = true},
                  "HTTP/1.1 799 Unknown\r\nContent-Length: 0\r\n\r\n");
}

static void statuses_have_reasons(void **state)
{
    (void)state;
#define ASSERT_REASON(symbol, number, name, http)                                        \
    assert_string_not_equal(http_reason(http), "Unknown");
    GP_STATUS_MAP(ASSERT_REASON)
#undef ASSERT_REASON
    static const int others[] = {100, 204, 304, 411, 415, 417, 421, 502, 505};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        assert_string_not_equal(http_reason(others[i]), "Unknown");
    assert_string_equal(http_reason(404), "Not Found");
    assert_string_equal(http_reason(0), "Unknown");
}

/* What is written for a server is what a server reads. */
static void requests(void **state)
{
    (void)state;
    const struct http_ask ask = {.method = "POST",
                                 .target = "/a",
                                 .host = "h:9000",
                                 .content_type = "t/c",
                                 .accept = "t/a",
                                 .content_length = 77,
                                 .extra = "X-Y: 5\r\n"};
    static const char want[] = "POST /a HTTP/1.1\r\nHost: h:9000\r\nContent-Type: t/c\r\n"
                               "Accept: t/a\r\nContent-Length: 77\r\nX-Y: 5\r\n\r\n";
    char out[sizeof want];
    assert_int_equal(http_write_request(out, sizeof want - 2, &ask), 0);
    const size_t size = http_write_request(out, sizeof out, &ask);
    assert_int_equal(size, sizeof want - 1);
    assert_memory_equal(out, want, size);

    struct http_message message;
    size_t head_size;
    http_init(&message, HTTP_KIND_REQUEST);
    assert_int_equal(http_head(&message, out, 0, size, &head_size, NULL), HTTP_DONE);
    assert_int_equal(head_size, size);
    assert_int_equal(message.content_length, 77);
    assert_int_equal(message.method, HTTP_METHOD_POST);
}

static void tokens(void **state)
{
    (void)state;
    static const struct {
        const char *value;
        bool has;
    } samples[] = {
        {"a/b", true},
        {"A/B", true},
        {" a/b ", true},
        {"x, a/b", true},
        {"x,\ta/b;q=1", true},
        {"x;q=1, a/b", true},
        {"x;q=1, a/b;q=0.5, y;q=0", true},
        {"a/b , y", true},
        {"a/b;q=\"1,2\"", true},
        {",,a/b,", true},
        {"", false},
        {"a/bc", false},
        {"xa/b", false},
        {"x;a/b", false},
        {"a/*", false},
        {"a /b", false},
        {"a/b\x01", false},
        {"\xffx, \xff"
         "a/b",
         false},
        {",", false},
        {";", false},
    };
    for (size_t i = 0; i < sizeof samples / sizeof *samples; i++)
        if (http_has_token(samples[i].value, strlen(samples[i].value), "a/b") !=
            samples[i].has)
            fail_msg("%s", samples[i].value);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),
        cmocka_unit_test(statuses_have_reasons),
        cmocka_unit_test(requests),
        cmocka_unit_test(tokens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
