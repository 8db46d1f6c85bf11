/* What a request leaves behind in its exchange, which is lent to the next one: nothing. */
#include "scene.h"

/* What a request was refused for, asked for or limited by is not the next one's. */
static void a_request_inherits_nothing(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    const char *alive = "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n";

    scene_post(f, client, 8, "1", "X-GraphPipe-Timeout-Ms: 5000\r\n"); /* a deadline */
    f->run_ns = 6 * CLOCK_S;
    scene_hear(f, client, "HTTP/1.1 504 Gateway Timeout\r\n");
    scene_post(f, client, 8, "1", "");
    scene_serve(f);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");

    scene_say(f, client,
              "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    scene_hear(f, client, "HTTP/1.1 405 Method Not Allowed\r\n"); /* with a field */
    assert_non_null(strstr(client->received, "\r\nAllow: GET, HEAD\r\n"));
    scene_say(f, client, alive);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_null(strstr(client->received, "Allow"));
    assert_non_null(strstr(client->received, "\r\n\r\nok\n"));

    scene_say(f, client, "HEAD /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n"); /* without a body */
    assert_null(strstr(client->received, "ok\n"));
    scene_say(f, client, alive);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(client->received, "\r\n\r\nok\n"));

    scene_say(f, client, "GET /gone HTTP/1.1\r\nHost: x\r\n\r\n");
    scene_hear(f, client, "HTTP/1.1 404 Not Found\r\n");
    scene_post_chunked(f, client, 1000, "1");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    scene_post(f, client, 8, "1", "Accept: application/x-graphpipe\r\n");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(client->received, "application/x-graphpipe"));

    /* of another connection, to which it is lent next */
    struct visitor *other = scene_connect(f, 1, NULL);
    scene_say(f, client, "GET /control/is_alive HTTP/1.1\r\n\r\n");
    scene_hear(f, client, "HTTP/1.1 400 Bad Request\r\n");
    scene_say(f, other, alive);
    scene_hear(f, other, "HTTP/1.1 200 OK\r\n");
    assert_false(other->is_ended);
    scene_end(f);
}

static void assert_same(const struct exchange *a, const struct exchange *b)
{
#define ASSERT_SAME(field) assert_memory_equal(&a->field, &b->field, sizeof a->field)
    ASSERT_SAME(connection);
    ASSERT_SAME(guest);
    ASSERT_SAME(head_fed);
    assert_string_equal(b->target, "");
    ASSERT_SAME(route);
    ASSERT_SAME(format);
    ASSERT_SAME(model);
    ASSERT_SAME(is_counted);
    ASSERT_SAME(kind);
    ASSERT_SAME(protocol);
    ASSERT_SAME(body.data);
    ASSERT_SAME(body_size);
    ASSERT_SAME(body_length);
    ASSERT_SAME(request.kind);
    ASSERT_SAME(request.call.inputs);
    ASSERT_SAME(arrived_ns);
    ASSERT_SAME(error.status);
    assert_string_equal(b->error.message, "");
    ASSERT_SAME(has_failed);
    ASSERT_SAME(must_close);
    ASSERT_SAME(text.data);
    ASSERT_SAME(answer.status);
    ASSERT_SAME(answer.fields);
    ASSERT_SAME(answer.n_parts);
    ASSERT_SAME(answer.size_bytes);
    ASSERT_SAME(is_kept_alive);
    ASSERT_SAME(parts);
    ASSERT_SAME(n_parts);
    ASSERT_SAME(sent_bytes);
    ASSERT_SAME(inference.model);
    ASSERT_SAME(inference.client);
    ASSERT_SAME(inference.deadline_ns);
    ASSERT_SAME(inference.arrived_ns);
    ASSERT_SAME(inference.queued_ns);
    ASSERT_SAME(inference.waited_ns);
    ASSERT_SAME(inference.ran_ns);
    ASSERT_SAME(inference.inputs);
    ASSERT_SAME(inference.wanted);
    ASSERT_SAME(inference.output_order);
    ASSERT_SAME(inference.n_wanted);
    ASSERT_SAME(inference.error.status);
    assert_string_equal(b->inference.error.message, "");
    ASSERT_SAME(inference.run.engine_run.memory);
    ASSERT_SAME(inference.run.engine_run.n_outputs);
    ASSERT_SAME(inference.run.engine_run.promise.size_bytes);
    ASSERT_SAME(inference.run.engine_run.promise.peer);
#undef ASSERT_SAME
}

/* Spare exchanges are as new ones: nothing of a request is left for the next one. */
static void assert_spares_are_new(struct scene *f)
{
    struct exchanges *exchanges = &f->server->exchanges, none = {0};
    struct exchange *spares[SCENE_N];
    struct pool_peer peer = {0};
    const unsigned n = exchanges->n_spare;
    exchanges_init(&none, f->server, f->server->pool);
    struct exchange *fresh = exchange_take(&none, &peer);
    assert_non_null(fresh);
    assert_in_range(n, 1, SCENE_N);
    for (unsigned i = 0; i < n; i++) {
        spares[i] = exchange_take(exchanges, &peer);
        assert_same(fresh, spares[i]);
    }
    for (unsigned i = 0; i < n; i++)
        exchange_give(spares[i]);
    exchange_give(fresh);
    exchanges_finish(&none);
    assert_int_equal(peer.held_bytes, 0);
}

static void an_exchange_keeps_nothing(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL),
                   *other = scene_connect(f, 1, NULL);
    f->run_ns = CLOCK_S;
    scene_post(f, client, 8, "1", "X-GraphPipe-Timeout-Ms: 500\r\n");
    assert_true(still_serve_one(&f->server->poller));
    scene_post(f, other, 8, "1", "X-GraphPipe-Timeout-Ms: 9000\r\n");
    assert_true(still_serve_one(&f->server->poller)); /* it waits */
    scene_serve(f);
    scene_hear(f, client, "HTTP/1.1 504 Gateway Timeout\r\n");
    scene_hear(f, other, "HTTP/1.1 200 OK\r\n");
    assert_spares_are_new(f);
    scene_say(f, other,
              "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    scene_hear(f, other, "HTTP/1.1 405 Method Not Allowed\r\n");
    assert_spares_are_new(f);
    scene_say(f, other, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody");
    scene_hear(f, other, "HTTP/1.1 400 Bad Request\r\n");
    assert_spares_are_new(f);
    scene_post(f, client, 8, "4194304", "");
    scene_serve(f);
    scene_leave(f, client); /* within the answer */
    assert_spares_are_new(f);
    client = scene_connect(f, 0, NULL);
    scene_say(f, client, "GET / HTTP/1.1\r\nHost: x\r\n");
    scene_leave(f, client); /* within a head */
    assert_spares_are_new(f);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_inherits_nothing),
        cmocka_unit_test(an_exchange_keeps_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
