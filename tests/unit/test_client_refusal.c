/* The client against a scripted server that refuses: what is told of it, however it is
 * said, and that the next call works. */
#include "client_fixture.h"

#include <graphpipe/client.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static char *error_message(enum gp_status status, const char *words, size_t *size)
{
    struct gp_encoding encoding;
    struct gp_error failure;
    struct gp_arena *arena = gp_arena_create();
    gp_error_set(&failure, status, "%s", words);
    assert_int_equal(gp_error_encode(arena, &failure, &encoding, NULL), GP_OK);
    *size = encoding.size_bytes;
    char *message = scripted_flatten(&encoding);
    gp_arena_destroy(arena);
    return message;
}

/* --- answers of errors
 * ------------------------------------------------------------------- */

static void messages_are_told_as_they_are(void **state)
{
    (void)state;
    struct scripted server;
    size_t size;
    char *message =
        error_message(GP_DEADLINE, "input \"x\" is int8[3]; wanted 100%% of it", &size);
    char head[160];
    snprintf(head, sizeof head,
             "HTTP/1.1 400 Bad Request\r\nContent-Length: %zu\r\n"
             "Content-Type: Application/X-GraphPipe; v=1\r\n\r\n",
             size);
    const struct script_step steps[] = {ACCEPT, READ, SEND(head), MESSAGE, READ, ANSWER};
    scripted_start(&server, false, steps, 6, message, size);
    struct gp_client *client = scripted_connect(server.address, NULL);
    /* the code counts, whatever the HTTP status; the connection stays; 200 says it too */
    for (int i = 0; i < 2; i++)
        scripted_assert_fails(client, &no_inputs, GP_DEADLINE,
                              "input \"x\" is int8[3]; wanted 100%% of it");
    gp_client_destroy(client);
    scripted_check(&server);
    free(message);
}

static void an_error_may_lack_words(void **state)
{
    (void)state;
    struct scripted server;
    size_t size;
    char *message = error_message(GP_BUSY, "", &size);
    const struct script_step steps[] = {ACCEPT, READ, ANSWER};
    scripted_start(&server, false, steps, 3, message, size);
    struct gp_client *client = scripted_connect(server.address, NULL);
    scripted_assert_fails(client, &no_inputs, GP_BUSY,
                          "an error of code 13, without a reason");
    gp_client_destroy(client);
    scripted_check(&server);
    free(message);
}

static void unknown_codes_go_by_the_http_status(void **state)
{
    (void)state;
    struct scripted server;
    size_t size;
    char *message = error_message((enum gp_status)777, "new", &size);
    char head[160];
    snprintf(head, sizeof head,
             "HTTP/1.1 503 x\r\nContent-Type: application/x-graphpipe\r\n"
             "Content-Length: %zu\r\n\r\n",
             size);
    const struct script_step steps[] = {ACCEPT, READ, SEND(head), MESSAGE, READ, ANSWER};
    scripted_start(&server, false, steps, 6, message, size);
    struct gp_client *client = scripted_connect(server.address, NULL);
    scripted_assert_fails(client, &no_inputs, GP_UNAVAILABLE, "new");
    scripted_assert_fails(client, &no_inputs, GP_INTERNAL, "new");
    gp_client_destroy(client);
    scripted_check(&server);
    free(message);
}

static void texts_are_told_with_their_status(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ,
          SEND("HTTP/1.1 404 Not Found\r\nContent-Length: 23\r\n\r\n \n no "
               "such\tmodel:\r\n x \n"),
          READ, SEND("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n"), READ,
          SEND("HTTP/1.1 500 x\r\nContent-Type: application/x-graphpipe\r\n"
               "Content-Length: 4\r\n\r\njunk"),
          READ, SEND("HTTP/1.1 204 No Content\r\n\r\n"), READ,
          SEND("HTTP/1.1 301 Moved\r\nContent-Type: text/plain\r\n"
               "Transfer-Encoding: chunked\r\n\r\n5\r\nmoved\r\n0\r\n\r\n"),
          READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    scripted_assert_fails(client, &no_inputs, GP_NOT_FOUND,
                          "no such model: x (HTTP 404)");
    scripted_assert_fails(client, &no_inputs, GP_IO,
                          "HTTP 502 Bad Gateway, without a reason");
    scripted_assert_fails(client, &no_inputs, GP_INTERNAL,
                          "HTTP 500 Internal Server Error");
    scripted_assert_fails(client, &no_inputs, GP_INTERNAL, "HTTP 204");
    scripted_assert_fails(client, &no_inputs, GP_INVALID, "moved (HTTP 301)");
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* The reason is cut, too long or too late: the status is told nevertheless. */
static void reasons_may_be_lacking(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ,
          SEND("HTTP/1.1 503 x\r\nContent-Length: 99999999999\r\n\r\nbusy"), AWAIT_CLOSE,
          ACCEPT, READ, SEND("HTTP/1.1 413 x\r\nContent-Length: 99\r\n\r\ncut"), CLOSE,
          ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    scripted_assert_fails(client, &no_inputs, GP_UNAVAILABLE,
                          ": HTTP 503 Service Unavailable, without a reason");
    scripted_assert_fails(client, &no_inputs, GP_TOO_LARGE,
                          ": HTTP 413 Content Too Large, without a reason");
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* --- before the request is sent
 * ---------------------------------------------------------- */

#define REFUSAL                                                                          \
    "HTTP/1.1 413 Content Too Large\r\nConnection: close\r\nContent-Length: 11\r\n\r\n"  \
    "over 1 MiB\n"

static void check_refused(struct gp_client *client, const struct gp_call *call)
{
    scripted_assert_fails(client, call, GP_TOO_LARGE, "over 1 MiB (HTTP 413)");
}

/* Once with a lingering close, once without, once on a kept connection. */
static void an_early_refusal_is_heard(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ_HEAD, SEND(REFUSAL), AWAIT_CLOSE, ACCEPT, READ_HEAD,
          SEND(REFUSAL), PAUSE(50), CLOSE, ACCEPT, READ, ANSWER, READ_HEAD, DRIP(REFUSAL),
          PAUSE(50), CLOSE);
    struct gp_client *client = scripted_connect(server.address, NULL);
    with_large_call(check_refused, client);
    with_large_call(check_refused, client);
    assert_works(client);
    with_large_call(check_refused, client);
    gp_client_destroy(client);
    scripted_check(&server);
}

static void check_cut(struct gp_client *client, const struct gp_call *call)
{
    scripted_assert_fails(client, call, GP_IO, "closed the connection without an answer");
}

/* On a fresh connection it is not tried again. */
static void a_close_without_an_answer(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ_HEAD, CLOSE, ACCEPT, READ_HEAD, RESET, ACCEPT, READ,
          CLOSE, ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    with_large_call(check_cut, client);
    with_large_call(check_cut, client);
    check_cut(client, &no_inputs);
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* A small answer is there before the reset that follows it. */
static void a_reset_between_two_calls(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, ANSWER, RESET, ACCEPT, READ, ANSWER, RESET, ACCEPT, READ,
          ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    for (int i = 0; i < 3; i++)
        assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* Bytes after the answer belong to nothing: what came is good, the connection is not. */
static void surplus_ends_the_connection(void **state)
{
    (void)state;
    struct scripted server;
    static const char surplus[] = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
    static const struct script_step steps[] = {ACCEPT, READ, MESSAGE, AWAIT_CLOSE,
                                               ACCEPT, READ, MESSAGE, AWAIT_CLOSE};
    char *bytes = malloc(seven_size + 256);
    assert_non_null(bytes);
    size_t size = (size_t)sprintf(bytes, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n",
                                  seven_size);
    memcpy(bytes + size, seven, seven_size);
    size += seven_size;
    memcpy(bytes + size, surplus, sizeof surplus - 1);
    size += sizeof surplus - 1;
    scripted_start(&server, false, steps, 8, bytes, size);
    struct gp_client *client = scripted_connect(server.address, NULL);
    assert_works(client);
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
    free(bytes);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(messages_are_told_as_they_are),
        cmocka_unit_test(an_error_may_lack_words),
        cmocka_unit_test(unknown_codes_go_by_the_http_status),
        cmocka_unit_test(texts_are_told_with_their_status),
        cmocka_unit_test(reasons_may_be_lacking),
        cmocka_unit_test(an_early_refusal_is_heard),
        cmocka_unit_test(a_close_without_an_answer),
        cmocka_unit_test(a_reset_between_two_calls),
        cmocka_unit_test(surplus_ends_the_connection),
    };
    return cmocka_run_group_tests(tests, client_fixture_begin, client_fixture_end);
}
