/* Who is let in, and what those read who are not, or who have to go for another. */
#include "scene.h"

#include "server/drain.h"

#include <stdio.h>

#define HOST " HTTP/1.1\r\nHost: x\r\n"
#define ALIVE "GET /control/is_alive" HOST "\r\n"
#define BUSY "503 Service Unavailable", "Connection: close\r\nRetry-After: 1\r\n"

enum { MOST = 2 };

static const char all_taken[] =
    "all connections (--max-connections) are taken, and none is idle; try again later\n";

/* All places are taken by those who are about to send a body. */
static struct scene *begin(void)
{
    struct scene *f = scene_begin(&(struct gp_server_options){.max_connections = MOST});
    for (int i = 0; i < MOST; i++)
        scene_say(f, scene_connect(f, i, NULL),
                  "POST /control/is_alive" HOST "Content-Length: 4\r\n\r\n");
    return f;
}

static void end(struct scene *f)
{
    for (int i = 0; i < MOST; i++) {
        if (!f->visitors[i].fd)
            continue;
        scene_say(f, &f->visitors[i], "body"); /* nothing has disturbed them */
        scene_hear_text(f, &f->visitors[i], "200 OK", "", "ok\n");
    }
    scene_end(f);
}

/* One who says this, with or without a descriptor for him; from afar, unless it is said. */
static struct visitor *knock(struct scene *f, int i, const char *address,
                             const char *text)
{
    struct sockaddr_in6 from;
    assert_true(scene_knock(f, i, scene_address(&from, address), true, text));
    return &f->visitors[i];
}

static unsigned long n_refused(const struct scene *f)
{
    return atomic_load(&f->server->metrics.n_refused[METRICS_REFUSED_CONNECTION]);
}

static void assert_timer(const struct visitor *client, enum timer_kind kind, int64_t ms)
{
    const struct timer *timer = &client->c->guest.timer;
    assert_int_equal(timer->kind, kind);
    assert_int_equal(timer->deadline_ns, SCENE_NS + ms * CLOCK_MS);
}

/* It has a second to read why; what it sends is dropped. */
static void one_too_many_is_told(void **state)
{
    (void)state;
    struct scene *f = begin();
    scene_turn_to(500);
    struct visitor *client = knock(f, MOST, "10.0.0.1", "");
    assert_int_equal(n_refused(f), 1);
    assert_timer(client, TIMER_LINGER, 1500);
    scene_say(f, client, ALIVE);
    assert_timer(client, TIMER_LINGER, 1500);
    scene_hear_text(f, client, BUSY, all_taken);
    assert_true(client->is_ended);
    scene_expire_at(f, 1499);
    assert_int_equal(connections_count(&f->server->connections), MOST + 1);
    scene_expire_at(f, 1500);
    assert_int_equal(connections_count(&f->server->connections), MOST);
    assert_int_equal(atomic_load(&f->server->metrics.n_evicted), 0);
    end(f);
}

/* So many linger; another is refused and closed, yet not reset before it has read why. */
static void the_next_are_closed_at_once(void **state)
{
    static char text[64 * 1024 + 2];
    const int n = MOST + CONNECTIONS_N_REFUSED;
    (void)state;
    struct scene *f = begin();
    for (int i = MOST; i < n; i++)
        assert_int_equal(knock(f, i, "10.0.0.1", "")->c->state, CONNECTION_LINGER);
    memset(text, 'x', 64 * 1024);
    struct visitor *client = knock(f, n, "10.0.0.1", text);
    assert_null(client->c);
    assert_int_equal(n_refused(f), CONNECTIONS_N_REFUSED + 1);
    scene_hear_text(f, client, BUSY, all_taken);
    assert_true(client->is_ended);
    text[64 * 1024] = 'x'; /* one who has sent more than that is not waited for */
    client = knock(f, n + 1, "10.0.0.1", text);
    scene_hear_text(f, client, BUSY, all_taken);
    assert_false(client->is_ended);
    scene_leave(f, &f->visitors[MOST]); /* and then there is room for one to linger */
    assert_non_null(knock(f, MOST, "10.0.0.1", "")->c);
    end(f);
}

static void one_without_a_descriptor_is_closed_at_once(void **state)
{
    (void)state;
    struct sockaddr_in6 from;
    struct scene *f = begin();
    assert_true(scene_knock(f, MOST, scene_address(&from, "10.0.0.1"), false, ALIVE));
    assert_null(f->visitors[MOST].c);
    scene_hear_text(f, &f->visitors[MOST], BUSY,
                    "out of file descriptors (raise the limit with ulimit -n), and no "
                    "connection is idle; try again later\n");
    assert_true(f->visitors[MOST].is_ended);
    assert_int_equal(n_refused(f), 1);
    end(f);
}

/* For one question, from this machine, which has to come within a second. */
static void there_is_always_room_for_health(void **state)
{
    (void)state;
    struct scene *f = begin();
    scene_turn_to(300);
    struct visitor *probe = knock(f, MOST, "127.0.0.1", "");
    assert_timer(probe, TIMER_HEAD, 1300);
    scene_turn_to(400);
    scene_say(f, probe, ALIVE);
    scene_hear_text(f, probe, "200 OK", "Connection: close\r\n", "ok\n");
    assert_timer(probe, TIMER_LINGER, 1400);
    assert_int_equal(n_refused(f), 0);
    scene_leave(f, probe);

    probe = knock(f, MOST, "127.0.0.1", "");
    scene_say(f, probe, "GET /control/is_alive" HOST);
    assert_timer(probe, TIMER_HEAD, 1400);
    scene_expire_at(f, 1400);
    scene_hear_text(f, probe, "408 Request Timeout", "Connection: close\r\n",
                    "the head was not complete within 1000 ms\n");
    scene_leave(f, probe);

    probe = knock(f, MOST, "127.0.0.1", "");
    scene_say(f, probe, "POST /" HOST "Content-Length: 4\r\n\r\n");
    scene_hear_text(f, probe, BUSY,
                    "no room for another connection: this one is kept for health checks "
                    "(/control, /metrics); try again later\n");
    assert_int_equal(n_refused(f), 1);
    assert_timer(probe, TIMER_LINGER, 2400);
    end(f);
}

/* Clients expect that after an answer; one that has had none is told. */
static void one_that_idles_goes_for_another(void **state)
{
    (void)state;
    struct scene *f = begin();
    const struct metrics *metrics = &f->server->metrics;
    struct visitor *idle = &f->visitors[0], *fresh = &f->visitors[2];
    scene_say(f, idle, "body");
    scene_hear_text(f, idle, "200 OK", "", "ok\n");
    assert_false(
        scene_knock(f, 2, NULL, true, "")); /* the one that goes has a turn now */
    assert_non_null(fresh->c);
    assert_int_equal(atomic_load(&metrics->n_evicted), 1);
    assert_timer(fresh, TIMER_FRESH, 10000);
    scene_hear(f, idle, "");
    assert_int_equal(idle->n_received, 0);
    assert_true(idle->is_ended);
    scene_leave(f, idle);

    assert_false(scene_knock(f, 3, NULL, true, ALIVE));
    assert_int_equal(atomic_load(&metrics->n_evicted), 2);
    scene_hear_text(f, fresh, BUSY,
                    "this connection was idle, and another needed its place; try again "
                    "later\n");
    assert_true(fresh->is_ended);
    scene_hear_text(f, &f->visitors[3], "200 OK", "", "ok\n");
    assert_int_equal(n_refused(f), 0);
    end(f);
}

static void nobody_is_let_in_at_the_end(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    drain_begin(f->server, NULL);
    assert_true(scene_knock(f, 0, NULL, true, ALIVE));
    assert_null(f->visitors[0].c);
    scene_hear_text(f, &f->visitors[0], BUSY, "the server is ending\n");
    assert_true(f->visitors[0].is_ended);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_too_many_is_told),
        cmocka_unit_test(the_next_are_closed_at_once),
        cmocka_unit_test(one_without_a_descriptor_is_closed_at_once),
        cmocka_unit_test(there_is_always_room_for_health),
        cmocka_unit_test(one_that_idles_goes_for_another),
        cmocka_unit_test(nobody_is_let_in_at_the_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
