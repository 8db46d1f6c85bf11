/* What a server does where its caller says nothing, as include/graphpipe/server.h promises it, and
 * callers with a struct of another version. */
#include "server/defaults.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <cmocka.h>

enum { N_CORES = 3 };

static struct gp_server server;
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    server = (struct gp_server){.arena = gp_arena_create(), .place.n_cores = N_CORES};
    return server.arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gp_arena_destroy(server.arena);
    return 0;
}

/* The server's options where these are asked for. */
static const struct gp_server_options *set(const struct gp_server_options *given)
{
    const struct gp_server_options taken = defaults_take(given);
    if (defaults_set(&server, &taken, &err) != GP_OK)
        fail_msg("%s", err.message);
    return &server.options;
}

static void assert_defaults(const struct gp_server_options *o)
{
    assert_int_equal(server.max_body_bytes, 1 << 30);
    assert_int_equal(o->max_waiting, 1024);
    assert_int_equal(server.timeout_ms, 0);
    assert_int_equal(o->head_timeout_ms, 10000);
    assert_int_equal(o->idle_timeout_ms, 75000);
    assert_int_equal(o->drain_timeout_ms, 30000);
    assert_int_equal(o->hang_timeout_ms, 30000);
    assert_int_equal(o->min_rate_bytes, 1000000);
    assert_int_equal(o->n_pollers, N_CORES);
    assert_true(o->max_connections > 0);
    assert_false(o->allow_remote_control);
    assert_false(o->isolate);
}

static void what_is_left_open(void **state)
{
    (void)state;
    assert_defaults(set(NULL));
    assert_defaults(
        set(&(struct gp_server_options){.size_bytes = sizeof(struct gp_server_options)}));
}

static void what_is_said(void **state)
{
    (void)state;
    const struct gp_server_options given = {.size_bytes = sizeof given,
                                            .max_body_bytes = 1,
                                            .max_waiting = 2,
                                            .max_connections = 3,
                                            .timeout_ms = 4,
                                            .head_timeout_ms = 5,
                                            .idle_timeout_ms = 6,
                                            .drain_timeout_ms = 7,
                                            .hang_timeout_ms = 8,
                                            .min_rate_bytes = 9,
                                            .n_pollers = 10};
    const struct gp_server_options *o = set(&given);
    assert_int_equal(server.max_body_bytes, 1);
    assert_int_equal(o->max_waiting, 2);
    assert_int_equal(o->max_connections, 3);
    assert_int_equal(server.timeout_ms, 4);
    assert_int_equal(o->head_timeout_ms, 5);
    assert_int_equal(o->idle_timeout_ms, 6);
    assert_int_equal(o->drain_timeout_ms, 7);
    assert_int_equal(o->hang_timeout_ms, 8);
    assert_int_equal(o->min_rate_bytes, 9);
    assert_int_equal(o->n_pollers, 10);
}

static void what_is_too_much(void **state)
{
    (void)state;
    const struct gp_server_options most = {.size_bytes = sizeof most,
                                           .max_body_bytes = GP_MAX_MESSAGE_BYTES,
                                           .max_connections = UINT32_MAX};
    struct gp_server_options more = most;
    const uint32_t n_most = set(NULL)->max_connections;
    assert_int_equal(set(&most)->max_connections, n_most);
    more.max_body_bytes++;
    assert_int_equal(defaults_set(&server, &more, &err), GP_INVALID);
}

/* Some descriptors are for other things than connections. */
static void connections_leave_descriptors_to_others(void **state)
{
    static const struct {
        rlim_t limit;
        uint32_t n_most;
    } cases[] = {{100, 50}, {127, 63}, {128, 64}, {129, 65}, {200, 136}};
    struct gp_server_options few = {.size_bytes = sizeof few};
    struct rlimit before;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct rlimit limit = {cases[i].limit, before.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_int_equal(set(NULL)->max_connections, cases[i].n_most);
        few.max_connections = cases[i].n_most - 1;
        assert_int_equal(set(&few)->max_connections, cases[i].n_most - 1);
        few.max_connections = cases[i].n_most + 1;
        assert_int_equal(set(&few)->max_connections, cases[i].n_most);
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
}

/* The caller's are borrowed. */
static void texts_are_copied(void **state)
{
    char engine_dir[] = "dir", worker[] = "worker", first[] = "a.example:80",
         second[] = "[::1]";
    const char *hosts[] = {first, second};
    const struct gp_server_options given = {.size_bytes = sizeof given,
                                            .engine_dir = engine_dir,
                                            .worker = worker,
                                            .allow_hosts = hosts,
                                            .n_allow_hosts = 2};
    (void)state;
    const struct gp_server_options *o = set(&given);
    engine_dir[0] = worker[0] = first[0] = second[0] = 'x';
    hosts[0] = hosts[1] = NULL;
    assert_string_equal(o->engine_dir, "dir");
    assert_string_equal(o->worker, "worker");
    assert_string_equal(o->allow_hosts[0], "a.example:80");
    assert_string_equal(o->allow_hosts[1], "[::1]");
    assert_null(set(NULL)->engine_dir);
    assert_null(server.options.worker);
}

static void hosts_are_names(void **state)
{
    static const char *const bad[] = {"", "a/b", "u@a", "a b", "a,b", "http://a"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const hosts[] = {"good", bad[i]};
        const struct gp_server_options given = {
            .size_bytes = sizeof given, .allow_hosts = hosts, .n_allow_hosts = 2};
        char begin[64];
        (void)snprintf(begin, sizeof begin, "--allow-host is \"%s\"; wanted ", bad[i]);
        assert_int_equal(defaults_set(&server, &given, &err), GP_INVALID);
        assert_memory_equal(err.message, begin, strlen(begin));
    }
}

/* Of a long one the beginning is shown. */
static void a_long_host_is_cut(void **state)
{
    char name[201], begin[128];
    (void)state;
    memset(name, 'a', 200);
    name[0] = '/';
    name[200] = '\0';
    const char *const hosts[] = {name};
    const struct gp_server_options given = {
        .size_bytes = sizeof given, .allow_hosts = hosts, .n_allow_hosts = 1};
    (void)snprintf(begin, sizeof begin, "--allow-host is \"%.100s\"; wanted ", name);
    assert_int_equal(defaults_set(&server, &given, &err), GP_INVALID);
    assert_memory_equal(err.message, begin, strlen(begin));
}

/* Half of what there is, unless it is set. */
static void how_large_the_pool_is(void **state)
{
    char words[PLACE_WORDS_BYTES];
    (void)state;
    server.place = (struct place){.memory_bytes = 4096, .memory_from = "memory.max"};
    assert_int_equal(defaults_pool_bytes(&server, words), 2048);
    assert_string_equal(words, "half of memory.max");
    server.options.pool_bytes = 8192;
    assert_int_equal(defaults_pool_bytes(&server, words), 8192);
    assert_string_equal(words, "--pool");
}

/* A caller of 0.1 has a shorter struct, and says no size; one of a later version a longer one. */
static void other_versions(void **state)
{
    (void)state;
    struct {
        struct gp_server_options options;
        char more[64];
    } longer;
    memset(&longer, 0xff, sizeof longer);
    longer.options =
        (struct gp_server_options){.size_bytes = sizeof longer, .hang_timeout_ms = 8};
    assert_int_equal(set(&longer.options)->hang_timeout_ms, 8);

    const size_t size =
        offsetof(struct gp_server_options, log_format) + sizeof(enum gp_log_format);
    void *shorter = calloc(1, size); /* what is read beyond it, a sanitizer sees */
    assert_non_null(shorter);
    assert_defaults(set(shorter));
    free(shorter);
    longer.options.size_bytes = 0;
    longer.options.head_timeout_ms = 5;
    assert_int_equal(set(&longer.options)->head_timeout_ms, 5);
    assert_int_equal(server.options.hang_timeout_ms, 30000);
}

static enum gp_status run_nothing(void *self, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *error)
{
    (void)self, (void)call, (void)outputs;
    return gp_error_set(error, GP_ENGINE, "nothing");
}

/* The port may be taken. */
static void where_it_listens(void **state)
{
    (void)state;
    struct gp_server *made = gp_server_create_function(run_nothing, NULL, NULL, &err);
    const char *where = made ? gp_server_address(made, 0) : err.message;
    assert_non_null(strstr(where, "127.0.0.1:9000"));
    gp_server_destroy(made);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(what_is_left_open, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_said, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_too_much, set_up, tear_down),
        cmocka_unit_test_setup_teardown(connections_leave_descriptors_to_others, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(texts_are_copied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(hosts_are_names, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_host_is_cut, set_up, tear_down),
        cmocka_unit_test_setup_teardown(how_large_the_pool_is, set_up, tear_down),
        cmocka_unit_test_setup_teardown(other_versions, set_up, tear_down),
        cmocka_unit_test(where_it_listens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
