/* Bodies in chunks: what they are refused for, when they get more room, and what growing costs. */
#include "scene.h"

#include <stdio.h>

#define CLOSE "Connection: close\r\n"
#define CHUNKED                                                                          \
    " HTTP/1.1\r\nHost: x\r\n"                                                           \
    "Transfer-Encoding: chunked\r\n\r\n"

enum { KIB = 1024, MIB = 1024 * KIB };

/* The beginning of a chunk of that size, and so many bytes of it. */
static void say_chunk(struct scene *f, struct visitor *client, size_t size, size_t n)
{
    char line[32];
    (void)snprintf(line, sizeof line, "%zx\r\n", size);
    scene_say(f, client, line);
    scene_say_zeros(f, client, n);
    if (n == size)
        scene_say(f, client, "\r\n");
}

static const struct exchange *request_of(const struct visitor *client)
{
    assert_non_null(client->c->x);
    return client->c->x;
}

static size_t used_bytes(struct scene *f)
{
    return pool_count(f->server->pool).used_bytes;
}

/* The whole of it counts, not a chunk. */
static void a_chunked_body_has_a_limit(void **state)
{
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.max_body_bytes = 1000});
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /control/is_alive" CHUNKED);
    say_chunk(f, client, 600, 600);
    say_chunk(f, client, 400, 400);
    scene_say(f, client, "0\r\n\r\n");
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    scene_say(f, client, "POST /control/is_alive" CHUNKED);
    say_chunk(f, client, 600, 600);
    scene_say(f, client, "191\r\n");
    scene_hear_text(f, client, "413 Content Too Large", CLOSE,
                    "a chunked body of 600 bytes and 401 more is over the limit "
                    "(--max-body) of 1000\n");
    client = scene_connect(f, 1, NULL);
    scene_say(f, client, "GET /control/is_alive" CHUNKED "10001\r\n");
    scene_hear_text(f, client, "413 Content Too Large", CLOSE,
                    "a chunked body of 0 bytes and 65537 more is over the limit "
                    "(--max-body) of 65536\n");
    scene_end(f);
}

static void a_chunked_body_may_be_malformed(void **state)
{
    (void)state;
    struct scene *f = scene_begin(&(struct gp_server_options){.max_body_bytes = 1000});
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /control/is_alive" CHUNKED "zz\r\n");
    scene_hear_text(f, client, "400 Bad Request", CLOSE,
                    "malformed chunked body: Invalid character in chunk size\n");
    client = scene_connect(f, 1, NULL); /* too large, and here with its size */
    char text[1200] = "POST /control/is_alive" CHUNKED "3e9\r\n";
    memset(text + strlen(text), 'x', 1001);
    scene_say(f, client, text);
    scene_hear_text(f, client, "413 Content Too Large", CLOSE,
                    "a chunked body of 0 bytes and 1001 more is over the limit "
                    "(--max-body) of 1000\n");
    scene_end(f);
}

/* The room doubles, so that a body is moved less than twice. */
static void room_for_chunks_doubles(void **state)
{
    enum { CHUNK = 10000 };
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /control/is_alive" CHUNKED);
    const struct exchange *x = request_of(client);
    assert_int_equal(x->body.size_bytes, 64 * KIB);
    assert_true(x->body.touched_bytes >= 64 * KIB);
    size_t before = x->body.size_bytes, n_growths = 0;
    while (x->body_size < 900000) {
        const size_t size = x->body_size, rest = x->body.size_bytes - size;
        say_chunk(f, client, CHUNK, CHUNK);
        assert_int_equal(x->body_size, size + CHUNK);
        assert_int_equal(used_bytes(f), x->body.counted_bytes);
        if (x->body.size_bytes == before)
            continue;
        assert_true(rest < CHUNK);
        assert_in_range(x->body.size_bytes, 2 * size, 2 * size + 4096);
        before = x->body.size_bytes;
        n_growths++;
    }
    assert_int_equal(n_growths, 4);
    scene_say(f, client, "0\r\n\r\n");
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    assert_int_equal(used_bytes(f), 0);
    scene_end(f);
}

/* For the whole chunk at once, but at most 4 MiB at a time. */
static void a_large_chunk_gets_its_room_at_once(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /control/is_alive" CHUNKED);
    const struct exchange *x = request_of(client);
    say_chunk(f, client, 3 * MIB, 0);
    assert_int_equal(x->body.size_bytes, 3 * MIB);
    scene_leave(f, client);

    client = scene_connect(f, 0, NULL);
    scene_announce(f, client, "POST /control/is_alive", 8 * MIB); /* leaves warm pages */
    scene_say_zeros(f, client, 8 * MIB);
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    scene_say(f, client, "POST /control/is_alive" CHUNKED);
    x = request_of(client);
    say_chunk(f, client, 9 * MIB, 0);
    assert_int_equal(x->body.size_bytes, 4 * MIB);
    assert_true(x->body.touched_bytes >= 4 * MIB);
    scene_say_zeros(f, client, 4 * MIB - WINDOW_BYTES);
    assert_int_equal(x->body.size_bytes, 4 * MIB);
    scene_say_zeros(f, client, 1);
    const size_t size = x->body.size_bytes, rest = size - x->body_size;
    assert_in_range(size, 2 * (4 * MIB - WINDOW_BYTES), 8 * MIB - 4096);
    assert_true(x->body.touched_bytes > size);
    scene_say_zeros(f, client, rest - 100 * KIB); /* more than the window holds */
    assert_int_equal(x->body.size_bytes, size);
    scene_say_zeros(f, client, 150 * KIB); /* the warm pages behind it are not its own */
    assert_true(x->body.size_bytes > size);
    assert_true(x->body.size_bytes >= x->body_size);
    scene_say_zeros(f, client, 9 * MIB - x->body_size);
    scene_say(f, client, "\r\n0\r\n\r\n");
    scene_hear_text(f, client, "200 OK", "", "ok\n");
    scene_end(f);
}

/* Its pages are in place before the bytes come, however large it is. */
static void pages_are_in_place_before_the_bytes(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    for (int is_chunked = 0; is_chunked < 2; is_chunked++) {
        if (is_chunked)
            scene_say(f, client, "POST /control/is_alive" CHUNKED "f00000\r\n");
        else
            scene_announce(f, client, "POST /control/is_alive", 15 * MIB);
        const struct exchange *x = request_of(client);
        for (size_t n = 1; n < 15; n++) {
            scene_say_zeros(f, client, MIB);
            assert_int_equal(x->body_size, n * MIB);
            assert_true(x->body.touched_bytes >= x->body_size);
        }
        scene_say_zeros(f, client, MIB);
        scene_say(f, client, is_chunked ? "\r\n0\r\n\r\n" : "");
        scene_hear_text(f, client, "200 OK", "", "ok\n");
    }
    scene_end(f);
}

/* Moving a MiB takes so long that the watcher has to find a stand-in. */
static void moving_much_is_long_work(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    const struct poller *poller = &f->server->poller;
    scene_say(f, client, "POST /control/is_alive" CHUNKED);
    say_chunk(f, client, MIB - 1, MIB - 1);
    say_chunk(f, client, 2, 2); /* 1 MiB - 1 is moved */
    assert_int_equal(atomic_load(&poller->n_runs), 0);
    scene_leave(f, client);
    client = scene_connect(f, 0, NULL);
    scene_say(f, client, "POST /control/is_alive" CHUNKED);
    say_chunk(f, client, MIB, MIB);
    assert_int_equal(atomic_load(&poller->n_runs), 0);
    say_chunk(f, client, 1, 1);
    assert_int_equal(atomic_load(&poller->n_runs), 1);
    assert_int_equal(atomic_load(&poller->n_engaged), 0);
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chunked_body_has_a_limit),
        cmocka_unit_test(a_chunked_body_may_be_malformed),
        cmocka_unit_test(room_for_chunks_doubles),
        cmocka_unit_test(a_large_chunk_gets_its_room_at_once),
        cmocka_unit_test(pages_are_in_place_before_the_bytes),
        cmocka_unit_test(moving_much_is_long_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
