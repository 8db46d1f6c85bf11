/* One request and its answer over a link: how the request arrives, how the answer's head may come, and
 * what of the answer is told. */
#include "asker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* --- the request
 * ------------------------------------------------------------------------- */

/* More parts than are sent at once, empty ones among them, and more bytes than the socket takes. */
static void all_parts_arrive_in_order(void **state)
{
    (void)state;
    enum { N_PARTS = 300, MOST_BYTES = 20011 };
    static const size_t counts[] = {0, 1, 127, 128, 129, N_PARTS};
    struct iovec parts[N_PARTS];
    char *bytes = malloc(N_PARTS + MOST_BYTES);
    assert_non_null(bytes);
    for (size_t i = 0; i < N_PARTS + MOST_BYTES; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        struct gp_encoding message = {.parts = parts, .n_parts = counts[i]};
        uint64_t hash = 0;
        for (size_t at = 0; at < counts[i]; at++) {
            parts[at] =
                (struct iovec){bytes + at, at % 3 ? at * at * at % MOST_BYTES : 0};
            message.size_bytes += parts[at].iov_len;
            hash = scripted_hash(hash, parts[at].iov_base, parts[at].iov_len);
        }
        struct asker a;
        BEGIN(&a, ACCEPT, READ, SEND(OK_ANSWER));
        assert_int_equal(asker_ask(&a, &message, INT64_MAX), GP_OK);
        asker_end(&a);
        char length[64];
        snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n",
                 message.size_bytes);
        assert_non_null(strstr(a.server.head, length));
        assert_true(a.server.body_hash == hash);
    }
    free(bytes);
}

static void a_path_that_no_head_holds_is_refused(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, AWAIT_CLOSE);
    client_address_finish(&a.link.address);
    a.link.address.target = calloc(1, 10000);
    assert_non_null(a.link.address.target);
    memset(a.link.address.target, '/', 9999);
    assert_fails(&a, GP_INVALID, "the path is too long");
    asker_end(&a);
    assert_int_equal(a.server.n_requests, 0);
}

/* --- the answer's head
 * ------------------------------------------------------------------- */

/* With padding in a field, so that it has so many bytes; on the heap. */
static char *head_of(size_t size)
{
    static const char start[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nA: ";
    char *text = malloc(size + 1);
    assert_non_null(text);
    memset(text, 'a', size);
    memcpy(text, start, sizeof start - 1);
    strcpy(text + size - 4, "\r\n\r\n");
    return text;
}

/* And so has what is received of a longer one: behind the memory for it nothing may be written. */
static void heads_have_a_limit(void **state)
{
    (void)state;
    enum { MOST = HTTP_MAX_HEAD_BYTES };
    char *most = head_of(MOST), *over = head_of(MOST + 1), *rest = head_of(2 * MOST);
    char *start = strndup(rest, MOST - 1000);
    const struct script_step steps[] = {
        ACCEPT,      READ,   SEND(most), SEND("ok"),  READ,    SEND(over),
        AWAIT_CLOSE, ACCEPT, READ,       SEND(start), TURN(0), SEND(rest + MOST - 1000),
        AWAIT_CLOSE};
    struct asker a;
    asker_begin(&a, steps, sizeof steps / sizeof *steps, NULL, 0);
    assert_answered(&a, 200, "ok");
    for (int i = 0; i < 2; i++)
        assert_fails(&a, GP_MALFORMED, "answer: the HTTP head is over 65536 bytes");
    asker_end(&a);
    free(most);
    free(over);
    free(start);
    free(rest);
}

static void what_is_no_head_is_told_with_the_reason(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, READ, SEND("SSH-2.0-OpenSSH_9.2\r\n"), AWAIT_CLOSE, ACCEPT, READ,
          SEND("HTTP/1.1 101 x\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"),
          AWAIT_CLOSE);
    assert_fails(&a, GP_MALFORMED,
                 "answer: malformed HTTP head, in the status line: "
                 "Expected HTTP/, RTSP/ or ICE/ (byte 0)");
    assert_fails(&a, GP_MALFORMED,
                 "the server switched to a protocol that nobody asked for");
    asker_end(&a);
}

/* So many for each request, together with the answer or before it. */
static void some_interim_answers_are_skipped(void **state)
{
    (void)state;
    enum { MOST = 32, SIZE = 25 };
    char many[(MOST + 1) * SIZE + 1], *most = many + SIZE;
    for (int i = 0; i <= MOST; i++)
        memcpy(many + (size_t)i * SIZE, "HTTP/1.1 100 Continue\r\n\r\n", SIZE + 1);
    char together[sizeof many + sizeof OK_ANSWER];
    strcat(strcpy(together, most), OK_ANSWER);
    const struct script_step steps[] = {ACCEPT,     READ,          SEND(together), READ,
                                        SEND(most), SEND(OK_HEAD), SEND("ok"),     READ,
                                        SEND(many), AWAIT_CLOSE};
    struct asker a;
    asker_begin(&a, steps, sizeof steps / sizeof *steps, NULL, 0);
    assert_answered(&a, 200, "ok");
    assert_answered(&a, 200, "ok");
    assert_fails(&a, GP_MALFORMED, "too many answers of 1xx");
    asker_end(&a);
}

/* And the answer together with the second one. */
static void an_interim_answer_may_come_in_two_pieces(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, READ, SEND("HTTP/1.1 100 Continue\r\n"), TURN(0),
          SEND("\r\n" OK_ANSWER));
    assert_answered(&a, 200, "ok");
    asker_end(&a);
}

/* The rest of it is still to be sent. */
static void an_interim_answer_does_not_end_a_request(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, READ_HEAD, SEND("HTTP/1.1 100 Continue\r\n\r\n"), TURN(0),
          READ_BODY, SEND(OK_ANSWER), AWAIT_CLOSE);
    asker_ask_at_length(&a);
    assert_int_equal(a.reply.status, 200);
    assert_true(a.link.fd >= 0);
    asker_end(&a);
}

static void the_media_type_tells_a_message(void **state)
{
    (void)state;
    static const struct {
        const char *field;
        bool is_message;
    } cases[] = {
        {"", false},
        {"Content-Type:\r\n", false},
        {"Content-Type: text/plain\r\n", false},
        {"Content-Type: application/x-graphpipe-2\r\n", false},
        {"Accept: application/x-graphpipe\r\n", false},
        {"Content-Type: application/x-graphpipe\r\n", true},
        {"CONTENT-TYPE: Application/X-GraphPipe; v=1\r\n", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char answer[200];
        snprintf(answer, sizeof answer,
                 "HTTP/1.1 200 OK\r\n%sContent-Length: 2\r\n\r\nok", cases[i].field);
        const struct script_step steps[] = {ACCEPT, READ, SEND(answer)};
        struct asker a;
        asker_begin(&a, steps, 3, NULL, 0);
        assert_answered(&a, 200, "ok");
        assert_int_equal(a.reply.is_message, cases[i].is_message);
        asker_end(&a);
    }
}

/* --- its body
 * ---------------------------------------------------------------------------- */

/* A reason goes elsewhere: it has nothing to do with the size of the caller's memory. */
static void only_a_good_answer_goes_to_the_caller(void **state)
{
    (void)state;
    struct asker a;
    BEGIN(&a, ACCEPT, READ, SEND(OK_ANSWER), READ,
          SEND("HTTP/1.1 503 x\r\nContent-Length: 4\r\n\r\nbusy"));
    unsigned char own[2];
    const struct client_question question = {&no_parts, INT64_MAX};
    for (int i = 0; i < 2; i++) {
        a.reply = (struct client_reply){
            .buffers = &a.buffers, .own = own, .own_size_bytes = 2, .limit_bytes = 2};
        assert_int_equal(
            client_roundtrip(&a.link, a.scratch, &question, &a.reply, &a.err), GP_OK);
        assert_int_equal(a.reply.body.size_bytes, i ? 4 : 2);
        assert_int_equal(a.reply.body.data == own, i == 0);
        assert_memory_equal(a.reply.body.data, i ? "busy" : "ok", i ? 4 : 2);
    }
    assert_memory_equal(own, "ok", 2);
    asker_end(&a);
}

/* A reason of 1 MiB is received, a longer one is not worth it. */
static void a_reason_may_be_too_long(void **state)
{
    (void)state;
    enum { MIB = 1 << 20 };
    char *reason = malloc(MIB + 1);
    assert_non_null(reason);
    memset(reason, 'r', MIB + 1);
    for (int more = 0; more < 2; more++) {
        char head[80];
        snprintf(head, sizeof head, "HTTP/1.1 503 x\r\nContent-Length: %d\r\n\r\n",
                 MIB + more);
        const struct script_step steps[] = {ACCEPT, READ, SEND(head), MESSAGE,
                                            AWAIT_CLOSE};
        struct asker a;
        asker_begin(&a, steps, sizeof steps / sizeof *steps, reason,
                    (size_t)(MIB + more));
        assert_int_equal(asker_ask(&a, &no_parts, INT64_MAX), GP_OK);
        assert_int_equal(a.reply.status, 503);
        assert_int_equal(a.reply.body.size_bytes, more ? 0 : MIB);
        assert_int_equal(a.link.fd < 0, more);
        asker_end(&a);
    }
    free(reason);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_parts_arrive_in_order),
        cmocka_unit_test(a_path_that_no_head_holds_is_refused),
        cmocka_unit_test(heads_have_a_limit),
        cmocka_unit_test(what_is_no_head_is_told_with_the_reason),
        cmocka_unit_test(some_interim_answers_are_skipped),
        cmocka_unit_test(an_interim_answer_may_come_in_two_pieces),
        cmocka_unit_test(an_interim_answer_does_not_end_a_request),
        cmocka_unit_test(the_media_type_tells_a_message),
        cmocka_unit_test(only_a_good_answer_goes_to_the_caller),
        cmocka_unit_test(a_reason_may_be_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
