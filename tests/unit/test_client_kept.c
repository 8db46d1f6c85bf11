/* When the link to a server is kept, left, or tried again: a request is sent twice only if it cannot
 * have been done. */
#include "asker.h"

#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#define NOON (1000 * CLOCK_S)

/* --- the link
 * ---------------------------------------------------------------------------- */

static void a_link_is_kept_if_the_server_keeps_it(void **state)
{
    (void)state;
    static const struct {
        const char *answer;
        bool is_kept;
    } cases[] = {
        {OK_ANSWER, true},
        {"HTTP/1.1 404 x\r\nContent-Length: 2\r\n\r\nok", true},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
         true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok",
         true},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok", false},
        {OK_ANSWER "H", false}, /* it says more than it was asked */
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct script_step steps[] = {ACCEPT, READ, SEND(cases[i].answer),
                                            AWAIT_CLOSE};
        struct asker a;
        asker_begin(&a, steps, 4, NULL, 0);
        assert_int_equal(asker_ask(&a, &no_parts, INT64_MAX), GP_OK);
        assert_memory_equal(a.reply.body.data, "ok", 2);
        assert_int_equal(a.link.fd >= 0, cases[i].is_kept);
        asker_end(&a);
    }
}

/* Then the rest of the request is not sent, and another would end up in its middle. */
static void an_answer_may_come_before_the_request_is_sent(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, READ_HEAD, SEND(OK_ANSWER), TURN(0), AWAIT_CLOSE, ACCEPT, READ,
          SEND(OK_ANSWER));
    asker_ask_at_length(&a);
    assert_memory_equal(a.reply.body.data, "ok", 2);
    assert_int_equal(a.link.fd, -1);
    assert_answered(&a, 200, "ok");
    asker_end(&a);
}

/* The server hears no more of it, but says why: that counts, not the send that failed. */
static void a_server_that_stops_listening_is_heard(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, READ_HEAD, DEAF, PAUSE(10),
          SEND("HTTP/1.1 413 x\r\nContent-Length: 4\r\n\r\nlong"));
    asker_ask_at_length(&a);
    assert_int_equal(a.reply.status, 413);
    assert_memory_equal(a.reply.body.data, "long", 4);
    assert_int_equal(a.link.fd, -1);
    asker_end(&a);
}

/* --- trying again
 * ------------------------------------------------------------------------ */

static const char closed_words[] = "the server closed the connection without an answer";

/* Only what a kept connection may have met by its close, and once. */
static void a_request_is_sent_twice_at_most(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, READ, SEND(OK_ANSWER), READ, CLOSE, ACCEPT, READ, CLOSE, ACCEPT,
          READ, SEND(OK_ANSWER));
    assert_answered(&a, 200, "ok");
    assert_fails(&a, GP_IO, closed_words);
    assert_answered(&a, 200, "ok");
    asker_end(&a);
    assert_int_equal(a.server.n_requests, 4);
}

/* The server has begun to do it: what it has done must not be done again. */
static void a_request_whose_answer_has_begun_is_not_sent_again(void **state)
{
    (void)state;
    static const char *const beginnings[] = {"H", "HTTP/1.1 100 Continue\r\n\r\n",
                                             OK_HEAD, OK_HEAD "o"};
    for (size_t i = 0; i < sizeof beginnings / sizeof *beginnings; i++) {
        const struct script_step steps[] = {
            ACCEPT, READ, SEND(OK_ANSWER), READ, SEND(beginnings[i]), CLOSE};
        struct asker a;
        asker_begin(&a, steps, 6, NULL, 0);
        assert_answered(&a, 200, "ok");
        assert_fails(&a, GP_IO, "the connection ended in the middle of the answer");
        asker_end(&a);
        assert_int_equal(a.server.n_requests, 2);
    }
}

static void a_request_whose_time_is_up_is_not_sent_again(void **state)
{
    (void)state;
    struct asker a;
    turned_clock_set(NOON);
    BEGIN(&a, ACCEPT, READ, SEND(OK_ANSWER), READ, TURN(5), CLOSE);
    assert_answered(&a, 200, "ok");
    const enum gp_status status = asker_ask(&a, &no_parts, NOON + 5 * CLOCK_MS);
    assert_int_equal(status, GP_DEADLINE);
    assert_int_equal(a.link.fd, -1);
    asker_end(&a);
    assert_int_equal(a.server.n_requests, 2);
}

/* Here the kernel cannot read the caller's memory. */
static void a_request_that_failed_otherwise_is_not_sent_again(void **state)
{
    (void)state;
    enum { SIZE = 1 << 16 };
    void *unreadable = mmap(NULL, SIZE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(unreadable, MAP_FAILED);
    const struct iovec part = {unreadable, SIZE};
    const struct gp_encoding message = {&part, 1, SIZE};
    struct asker a;
    BEGIN(&a, ACCEPT, READ, SEND(OK_ANSWER), AWAIT_CLOSE);
    assert_answered(&a, 200, "ok");
    assert_told(&a, asker_ask(&a, &message, INT64_MAX), GP_IO, "Bad address");
    asker_end(&a);
    munmap(unreadable, SIZE);
    assert_int_equal(a.server.n_requests, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_link_is_kept_if_the_server_keeps_it),
        cmocka_unit_test(an_answer_may_come_before_the_request_is_sent),
        cmocka_unit_test(a_server_that_stops_listening_is_heard),
        cmocka_unit_test(a_request_is_sent_twice_at_most),
        cmocka_unit_test(a_request_whose_answer_has_begun_is_not_sent_again),
        cmocka_unit_test(a_request_whose_time_is_up_is_not_sent_again),
        cmocka_unit_test(a_request_that_failed_otherwise_is_not_sent_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
