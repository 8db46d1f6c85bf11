/* What becomes of what has come of a request, or behind one, where the pool is full: it is refused,
 * unless another that has stalled gives up what it holds. */
#include "scene.h"

#include <stdio.h>

#define HOST " HTTP/1.1\r\nHost: x\r\n"
#define ALIVE "GET /control/is_alive" HOST "\r\n"
#define BUSY "503 Service Unavailable", "Connection: close\r\nRetry-After: 1\r\n"

enum { N_HOGS = 64 };

static const char no_room[] =
    "the pool (--pool) has no room to keep what has come of this request until the rest "
    "comes, or this client's share of it is used up; try again later\n";

/* Takes all that is left of the pool. */
static struct pool_buffer hogs[N_HOGS];
static unsigned n_hogs;

static void fill_pool(struct scene *f)
{
    for (size_t size = SCENE_SHARE_BYTES; size >= 4096;) {
        assert_true(n_hogs < N_HOGS);
        if (pool_take(f->server->pool, NULL, size, NULL, &hogs[n_hogs]))
            n_hogs++;
        else
            size /= 2;
    }
}

/* All but two pages. */
static void fill_pool_but_two(struct scene *f)
{
    for (int i = 0; i < 2; i++)
        assert_true(pool_take(f->server->pool, NULL, 4096, NULL, &hogs[n_hogs++]));
    fill_pool(f);
    for (int i = 0; i < 2; i++)
        pool_give(f->server->pool, &hogs[i]);
}

static void empty_pool(struct scene *f)
{
    while (n_hogs)
        pool_give(f->server->pool, &hogs[--n_hogs]);
}

static unsigned long n_refused(const struct scene *f)
{
    return atomic_load(&f->server->metrics.n_refused[METRICS_REFUSED_HEAD]);
}

static unsigned long n_revoked(const struct scene *f)
{
    return atomic_load(&f->server->metrics.n_revoked);
}

static size_t used_bytes(const struct scene *f)
{
    return pool_count(f->server->pool).used_bytes;
}

/* It waits in the pool, and in nothing else. */
static void the_beginning_of_a_head_takes_room(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    assert_int_equal(used_bytes(f), 0);
    scene_say(f, client, "GET /control/is_alive" HOST);
    assert_int_equal(used_bytes(f), client->c->pending.counted_bytes);
    assert_true(used_bytes(f) > 0);
    fill_pool(f);
    scene_say(f, client, "X: y\r\n");
    scene_hear_nothing(f, client);
    scene_say(f, client, "\r\n");
    scene_hear_text(f, client, "200 OK", "", "ok\n");

    /* of another there is no room for it */
    fill_pool(f);
    struct visitor *other = scene_connect(f, 1, NULL);
    scene_say(f, other, "GET /control/is_alive" HOST);
    scene_hear_text(f, other, BUSY, no_room);
    assert_true(other->is_ended);
    assert_int_equal(n_refused(f), 1);
    assert_int_equal(n_revoked(f), 0);
    scene_say(f, client, ALIVE); /* a whole one needs none */
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    empty_pool(f);
    assert_int_equal(used_bytes(f), 0);
    scene_end(f);
}

static void one_that_stalls_in_a_head_makes_room(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *stalled = scene_connect(f, 0, NULL),
                   *late = scene_connect(f, 1, NULL), *other = scene_connect(f, 2, NULL);
    scene_turn_to(100);
    scene_say(f, stalled, "GET /control/is_alive" HOST);
    scene_turn_to(101);
    scene_say(f, late, "GET /control/is_alive" HOST);
    fill_pool(f);
    scene_turn_to(2100);
    scene_say(f, other, "GET /control/is_alive" HOST);
    scene_hear_nothing(f, other);
    scene_hear_nothing(f, late);
    scene_hear_text(f, stalled, BUSY,
                    "another request needed the memory (--pool) kept for this one, whose "
                    "head did not come for 2 s, or came at less than --min-rate; try "
                    "again later\n");
    assert_int_equal(n_revoked(f), 1);
    assert_int_equal(n_refused(f), 0);
    scene_say(f, other, "\r\n");
    scene_hear_text(f, other, "200 OK", "", "ok\n");
    scene_say(f, late, "\r\n");
    scene_hear_text(f, late, "200 OK", "", "ok\n");
    empty_pool(f);
    scene_end(f);
}

/* A body and its answer take a page each, however short they are. */
static void as_many_make_room_as_it_takes(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *other = scene_connect(f, 0, NULL);
    for (int i = 1; i < 4; i++)
        scene_say(f, scene_connect(f, i, NULL), "GET / HTTP/1.1\r\n");
    fill_pool(f);
    scene_turn_to(2000);
    scene_announce(f, other, "POST /", 100);
    scene_hear_nothing(f, other);
    for (int i = 1; i < 3; i++)
        scene_hear(f, &f->visitors[i], "HTTP/1.1 503 Service Unavailable\r\n");
    scene_hear_nothing(f, &f->visitors[3]);
    assert_int_equal(n_revoked(f), 2);
    empty_pool(f);
    scene_end(f);
}

/* What is taken back is told in bytes, and has been given back then. */
static void all_that_a_request_holds_is_taken_back(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL),
                   *other = scene_connect(f, 1, NULL);
    scene_say(f, client, "POST /" HOST "Content-Length: 100000\r\n\r\nbo");
    const struct exchange *x = client->c->x;
    const size_t held =
        x->body.counted_bytes + x->inference.run.engine_run.promise.size_bytes;
    assert_true(held > 200000);
    assert_int_equal(timers_revoke(&f->server->timers, 1), 0); /* it has not stalled */
    scene_turn_to(2001);
    assert_int_equal(timers_revoke(&f->server->timers, 1), held);
    assert_int_equal(used_bytes(f), 0);
    assert_int_equal(pool_count(f->server->pool).reserved_bytes, 0);
    scene_hear(f, client, "HTTP/1.1 503 Service Unavailable\r\n");
    scene_say(f, other, "GET / HTTP/1.1\r\n");
    const size_t of_other = other->c->pending.counted_bytes;
    assert_int_equal(used_bytes(f), of_other);
    scene_turn_to(4002);
    assert_int_equal(timers_revoke(&f->server->timers, 1), of_other);
    assert_int_equal(used_bytes(f), 0);
    scene_hear(f, other, "HTTP/1.1 503 Service Unavailable\r\n");
    assert_int_equal(n_revoked(f), 2);
    scene_end(f);
}

/* --- behind a request --- */

/* Whole requests that wait for their turn have not stalled, and are not idle. */
static void requests_behind_the_last_are_not_taken_back(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *greedy = scene_connect(f, 0, NULL);
    for (int i = 0; i < TURN_REQUESTS + 1; i++)
        scene_send(f, greedy, ALIVE, strlen(ALIVE));
    scene_turn_to(100);
    assert_true(still_serve_one(&f->server->poller));
    assert_true(greedy->c->pending_size > 0);
    assert_null(greedy->c->x);
    const struct timer *timer = &greedy->c->guest.timer;
    assert_int_equal(timer->kind, TIMER_BODY);
    assert_int_equal(timer->deadline_ns, SCENE_NS + 10100 * CLOCK_MS);
    scene_turn_to(2101);
    assert_int_equal(timers_revoke(&f->server->timers, 1), 0);
    assert_int_equal(n_revoked(f), 0);
    assert_false(
        timers_evict(&f->server->timers, &greedy->c->guest.timer, TIMER_IDLE_OF_ALL));
    scene_hear(f, greedy, "HTTP/1.1 200 OK\r\n");
    const size_t one = strlen("HTTP/1.1 200 OK\r\nContent-Type: text/plain; "
                              "charset=utf-8\r\nContent-Length: 3\r\n\r\nok\n");
    assert_int_equal(greedy->n_received, (TURN_REQUESTS + 1) * one);
    assert_int_equal(used_bytes(f), 0);
    scene_end(f);
}

/* Where they cannot be kept while it runs, it does not run. */
static void no_room_for_those_behind_a_run(void **state)
{
    static const char *const behind[] = {"", ALIVE};
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    size_t size;
    char *message = scene_message(8, "1", &size), whole[1024];
    for (int i = 0; i < 2; i++) {
        const int n = snprintf(whole, sizeof whole,
                               "POST /" HOST "Content-Length: %zu\r\n\r\n", size);
        memcpy(whole + n, message, size);
        memcpy(whole + n + size, behind[i], strlen(behind[i]));
        fill_pool_but_two(f); /* for the body and the answer */
        scene_send(f, client, whole, (size_t)n + size + strlen(behind[i]));
        scene_serve(f);
        if (i == 0)
            scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
        else
            scene_hear_text(f, client, BUSY,
                            "no memory for the requests behind this one\n");
        empty_pool(f);
        assert_int_equal(f->n_runs, 1);
        assert_int_equal(n_refused(f), i);
    }
    free(message);
    scene_end(f);
}

/* It is answered, and what came behind it refused. */
static void no_room_for_those_behind_an_answer(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    fill_pool(f);
    scene_stuff(client);
    scene_say(f, client, ALIVE ALIVE);
    assert_int_equal(client->c->state, CONNECTION_ANSWER);
    assert_int_equal(client->c->pending_size, 0);
    scene_unstuff(client);
    scene_hear(f, client,
               "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Length: 3\r\n\r\nok\nHTTP/1.1 503 Service Unavailable\r\n");
    assert_non_null(strstr(client->received, no_room));
    assert_true(client->is_ended);
    assert_int_equal(n_refused(f), 1);
    empty_pool(f);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_beginning_of_a_head_takes_room),
        cmocka_unit_test(one_that_stalls_in_a_head_makes_room),
        cmocka_unit_test(as_many_make_room_as_it_takes),
        cmocka_unit_test(all_that_a_request_holds_is_taken_back),
        cmocka_unit_test(requests_behind_the_last_are_not_taken_back),
        cmocka_unit_test(no_room_for_those_behind_a_run),
        cmocka_unit_test(no_room_for_those_behind_an_answer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
