/* The client against a scripted server that lies about sizes, cuts its answers or speaks
 * something else, and against nobody: what is told, and that the next call works. */
#include "client_fixture.h"

#include <graphpipe/client.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- answers that are none
 * --------------------------------------------------------------- */

static void sizes_over_the_limit(void **state)
{
    (void)state;
    struct scripted server;
    START(
        &server, ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n"),
        AWAIT_CLOSE, ACCEPT, READ,
        SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n7fffffffffffffff\r\n"),
        AWAIT_CLOSE, ACCEPT, READ,
        SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\nabc"),
        AWAIT_CLOSE, ACCEPT, READ,
        SEND("HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n"),
        AWAIT_CLOSE, ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(
        server.address, &(struct gp_client_options){.max_answer_bytes = 1000});
    scripted_assert_fails(client, &no_inputs, GP_TOO_LARGE,
                          "has 1001 bytes, over the limit of 1000");
    scripted_assert_fails(client, &no_inputs, GP_TOO_LARGE, "over the limit of 1000");
    scripted_assert_fails(client, &no_inputs, GP_TOO_LARGE,
                          "at least 1001 bytes, over the limit of 1000");
    scripted_assert_fails(client, &no_inputs, GP_MALFORMED, "Content-Length");
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

static void cut_answers(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, SEND("HTTP/1.1 200 OK\r\nConte"), CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345678"), CLOSE, ACCEPT,
          READ, SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n1234"),
          CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n"), CLOSE,
          ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    for (int i = 0; i < 5; i++)
        scripted_assert_fails(client, &no_inputs, GP_IO,
                              "the connection ended in the middle of the answer");
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

static void garbage(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, SEND("SSH-2.0-OpenSSH_9.2\r\n"), AWAIT_CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: "
               "upgrade\r\n\r\n"),
          AWAIT_CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>"), AWAIT_CLOSE, ACCEPT,
          READ, SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz"),
          AWAIT_CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\nx"),
          AWAIT_CLOSE, ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    for (int i = 0; i < 5; i++)
        scripted_assert_fails(client, &no_inputs, GP_MALFORMED, "http://127.0.0.1:");
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* --- nobody there
 * ------------------------------------------------------------------------ */

static void nobody_listens(void **state)
{
    (void)state;
    struct scripted server;
    static const struct script_step nothing;
    scripted_start(&server, false, &nothing, 0, seven, seven_size);
    scripted_check(&server); /* its port is free now */
    char words[200];
    snprintf(words, sizeof words, "%s: connection refused; is the server running?",
             server.address);
    struct gp_client *client = scripted_connect(server.address, NULL);
    scripted_assert_fails(client, &no_inputs, GP_IO, words);
    gp_client_destroy(client);

    client = scripted_connect("unix:/nowhere/to/be.found", NULL);
    scripted_assert_fails(
        client, &no_inputs, GP_IO,
        "unix:/nowhere/to/be.found: no such file or directory; is the server running?");
    gp_client_destroy(client);
}

static void bad_arguments(void **state)
{
    (void)state;
    struct gp_error err;
    assert_null(gp_client_create("https://a", NULL, &err));
    assert_int_equal(err.status, GP_INVALID);
    assert_null(gp_client_create(NULL, NULL, NULL));

    struct gp_client *client = scripted_connect("unix:/nowhere", NULL);
    const int64_t shape[] = {-1};
    const struct gp_tensor tensor = gp_tensor_view(GP_INT8, shape, 1, NULL);
    scripted_assert_fails(client, &(struct gp_call){.inputs = &tensor, .n_inputs = 1},
                          GP_INVALID, "");
    gp_client_destroy(client);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_over_the_limit),
        cmocka_unit_test(cut_answers),
        cmocka_unit_test(garbage),
        cmocka_unit_test(nobody_listens),
        cmocka_unit_test(bad_arguments),
    };
    return cmocka_run_group_tests(tests, client_fixture_begin, client_fixture_end);
}
