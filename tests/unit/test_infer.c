/* One inference: what is answered for which outputs, what is counted of it, who may wait for a slot, and
 * what others get while it takes long. */
#include "model/counts.h"
#include "wire/wire.h"

#include "scene.h"

#include <stdio.h>

enum { KIB = 1024, MIB = 1024 * KIB };

static const struct counters *counters_of(const struct scene *f)
{
    assert_non_null(f->server->models.open);
    return &f->server->models.open->counts->counters;
}

/* All buckets of a histogram. */
static uint64_t n_observed(const struct scene *f, unsigned histogram)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < METRICS_N_BUCKETS; i++)
        n += counters_sum(counters_of(f), histogram + i);
    return n;
}

static uint64_t total_ns(const struct scene *f, unsigned histogram)
{
    return counters_sum(counters_of(f), histogram + METRICS_N_BUCKETS);
}

/* --- outputs --- */

static void outputs_come_as_they_were_asked_for(void **state)
{
    static const char *const names[] = {"z", "y", "y", "z", "y"};
    static const size_t sizes[] = {4, 3, 3, 4, 3};
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    for (uint32_t n = 1; n <= 5; n++) {
        struct gp_response response;
        struct gp_error err;
        scene_post_for(f, client, names, n, "3");
        scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
        assert_true(client->n_received < sizeof client->received);
        const char *body = strstr(client->received, "\r\n\r\n") + 4;
        const size_t size = client->n_received - (size_t)(body - client->received);
        struct gp_arena *arena = gp_arena_create();
        assert_int_equal(gp_response_decode(arena, body, size, 0, &response, &err),
                         GP_OK);
        assert_int_equal(response.n_outputs, n);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(response.outputs[i].size_bytes, sizes[i]);
            assert_memory_equal(response.outputs[i].data, "\7\7\7\7", sizes[i]);
        }
        gp_arena_destroy(arena);
    }
    scene_end(f);
}

/* What is asked for again may not come to more than what a body of this size may expand to. */
static void an_answer_stays_in_proportion(void **state)
{
    static const char *const twice[] = {"y", "y"}, *const both[] = {"y", "z"},
                             *const others[] = {"y", "z", "y", "z"};
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    char bytes[16], text[256];
    size_t size;
    free(scene_message_for(twice, 2, 8, "1234567", &size));
    const size_t limit = wire_expansion_limit(size);
    assert_in_range(limit, 1 * MIB + 1, 2 * MIB);
    (void)snprintf(bytes, sizeof bytes, "%zu", limit);
    scene_post_for(f, client, twice, 2, bytes);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_in_range(client->n_received, 2 * limit, 2 * limit + 1000);
    scene_post_for(f, client, both, 2, bytes); /* each once */
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_in_range(client->n_received, 2 * limit, 2 * limit + 1000);

    (void)snprintf(bytes, sizeof bytes, "%zu", limit + 1);
    (void)snprintf(text, sizeof text,
                   "outputs that are asked for again come to over %zu bytes, the limit "
                   "for a request of %zu\n",
                   limit, size);
    scene_post_for(f, client, twice, 2, bytes);
    scene_hear_text(f, client, "413 Content Too Large", "", text);
    scene_post_for(f, client, others, 4, "0600000"); /* together */
    scene_hear(f, client, "HTTP/1.1 413 Content Too Large\r\n");
    scene_end(f);
}

/* --- counts --- */

static void what_is_counted_of_runs(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *first = scene_connect(f, 0, NULL),
                   *second = scene_connect(f, 1, NULL), *late = scene_connect(f, 2, NULL);
    f->run_ns = 3 * CLOCK_MS;
    scene_post(f, first, 8, "1", "");
    assert_true(still_serve_one(&f->server->poller)); /* it has the slot */
    scene_post(f, second, 20, "1", "");
    assert_true(still_serve_one(&f->server->poller));
    scene_post(f, late, 40, "1", "X-GraphPipe-Timeout-Ms: 5\r\n");
    assert_true(still_serve_one(&f->server->poller));
    scene_serve(f);
    scene_hear(f, first, "HTTP/1.1 200 OK\r\n");
    scene_hear(f, second, "HTTP/1.1 200 OK\r\n");
    scene_hear(f, late, "HTTP/1.1 504 Gateway Timeout\r\n");
    assert_int_equal(f->n_runs, 2);
    assert_int_equal(counters_sum(counters_of(f), METRICS_ROWS), 28);
    assert_int_equal(n_observed(f, METRICS_RUN_TIME), 2);
    assert_int_equal(total_ns(f, METRICS_RUN_TIME), 6 * CLOCK_MS);
    assert_int_equal(n_observed(f, METRICS_WAIT_TIME),
                     3); /* it has waited, but not run */
    assert_int_equal(total_ns(f, METRICS_WAIT_TIME), (0 + 3 + 6) * CLOCK_MS);
    assert_int_equal(n_observed(f, METRICS_REQUEST_TIME), 3);
    assert_int_equal(total_ns(f, METRICS_REQUEST_TIME), (3 + 6 + 6) * CLOCK_MS);

    /* one that fails after its run, and one that never comes to a run */
    scene_post(f, late, 40, "1", "X-GraphPipe-Timeout-Ms: 2\r\n");
    scene_hear(f, late, "HTTP/1.1 504 Gateway Timeout\r\n");
    scene_say(f, late, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
    scene_hear(f, late, "HTTP/1.1 400 Bad Request\r\n");
    assert_int_equal(counters_sum(counters_of(f), METRICS_ROWS), 28);
    assert_int_equal(n_observed(f, METRICS_RUN_TIME), 3);
    assert_int_equal(n_observed(f, METRICS_WAIT_TIME), 4);
    assert_int_equal(n_observed(f, METRICS_REQUEST_TIME), 5);
    scene_end(f);
}

/* --- places in the queue --- */

static unsigned long n_refused(const struct scene *f)
{
    return atomic_load(&f->server->metrics.n_refused[METRICS_REFUSED_WAITING]);
}

static void places_in_the_queue_are_limited(void **state)
{
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.max_waiting = 1});
    struct visitor *visitors[3];
    for (int i = 0; i < 3; i++) {
        visitors[i] = scene_connect(f, i, NULL);
        scene_post(f, visitors[i], 8, "1", "");
        assert_true(still_serve_one(&f->server->poller));
    }
    scene_hear_text(f, visitors[2], "503 Service Unavailable", "Retry-After: 1\r\n",
                    "busy: 1 requests wait already (--max-waiting); try again later\n");
    assert_false(visitors[2]->is_ended);
    assert_int_equal(n_refused(f), 1);
    scene_hear(f, visitors[0], "HTTP/1.1 200 OK\r\n");
    scene_hear(f, visitors[1], "HTTP/1.1 200 OK\r\n");
    scene_post(f, visitors[2], 8, "1", "");
    scene_hear(f, visitors[2], "HTTP/1.1 200 OK\r\n");
    scene_post(f, visitors[2], 8, "1", "X-GraphPipe-Timeout-Ms: nil\r\n");
    scene_hear(f, visitors[2], "HTTP/1.1 400 Bad Request\r\n");
    visitors[2] = scene_connect(f, 3, NULL);
    scene_post_for(f, visitors[2], (const char *const[]){"w"}, 1, "1");
    scene_hear(f, visitors[2], "HTTP/1.1 400 Bad Request\r\n");
    assert_int_equal(n_refused(f), 1); /* only for want of a place */
    scene_end(f);
}

/* Nobody runs for a client that left meanwhile; a client at work is not taken for one. */
static void one_that_left_is_not_run(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *first = scene_connect(f, 0, NULL), *left = scene_connect(f, 1, NULL),
                   *third = scene_connect(f, 2, NULL);
    struct visitor *const all[] = {first, left, third};
    for (int i = 0; i < 3; i++) {
        scene_post(f, all[i], 8, "1", "");
        assert_true(still_serve_one(&f->server->poller));
        turned_clock_add(CLOCK_MS); /* who waited for less is not asked for */
    }
    scene_leave(f, left);
    scene_hear(f, first, "HTTP/1.1 200 OK\r\n");
    scene_hear(f, third, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(f->n_runs, 2);
    assert_int_equal(connections_count(&f->server->connections), 2);
    scene_end(f);
}

/* --- others --- */

/* What an answer was promised and did not need goes back before it is sent, which may take long. */
static void no_promise_is_kept_for_an_answer_being_sent(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_post(f, client, 7 * MIB, "1000000", "");
    scene_serve(f);
    assert_int_equal(client->c->state, CONNECTION_ANSWER);
    assert_int_equal(pool_count(f->server->pool).reserved_bytes, 0);
    assert_true(pool_count(f->server->pool).used_bytes > 1000000);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_int_equal(pool_count(f->server->pool).used_bytes, 0);
    scene_end(f);
}

/* Reading a long body is work for which the watcher has to find a stand-in. */
static void reading_much_is_long_work(void **state)
{
    static const struct {
        const char *head;
        size_t size;
        unsigned n_engaged;
    } cases[] = {
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 131072\r\n\r\n", 131072, 0},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 131073\r\n\r\n", 131073, 1},
    };
    static char zeros[131073]; /* no message */
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    for (int i = 0; i < 2; i++) {
        scene_say(f, client, cases[i].head);
        scene_send(f, client, zeros, cases[i].size);
        scene_hear(f, client, "HTTP/1.1 400 Bad Request\r\n");
        assert_int_equal(atomic_load(&f->server->poller.n_runs), cases[i].n_engaged);
        assert_int_equal(atomic_load(&f->server->poller.n_engaged), 0);
    }
    scene_end(f);
}

static void run_next(struct worker *worker)
{
    struct task *run = worker_next_task(worker);
    assert_non_null(run);
    run->go(worker, run);
}

/* The next run is this thread's, unless it has a long answer to write first. */
static void the_next_run_does_not_wait_for_a_long_answer(void **state)
{
    static const struct {
        const char *y_bytes;
        unsigned n_ready;
    } cases[] = {{"65000", 0}, {"66000", 1}};
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct poller *poller = &f->server->poller;
    struct worker *worker = still_worker(poller);
    struct visitor *first = scene_connect(f, 0, NULL),
                   *second = scene_connect(f, 1, NULL);
    for (int i = 0; i < 2; i++) {
        scene_post(f, first, 8, cases[i].y_bytes, "");
        assert_true(still_serve_one(poller));
        scene_post(f, second, 8, "1", "");
        assert_true(still_serve_one(poller));
        run_next(worker);
        assert_int_equal(atomic_load(&poller->n_ready), cases[i].n_ready);
        assert_int_equal(worker->tasks != NULL, !cases[i].n_ready);
        scene_hear(f, first, "HTTP/1.1 200 OK\r\n");
        scene_hear(f, second, "HTTP/1.1 200 OK\r\n");
    }
    scene_end(f);
}

/* Nor for a request behind the one that is answered. */
static void the_next_run_does_not_wait_for_the_next_request(void **state)
{
    static const char alive[] = "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char *const names[] = {"y"};
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct poller *poller = &f->server->poller;
    struct worker *worker = still_worker(poller);
    struct visitor *first = scene_connect(f, 0, NULL),
                   *second = scene_connect(f, 1, NULL);
    size_t size;
    char *message = scene_message_for(names, 1, 8, "1", &size), whole[1024];
    int n = snprintf(whole, sizeof whole,
                     "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", size);
    memcpy(whole + n, message, size);
    memcpy(whole + n + size, alive, sizeof alive);
    scene_send(f, first, whole, (size_t)n + size + sizeof alive - 1);
    assert_true(still_serve_one(poller));
    scene_post(f, second, 8, "1", "");
    assert_true(still_serve_one(poller));
    run_next(worker);
    assert_true(first->c->pending_size > 0);
    assert_null(first->c->x);
    scene_hear(f, first, "HTTP/1.1 200 OK\r\n");
    assert_memory_equal(first->received + first->n_received - 3, "ok\n", 3);
    scene_hear(f, second, "HTTP/1.1 200 OK\r\n");
    free(message);
    scene_end(f);
}

/* What comes behind one that fails before it runs is answered in the same turn. */
static void a_request_behind_a_failed_one_does_not_wait(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client,
              "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"
              "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n");
    scene_hear(f, client, "HTTP/1.1 400 Bad Request\r\n");
    assert_memory_equal(client->received + client->n_received - 3, "ok\n", 3);
    assert_int_equal(pool_count(f->server->pool).used_bytes, 0);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(outputs_come_as_they_were_asked_for),
        cmocka_unit_test(an_answer_stays_in_proportion),
        cmocka_unit_test(what_is_counted_of_runs),
        cmocka_unit_test(places_in_the_queue_are_limited),
        cmocka_unit_test(one_that_left_is_not_run),
        cmocka_unit_test(no_promise_is_kept_for_an_answer_being_sent),
        cmocka_unit_test(reading_much_is_long_work),
        cmocka_unit_test(the_next_run_does_not_wait_for_a_long_answer),
        cmocka_unit_test(the_next_run_does_not_wait_for_the_next_request),
        cmocka_unit_test(a_request_behind_a_failed_one_does_not_wait),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
