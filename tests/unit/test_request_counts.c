/* What each request is counted as, and how many bytes; every request is counted once. */
#include "scene.h"

#include <stdio.h>

#define HOST " HTTP/1.1\r\nHost: x\r\n"

static const struct counters *counters_of(const struct scene *f)
{
    return &f->server->metrics.counters;
}

static const struct counters *inferences_of(const struct scene *f)
{
    assert_non_null(f->server->models.open);
    return &f->server->models.open->counts->counters;
}

static unsigned code_index(int status)
{
    for (unsigned i = 0; i < METRICS_N_CODES; i++)
        if (metrics_codes[i] == status)
            return i;
    fail();
    return 0;
}

static uint64_t n_requests(const struct scene *f, enum metrics_kind kind, int status)
{
    return counters_sum(counters_of(f),
                        METRICS_REQUESTS + kind * METRICS_N_CODES + code_index(status));
}

static uint64_t n_inferences(const struct scene *f, enum metrics_protocol protocol,
                             int status)
{
    return counters_sum(inferences_of(f), METRICS_INFERENCES +
                                              protocol * METRICS_N_CODES +
                                              code_index(status));
}

/* Of every kind, protocol and code. */
static uint64_t n_all(const struct scene *f)
{
    uint64_t n = 0;
    for (unsigned i = METRICS_REQUESTS; i < METRICS_N; i++)
        n += counters_sum(counters_of(f), i);
    for (unsigned i = METRICS_INFERENCES; i < METRICS_REQUEST_TIME; i++)
        n += counters_sum(inferences_of(f), i);
    return n;
}

static void assert_in_flight(const struct scene *f, uint64_t n_begun, uint64_t n_ended)
{
    assert_int_equal(counters_sum(counters_of(f), METRICS_BEGUN), n_begun);
    assert_int_equal(counters_sum(counters_of(f), METRICS_ENDED), n_ended);
}

static void each_request_has_its_kind(void **state)
{
    static const struct {
        const char *request;
        enum metrics_kind kind;
        int status;
        bool is_begun; /* its head was complete */
    } cases[] = {
        {"GET /control/is_alive" HOST "\r\n", METRICS_CONTROL, 200, true},
        {"GET /control/client_count" HOST "\r\n", METRICS_CONTROL, 200, true},
        {"GET /control/shutdown" HOST "\r\n", METRICS_CONTROL, 405, true},
        {"GET /control/gone" HOST "\r\n", METRICS_OTHER, 404, true},
        {"GET /metrics" HOST "\r\n", METRICS_SCRAPE, 200, true},
        {"POST /metrics" HOST "Content-Length: 3\r\n\r\nabc", METRICS_SCRAPE, 405, true},
        {"GET /" HOST "\r\n", METRICS_METADATA, 200, true},
        {"HEAD /" HOST "\r\n", METRICS_METADATA, 200, true},
        {"GET /gone" HOST "\r\n", METRICS_OTHER, 404, true},
        {"DELETE /" HOST "\r\n", METRICS_OTHER, 405, true},
        {"GET /" HOST "X-GraphPipe-Timeout-Ms: 0\r\n\r\n", METRICS_OTHER, 400, true},
        {"GET / HTTP/1.1\r\n\r\n", METRICS_OTHER, 400, false},
    };
    (void)state;
    uint64_t n_begun = 0, n_received = 0;
    struct scene *f = scene_begin(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct visitor *client = scene_connect(f, 0, NULL);
        const uint64_t before = n_requests(f, cases[i].kind, cases[i].status);
        scene_say(f, client, cases[i].request);
        scene_hear(f, client, "HTTP/1.1 ");
        n_begun += cases[i].is_begun;
        n_received += client->n_received;
        assert_int_equal(n_requests(f, cases[i].kind, cases[i].status), before + 1);
        assert_int_equal(n_all(f), i + 1);
        assert_int_equal(counters_sum(counters_of(f), METRICS_SENT_BYTES), n_received);
        assert_in_flight(f, n_begun, n_begun);
        scene_leave(f, client);
        assert_int_equal(n_all(f), i + 1);
    }
    assert_int_equal(counters_sum(counters_of(f), METRICS_RECEIVED_BYTES), 3);
    scene_end(f);
}

/* By what it is asked for in, and what became of it. */
static void inferences_are_counted_by_protocol(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    size_t size;
    free(scene_message(8, "1", &size));
    scene_post(f, client, 8, "1", "");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(n_inferences(f, METRICS_2018, 200), 1);
    assert_int_equal(counters_sum(counters_of(f), METRICS_RECEIVED_BYTES), size);
    scene_post(f, client, 8, "1", "Accept: application/x-graphpipe\r\n");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(n_inferences(f, METRICS_GRAPHPIPE, 200), 1);
    scene_post(f, client, 8, "1", "Accept: application/json\r\n");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n"); /* which there is not */
    assert_int_equal(n_inferences(f, METRICS_2018, 200), 2);
    f->run_ns = 2 * CLOCK_MS;
    scene_post(f, client, 8, "1", "X-GraphPipe-Timeout-Ms: 1\r\n");
    scene_hear(f, client, "HTTP/1.1 504 Gateway Timeout\r\n");
    assert_int_equal(n_inferences(f, METRICS_2018, 504), 1);
    assert_int_equal(n_all(f), 4);

    /* a request for metadata is none */
    struct gp_arena *arena = gp_arena_create();
    struct gp_encoding encoding;
    assert_int_equal(gp_metadata_request_encode(arena, &encoding, NULL), GP_OK);
    char head[128];
    (void)snprintf(head, sizeof head, "POST /" HOST "Content-Length: %zu\r\n\r\n",
                   encoding.size_bytes);
    scene_send(f, client, head, strlen(head));
    for (size_t i = 0; i < encoding.n_parts; i++)
        scene_send(f, client, encoding.parts[i].iov_base, encoding.parts[i].iov_len);
    scene_serve(f);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\nContent-Type: application/x-graphpipe\r\n");
    gp_arena_destroy(arena);
    assert_int_equal(n_requests(f, METRICS_METADATA, 200), 1);
    assert_int_equal(n_all(f), 5);
    assert_in_flight(f, 5, 5);
    scene_end(f);
}

/* One whose client left is in flight until then, and counted as 499. */
static void those_that_leave_are_counted(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /" HOST "Content-Length: 4\r\n\r\nbo");
    assert_in_flight(f, 1, 0);
    scene_leave(f, client);
    assert_in_flight(f, 1, 1);
    assert_int_equal(n_inferences(f, METRICS_2018, 499), 1);
    client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /control/is_alive" HOST "Content-Length: 4\r\n\r\nbo");
    scene_leave(f, client);
    assert_int_equal(n_requests(f, METRICS_CONTROL, 499), 1);
    client = scene_connect(f, 0, NULL);
    scene_say(f, client, "GET / HTTP/1.1\r\n"); /* nothing is known of it */
    scene_leave(f, client);
    assert_int_equal(n_all(f), 2);
    assert_in_flight(f, 2, 2);

    /* within its answer */
    client = scene_connect(f, 0, NULL);
    scene_post(f, client, 8, "4194304", "");
    scene_serve(f);
    const uint64_t sent = client->c->x->sent_bytes;
    assert_in_flight(f, 3, 2);
    scene_leave(f, client);
    assert_in_flight(f, 3, 3);
    assert_int_equal(n_inferences(f, METRICS_2018, 499), 2);
    assert_int_equal(counters_sum(counters_of(f), METRICS_SENT_BYTES), sent);
    assert_int_equal(n_all(f), 3);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_has_its_kind),
        cmocka_unit_test(inferences_are_counted_by_protocol),
        cmocka_unit_test(those_that_leave_are_counted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
