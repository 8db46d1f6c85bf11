/* Requests for models: in which format they are answered, as what they are counted, and how long they may
 * take. */
#include "server/routes.h"

#include "scene.h"
#include "served.h"

#include <stdio.h>

static void assert_received(const struct visitor *visitor, const char *words)
{
    if (!strstr(visitor->received, words))
        fail_msg("no \"%s\" in \"%s\"", words, visitor->received);
}

/* --- what they are counted as --- */

static unsigned index_of(enum metrics_kind kind, int status)
{
    unsigned i = 0;
    while (metrics_codes[i] != status)
        i++;
    return METRICS_REQUESTS + kind * METRICS_N_CODES + i;
}

static uint64_t sum_all(const struct scene *f)
{
    uint64_t n = 0;
    for (unsigned i = METRICS_REQUESTS; i < METRICS_N; i++)
        n += counters_sum(&f->server->metrics.counters, i);
    return n;
}

static void requests_are_counted_by_what_they_are_for(void **state)
{
    static const struct {
        const char *line;
        enum metrics_kind kind;
        int status;
    } cases[] = {
        {"GET /", METRICS_METADATA, 200},
        {"HEAD /one", METRICS_METADATA, 200},
        {"GET /control/is_alive", METRICS_CONTROL, 200},
        {"GET /control/is_ready", METRICS_CONTROL, 200},
        {"GET /control/client_count", METRICS_CONTROL, 200},
        {"GET /control/shutdown", METRICS_CONTROL, 405},
        {"GET /control/models/two/is_ready", METRICS_CONTROL, 404},
        {"GET /control/models/one/load", METRICS_CONTROL, 405},
        {"GET /control/models/one/unload", METRICS_CONTROL, 405},
        {"PUT /control/is_alive", METRICS_CONTROL, 405},
        {"GET /metrics", METRICS_SCRAPE, 200},
        {"POST /metrics", METRICS_SCRAPE, 405},
        {"PUT /", METRICS_OTHER, 405},
        {"GET /two", METRICS_OTHER, 404},
        {"POST /two", METRICS_OTHER, 404},
        {"GET /control/else", METRICS_OTHER, 404},
        {"GET /ui", METRICS_OTHER, 404},
    };
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct counters *counters = &f->server->metrics.counters;
        const unsigned index = index_of(cases[i].kind, cases[i].status);
        const uint64_t n = counters_sum(counters, index), n_all = sum_all(f);
        char request[128];
        struct visitor *visitor = scene_connect(f, 0, NULL);
        (void)snprintf(request, sizeof request, "%s HTTP/1.1\r\nHost: x\r\n\r\n",
                       cases[i].line);
        scene_say(f, visitor, request);
        scene_hear(f, visitor, "HTTP/1.1 ");
        if (counters_sum(counters, index) != n + 1 || sum_all(f) != n_all + 1)
            fail_msg("%s", cases[i].line);
        scene_leave(f, visitor);
    }
    scene_end(f);
}

/* For everybody, as the metadata of each is. */
static void the_list_of_models_counts_as_metadata(void **state)
{
    static const struct gp_model_options two = {.size_bytes = sizeof two, .name = "two"};
    static const struct listener remote;
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    (void)served_entry(f->server, &two);
    struct visitor *visitor = scene_connect(f, 0, NULL);
    visitor->c->guest.listener = &remote;
    scene_say(f, visitor, "GET /?x HTTP/1.1\r\nHost: x\r\n\r\n");
    scene_hear(f, visitor, "HTTP/1.1 200 OK\r\n");
    assert_received(visitor, "\r\n\r\n{\n  \"server\": ");
    assert_int_equal(
        counters_sum(&f->server->metrics.counters, index_of(METRICS_METADATA, 200)), 1);
    scene_say(f, visitor, "PUT / HTTP/1.1\r\nHost: x\r\n\r\n");
    scene_hear(f, visitor, "HTTP/1.1 405 Method Not Allowed\r\n");
    assert_received(visitor, "method not allowed; / takes GET, HEAD, POST, OPTIONS\n");
    assert_int_equal(
        counters_sum(&f->server->metrics.counters, index_of(METRICS_METADATA, 405)), 1);
    scene_end(f);
}

/* Even those that are refused. */
static void bodies_are_counted(void **state)
{
    static const struct {
        const char *line;
        int size;
    } cases[] = {{"POST /", 3}, {"POST /control/is_alive", 5}, {"POST /ui", 7}};
    (void)state;
    struct scene *f = scene_begin(NULL);
    uint64_t n = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[128];
        struct visitor *visitor = scene_connect(f, 0, NULL);
        (void)snprintf(request, sizeof request,
                       "%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%.*s",
                       cases[i].line, cases[i].size, cases[i].size, "1234567");
        scene_say(f, visitor, request);
        scene_hear(f, visitor, "HTTP/1.1 ");
        n += (unsigned)cases[i].size;
        assert_int_equal(
            counters_sum(&f->server->metrics.counters, METRICS_RECEIVED_BYTES), n);
        scene_leave(f, visitor);
    }
    scene_end(f);
}

/* --- their formats --- */

static const struct {
    const char *accept, *type;
    enum metrics_protocol protocol;
} formats[] = {
    {"", "\r\nContent-Type: text/plain; charset=utf-8\r\n", METRICS_2018},
    {"Accept: application/json\r\n", "\r\nContent-Type: text/plain; charset=utf-8\r\n",
     METRICS_2018},
    {"Accept: application/x-graphpipe\r\n",
     "\r\nContent-Type: application/x-graphpipe\r\n", METRICS_GRAPHPIPE},
};

/* The message itself is the same in both; errors are not. */
static void inferences_are_answered_as_they_are_asked_for(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    const struct counters *counters = &f->server->models.open->counts->counters;
    for (size_t i = 0; i < 3; i++) {
        char request[256];
        const unsigned at = METRICS_INFERENCES + formats[i].protocol * METRICS_N_CODES;
        const uint64_t n = counters_sum(counters, at),
                       n_bad = counters_sum(counters, at + 1);
        struct visitor *visitor = scene_connect(f, 0, NULL);
        scene_post(f, visitor, 8, "1", formats[i].accept);
        scene_hear(f, visitor, "HTTP/1.1 200 OK\r\n");
        assert_received(visitor, "\r\nContent-Type: application/x-graphpipe\r\n");
        (void)snprintf(request, sizeof request,
                       "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1\r\n\r\nx",
                       formats[i].accept);
        scene_say(f, visitor, request);
        scene_hear(f, visitor, "HTTP/1.1 400 Bad Request\r\n");
        assert_received(visitor, formats[i].type);
        assert_int_equal(counters_sum(counters, at), n + 1);
        assert_int_equal(counters_sum(counters, at + 1), n_bad + 1);
        scene_leave(f, visitor);
    }
    scene_end(f);
}

static void metadata_is_for_people(void **state)
{
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.model_name = "one"});
    for (size_t i = 0; i < 3; i++) {
        char request[256];
        struct visitor *visitor = scene_connect(f, 0, NULL);
        (void)snprintf(request, sizeof request, "GET /one HTTP/1.1\r\nHost: x\r\n%s\r\n",
                       formats[i].accept);
        scene_say(f, visitor, request);
        scene_hear(f, visitor, "HTTP/1.1 200 OK\r\n");
        assert_received(visitor, "\r\nContent-Type: application/json\r\n");
        assert_received(visitor, "\r\n\r\n{\n  \"name\": \"one\",\n");
        scene_leave(f, visitor);
    }
    scene_end(f);
}

/* --- how long they may take --- */

/* The shortest of what the client, the server and the model allow. */
static void a_deadline_is_the_shortest(void **state)
{
    static const struct {
        const char *field;
        uint32_t server_ms, model_ms;
        int64_t wanted_ms; /* 0: none */
    } cases[] = {
        {"", 0, 0, 0},
        {"", 0, 30, 30},
        {"", 20, 30, 20},
        {"", 30, 20, 20},
        {"X-GraphPipe-Timeout-Ms: 10\r\n", 20, 30, 10},
        {"X-GraphPipe-Timeout-Ms: 40\r\n", 50, 30, 30},
        {"X-GraphPipe-Timeout-Ms: 40\r\n", 0, 0, 40},
    };
    (void)state;
    struct scene *f = scene_begin(NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char request[256];
        struct visitor *visitor = scene_connect(f, 0, NULL);
        atomic_store(&f->server->timeout_ms, cases[i].server_ms);
        f->server->models.open->timeout_ms = cases[i].model_ms;
        scene_turn_to(1000);
        (void)snprintf(request, sizeof request,
                       "POST / HTTP/1.1\r\nHost: x\r\n%sContent-Length: 1\r\n\r\n",
                       cases[i].field);
        scene_say(f, visitor, request);
        assert_int_equal(
            visitor->c->x->inference.deadline_ns,
            cases[i].wanted_ms ? SCENE_NS + (1000 + cases[i].wanted_ms) * CLOCK_MS : 0);
        scene_leave(f, visitor);
    }
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_are_counted_by_what_they_are_for),
        cmocka_unit_test(the_list_of_models_counts_as_metadata),
        cmocka_unit_test(bodies_are_counted),
        cmocka_unit_test(inferences_are_answered_as_they_are_asked_for),
        cmocka_unit_test(metadata_is_for_people),
        cmocka_unit_test(a_deadline_is_the_shortest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
