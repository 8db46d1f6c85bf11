/* Servers that are made, and those that are not: what the options reach, and why they are refused. */
#include "base/place.h"
#include "base/process.h"

#include "live.h"
#include "temp_tree.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)

/* --- refusals --- */

static enum gp_status run_nothing(void *self, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self, (void)call, (void)outputs;
    return gp_error_set(err, GP_ENGINE, "nothing");
}

/* With that message, and without a thread or a descriptor that is left. */
static void assert_refused(const struct gp_server_options *options, bool is_function,
                           enum gp_status status, const char *message)
{
    struct gp_error err = {GP_OK, ""};
    struct process_usage usage_before, usage_after;
    assert_true(process_usage(&usage_before));
    struct gp_server *server =
        is_function ? gp_server_create_function(run_nothing, NULL, options, &err)
                    : gp_server_create(options, &err);
    assert_null(server);
    assert_string_equal(err.message, message);
    assert_int_equal(err.status, status);
    live_await_threads(usage_before.n_threads);
    assert_true(process_usage(&usage_after));
    assert_int_equal(usage_after.n_fds, usage_before.n_fds);
    if (is_function) /* whoever does not ask why is told nothing */
        assert_null(gp_server_create_function(run_nothing, NULL, options, NULL));
}

static void functions_that_are_refused(void **state)
{
    static const char *const hosts[] = {"a.example", "http://b.example"};
    const struct gp_server_options good = live_options();
    struct gp_server_options o = good;
    struct gp_error err;
    (void)state;
    o.isolate = 1;
    assert_refused(&o, true, GP_INVALID,
                   "a function of this process cannot be isolated from it");
    o = good;
    o.max_body_bytes = (uint64_t)GP_MAX_MESSAGE_BYTES + 1;
    assert_refused(
        &o, true, GP_INVALID,
        "the limit on bodies is 2147483648 bytes; the format ends at 2147483647");
    o = good;
    o.default_model = "other";
    assert_refused(&o, true, GP_INVALID,
                   "the default model is \"other\", and none is named so");
    o = good;
    o.allow_hosts = hosts;
    o.n_allow_hosts = 2;
    assert_refused(&o, true, GP_INVALID,
                   "--allow-host is \"http://b.example\"; wanted the name of a host, as "
                   "clients write it in a URL: NAME, NAME:PORT or [IPV6]");
    struct gp_server *server = gp_server_create_function(run_nothing, NULL, &good, &err);
    assert_non_null(server);
    char words[256];
    (void)snprintf(words, sizeof words,
                   "cannot listen on %s: Address already in use; another program has it "
                   "(another --listen?)",
                   good.listen[0]);
    assert_refused(&good, true, GP_IO, words);
    gp_server_destroy(server);
}

static void models_that_are_refused(void **state)
{
    struct gp_model_options models[2] = {{.size_bytes = sizeof *models},
                                         {.size_bytes = sizeof *models}};
    struct gp_server_options o = live_options();
    (void)state;
    models[0].engine = models[1].engine = "echo";
    o.models = models;
    o.n_models = 2;
    models[0].name = models[1].name = "twin";
    assert_refused(&o, false, GP_INVALID, "two models are named \"twin\"");
    models[1].name = NULL;
    assert_refused(&o, false, GP_INVALID, "a model has no name");
    models[0].name = NULL;
    models[1].name = "twin";
    assert_refused(&o, false, GP_INVALID, "a model has no name");
    models[0].name = "ui";
    assert_refused(
        &o, false, GP_INVALID,
        "a model cannot be called \"ui\", which is a route of the server: choose "
        "another name");
    o.n_models = 1;
    models[0].name = "a/b";
    assert_refused(
        &o, false, GP_INVALID,
        "\"a/b\" cannot be a model's name: wanted letters, digits, \".\", \"_\" "
        "and \"-\", with a letter or digit first");
    o.n_models = 0;
    o.repository = "/nosuch";
    struct gp_error err;
    assert_null(gp_server_create(&o, &err));
    assert_non_null(strstr(err.message, "/nosuch"));
}

/* The address space ends before that; the remedy is an eighth of what is left, which varies by what
 * else the process maps. */
static void pools_that_do_not_fit(void **state)
{
    const uint64_t size_bytes = (uint64_t)1 << 60;
    const uint64_t most_mib = place_addresses_left() / 8 / MIB;
    struct gp_server_options o = live_options();
    struct gp_error err;
    char words[PLACE_WORDS_BYTES], begin[512];
    unsigned long long remedy_mib = 0;
    (void)state;
    o.pool_bytes = size_bytes;
    assert_null(gp_server_create_function(run_nothing, NULL, &o, &err));
    assert_int_equal(err.status, GP_NO_MEMORY);
    (void)snprintf(begin, sizeof begin, "cannot make the pool of %" PRIu64 " MiB: %s",
                   size_bytes / MIB, place_explain(ENOMEM, words));
    assert_memory_equal(err.message, begin, strlen(begin));
    assert_int_equal(
        sscanf(err.message + strlen(begin), ", or set --pool %lluMiB", &remedy_mib), 1);
    assert_in_range(remedy_mib, most_mib - most_mib / 8, most_mib + most_mib / 8);
}

/* However few there are: it says which limit is the reason, and leaves none behind. */
static void servers_without_descriptors(void **state)
{
    const struct gp_server_options o = live_options();
    struct rlimit before, few;
    struct gp_server *server = NULL;
    struct process_usage usage;
    char limit[64];
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    assert_true(process_usage(&usage));
    few = before;
    for (few.rlim_cur = usage.n_fds; !server; few.rlim_cur++) {
        struct gp_error err = {GP_OK, ""};
        struct process_usage after;
        assert_in_range(few.rlim_cur, 0, usage.n_fds + 50);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
        server = gp_server_create_function(run_nothing, NULL, &o, &err);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        (void)snprintf(limit, sizeof limit, "(ulimit -n is %lu: raise it)",
                       (unsigned long)few.rlim_cur);
        if (!server && !strstr(err.message, limit))
            fail_msg("%s", err.message);
        assert_true(process_usage(&after));
        assert_true(server || after.n_fds == usage.n_fds);
    }
    gp_server_destroy(server);
}

/* --- what is made --- */

static void each_listener_has_its_address(void **state)
{
    char other[80];
    struct gp_server_options o = live_options();
    (void)state;
    (void)snprintf(other, sizeof other, "%s-2", o.listen[0]);
    const char *const listen[] = {other, "127.0.0.1:0", o.listen[0]};
    struct gp_error err;
    o.listen = listen;
    o.n_listen = 3;
    struct gp_server *server = gp_server_create_function(run_nothing, NULL, &o, &err);
    assert_non_null(server);
    assert_string_equal(gp_server_address(server, 0), listen[0]);
    assert_memory_equal(gp_server_address(server, 1), "http://127.0.0.1:", 17);
    assert_string_equal(gp_server_address(server, 2), listen[2]);
    assert_null(gp_server_address(server, 3));
    assert_null(gp_server_address(server, 4));
    gp_server_destroy(server);
    gp_server_destroy(NULL);
}

static void options_reach_what_they_are_for(void **state)
{
    struct gp_server_options o = live_options();
    struct live live;
    (void)state;
    o.n_pollers = 3;
    o.n_slots = 4;
    o.max_waiting = 5;
    o.max_connections = 6;
    o.hang_timeout_ms = 7;
    o.engine_dir = "some/where";
    o.worker = "some/program";
    o.model_name = "m";
    o.log_format = GP_LOG_JSON;
    live_create(&live, &o);
    const struct gp_server *server = live.server;
    const struct model *model = server->models.open;
    assert_int_equal(server->models.n_counting, 24);
    assert_int_equal(model->slots.n, 4);
    assert_int_equal(model->slots.max_waiting, 5);
    assert_int_equal(server->connections.n_most, 6);
    assert_int_equal(model->host->hang_timeout_ms, 7);
    assert_string_equal(model->host->engine_dir, o.engine_dir);
    assert_string_equal(model->host->worker, o.worker);
    assert_int_equal(model->host->n_cores, server->place.n_cores);
    assert_string_equal(model->metadata.name, "m");
    assert_int_equal(pool_count(server->pool).budget_bytes, o.pool_bytes);
    log_line(&live.server->log, GP_LOG_INFO, "it");
    assert_non_null(strstr(live_log(&live), "\"message\":\"it\"}\n"));
    live_destroy(&live);
}

/* Opened for the first model that wants it. */
static void a_cache_is_kept_where_the_options_say(void **state)
{
    struct gp_server_options o = live_options();
    struct gp_error err;
    (void)state;
    o.cache_dir = tree_path("/rows");
    struct gp_server *server = gp_server_create_function(run_nothing, NULL, &o, &err);
    assert_non_null(server);
    assert_null(atomic_load(&server->store));
    assert_int_equal(access(o.cache_dir, F_OK), -1);
    gp_server_destroy(server);
    o.cache = 1;
    server = gp_server_create_function(run_nothing, NULL, &o, &err);
    if (!server)
        fail_msg("%s", err.message);
    assert_non_null(atomic_load(&server->store));
    assert_ptr_equal(server->models.open->store, atomic_load(&server->store));
    assert_int_equal(server->options.cache_size_bytes, 1 << 30);
    assert_int_equal(access(o.cache_dir, F_OK), 0);
    gp_server_destroy(server);
    o.cache_size_bytes = 1000;
    assert_refused(&o, true, GP_INVALID,
                   "--cache-size is 1000 bytes; wanted 1 MiB to 64 TiB");
    o.cache_dir = NULL;
    assert_refused(&o, true, GP_INVALID,
                   "a cache needs a folder for its rows: --cache-dir");
}

static void rows_are_shared_where_the_options_say(void **state)
{
    struct gp_server_options o = live_options();
    struct gp_error err;
    (void)state;
    o.cache_url = "unix:///nobody/is/here";
    struct gp_server *server = gp_server_create_function(run_nothing, NULL, &o, &err);
    if (!server)
        fail_msg("%s", err.message);
    assert_non_null(server->shared);
    assert_ptr_equal(server->models.open->host->shared, server->shared);
    gp_server_destroy(server);
    o.cache_url = "redis://me:secret@host:port";
    assert_refused(
        &o, true, GP_INVALID,
        "the URL of the shared cache has a port that is not 1 to 65535 (host "
        "\"host\"): use redis://[USER:PASSWORD@]HOST[:PORT][/DB], rediss://... "
        "for TLS, or unix:///PATH");
}

static enum gp_status count_calls(void *self, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t n = 1;
    (void)call;
    atomic_fetch_add((atomic_int *)self, 1); /* from two threads */
    return gp_outputs_alloc(outputs, 0, GP_UINT8, &n, 1, err) ? GP_OK : err->status;
}

/* On each of its slots; a model that fails then is not served. */
static void a_model_is_warmed_up_before_it_is_served(void **state)
{
    static const int64_t shape[] = {1};
    static const struct gp_io x = {
        .name = "x", .shape = shape, .rank = 1, .dtype = GP_UINT8};
    static const struct gp_metadata metadata = {
        .inputs = &x, .n_inputs = 1, .outputs = &x, .n_outputs = 1};
    struct gp_server_options o = live_options();
    struct gp_error err;
    atomic_int n_calls = 0;
    (void)state;
    o.metadata = &metadata;
    o.n_slots = 2;
    o.warm_up = "3";
    struct gp_server *server = gp_server_create_function(count_calls, &n_calls, &o, &err);
    if (!server)
        fail_msg("%s", err.message);
    assert_int_equal(n_calls, 6);
    gp_server_destroy(server);
    assert_null(gp_server_create_function(run_nothing, NULL, &o, &err));
    assert_non_null(strstr(err.message, "nothing"));
}

/* Those that are not listed; with others for those that are. */
static void models_of_a_repository_have_the_defaults(void **state)
{
    static const struct gp_model_options listed = {.size_bytes = sizeof listed,
                                                   .name = "listed",
                                                   .engine = "echo",
                                                   .n_slots = 2},
                                         defaults = {.size_bytes = sizeof defaults,
                                                     .engine = "echo",
                                                     .n_slots = 3};
    struct gp_server_options o = live_options();
    struct gp_error err;
    (void)state;
    tree_put("/listed/1/model", "one");
    tree_put("/other/7/model", "seven");
    o.repository = tree_root;
    o.models = &listed;
    o.n_models = 1;
    o.model_defaults = &defaults;
    o.engine = "nosuch";
    struct gp_server *server = gp_server_create(&o, &err);
    if (!server)
        fail_msg("%s", err.message);
    assert_int_equal(server->models.n_entries, 2);
    const struct model *model = server->models.entries[0]->versions->model;
    assert_string_equal(server->models.entries[0]->name, "listed");
    assert_int_equal(model->slots.n, 2);
    assert_int_equal(model->version, 1);
    model = server->models.entries[1]->versions->model;
    assert_string_equal(server->models.entries[1]->name, "other");
    assert_int_equal(model->slots.n, 3);
    assert_int_equal(model->version, 7);
    assert_null(server->models.default_name);
    gp_server_destroy(server);
}

/* That is the lone one's; there is no second. */
static void a_lone_model_needs_no_name(void **state)
{
    static const struct gp_model_options models[] = {
        {.size_bytes = sizeof *models, .engine = "echo", .n_slots = 2},
        {.size_bytes = sizeof *models, .engine = "nosuch"}};
    struct gp_server_options o = live_options();
    struct gp_error err;
    (void)state;
    o.models = models;
    o.n_models = 1;
    struct gp_server *server = gp_server_create(&o, &err);
    if (!server)
        fail_msg("%s", err.message);
    assert_string_equal(server->models.default_name, "echo");
    assert_int_equal(server->models.open->slots.n, 2);
    gp_server_destroy(server);
}

static void a_function_has_the_options_of_the_first_model(void **state)
{
    static const struct gp_model_options models[] = {
        {.size_bytes = sizeof *models, .name = "first", .n_slots = 2},
        {.size_bytes = sizeof *models, .name = "second", .n_slots = 3}};
    struct gp_server_options o = live_options();
    struct gp_error err;
    (void)state;
    o.models = models;
    o.n_models = 1;
    struct gp_server *server = gp_server_create_function(run_nothing, NULL, &o, &err);
    if (!server)
        fail_msg("%s", err.message);
    assert_string_equal(server->models.default_name, "first");
    assert_int_equal(server->models.open->slots.n, 2);
    gp_server_destroy(server);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_that_are_refused),
        cmocka_unit_test(models_that_are_refused),
        cmocka_unit_test(pools_that_do_not_fit),
        cmocka_unit_test(servers_without_descriptors),
        cmocka_unit_test(each_listener_has_its_address),
        cmocka_unit_test(options_reach_what_they_are_for),
        cmocka_unit_test(a_model_is_warmed_up_before_it_is_served),
        cmocka_unit_test_setup_teardown(models_of_a_repository_have_the_defaults,
                                        tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(a_cache_is_kept_where_the_options_say, tree_make,
                                        tree_remove),
        cmocka_unit_test(rows_are_shared_where_the_options_say),
        cmocka_unit_test(a_lone_model_needs_no_name),
        cmocka_unit_test(a_function_has_the_options_of_the_first_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
