/* What a client is told where memory is short, at each place where it can be. The linker puts these
 * functions before those of base/mem.h and of the arena (tests.cmake); tests/fault has all the calls of
 * whole conversations fail, and looks for what is left. */
#include "scene.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#define HOST " HTTP/1.1\r\nHost: x\r\n"
#define ALIVE "GET /control/is_alive" HOST "\r\n"
#define BUSY "503 Service Unavailable", "Connection: close\r\nRetry-After: 1\r\n"

/* So many calls go well before one fails; below 0: all do. */
struct shortage {
    int n_zalloc, n_arena, n_pages;
};

static const struct shortage none = {-1, -1, -1};
static struct shortage now = {-1, -1, -1};

static bool fails(int *n)
{
    return *n >= 0 && (*n)-- == 0;
}

void *__real_mem_zalloc(size_t size_bytes);
void *__wrap_mem_zalloc(size_t size_bytes);
void *__real_gp_arena_alloc(struct gp_arena *arena, size_t size_bytes);
void *__wrap_gp_arena_alloc(struct gp_arena *arena, size_t size_bytes);

void *__wrap_mem_zalloc(size_t size_bytes)
{
    return fails(&now.n_zalloc) ? NULL : __real_mem_zalloc(size_bytes);
}

void *__wrap_gp_arena_alloc(struct gp_arena *arena, size_t size_bytes)
{
    return fails(&now.n_arena) ? NULL : __real_gp_arena_alloc(arena, size_bytes);
}

int madvise(void *at, size_t size, int advice)
{
    if (advice != MADV_POPULATE_WRITE || !fails(&now.n_pages))
        return (int)syscall(SYS_madvise, at, size, advice);
    errno = ENOMEM;
    return -1;
}

static unsigned long n_refused(const struct scene *f, enum metrics_refusal what)
{
    return atomic_load(&f->server->metrics.n_refused[what]);
}

/* Nor for its peer. */
static void no_memory_for_a_connection(void **state)
{
    (void)state;
    struct sockaddr_in6 from;
    struct scene *f = scene_begin(NULL);
    for (int n = 0; n < 3; n++) { /* a connection, its peer, the peer's site */
        now.n_zalloc = n;
        assert_true(scene_knock(f, n, scene_address(&from, "2001:db8::1"), true, ALIVE));
        now = none;
        assert_null(f->visitors[n].c);
        scene_hear_text(f, &f->visitors[n], BUSY,
                        "the server is out of memory; try again later\n");
        assert_true(f->visitors[n].is_ended);
        assert_int_equal(connections_count(&f->server->connections), 0);
        assert_int_equal(connections_count_peers(&f->server->connections), 0);
    }
    scene_end(f);
}

/* It is told without an exchange, and has time to read it. */
static void no_memory_for_a_request(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    for (int n = 0; n < 2; n++) { /* an exchange, its arena */
        struct visitor *client = scene_connect(f, 0, NULL);
        now.n_zalloc = n;
        scene_turn_to(500);
        scene_say(f, client, ALIVE);
        now = none;
        assert_int_equal(client->c->state, CONNECTION_LINGER);
        assert_int_equal(client->c->guest.timer.deadline_ns, SCENE_NS + 10500 * CLOCK_MS);
        scene_hear_text(f, client, BUSY,
                        "the server is out of memory; try again later\n");
        assert_true(client->is_ended);
        assert_int_equal(n_refused(f, METRICS_REFUSED_HEAD), n + 1);
        scene_leave(f, client);
    }
    scene_end(f);
}

/* Nor for what has come of one. */
static void no_memory_for_a_request_that_waits(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    now.n_pages = 0;
    scene_say(f, client, "GET / HTTP/1.1\r\n");
    now = none;
    scene_hear_text(f, client, BUSY,
                    "the pool (--pool) has no room to keep what has come of this request "
                    "until the rest comes, or this client's share of it is used up; try "
                    "again later\n");
    assert_true(client->is_ended);
    assert_int_equal(pool_count(f->server->pool).used_bytes, 0);
    scene_end(f);
}

static void what_memory_is_short_for(void **state)
{
    static const struct {
        struct shortage shortage;
        const char *request, *status, *fields, *text;
    } cases[] = {
        {{-1, 0, -1}, ALIVE, BUSY, "no memory for the request's target\n"},
        {{-1, 1, -1}, ALIVE, BUSY, "the server is out of memory; try again later\n"},
        {{-1, -1, 0},
         "POST /control/is_alive" HOST "Content-Length: 8192\r\n\r\n12345",
         BUSY,
         "no memory for a body of 8192 bytes\n"},
        {{-1, -1, 0},
         "POST /control/is_alive" HOST "Transfer-Encoding: chunked\r\n\r\n",
         BUSY,
         "no memory for a body of 65536 bytes\n"},
        {{-1, -1, 1},
         "POST /control/is_alive" HOST "Transfer-Encoding: chunked\r\n\r\n30000\r\n",
         BUSY,
         "no memory for a body of 196608 bytes\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct scene *f = scene_begin(NULL);
        struct visitor *client = scene_connect(f, 0, NULL);
        now = cases[i].shortage;
        scene_say(f, client, cases[i].request);
        now = none;
        scene_hear_text(f, client, cases[i].status, cases[i].fields, cases[i].text);
        assert_true(client->is_ended);
        assert_int_equal(pool_count(f->server->pool).used_bytes, 0);
        const uint64_t n_ended =
            counters_sum(&f->server->metrics.counters, METRICS_ENDED);
        assert_int_equal(n_ended, 1);
        scene_end(f);
    }
}

/* An error for which there is no message is told as text. */
static void no_memory_for_an_error(void **state)
{
    (void)state;
    struct scene *f = scene_begin(NULL);
    struct visitor *client = scene_connect(f, 0, NULL);
    now.n_arena = 1; /* behind the target */
    scene_say(f, client,
              "POST /v1" HOST
              "Accept: application/x-graphpipe\r\nContent-Length: 0\r\n\r\n");
    assert_true(now.n_arena < 0);
    now = none;
    scene_hear_text(f, client, "404 Not Found", "",
                    "no such route: this path is reserved\n");
    scene_end(f);
}

static void no_memory_for_an_order(void **state)
{
    static const char *const texts[] = {"no memory for the model's name\n",
                                        "no memory for an order to the loader\n"};
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct scene *f = scene_begin(NULL);
        struct visitor *client = scene_connect(f, 0, NULL);
        now.n_arena = 1 + i; /* behind the target */
        scene_say(f, client,
                  "POST /control/models/one/load HTTP/1.1\r\nHost: localhost\r\n"
                  "Content-Length: 0\r\n\r\n");
        now = none;
        scene_hear_text(f, client, "503 Service Unavailable", "Retry-After: 1\r\n",
                        texts[i]);
        scene_end(f);
    }
}

/* Whichever allocation fails, the client reads a 503 that says so, and nothing is left of its request. */
static void what_an_inference_needs(void **state)
{
    static const char *const names[] = {"y", "z", "y"};
    (void)state;
    struct scene *f = scene_begin(NULL);
    for (int n = 0, is_over = false; !is_over; n++) {
        struct visitor *client = scene_connect(f, 0, NULL);
        assert_true(n < 100);
        size_t size;
        char *message = scene_message_for(names, 3, 8, "5000", &size);
        now.n_arena = n;
        scene_post_message(f, client, message, size, "");
        scene_serve(f);
        is_over = now.n_arena >= 0;
        now = none;
        scene_hear(f, client,
                   is_over ? "HTTP/1.1 200 OK\r\n"
                           : "HTTP/1.1 503 Service Unavailable\r\n");
        assert_true(is_over || strstr(client->received, "memory"));
        assert_true(!is_over || n > 8);
        assert_int_equal(counters_sum(&f->server->metrics.counters, METRICS_ENDED),
                         n + 1);
        scene_leave(f, client);
        assert_int_equal(pool_count(f->server->pool).used_bytes, 0);
        assert_int_equal(pool_count(f->server->pool).reserved_bytes, 0);
    }
    scene_end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_memory_for_a_connection),
        cmocka_unit_test(no_memory_for_a_request),
        cmocka_unit_test(no_memory_for_a_request_that_waits),
        cmocka_unit_test(what_memory_is_short_for),
        cmocka_unit_test(no_memory_for_an_error),
        cmocka_unit_test(no_memory_for_an_order),
        cmocka_unit_test(what_an_inference_needs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
