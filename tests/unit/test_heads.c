/* What becomes of a head: what it is refused for, with which words, whether the connection goes on, how
 * much time the request has, and which format is answered. */
#include "scene.h"

#include <stdio.h>
#include <sys/socket.h>

#define CLOSE "Connection: close\r\n"
#define HOST " HTTP/1.1\r\nHost: x\r\n"

/* Each has to be told to the client, before the body comes, and ends the connection. */
static void what_a_head_is_refused_for(void **state)
{
    static const struct {
        const char *head, *status, *fields, *text;
    } cases[] = {
        {"DELETE /" HOST "\r\n", "405 Method Not Allowed",
         CLOSE "Allow: GET, HEAD, POST, OPTIONS\r\n",
         "method not allowed; wanted GET, HEAD, POST or OPTIONS\n"},
        {"POST /" HOST "Content-Length: 4\r\nExpect: 200-ok\r\n\r\n",
         "417 Expectation Failed", CLOSE, "Expect: only 100-continue is understood\n"},
        {"POST /" HOST "Content-Length: 2147483648\r\n\r\n", "413 Content Too Large",
         CLOSE,
         "a body of 2147483648 bytes: the format ends at 2 GiB - 1 (2147483647 bytes)\n"},
        {"POST /" HOST "Content-Length: 2147483647\r\n\r\n", "413 Content Too Large",
         CLOSE, "a body of 2147483647 bytes is over the limit (--max-body) of 100000\n"},
        {"POST /" HOST "Content-Length: 100001\r\n\r\n", "413 Content Too Large", CLOSE,
         "a body of 100001 bytes is over the limit (--max-body) of 100000\n"},
        {"GET /" HOST "Content-Length: 65537\r\n\r\n", "413 Content Too Large", CLOSE,
         "a body of 65537 bytes is over what is ignored here, of 65536\n"},
        {"GET /" HOST "X-GraphPipe-Timeout-Ms: 0\r\n\r\n", "400 Bad Request", CLOSE,
         "X-GraphPipe-Timeout-Ms is 0; wanted milliseconds from 1 to 4294967295\n"},
        {"GET /" HOST "X-GraphPipe-Timeout-Ms: 4294967296\r\n\r\n", "400 Bad Request",
         CLOSE,
         "X-GraphPipe-Timeout-Ms is 4294967296; wanted milliseconds from 1 to "
         "4294967295\n"},
        {"GET /" HOST "X-GraphPipe-Timeout-Ms: 42949672950\r\n\r\n", "400 Bad Request",
         CLOSE,
         "X-GraphPipe-Timeout-Ms is 42949672950; wanted milliseconds from 1 to "
         "4294967295\n"},
        {"GET /" HOST "X-GraphPipe-Timeout-Ms: 1:\r\n\r\n", "400 Bad Request", CLOSE,
         "X-GraphPipe-Timeout-Ms is \"1:\"; wanted milliseconds from 1 to 4294967295\n"},
        {"GET /" HOST "X-GraphPipe-Timeout-Ms: /1\r\n\r\n", "400 Bad Request", CLOSE,
         "X-GraphPipe-Timeout-Ms is \"/1\"; wanted milliseconds from 1 to 4294967295\n"},
        {"GET /" HOST
         "X-GraphPipe-Timeout-Ms: 99999999999999999999999999999999999999\r\n\r\n",
         "400 Bad Request", CLOSE,
         "X-GraphPipe-Timeout-Ms is \"99999999999999999999999999999999\"; wanted "
         "milliseconds from 1 to 4294967295\n"},
        {"GET / HTTP/1.1\r\n\r\n", "400 Bad Request", CLOSE,
         "field \"Host\" is missing\n"},
        /* by its route, and before a body that is long or has no length */
        {"POST /control/gone" HOST "Content-Length: 65537\r\n\r\n", "404 Not Found",
         CLOSE,
         "no such route; there are /control/is_ready, /control/is_alive, "
         "/control/client_count, /control/shutdown, and /control/models/NAME/ with "
         "is_ready, load and unload\n"},
        {"POST /v1" HOST "Transfer-Encoding: chunked\r\n\r\n", "404 Not Found", CLOSE,
         "no such route: this path is reserved\n"},
    };
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.max_body_bytes = 100000});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct visitor *client = scene_connect(f, 0, NULL);
        scene_say(f, client, cases[i].head);
        scene_hear_text(f, client, cases[i].status, cases[i].fields, cases[i].text);
        assert_true(client->is_ended);
        assert_int_equal(client->c->state, CONNECTION_LINGER);
        scene_leave(f, client);
    }
    scene_end(f);
}

/* A short body of what is refused by its route, or asks for no body, is dropped, and the connection
 * goes on. */
static void a_short_body_is_dropped(void **state)
{
    static const struct {
        const char *head, *status, *text;
    } cases[] = {
        {"POST /v1" HOST "Content-Length: 65536\r\n\r\n", "404 Not Found",
         "no such route: this path is reserved\n"},
        {"GET /control/is_alive" HOST "Content-Length: 65536\r\n\r\n", "200 OK", "ok\n"},
    };
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene_say(f, client, cases[i].head);
        scene_say_zeros(f, client, 65535);
        scene_hear_nothing(f, client);
        scene_say_zeros(f, client, 1);
        scene_hear_text(f, client, cases[i].status, "", cases[i].text);
        assert_false(client->is_ended);
    }
    scene_end(f);
}

/* They come in pieces of the window that has to hold them, and so do their ends. */
static void long_heads_come_in_one_turn(void **state)
{
    enum { N = 13, PAD_BYTES = 7800 }; /* more than the window holds */
    _Static_assert(N < (int)TURN_REQUESTS && N * PAD_BYTES > (int)WINDOW_BYTES, "");
    static char head[PAD_BYTES + 128] = "GET /control/is_alive" HOST "X: ";
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    memset(head + strlen(head), 'x', PAD_BYTES);
    strcat(head, "\r\n\r\n");
    for (int i = 0; i < N; i++) {
        const size_t size = strlen(head);
        assert_int_equal(send(client->fd, head, size, MSG_DONTWAIT), size);
    }
    assert_true(still_serve_one(&f->server->poller));
    assert_false(still_serve_one(&f->server->poller));
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    const size_t one = strlen("HTTP/1.1 200 OK\r\nContent-Type: text/plain; "
                              "charset=utf-8\r\nContent-Length: 3\r\n\r\nok\n");
    assert_int_equal(client->n_received, N * one);
    scene_end(f);
}

/* X-GraphPipe-Timeout-Ms, up to what the server allows, which is also what it is without. */
static void how_much_time_a_request_has(void **state)
{
    static const struct {
        uint32_t server_ms;
        const char *field;
        int64_t ms; /* 0: for ever */
    } cases[] = {
        {0, "", 0},
        {0, "X-GraphPipe-Timeout-Ms: 1\r\n", 1},
        {0, "x-graphpipe-timeout-ms: 1029\r\n", 1029},
        {0, "X-GraphPipe-Timeout-Ms: 4294967295\r\n", 4294967295},
        {2000, "", 2000},
        {2000, "X-GraphPipe-Timeout-Ms: 1999\r\n", 1999},
        {2000, "X-GraphPipe-Timeout-Ms: 2001\r\n", 2000},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char head[256];
        struct scene *f =
            scene_begin(&(struct gp_server_options){.timeout_ms = cases[i].server_ms});
        struct visitor *client = scene_connect(f, 0, NULL);
        (void)snprintf(head, sizeof head, "POST /" HOST "%sContent-Length: 4\r\n\r\n",
                       cases[i].field);
        scene_turn_to(7);
        scene_say(f, client, head);
        const struct inference *inference = &client->c->x->inference;
        assert_int_equal(inference->arrived_ns, SCENE_NS + 7 * CLOCK_MS);
        assert_int_equal(inference->deadline_ns,
                         cases[i].ms ? SCENE_NS + (7 + cases[i].ms) * CLOCK_MS : 0);
        scene_leave(f, client);
        scene_end(f);
    }
}

/* --- Expect: 100-continue --- */

static void hear_go_on(struct scene *f, struct visitor *client)
{
    scene_hear(f, client, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(client->n_received, strlen("HTTP/1.1 100 Continue\r\n\r\n"));
}

#define EXPECT HOST "Expect: 100-continue\r\n"

static void a_client_that_waits_is_told_to_go_on(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /control/is_alive" EXPECT "Content-Length: 4\r\n\r\n");
    hear_go_on(f, client);
    scene_say(f, client, "body");
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    scene_say(f, client,
              "POST /control/is_alive" EXPECT "Transfer-Encoding: chunked\r\n\r\n");
    hear_go_on(f, client);
    scene_say(f, client, "4\r\nbody\r\n0\r\n\r\n");
    scene_hear_text(f, client, "200 OK", "", "ok\n");

    /* it does not wait */
    scene_say(f, client, "POST /control/is_alive" EXPECT "Content-Length: 4\r\n\r\nbo");
    scene_hear_nothing(f, client);
    scene_say(f, client, "dy");
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    scene_say(f, client,
              "POST /control/is_alive" EXPECT "Transfer-Encoding: chunked\r\n\r\n4\r\n");
    scene_hear_nothing(f, client);
    scene_say(f, client, "body\r\n0\r\n\r\n");
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    scene_say(f, client, "POST /control/is_alive" EXPECT "Content-Length: 0\r\n\r\n");
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    scene_end(f);
}

/* It is not told where there is no room, and goes on by itself. */
static void one_that_does_not_read_is_not_told(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL), *gone = scene_connect(f, 1, NULL);
    scene_stuff(client);
    scene_say(f, client, "POST /control/is_alive" EXPECT "Content-Length: 4\r\n\r\n");
    assert_int_equal(client->c->state, CONNECTION_BODY);
    scene_say(f, client, "body");
    assert_int_equal(client->c->state, CONNECTION_ANSWER);
    scene_unstuff(client);
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    assert_int_equal(shutdown(gone->fd, SHUT_RD), 0);
    scene_say(f, gone, "POST /control/is_alive" EXPECT "Content-Length: 4\r\n\r\n");
    scene_hear(f, gone, "");
    assert_true(gone->is_ended);
    assert_int_equal(connections_count(&f->server->connections), 1);
    scene_end(f);
}

/* --- formats --- */

/* Of words by Accept, of inferences by Accept too, of metadata always JSON. */
static void which_format_is_answered(void **state)
{
    static const struct {
        const char *request, *begins, *ends;
    } cases[] = {
        {"GET /control/is_alive" HOST "Accept: application/json\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
         "16\r\n\r\n",
         "{\"status\":\"ok\"}\n"},
        {"GET /control/is_alive" HOST "Accept: text/html\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 3\r\n\r\n",
         "ok\n"},
        {"GET /gone" HOST "Accept: application/x-graphpipe\r\n\r\n",
         "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n",
         "\r\n\r\nno model is named \"gone\"; there are: function\n"},
        {"GET /v1" HOST "Accept: application/json\r\n\r\n",
         "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n",
         "\r\n\r\n{\"error\":\"no such route: this path is reserved\","
         "\"status\":\"not found\"}\n"},
        {"GET /v1" HOST "Accept: application/x-graphpipe\r\n\r\n",
         "HTTP/1.1 404 Not Found\r\nContent-Type: text/plain; charset=utf-8\r\n",
         "\r\n\r\nno such route: this path is reserved\n"},
        {"POST /v1" HOST "Accept: application/x-graphpipe\r\nContent-Length: 0\r\n\r\n",
         "HTTP/1.1 404 Not Found\r\nContent-Type: application/x-graphpipe\r\n", ""},
        {"POST /control/is_alive" HOST "Accept: application/x-graphpipe\r\n"
         "Content-Length: 0\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
         "Content-Length: 3\r\n\r\n",
         "ok\n"},
        {"GET /" HOST "Accept: text/html\r\n\r\n",
         "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n", "}\n"},
        {"HEAD /" HOST "\r\n", "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n",
         "\r\n\r\n"},
    };
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        scene_say(f, client, cases[i].request);
        scene_hear(f, client, cases[i].begins);
        assert_true(client->n_received < sizeof client->received);
        const size_t size = strlen(cases[i].ends);
        assert_true(size < client->n_received);
        if (size)
            assert_string_equal(client->received + client->n_received - size,
                                cases[i].ends);
        assert_false(client->is_ended);
    }
    scene_end(f);
}

/* --- connections that are kept --- */

static void whose_connection_is_kept(void **state)
{
    static const struct {
        const char *request, *fields;
        bool is_kept;
    } cases[] = {
        {"GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n", "", true},
        {"GET /control/is_alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", CLOSE,
         false},
        {"GET /control/is_alive HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
         "Connection: keep-alive\r\n", true},
        {"GET /control/is_alive HTTP/1.0\r\n\r\n", CLOSE, false},
    };
    (void)state;
    struct scene *f = scene_begin(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct visitor *client = scene_connect(f, 0, NULL);
        for (int n = 0; n < 1 + cases[i].is_kept; n++) {
            scene_say(f, client, cases[i].request);
            scene_hear_text(f, client, "200 OK", cases[i].fields, "ok\n");
        }
        assert_int_equal(client->is_ended, !cases[i].is_kept);
        scene_leave(f, client);
    }
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_head_is_refused_for),
        cmocka_unit_test(a_short_body_is_dropped),
        cmocka_unit_test(long_heads_come_in_one_turn),
        cmocka_unit_test(how_much_time_a_request_has),
        cmocka_unit_test(a_client_that_waits_is_told_to_go_on),
        cmocka_unit_test(one_that_does_not_read_is_not_told),
        cmocka_unit_test(which_format_is_answered),
        cmocka_unit_test(whose_connection_is_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
