/* The way of a connection: from when each of its times counts, and what it leaves to the others. By a
 * clock that the test turns, without threads. */
#include "server/drain.h"

#include "scene.h"

#include <stdio.h>
#include <sys/ioctl.h>

enum {
    HEAD_MS = 10000,
    IDLE_MS = 75000,
    GRACE_MS = 10000, /* of a transfer */
    STALL_MS = 2000,  /* while memory is short */
    RATE = 1000000    /* the least, in bytes a second */
};

static void assert_timer(const struct visitor *client, enum timer_kind kind, int64_t ms)
{
    const struct timer *timer = &client->c->guest.timer;
    assert_int_equal(timer->kind, kind);
    assert_int_equal(timer->deadline_ns, SCENE_NS + ms * CLOCK_MS);
}

static void assert_stalls(const struct visitor *client, int64_t ms)
{
    assert_int_equal(client->c->guest.timer.stalled_ns, SCENE_NS + ms * CLOCK_MS);
}

/* --- the moments from which time counts --- */

static void a_head_may_take_its_time_after_its_first_byte(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    assert_timer(client, TIMER_FRESH, HEAD_MS);
    scene_turn_to(9000);
    scene_say(f, client, "GET /control/is_alive HTTP/1.1\r\n");
    assert_timer(client, TIMER_HEAD, 9000 + HEAD_MS);
    assert_stalls(client, 9000 + STALL_MS);
    scene_expire_at(f, 18999);
    scene_say(f, client, "Host: x\r\n\r\n");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");

    /* it idles for longer than a head may take */
    scene_expire_at(f, 18999 + IDLE_MS - 1);
    scene_hear_nothing(f, client);
    scene_say(f, client, "GET /control/is_alive HTTP/1.1\r\n");
    assert_timer(client, TIMER_HEAD, 18999 + IDLE_MS - 1 + HEAD_MS);
    scene_expire_at(f, 18999 + IDLE_MS - 1 + HEAD_MS - 1);
    scene_say(f, client, "Host: x\r\n"); /* which does not make it longer */
    scene_hear_nothing(f, client);
    scene_expire_at(f, 18999 + IDLE_MS - 1 + HEAD_MS);
    scene_hear_text(f, client, "408 Request Timeout", "Connection: close\r\n",
                    "the head was not complete within 10000 ms\n");
    scene_end(f);
}

static void a_body_may_take_its_time_after_its_head(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    char fifty[51];
    memset(fifty, 'x', 50);
    fifty[50] = '\0';
    scene_say(f, client, "POST /control/is_alive HTTP/1.1\r\nHost: x\r\nContent-");
    scene_turn_to(9000);
    scene_say(f, client, "Length: 100\r\n\r\n");
    assert_timer(client, TIMER_BODY, 9000 + GRACE_MS);
    assert_stalls(client, 9000 + STALL_MS);
    scene_turn_to(18000);
    scene_say(f, client, fifty);
    assert_int_equal(client->c->guest.timer.kind, TIMER_BODY);
    assert_int_equal(client->c->guest.timer.deadline_ns, /* 50 bytes at the least rate */
                     SCENE_NS + (9000 + GRACE_MS) * CLOCK_MS + 50 * CLOCK_S / RATE);
    assert_int_equal(client->c->guest.timer.stalled_ns, /* it is too slow */
                     SCENE_NS + (9000 + STALL_MS) * CLOCK_MS + 50 * CLOCK_S / RATE);
    scene_say(f, client, fifty);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    scene_end(f);
}

/* A run that takes long leaves its answer as much time as another. */
static void an_answer_may_take_its_time_once_it_is_there(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    f->run_ns = 60 * CLOCK_S;
    scene_post(f, client, 8, "4194304", "");
    scene_serve(f);
    const uint64_t sent_bytes = client->c->x->sent_bytes;
    assert_in_range(sent_bytes, 1, SCENE_LARGE - 1);
    assert_int_equal(client->c->guest.timer.kind, TIMER_SEND);
    assert_in_range(client->c->guest.timer.deadline_ns - SCENE_NS -
                        (60000 + GRACE_MS) * CLOCK_MS,
                    (int64_t)sent_bytes * (CLOCK_S / RATE) - 1,
                    (int64_t)sent_bytes * (CLOCK_S / RATE) + 1);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_true(client->n_received > SCENE_LARGE);
    scene_end(f);
}

static void it_idles_once_the_answer_has_left(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    f->run_ns = 5 * CLOCK_S;
    scene_post(f, client, 8, "4194304", "");
    scene_serve(f);
    assert_int_equal(client->c->state, CONNECTION_ANSWER);
    scene_turn_to(13000);
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    assert_true(client->n_received > SCENE_LARGE);
    assert_timer(client, TIMER_IDLE, 13000 + IDLE_MS);
    scene_expire_at(f, 13000 + IDLE_MS - 1);
    scene_hear_nothing(f, client);
    scene_expire_at(f, 13000 + IDLE_MS);
    scene_hear(f, client, "");
    assert_true(client->is_ended);
    scene_end(f);
}

/* One that may still be sending what was refused is waited for longer. */
static void it_lingers_once_the_answer_has_left(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *closing = scene_connect(f, 0, NULL),
                   *refused = scene_connect(f, 1, NULL);
    scene_turn_to(3000);
    scene_say(f, closing,
              "GET /control/is_alive HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    assert_timer(closing, TIMER_LINGER, 3000 + 1000);
    scene_say(f, refused, "GET /control/is_alive HTTP/1.1\r\n\r\n"); /* without Host */
    assert_timer(refused, TIMER_LINGER, 3000 + 10000);
    scene_hear(f, closing, "HTTP/1.1 200 OK\r\n");
    scene_hear(f, refused, "HTTP/1.1 400 Bad Request\r\n");
    scene_end(f);
}

/* Whoever sent more may take longer, and joined the list before. */
static void one_stalls_behind_one_that_is_fast(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *fast = scene_connect(f, 0, NULL),
                   *stalled = scene_connect(f, 1, NULL);
    size_t size;
    char *body = scene_message(SCENE_LARGE, "1", &size);
    char head[128];
    (void)snprintf(head, sizeof head,
                   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", size);
    scene_say(f, fast, head);
    scene_send(f, fast, body, size - 1);
    scene_serve(f);
    assert_stalls(fast, STALL_MS); /* though it has time for 4 MB */
    scene_turn_to(1000);
    scene_say(f, stalled, head);
    const struct timers *timers = &f->server->timers;
    assert_ptr_equal(timers->lists[TIMER_BODY].next,
                     &fast->c->guest.timer.links[TIMER_BY_KIND]);
    scene_expire_at(f, 1000 + GRACE_MS);
    scene_hear_text(f, stalled, "408 Request Timeout", "Connection: close\r\n",
                    "the body came too slowly: 0 bytes in 10000 ms (--min-rate)\n");
    scene_send(f, fast, body + size - 1, 1);
    scene_hear(f, fast, "HTTP/1.1 200 OK\r\n");
    free(body);
    scene_end(f);
}

/* --- what is left behind --- */

static void assert_all_poll(struct scene *f)
{
    const struct poller *poller = &f->server->poller;
    assert_int_equal(atomic_load(&poller->n_polling), 1);
    assert_int_equal(atomic_load(&poller->n_engaged), 0);
}

/* Long work that is no run of an engine counts as one while it lasts. */
static void no_poller_is_lost(void **state)
{
    static const size_t sizes[] = {1000, 200 * 1024, SCENE_LARGE};
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        scene_post_chunked(f, client, sizes[i], "1");
        scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
        assert_all_poll(f);
        scene_post(f, client, sizes[i], "1", "");
        scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
        assert_all_poll(f);
    }
    scene_end(f);
}

/* How much has come that the client has not received. */
static int unread_bytes(const struct visitor *client)
{
    int n = 0;
    assert_int_equal(ioctl(client->fd, FIONREAD, &n), 0);
    return n;
}

/* Of a client that sends more at a time, TURN_REQUESTS are answered before another has its turn. */
static void a_turn_has_its_end(void **state)
{
    static const char alive[] = "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *greedy = scene_connect(f, 0, NULL),
                   *other = scene_connect(f, 1, NULL);
    for (int i = 0; i < 2 * TURN_REQUESTS + 1; i++)
        scene_send(f, greedy, alive, sizeof alive - 1);
    scene_send(f, other, alive, sizeof alive - 1);
    for (int i = 0; i < 2; i++)
        assert_true(still_serve_one(&f->server->poller));
    assert_int_equal(unread_bytes(greedy), TURN_REQUESTS * unread_bytes(other));
    assert_true(still_serve_one(&f->server->poller));
    assert_int_equal(unread_bytes(greedy), 2 * TURN_REQUESTS * unread_bytes(other));
    scene_serve(f);
    assert_int_equal(unread_bytes(greedy), (2 * TURN_REQUESTS + 1) * unread_bytes(other));
    scene_hear(f, greedy, "HTTP/1.1 200 OK\r\n");
    scene_end(f);
}

/* What waits for a request goes; an answer that has been sent in part, and a request whose head has
 * come, are finished. */
static void the_drain_finishes_what_is_on_its_way(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *reading = scene_connect(f, 0, NULL);
    struct visitor *sending = scene_connect(f, 1, NULL);
    struct visitor *idle = scene_connect(f, 2, NULL);
    scene_post(f, reading, 8, "4194304", "");
    scene_say(
        f, sending,
        "POST /control/is_alive HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbo");
    scene_say(f, idle, "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n");
    scene_hear(f, idle, "HTTP/1.1 200 OK\r\n");
    drain_begin(f->server, NULL);
    scene_expire_at(f, 0);
    scene_hear(f, idle, "");
    assert_true(idle->is_ended);
    scene_hear(f, reading, "HTTP/1.1 200 OK\r\n");
    assert_true(reading->n_received > SCENE_LARGE && reading->is_ended);
    scene_say(f, sending, "d");
    scene_say(f, sending, "y");
    scene_hear(f, sending, "HTTP/1.1 200 OK\r\n");
    assert_non_null(strstr(sending->received, "\r\nConnection: close\r\n"));
    assert_true(sending->is_ended);
    scene_end(f);
}

/* Whole requests that have come behind another are answered, and the last of them ends the connection;
 * for the rest of one that has begun nobody waits. */
static void the_drain_answers_whole_requests(void **state)
{
    static const char alive[] = "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n";
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *greedy = scene_connect(f, 0, NULL);
    struct visitor *begun = scene_connect(f, 1, NULL);
    scene_say(f, begun, "GET / HTTP/1.1\r\n");
    for (int i = 0; i < TURN_REQUESTS + 2; i++)
        scene_send(f, greedy, alive, sizeof alive - 1);
    assert_true(still_serve_one(&f->server->poller));
    char answers[4096];
    assert_true(recv(greedy->fd, answers, sizeof answers, 0) > 0);
    drain_begin(f->server, NULL);
    scene_serve(f);
    scene_hear(f, greedy,
               "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Length: 3\r\n\r\nok\n"
               "HTTP/1.1 200 OK\r\nContent-Type: text/plain; charset=utf-8\r\n"
               "Content-Length: 3\r\nConnection: close\r\n\r\nok\n");
    assert_true(greedy->is_ended);
    scene_say(f, begun, "Host: x\r\n");
    scene_hear(f, begun, "");
    assert_int_equal(begun->n_received, 0);
    assert_true(begun->is_ended);
    scene_end(f);
}

/* --- the end of its time --- */

/* A client in the middle of a request is told, unless all end; others are just closed. */
static void who_is_told_that_its_time_is_over(void **state)
{
    static const struct {
        const char *text;
        bool drains, is_told;
    } cases[] = {
        {"", false, false},
        {"GET / HTTP/1.1\r\n", false, true},
        {"GET / HTTP/1.1\r\n", true, false},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", false, true},
        {"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", false, true},
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n", true, false},
        {NULL, false, false}, /* in its answer */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene *f = scene_begin(NULL);
        struct visitor *client = scene_connect(f, 0, NULL);
        if (cases[i].text)
            scene_say(f, client, cases[i].text);
        else
            scene_post(f, client, 8, "4194304", "");
        scene_serve(f);
        if (cases[i].drains)
            drain_begin(f->server, NULL);
        scene_expire_at(f, 60000);
        scene_hear(f, client, cases[i].is_told ? "HTTP/1.1 408 Request Timeout\r\n" : "");
        assert_true(client->is_ended);
        if (cases[i].text && !cases[i].is_told)
            assert_int_equal(client->n_received, 0);
        assert_int_equal(connections_count(&f->server->connections), 0);
        scene_end(f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_may_take_its_time_after_its_first_byte),
        cmocka_unit_test(a_body_may_take_its_time_after_its_head),
        cmocka_unit_test(an_answer_may_take_its_time_once_it_is_there),
        cmocka_unit_test(it_idles_once_the_answer_has_left),
        cmocka_unit_test(it_lingers_once_the_answer_has_left),
        cmocka_unit_test(one_stalls_behind_one_that_is_fast),
        cmocka_unit_test(no_poller_is_lost),
        cmocka_unit_test(a_turn_has_its_end),
        cmocka_unit_test(the_drain_finishes_what_is_on_its_way),
        cmocka_unit_test(the_drain_answers_whole_requests),
        cmocka_unit_test(who_is_told_that_its_time_is_over),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
