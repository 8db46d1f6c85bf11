/* The client's deadlines, by a clock that the tests turn: which one holds, what the server is told of
 * it, and what is said when it passes at each stage of a call. */
#include "client_fixture.h"
#include "turned_clock.h"

#include <graphpipe/client.h>

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>

#include <cmocka.h>

#define NOON (1000 * CLOCK_S)

static int stop_clock(void **state)
{
    (void)state;
    turned_clock_set(NOON);
    return 0;
}

static int end_clock(void **state)
{
    (void)state;
    turned_clock_end();
    return 0;
}

/* The milliseconds that the last request told the server; -1: it told none. */
static long told_ms(const struct scripted *server)
{
    static const char name[] = "\r\nX-GraphPipe-Timeout-Ms: ";
    const char *field = strstr(server->head, name);
    return field ? strtol(field + strlen(name), NULL, 10) : -1;
}

/* --- which deadline
 * ---------------------------------------------------------------------- */

static void a_time_from_now(void **state)
{
    (void)state;
    assert_int_equal(gp_deadline_after_ms(0), NOON);
    assert_int_equal(gp_deadline_after_ms(1500), NOON + 1500 * CLOCK_MS);
    assert_int_equal(gp_deadline_after_ms(-3), NOON - 3 * CLOCK_MS);
    /* the last that fits, and what lies beyond: never, and long ago */
    const int64_t most_ms = (INT64_MAX - NOON) / CLOCK_MS;
    assert_int_equal(gp_deadline_after_ms(most_ms), NOON + most_ms * CLOCK_MS);
    assert_int_equal(gp_deadline_after_ms(most_ms + 1), INT64_MAX);
    assert_int_equal(gp_deadline_after_ms(INT64_MAX), INT64_MAX);
    assert_int_equal(gp_deadline_after_ms(INT64_MIN), 1);
}

/* In milliseconds, rounded up: a server must not give up before the client does. */
static void the_server_is_told_the_time(void **state)
{
    (void)state;
    static const struct {
        uint32_t timeout_ms;
        int64_t left_ns; /* 0: the call has no deadline */
        long told_ms;
    } cases[] = {
        {0, 0, -1},
        {60000, 0, 60000},
        {60000, 3 * CLOCK_MS, 3}, /* the call's own comes first, */
        {1, 5 * CLOCK_MS, 5},     /* also when it is later */
        {0, 5 * CLOCK_MS + 1, 6},
        {0, 5 * CLOCK_MS - 1, 5},
        {0, CLOCK_MS, 1},
        {0, 1, 1},
        {60000, INT64_MAX - NOON, -1}, /* explicitly none */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scripted server;
        START(&server, ACCEPT, READ, ANSWER);
        const struct gp_client_options options = {.timeout_ms = cases[i].timeout_ms};
        struct gp_client *client = scripted_connect(server.address, &options);
        const struct gp_call call = {.deadline_ns =
                                         cases[i].left_ns ? NOON + cases[i].left_ns : 0};
        struct gp_result *result;
        struct gp_error err;
        if (gp_client_infer(client, &call, &result, &err) != GP_OK)
            fail_msg("case %zu: %s", i, err.message);
        gp_result_destroy(result);
        gp_client_destroy(client);
        scripted_check(&server);
        assert_int_equal(told_ms(&server), cases[i].told_ms);
    }
}

/* The timeout of the options begins anew with each call, also with one for metadata. */
static void a_timeout_is_for_one_call(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, ANSWER, READ, ANSWER, READ, AWAIT_CLOSE);
    struct gp_client *client =
        scripted_connect(server.address, &(struct gp_client_options){.timeout_ms = 5});
    for (int i = 0; i < 2; i++) {
        assert_works(client);
        turned_clock_add(CLOCK_S);
    }
    turned_clock_add_at_each_look(CLOCK_MS);
    const struct gp_metadata *metadata;
    struct gp_result *result;
    assert_int_equal(gp_client_metadata(client, &metadata, &result, NULL), GP_DEADLINE);
    assert_null(result);
    gp_client_destroy(client);
    scripted_check(&server);
    assert_in_range(told_ms(&server), 1, 5);
}

/* --- at each stage
 * ----------------------------------------------------------------------- */

static void nothing_is_sent_when_it_is_too_late(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    static const int64_t late[] = {NOON, NOON - 1, 1, -1};
    for (size_t i = 0; i < sizeof late / sizeof *late; i++)
        scripted_assert_fails(client, &(struct gp_call){.deadline_ns = late[i]},
                              GP_DEADLINE,
                              ": the deadline passed while nothing was sent yet");
    assert_works(client); /* the first that the server sees of it */
    scripted_assert_fails(client, &(struct gp_call){.deadline_ns = NOON}, GP_DEADLINE,
                          "nothing was sent yet");
    gp_client_destroy(client);
    scripted_check(&server);
    assert_int_equal(server.n_requests, 1);
}

#define SOON (NOON + 5 * CLOCK_MS)

static void check_sending(struct gp_client *client, const struct gp_call *call)
{
    struct gp_call soon = *call;
    soon.deadline_ns = SOON;
    scripted_assert_fails(client, &soon, GP_DEADLINE,
                          ": the deadline passed while sending the request");
}

/* The connection is not used again: half a request is on it. */
static void it_passes_while_sending(void **state)
{
    (void)state;
    struct scripted server;
    START_UNIX(&server, ACCEPT, READ_HEAD, TURN(5), AWAIT_HANGUP, ACCEPT, READ, ANSWER);
    struct gp_client *client = scripted_connect(server.address, NULL);
    with_large_call(check_sending, client);
    assert_works(client);
    gp_client_destroy(client);
    scripted_check(&server);
}

/* Nor is it then: the rest of the answer is yet to come. */
static void it_passes_before_the_whole_answer_is_there(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        const char *doing;
    } cases[] = {
        {"", "waiting for the answer"},
        {"HTTP/1.1 100 Continue\r\n\r\n", "waiting for the answer"},
        {"HTTP/1.1 200 OK\r\nContent-Le", "waiting for the answer"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n", "receiving the answer"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n12345678", "receiving the answer"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n1",
         "receiving the answer"},
        {"HTTP/1.1 200 OK\r\n\r\n123", "receiving the answer"},
        {"HTTP/1.1 503 x\r\nContent-Length: 9\r\n\r\n123", "receiving the answer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scripted server;
        const struct script_step steps[] = {ACCEPT,  READ,        SEND(cases[i].answer),
                                            TURN(5), AWAIT_CLOSE, ACCEPT,
                                            READ,    ANSWER};
        turned_clock_set(NOON);
        scripted_start(&server, true, steps, sizeof steps / sizeof *steps, seven,
                       seven_size);
        struct gp_client *client = scripted_connect(server.address, NULL);
        char words[200];
        snprintf(words, sizeof words, "%s: the deadline passed while %s", server.address,
                 cases[i].doing);
        const struct gp_call soon = {.deadline_ns = SOON};
        scripted_assert_fails(client, &soon, GP_DEADLINE, words);
        assert_works(client);
        gp_client_destroy(client);
        scripted_check(&server);
        assert_int_equal(server.n_requests, 2);
    }
}

/* The head is written when the time is just over: waiting for the answer tells. */
static void the_server_is_told_of_a_millisecond_at_least(void **state)
{
    (void)state;
    struct scripted server;
    START(&server, ACCEPT, READ, ANSWER, READ, AWAIT_CLOSE);
    struct gp_client *client = scripted_connect(server.address, NULL);
    assert_works(client);
    turned_clock_add_at_each_look(3 * CLOCK_MS);
    const struct gp_call soon = {.deadline_ns = NOON + CLOCK_MS};
    scripted_assert_fails(client, &soon, GP_DEADLINE, "waiting for the answer");
    gp_client_destroy(client);
    scripted_check(&server);
    assert_int_equal(told_ms(&server), 1);
}

/* --- signals
 * ----------------------------------------------------------------------------- */

static volatile sig_atomic_t n_alarms;

static void count_alarm(int number)
{
    (void)number;
    n_alarms++;
}

/* Signals interrupt the waiting, but end nothing. */
static void signals_do_not_end_a_call(void **state)
{
    (void)state;
    struct scripted server;
    sigset_t alarms;
    sigemptyset(&alarms);
    sigaddset(&alarms, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarms, NULL); /* on the server's thread */
    START(&server, ACCEPT, READ, PAUSE(10), DRIP("HTTP/1.1 200 OK\r\n"), PAUSE(10),
          SEND("\r\n"), PAUSE(10), MESSAGE);
    pthread_sigmask(SIG_UNBLOCK, &alarms, NULL);
    struct sigaction before;
    const struct sigaction counting = {.sa_handler = count_alarm}; /* no SA_RESTART */
    const struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    assert_int_equal(sigaction(SIGALRM, &counting, &before), 0);
    struct gp_client *client = scripted_connect(server.address, NULL);
    assert_int_equal(setitimer(ITIMER_REAL, &often, NULL), 0);
    assert_works(client);
    assert_int_equal(setitimer(ITIMER_REAL, &never, NULL), 0);
    assert_int_equal(sigaction(SIGALRM, &before, NULL), 0);
    gp_client_destroy(client);
    scripted_check(&server);
    assert_true(n_alarms > 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, stop_clock, end_clock)
    const struct CMUnitTest tests[] = {
        TEST(a_time_from_now),
        TEST(the_server_is_told_the_time),
        TEST(a_timeout_is_for_one_call),
        TEST(nothing_is_sent_when_it_is_too_late),
        TEST(it_passes_while_sending),
        TEST(it_passes_before_the_whole_answer_is_there),
        TEST(the_server_is_told_of_a_millisecond_at_least),
        TEST(signals_do_not_end_a_call),
    };
#undef TEST
    return cmocka_run_group_tests(tests, client_fixture_begin, client_fixture_end);
}
