/* Errors of the other side as the client tells them: which status they get, by a message's code or by
 * HTTP's, and their words. */
#include "client/roundtrip.h"

#include "scripted.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct client_link link_to_server;

static int setup(void **state)
{
    (void)state;
    strcpy(link_to_server.address.label, "http://s:1");
    return 0;
}

/* What an answer with this HTTP status and body fails with. */
static void assert_failure(int http_status, bool is_message, const char *body,
                           size_t size, enum gp_status status, const char *words)
{
    struct gp_error err = {GP_OK, ""};
    struct client_reply reply = {.status = http_status, .is_message = is_message};
    reply.body.data = (unsigned char *)malloc(size ? size : 1); /* ends where it ends */
    assert_non_null(reply.body.data);
    memcpy(reply.body.data, body, size);
    reply.body.size_bytes = size;
    struct gp_arena *arena = gp_arena_create();
    const enum gp_status got = client_failure(&link_to_server, &reply, arena, &err);
    gp_arena_destroy(arena);
    free(reply.body.data);
    if (got != status || err.status != status || strcmp(err.message, words) != 0)
        fail_msg("HTTP %d gave %s: %s\nwanted %s: %s", http_status, gp_status_name(got),
                 err.message, gp_status_name(status), words);
}

static void assert_text(const char *body, const char *words)
{
    assert_failure(404, false, body, strlen(body), GP_NOT_FOUND, words);
}

/* --- statuses
 * ---------------------------------------------------------------------------- */

static void texts_go_by_the_http_status(void **state)
{
    (void)state;
    static const struct {
        int http_status;
        enum gp_status status;
    } cases[] = {
        {401, GP_FORBIDDEN}, {403, GP_FORBIDDEN},
        {404, GP_NOT_FOUND}, {405, GP_METHOD},
        {408, GP_TIMEOUT},   {413, GP_TOO_LARGE},
        {429, GP_BUSY},      {431, GP_HEAD_TOO_LARGE},
        {499, GP_CANCELLED}, {501, GP_UNSUPPORTED},
        {502, GP_IO},        {503, GP_UNAVAILABLE},
        {504, GP_DEADLINE},  {300, GP_INVALID}, /* all others by their hundred */
        {307, GP_INVALID},   {400, GP_INVALID},
        {402, GP_INVALID},   {498, GP_INVALID},
        {299, GP_INTERNAL},  {204, GP_INTERNAL},
        {500, GP_INTERNAL},  {505, GP_INTERNAL},
        {599, GP_INTERNAL},  {999, GP_INTERNAL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char words[64];
        snprintf(words, sizeof words, "words (HTTP %d)", cases[i].http_status);
        assert_failure(cases[i].http_status, false, "words", 5, cases[i].status, words);
    }
}

/* All of them come back as they were sent. */
static void messages_go_by_their_code(void **state)
{
    (void)state;
    static const enum gp_status all[] = {
#define SYMBOL(symbol, number, name, http) symbol,
        GP_STATUS_MAP(SYMBOL)
#undef SYMBOL
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const struct gp_response response = {.error_code = all[i],
                                             .error_message = "100% sure"};
        struct gp_error err;
        const enum gp_status wanted = all[i] == GP_OK ? GP_NOT_FOUND : all[i];
        assert_int_equal(client_refusal(&link_to_server, &response, 404, &err), wanted);
        assert_int_equal(err.status, wanted);
        assert_string_equal(err.message, "100% sure");
    }
}

/* From a newer server, or a stranger's. */
static void unknown_codes_go_by_the_http_status(void **state)
{
    (void)state;
    static const int64_t codes[] = {-1,        0,         777,
                                    INT64_MAX, INT64_MIN, (INT64_C(1) << 32) + GP_BUSY};
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        const struct gp_response response = {.error_code = codes[i],
                                             .error_message = "words"};
        assert_int_equal(client_refusal(&link_to_server, &response, 504, NULL),
                         GP_DEADLINE);
        assert_int_equal(client_refusal(&link_to_server, &response, 200, NULL),
                         GP_INTERNAL);
    }
}

/* --- words
 * ------------------------------------------------------------------------------- */

static void an_error_without_words_is_told_by_its_code(void **state)
{
    (void)state;
    const struct gp_response response = {.error_code = INT64_C(-123456789012),
                                         .error_message = ""};
    struct gp_error err;
    assert_int_equal(client_refusal(&link_to_server, &response, 503, &err),
                     GP_UNAVAILABLE);
    assert_string_equal(err.message,
                        "http://s:1: an error of code -123456789012, without a reason");
}

static void a_message_is_told_in_its_own_words(void **state)
{
    (void)state;
    struct gp_arena *arena = gp_arena_create();
    struct gp_encoding encoding;
    struct gp_error failure;
    gp_error_set(&failure, GP_DEADLINE, "too late");
    assert_int_equal(gp_error_encode(arena, &failure, &encoding, NULL), GP_OK);
    char *bytes = scripted_flatten(&encoding);
    const size_t size = encoding.size_bytes;
    assert_failure(400, true, bytes, size, GP_DEADLINE, "too late");
    /* cut or empty it has none; and who calls it text gets it read as such */
    assert_failure(400, true, bytes, size / 2, GP_INVALID,
                   "http://s:1: HTTP 400 Bad Request, without a reason");
    assert_failure(400, true, bytes, 0, GP_INVALID,
                   "http://s:1: HTTP 400 Bad Request, without a reason");
    assert_failure(503, true, "junk", 4, GP_UNAVAILABLE,
                   "http://s:1: HTTP 503 Service Unavailable, without a reason");
    assert_failure(400, false, "junk", 4, GP_INVALID, "junk (HTTP 400)");
    free(bytes);

    /* outputs are no reason */
    assert_int_equal(gp_response_encode(arena, NULL, 0, 0, &encoding, NULL), GP_OK);
    bytes = scripted_flatten(&encoding);
    assert_failure(500, true, bytes, encoding.size_bytes, GP_INTERNAL,
                   "http://s:1: HTTP 500 Internal Server Error, without a reason");
    free(bytes);
    gp_arena_destroy(arena);
}

static void a_text_becomes_one_line(void **state)
{
    (void)state;
    static const struct {
        const char *body, *words;
    } cases[] = {
        {"words", "words (HTTP 404)"},
        {"a b", "a b (HTTP 404)"},
        {"100%s %d%%", "100%s %d%% (HTTP 404)"},
        {" \r\n a  b\t\tc\x01\x7f"
         "d \n ",
         "a b c d (HTTP 404)"},
        {"!~", "!~ (HTTP 404)"}, /* the first and the last that are visible */
        {"\xc3\xa4 \xe2\x82\xac", "\xc3\xa4 \xe2\x82\xac (HTTP 404)"},
        {"", "http://s:1: HTTP 404 Not Found, without a reason"},
        {" \n\t ", "http://s:1: HTTP 404 Not Found, without a reason"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_text(cases[i].body, cases[i].words);
}

/* After some 400 bytes, and never inside a character. */
static void a_long_text_is_cut(void **state)
{
    (void)state;
    char body[1000], words[1000];
    for (size_t n_before = 0; n_before < 4; n_before++) {
        memset(body, 'x', n_before);
        for (size_t at = n_before; at + 3 < sizeof body; at += 3)
            memcpy(body + at, "\xe2\x82\xac", 4);
        const size_t n_whole = (398 - n_before) / 3;
        const size_t size = n_before + 3 * n_whole;
        memcpy(words, body, size);
        strcpy(words + size, " (HTTP 404)");
        assert_text(body, words);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts_go_by_the_http_status),
        cmocka_unit_test(messages_go_by_their_code),
        cmocka_unit_test(unknown_codes_go_by_the_http_status),
        cmocka_unit_test(an_error_without_words_is_told_by_its_code),
        cmocka_unit_test(a_message_is_told_in_its_own_words),
        cmocka_unit_test(a_text_becomes_one_line),
        cmocka_unit_test(a_long_text_is_cut),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
