/* The memory of a request's body: how much of it is admitted, together with the answer's, and what is said
 * where there is no room. test_chunks has what comes in chunks. */
#include "scene.h"

#include <stdio.h>

#define HOST " HTTP/1.1\r\nHost: x\r\n"
#define CLOSE "Connection: close\r\n"
#define BUSY CLOSE "Retry-After: 1\r\n"
#define CHUNKED HOST "Transfer-Encoding: chunked\r\n\r\n"

enum { KIB = 1024, MIB = 1024 * KIB };

static const struct exchange *request_of(const struct visitor *client)
{
    assert_non_null(client->c->x);
    return client->c->x;
}

static size_t promised(const struct visitor *client)
{
    return request_of(client)->inference.run.engine_run.promise.size_bytes;
}

/* What the pool counts for so many bytes. */
static size_t counted(struct scene *f, size_t size)
{
    struct pool_promise promise = {0};
    assert_int_equal(pool_reserve(f->server->pool, &promise, size, 0), POOL_GRANTED);
    const size_t bytes = promise.size_bytes;
    pool_unreserve(f->server->pool, &promise);
    return bytes;
}

static struct model *model_of(struct scene *f)
{
    assert_non_null(f->server->models.open);
    return f->server->models.open;
}

/* --- limits --- */

/* A model may have a limit of its own, under the server's. */
static void the_lower_limit_holds(void **state)
{
    static const struct {
        uint64_t of_model, longest;
    } cases[] = {{0, 5000}, {1000, 1000}, {4999, 4999}, {6000, 5000}};
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.max_body_bytes = 5000});
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct visitor *client = scene_connect(f, 0, NULL);
        model_of(f)->max_body_bytes = cases[i].of_model;
        scene_announce(f, client, "POST /", cases[i].longest);
        scene_hear_nothing(f, client);
        scene_leave(f, client);
        client = scene_connect(f, 0, NULL);
        scene_announce(f, client, "POST /", cases[i].longest + 1);
        scene_hear(f, client, "HTTP/1.1 413 Content Too Large\r\n");
        scene_leave(f, client);
    }
    scene_end(f);
}

/* A quarter of the pool, for a body and its answer together. */
static void a_request_has_a_share(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_announce(f, client, "POST /", SCENE_SHARE_BYTES / 2);
    scene_hear_nothing(f, client);
    scene_leave(f, client);
    client = scene_connect(f, 0, NULL);
    scene_announce(f, client, "POST /", SCENE_SHARE_BYTES / 2 + 1);
    scene_hear_text(f, client, "413 Content Too Large", CLOSE,
                    "a body of 8388609 bytes and an answer of 8388609 are more than one "
                    "request may have: 16777216 bytes, a quarter of the pool (--pool)\n");
    scene_leave(f, client);
    client = scene_connect(f, 0, NULL); /* one without an answer to speak of */
    scene_announce(f, client, "POST /control/is_alive", SCENE_SHARE_BYTES);
    scene_hear_nothing(f, client);
    scene_leave(f, client);
    client = scene_connect(f, 0, NULL);
    scene_announce(f, client, "POST /control/is_alive", SCENE_SHARE_BYTES + 1);
    scene_hear_text(f, client, "413 Content Too Large", CLOSE,
                    "a body of 16777217 bytes and an answer of 0 are more than one "
                    "request may have: 16777216 bytes, a quarter of the pool (--pool)\n");
    scene_end(f);
}

/* --- the answer's room --- */

static const int64_t thousands[] = {1000, 1000}, seven[] = {7}, any_row[] = {-1, 1000};

/* What the outputs will take, where that is known before the run; else as much as the body. */
static void the_answer_is_admitted_with_the_body(void **state)
{
    enum { BODY = 60 * KIB };
    static const struct gp_io x = {
        .name = "x", .description = "", .shape = seven, .rank = 1, .dtype = GP_UINT8};
#define Y(of_shape, of_rank, ...)                                                        \
    {                                                                                    \
        .name = "y", .description = "", .shape = (of_shape), .rank = (of_rank),          \
        .dtype = GP_FLOAT32, __VA_ARGS__                                                 \
    }
    static const struct {
        const char *begins;
        struct gp_io outputs[2];
        size_t answer;
    } cases[] = {
        {"POST /", {Y(thousands, 2, 0), Y(seven, 1, 0)}, 4000028},
        {"POST /", {Y(thousands, 2, 0), Y(any_row, 2, 0)}, BODY},
        {"POST /", {Y(any_row, 2, 0), Y(thousands, 2, 0)}, BODY},
        {"POST /", {Y(seven, 1, 0), Y(NULL, 0, .flags = GP_IO_ANY_RANK)}, BODY},
        {"POST /control/is_alive", {Y(thousands, 2, 0), Y(seven, 1, 0)}, 0},
        {"GET /", {Y(thousands, 2, 0), Y(seven, 1, 0)}, 0},
    };
#undef Y
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gp_io outputs[2] = {cases[i].outputs[0], cases[i].outputs[1]};
        outputs[1].name = "z";
        const struct gp_metadata metadata = {
            .inputs = &x, .n_inputs = 1, .outputs = outputs, .n_outputs = 2};
        struct scene *f = scene_begin(&(struct gp_server_options){.metadata = &metadata});
        struct visitor *client = scene_connect(f, 0, NULL);
        scene_announce(f, client, cases[i].begins, BODY);
        assert_int_equal(promised(client), counted(f, cases[i].answer));
        assert_int_equal(pool_count(f->server->pool).reserved_bytes, promised(client));
        scene_leave(f, client);

        /* in chunks, once the last has come */
        client = scene_connect(f, 0, NULL);
        char head[128];
        (void)snprintf(head, sizeof head, "%s" CHUNKED, cases[i].begins);
        scene_say(f, client, head);
        scene_say(f, client, "3\r\n123\r\n");
        assert_int_equal(promised(client), 0);
        scene_leave(f, client);
        scene_end(f);
    }
}

/* An answer that is too large is refused when a chunked body ends, even a short one. */
static void the_end_of_a_chunked_body_admits_the_answer(void **state)
{
    static const int64_t large[] = {SCENE_SHARE_BYTES - 10};
    static const struct gp_io y = {
        .name = "y", .description = "", .shape = large, .rank = 1, .dtype = GP_UINT8};
    static const struct gp_metadata metadata = {
        .inputs = &y, .n_inputs = 1, .outputs = &y, .n_outputs = 1};
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.metadata = &metadata});
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /" CHUNKED "b\r\n12345678901\r\n");
    scene_hear_nothing(f, client);
    scene_say(f, client, "0\r\n\r\n");
    scene_hear_text(f, client, "413 Content Too Large", CLOSE,
                    "a body of 11 bytes and an answer of 16777206 are more than one "
                    "request may have: 16777216 bytes, a quarter of the pool (--pool)\n");
    scene_leave(f, client);
    for (int i = 1; i < 4; i++)
        scene_announce(f, scene_connect(f, i, NULL), "POST /control/is_alive",
                       SCENE_SHARE_BYTES - MIB);
    client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /" CHUNKED "3\r\n123\r\n");
    scene_say(f, client, "0\r\n\r\n");
    scene_hear_text(
        f, client, "503 Service Unavailable", BUSY,
        "this client's share is used up: with 0 bytes of body and 16777206 of "
        "answer its requests would hold over a quarter of the pool (--pool), "
        "16777216 bytes, and the last quarter is kept for others; try again "
        "later\n");
    scene_end(f);
}

/* --- where there is no room --- */

/* One client may have three quarters, four together have all. */
static void what_there_is_no_room_for(void **state)
{
    (void)state;
    struct sockaddr_in6 from;
    struct scene *f = scene_begin(NULL);
    for (int i = 0; i < 3; i++)
        scene_announce(f, scene_connect(f, i, scene_address(&from, "10.0.0.1")), "POST /",
                       SCENE_SHARE_BYTES / 2);
    struct visitor *client = scene_connect(f, 3, scene_address(&from, "10.0.0.1"));
    scene_announce(f, client, "POST /", MIB);
    scene_hear_text(f, client, "503 Service Unavailable", BUSY,
                    "this client's share is used up: with 1048576 bytes of body and "
                    "1048576 of answer "
                    "its requests would hold over a quarter of the pool (--pool), "
                    "16777216 bytes, and "
                    "the last quarter is kept for others; try again later\n");
    scene_announce(f, scene_connect(f, 4, scene_address(&from, "10.0.0.2")), "POST /",
                   SCENE_SHARE_BYTES / 2);
    scene_hear_nothing(f, &f->visitors[4]);
    client = scene_connect(f, 5, scene_address(&from, "10.0.0.3"));
    scene_announce(f, client, "POST /control/is_alive", MIB);
    scene_hear_text(f, client, "503 Service Unavailable", BUSY,
                    "the pool (--pool) has no room for 1048576 bytes of body and 0 of "
                    "answer; try again later\n");
    const struct metrics *metrics = &f->server->metrics;
    assert_int_equal(atomic_load(&metrics->n_refused[METRICS_REFUSED_BODY]), 2);
    assert_int_equal(atomic_load(&metrics->n_revoked), 0);
    for (int i = 0; i < 3; i++)
        scene_hear_nothing(f, &f->visitors[i]);

    /* of those that have stalled it is taken back, but no more than is needed */
    scene_turn_to(2000);
    client = scene_connect(f, 6, scene_address(&from, "10.0.0.3"));
    scene_announce(f, client, "POST /", MIB);
    scene_hear_nothing(f, client);
    assert_int_equal(promised(client), counted(f, MIB));
    scene_hear_text(f, &f->visitors[0], "503 Service Unavailable", BUSY,
                    "another request needed the memory (--pool) kept for this one, whose "
                    "body did not come for 2 s, or came at less than --min-rate; try "
                    "again later\n");
    assert_true(f->visitors[0].is_ended);
    for (int i = 1; i < 5; i++)
        if (i != 3)
            scene_hear_nothing(f, &f->visitors[i]);
    assert_int_equal(atomic_load(&metrics->n_revoked), 1);
    assert_int_equal(atomic_load(&metrics->n_refused[METRICS_REFUSED_BODY]), 2);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_lower_limit_holds),
        cmocka_unit_test(a_request_has_a_share),
        cmocka_unit_test(the_answer_is_admitted_with_the_body),
        cmocka_unit_test(the_end_of_a_chunked_body_admits_the_answer),
        cmocka_unit_test(what_there_is_no_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
