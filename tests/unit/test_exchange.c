/* What a request leaves behind in its exchange, which is lent to the next one: nothing. */
#include "server/format.h"

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
    for (const struct exchange *x = exchanges->spare; x; x = x->next) { /* nobody's */
        assert_null(x->inference.run.engine_run.promise.peer);
        assert_null(x->inference.run.engine_run.unplanned.peer);
        assert_null(x->inference.run.engine_run.heap.peer);
    }
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

/* A crowd that has gone leaves some, and no more. */
static void so_many_spares_are_kept(void **state)
{
    enum { N_KEPT = 256, N = N_KEPT + 2 };
    static struct exchange *all[N];
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct exchanges *exchanges = &f->server->exchanges;
    struct pool_peer peer = {0};
    for (int i = 0; i < N; i++) {
        all[i] = exchange_take(exchanges, &peer);
        assert_non_null(all[i]);
        assert_int_equal(exchanges->n_spare, 0);
    }
    for (int i = 0; i < N; i++) {
        exchange_give(all[i]);
        assert_int_equal(exchanges->n_spare, i < N_KEPT ? i + 1 : N_KEPT);
    }
    for (int i = 0; i < 2; i++) {
        all[i] = exchange_take(exchanges, &peer);
        assert_int_equal(exchanges->n_spare, N_KEPT - 1 - i);
    }
    assert_ptr_not_equal(all[0], all[1]);
    exchange_give(all[0]);
    exchange_give(all[1]);
    scene_end(f);
}

/* Of a text for which memory was short nothing is sent. */
static void an_answer_without_memory_is_a_503(void **state)
{
    static const char busy[] = "no memory for the answer";
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct pool_peer peer = {0};
    struct exchange *x = exchange_take(&f->server->exchanges, &peer);
    assert_non_null(x);
    text_puts(&x->text, "half of");
    x->text.is_short = true;
    exchange_answer_text(x, "application/json");
    assert_true(x->has_failed);
    assert_int_equal(x->answer.status, 503);
    assert_string_equal(x->answer.fields, "Retry-After: 1\r\n");
    assert_string_equal(x->answer.content_type, "text/plain; charset=utf-8");
    assert_int_equal(x->answer.n_parts, 2);
    assert_int_equal(x->answer.size_bytes, sizeof busy);
    assert_int_equal(x->answer.parts[0].iov_len, sizeof busy - 1);
    assert_memory_equal(x->answer.parts[0].iov_base, busy, sizeof busy - 1);
    assert_memory_equal(x->answer.parts[1].iov_base, "\n", 1);
    exchange_give(x);
    scene_end(f);
}

static void an_error_replaces_what_was_written(void **state)
{
    static const char wanted[] = "{\"error\":\"why\",\"status\":\"invalid\"}\n";
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct pool_peer peer = {0};
    struct exchange *x = exchange_take(&f->server->exchanges, &peer);
    assert_non_null(x);
    x->format = &format_json;
    text_puts(&x->text, "{\"half\":");
    gp_error_set(&x->error, GP_INVALID, "why");
    exchange_answer_error(x);
    assert_int_equal(x->answer.status, 400);
    assert_int_equal(x->answer.parts[0].iov_len, sizeof wanted - 1);
    assert_memory_equal(x->answer.parts[0].iov_base, wanted, sizeof wanted - 1);
    exchange_give(x);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_inherits_nothing),
        cmocka_unit_test(an_exchange_keeps_nothing),
        cmocka_unit_test(so_many_spares_are_kept),
        cmocka_unit_test(an_answer_without_memory_is_a_503),
        cmocka_unit_test(an_error_replaces_what_was_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
