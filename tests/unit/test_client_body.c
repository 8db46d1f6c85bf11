/* Bodies of answers, by length, in chunks and until the connection ends, from a socket whose other end
 * the tests hold: where a body ends, how its memory grows, and what its limits say. */
#include "client/body.h"

#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define LENGTH(n) "HTTP/1.1 200 OK\r\nContent-Length: " #n "\r\n\r\n"
#define CHUNKED "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
#define UNTIL_END "HTTP/1.1 200 OK\r\n\r\n"

enum { ROOM_BYTES = 1 << 20 };

struct arrival {
    int server;
    struct client_link link;
    struct client_source source;
    struct client_buffers buffers;
    struct client_body body;
    struct http_message head;
    struct gp_error err;
};

static int begin(void **state)
{
    struct arrival *a = calloc(1, sizeof *a);
    int fds[2];
    assert_non_null(a);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fds), 0);
    strcpy(a->link.address.label, "unix:/s");
    a->link.fd = fds[0];
    a->server = fds[1];
    a->source = (struct client_source){.link = &a->link,
                                       .deadline_ns = INT64_MAX,
                                       .scratch = malloc(HTTP_MAX_HEAD_BYTES),
                                       .scratch_size = HTTP_MAX_HEAD_BYTES};
    a->body = (struct client_body){.buffers = &a->buffers, .limit_bytes = ROOM_BYTES};
    assert_non_null(a->source.scratch);
    *state = a;
    return 0;
}

static int end(void **state)
{
    struct arrival *a = *state;
    turned_clock_end();
    link_close(&a->link);
    if (a->server >= 0)
        close(a->server);
    if (a->body.buffers)
        buffers_give(&a->buffers, &a->body.buffer);
    buffers_finish(&a->buffers);
    free(a->source.scratch);
    free(a);
    return 0;
}

/* The head, and what is received along with it. */
static void arrives(struct arrival *a, const char *head, const char *along)
{
    struct client_source *source = &a->source;
    source->scratch_end = strlen(head) + strlen(along);
    strcat(strcpy(source->scratch, head), along);
    http_init(&a->head, HTTP_KIND_RESPONSE);
    assert_int_equal(http_head(&a->head, source->scratch, 0, source->scratch_end,
                               &source->scratch_at, &a->err),
                     HTTP_DONE);
    assert_int_equal(source->scratch_at, strlen(head));
}

static void sends(struct arrival *a, const char *bytes, size_t size)
{
    assert_int_equal(send(a->server, bytes, size, 0), size);
}

static void closes(struct arrival *a)
{
    close(a->server);
    a->server = -1;
}

static enum gp_status receive(struct arrival *a)
{
    return body_receive(&a->body, &a->source, &a->head, &a->err);
}

static void assert_received(struct arrival *a, const char *text)
{
    if (receive(a) != GP_OK)
        fail_msg("%s", a->err.message);
    assert_int_equal(a->body.size_bytes, strlen(text));
    assert_memory_equal(a->body.data, text, strlen(text));
}

static void assert_refused(struct arrival *a, enum gp_status status, const char *message)
{
    assert_int_equal(receive(a), status);
    assert_int_equal(a->err.status, status);
    assert_string_equal(a->err.message, message);
}

/* What is left, first in the scratch memory, then in the socket. */
static void assert_left(struct arrival *a, const char *in_scratch, const char *in_socket)
{
    char bytes[64];
    const struct client_source *source = &a->source;
    assert_int_equal(source->scratch_end - source->scratch_at, strlen(in_scratch));
    assert_memory_equal(source->scratch + source->scratch_at, in_scratch,
                        strlen(in_scratch));
    const ssize_t got = recv(a->link.fd, bytes, sizeof bytes, MSG_DONTWAIT);
    assert_int_equal(got > 0 ? got : 0, strlen(in_socket));
    assert_memory_equal(bytes, in_socket, strlen(in_socket));
}

/* Bytes that tell when they are exchanged. */
static char *pattern(size_t size)
{
    char *bytes = malloc(size);
    assert_non_null(bytes);
    for (size_t i = 0; i < size; i++)
        bytes[i] = (char)(i * 7 + i / 251);
    return bytes;
}

/* --- where a body ends
 * ------------------------------------------------------------------- */

/* However much of it came with the head; what follows is somebody else's. */
static void a_body_of_known_length_ends_there(void **state)
{
    (void)state;
    static const struct {
        const char *head, *along, *later, *body, *in_scratch, *in_socket;
    } cases[] = {
        {LENGTH(10), "", "0123456789", "0123456789", "", ""},
        {LENGTH(10), "01234", "56789", "0123456789", "", ""},
        {LENGTH(10), "01234", "56789abc", "0123456789", "", "abc"},
        {LENGTH(10), "0123456789", "", "0123456789", "", ""},
        {LENGTH(10), "0123456789", "abc", "0123456789", "", "abc"},
        {LENGTH(10), "0123456789abc", "def", "0123456789", "abc", "def"},
        {LENGTH(1), "", "0", "0", "", ""},
        {LENGTH(0), "", "abc", "", "", "abc"},
        {LENGTH(0), "abc", "", "", "abc", ""},
        {CHUNKED, "", "3\r\n012\r\n2\r\n34\r\n0\r\n\r\n", "01234", "", ""},
        {CHUNKED, "3\r\n0", "12\r\n2\r\n34\r\n0\r\n\r\n", "01234", "", ""},
        {CHUNKED, "3\r\n012", "\r\n2\r\n34\r\n0\r\n\r\n", "01234", "", ""},
        {CHUNKED, "3\r\n012\r", "\n2\r\n34\r\n0\r\n\r\n", "01234", "", ""},
        {CHUNKED, "3\r\n012\r\n2\r\n34\r\n0\r\n\r\nabc", "def", "01234", "abc", "def"},
        {CHUNKED, "3\r\n012\r\n2\r\n34\r\n0\r\nA: b\r\n", "C: d\r\n\r\nabc", "01234",
         "abc", ""},
        {CHUNKED, "3;a=b\r\n012\r\n", "0\r\n\r\n", "012", "", ""},
        {CHUNKED, "0\r\n\r\n", "abc", "", "", "abc"},
        {CHUNKED, "", "0\r\n\r\nabc", "", "abc", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *arrival;
        begin(&arrival);
        arrives(arrival, cases[i].head, cases[i].along);
        sends(arrival, cases[i].later, strlen(cases[i].later));
        assert_received(arrival, cases[i].body);
        assert_left(arrival, cases[i].in_scratch, cases[i].in_socket);
        end(&arrival);
    }
}

static void a_body_without_length_ends_with_the_connection(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"", "", ""}, {"01", "", "01"}, {"", "234", "234"}, {"01", "234", "01234"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        void *arrival;
        begin(&arrival);
        arrives(arrival, UNTIL_END, cases[i][0]);
        sends(arrival, cases[i][1], strlen(cases[i][1]));
        closes(arrival);
        assert_received(arrival, cases[i][2]);
        assert_left(arrival, "", "");
        end(&arrival);
    }
}

static void a_body_may_be_cut_off(void **state)
{
    (void)state;
    static const char *const cases[][2] = {{LENGTH(3), "12"},
                                           {LENGTH(1), ""},
                                           {CHUNKED, ""},
                                           {CHUNKED, "5\r\n1234"},
                                           {CHUNKED, "5\r\n12345\r\n"},
                                           {CHUNKED, "5\r\n12345\r\n0\r\n"}};
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        const char *const *text = cases[i / 2];
        void *arrival;
        begin(&arrival);
        arrives(arrival, text[0], i % 2 ? text[1] : "");
        if (i % 2 == 0)
            sends(arrival, text[1], strlen(text[1]));
        closes(arrival);
        assert_refused(arrival, GP_IO,
                       "unix:/s: the connection ended in the middle of the answer");
        end(&arrival);
    }
}

static void what_is_no_chunk_is_refused(void **state)
{
    struct arrival *a = *state;
    arrives(a, CHUNKED, "1\r\n1\r\n");
    sends(a, "x\r\n", 3);
    assert_refused(
        a, GP_MALFORMED,
        "unix:/s: answer: malformed chunked body: Invalid character in chunk size");
}

static void a_reset_is_told_as_such(void **state)
{
    struct arrival *a = *state;
    arrives(a, UNTIL_END, "");
    assert_int_equal(send(a->link.fd, "unread", 6, 0), 6);
    closes(a);
    assert_refused(a, GP_IO, "unix:/s: receiving the answer: Connection reset by peer");
}

static void no_body_is_awaited_beyond_the_deadline(void **state)
{
    (void)state;
    static const char *const heads[] = {LENGTH(3), CHUNKED, UNTIL_END};
    for (size_t i = 0; i < 3; i++) {
        void *arrival;
        begin(&arrival);
        struct arrival *a = arrival;
        turned_clock_set(CLOCK_S);
        a->source.deadline_ns = CLOCK_S;
        arrives(a, heads[i], "");
        sends(a, "1\r", 2);
        assert_refused(a, GP_DEADLINE,
                       "unix:/s: the deadline passed while receiving the answer");
        end(&arrival);
    }
}

/* --- memory
 * ------------------------------------------------------------------------------ */

static void a_known_length_takes_what_it_needs(void **state)
{
    struct arrival *a = *state;
    arrives(a, LENGTH(1000), "");
    char *bytes = pattern(1000);
    sends(a, bytes, 1000);
    assert_int_equal(receive(a), GP_OK);
    assert_memory_equal(a->body.data, bytes, 1000);
    assert_ptr_equal(a->body.data, a->body.buffer.data);
    assert_in_range(a->body.capacity_bytes, 1000, 1000 + 1000 / 8 + 64);
    free(bytes);
}

/* What a chunk's size claims is not allocated before it comes. */
static void a_claim_takes_no_memory(void **state)
{
    struct arrival *a = *state;
    a->body.limit_bytes = 1 << 30;
    arrives(a, CHUNKED, "");
    sends(a, "3ffffff0\r\n0123", 14);
    closes(a);
    assert_int_equal(receive(a), GP_IO);
    assert_int_equal(a->body.size_bytes, 4);
    assert_memory_equal(a->body.data, "0123", 4);
    assert_in_range(a->body.capacity_bytes, 64 * 1024, 80 * 1024);
}

/* Fills the body's buffer but for a byte, and lets two more come. */
static void overflow_buffer(struct arrival *a, const char *head)
{
    struct client_body *body = &a->body;
    const bool is_chunked = strcmp(head, CHUNKED) == 0;
    assert_true(buffers_take(&a->buffers, 100000, &body->buffer));
    body->data = body->buffer.data;
    body->capacity_bytes = body->buffer.size_bytes;
    body->size_bytes = body->capacity_bytes - 1;
    char *bytes = pattern(body->size_bytes);
    memcpy(body->data, bytes, body->size_bytes);
    const unsigned char *before = body->data;
    const size_t size = body->size_bytes;

    arrives(a, head, is_chunked ? "2\r\nx" : "x");
    sends(a, "y\r\n0\r\n\r\n", is_chunked ? 8 : 1);
    closes(a);
    assert_int_equal(receive(a), GP_OK);
    assert_int_equal(body->size_bytes, size + 2);
    assert_memory_equal(body->data, bytes, size);
    assert_memory_equal(body->data + size, "xy", 2);
    /* the smaller one is kept for another answer */
    assert_ptr_not_equal(body->data, before);
    assert_ptr_equal(a->buffers.idle[0].data, before);
    free(bytes);
}

/* Twice as large each time, so that a body is copied a few times only, but not beyond its limit. */
static void a_body_of_unknown_length_grows(void **state)
{
    (void)state;
    static const char *const heads[] = {UNTIL_END, CHUNKED};
    for (int i = 0; i < 4; i++) {
        void *arrival;
        begin(&arrival);
        struct arrival *a = arrival;
        const size_t before = 100000 + 100000 / 8; /* about */
        const size_t wanted = i < 2 ? 2 * before : before + 1000;
        if (i >= 2)
            a->body.limit_bytes = wanted;
        overflow_buffer(a, heads[i % 2]);
        assert_in_range(a->body.capacity_bytes, wanted, wanted + wanted / 8 + 200);
        end(&arrival);
    }
}

/* Chunks that are larger than any piece of them: most of each goes straight to its place. */
static void long_bodies_come_whole(void **state)
{
    (void)state;
    enum { SIZE = 150000 };
    char *bytes = pattern(SIZE);
    for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
        void *arrival;
        begin(&arrival);
        struct arrival *a = arrival;
        arrives(a, is_chunked ? CHUNKED : UNTIL_END, "");
        if (is_chunked)
            sends(a, "249f0\r\n", 7); /* SIZE */
        sends(a, bytes, SIZE);
        if (is_chunked)
            sends(a, "\r\n0\r\n\r\n", 7);
        closes(a);
        assert_int_equal(receive(a), GP_OK);
        assert_int_equal(a->body.size_bytes, SIZE);
        assert_memory_equal(a->body.data, bytes, SIZE);
        end(&arrival);
    }
    free(bytes);
}

static void memory_may_be_short(void **state)
{
    struct arrival *a = *state;
    a->body.limit_bytes = SIZE_MAX;
    arrives(a, LENGTH(9223372036854775807), "");
    assert_refused(a, GP_NO_MEMORY,
                   "unix:/s: no memory for an answer of 9223372036854775807 bytes");
}

/* --- limits
 * ------------------------------------------------------------------------------ */

static const struct limit_case {
    const char *head, *along, *later;
    bool is_known;
} limit_cases[] = {
    {LENGTH(5), "", "01234", true},
    {LENGTH(5), "01234", "", true},
    {UNTIL_END, "01234", "", false},
    {UNTIL_END, "01", "234", false},
    {CHUNKED, "5\r\n01234\r\n0\r\n\r\n", "", false},
    {CHUNKED, "5\r\n01", "234\r\n0\r\n\r\n", false},
    {CHUNKED, "5\r\n0123", "4\r\n0\r\n\r\n", false},
    {CHUNKED, "3\r\n012\r\n2\r\n", "34\r\n0\r\n\r\n", false},
    {CHUNKED, "", "5\r\n01234\r\n0\r\n\r\n", false},
};

/* A body of five bytes into memory of the caller's that holds so many; NULL: into buffers. */
static void limited(const struct limit_case *c, size_t limit, char *own, size_t own_size,
                    const char *words)
{
    void *arrival;
    begin(&arrival);
    struct arrival *a = arrival;
    a->body.limit_bytes = limit;
    if (own) {
        a->body.buffers = NULL;
        a->body.data = (unsigned char *)own;
        a->body.capacity_bytes = own_size;
        memset(own, '-', 8);
    }
    arrives(a, c->head, c->along);
    sends(a, c->later, strlen(c->later));
    closes(a);
    char message[120];
    snprintf(message, sizeof message, "unix:/s: the answer has %s5 bytes, %s",
             c->is_known ? "" : "at least ", words ? words : "");
    if (words)
        assert_refused(a, GP_TOO_LARGE, message);
    else
        assert_received(a, "01234");
    if (own) {
        assert_ptr_equal(a->body.data, own);
        assert_memory_equal(own + own_size, "--------", 8 - own_size);
    }
    end(&arrival);
}

static void no_body_is_over_its_limit(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof limit_cases / sizeof *limit_cases; i++) {
        limited(&limit_cases[i], 5, NULL, 0, NULL);
        limited(&limit_cases[i], 4, NULL, 0, "over the limit of 4");
    }
}

static void no_body_exceeds_the_memory_of_the_caller(void **state)
{
    (void)state;
    char own[8];
    for (size_t i = 0; i < sizeof limit_cases / sizeof *limit_cases; i++) {
        limited(&limit_cases[i], 5, own, 5, NULL);
        limited(&limit_cases[i], 1000, own, 4, "but the buffer holds 4");
        limited(&limit_cases[i], 4, own, 5, "over the limit of 4");
    }
}

/* The size of a chunk alone is enough to refuse it. */
static void a_chunk_over_the_limit_is_not_awaited(void **state)
{
    struct arrival *a = *state;
    a->body.limit_bytes = 1000;
    arrives(a, CHUNKED, "1\r\nx\r\n");
    sends(a, "3e8\r\n", 5);
    assert_refused(a, GP_TOO_LARGE,
                   "unix:/s: the answer has at least 1001 bytes, over the limit of 1000");
    assert_int_equal(a->body.size_bytes, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_of_known_length_ends_there),
        cmocka_unit_test(a_body_without_length_ends_with_the_connection),
        cmocka_unit_test(a_body_may_be_cut_off),
        TEST(what_is_no_chunk_is_refused),
        TEST(a_reset_is_told_as_such),
        cmocka_unit_test(no_body_is_awaited_beyond_the_deadline),
        TEST(a_known_length_takes_what_it_needs),
        TEST(a_claim_takes_no_memory),
        cmocka_unit_test(a_body_of_unknown_length_grows),
        cmocka_unit_test(long_bodies_come_whole),
        TEST(memory_may_be_short),
        cmocka_unit_test(no_body_is_over_its_limit),
        cmocka_unit_test(no_body_exceeds_the_memory_of_the_caller),
        TEST(a_chunk_over_the_limit_is_not_awaited),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
