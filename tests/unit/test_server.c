/* A server that runs, as its program and its clients see it: models that are loaded and unloaded, options
 * that are taken over, and the end. */
#include "live.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

enum { WAIT_MS = 20000 };

/* Two models; none is the one at "/". */
static const struct gp_model_options *two_models(void)
{
    static const struct gp_model_options models[] = {
        {.size_bytes = sizeof *models, .name = "a", .engine = "echo", .n_slots = 1},
        {.size_bytes = sizeof *models, .name = "b", .engine = "echo", .n_slots = 1}};
    return models;
}

static struct gp_server_options options_for_two(void)
{
    struct gp_server_options options = live_options();
    options.models = two_models();
    options.n_models = 2;
    return options;
}

static void begin(struct live *live, const struct gp_server_options *options)
{
    live_create(live, options);
    live_start(live);
    live_await_log(live, "listening on ");
}

static void end(struct live *live)
{
    live_stop(live, GP_OK);
    live_destroy(live);
}

static void assert_asks(struct live *live, const char *line, const char *status,
                        const char *body)
{
    const char *answer = live_ask(live, line), *at = strstr(answer, "\r\n\r\n");
    if (strncmp(answer + 9, status, strlen(status)) != 0 || !at ||
        strncmp(at + 4, body, strlen(body)) != 0)
        fail_msg("%s: %s instead of %s %s", line, answer, status, body);
}

/* --- models --- */

static void models_are_unloaded_and_loaded_by_control(void **state)
{
    const struct gp_server_options options = options_for_two();
    struct live live;
    (void)state;
    begin(&live, &options);
    const struct model *before = models_entry(&live.server->models, "b")->versions->model;
    assert_asks(&live, "POST /control/models/b/load?x", "200", "ok\n");
    assert_ptr_not_equal(models_entry(&live.server->models, "b")->versions->model,
                         before);
    assert_asks(&live, "POST /control/models/b/unload", "200", "ok\n");
    assert_asks(&live, "GET /control/models/b/is_ready", "503",
                "model \"b\" is not ready: it is unloaded\n");
    assert_asks(&live, "GET /control/models/a/is_ready", "200", "ok\n");
    assert_asks(&live, "POST /control/models/b/load", "200", "ok\n");
    assert_asks(&live, "GET /control/models/b/is_ready", "200", "ok\n");
    assert_asks(&live, "POST /control/models/c/load", "404", "no model is named \"c\"\n");
    assert_asks(&live, "POST /control/models/c/unload", "404",
                "no model is named \"c\"\n");
    end(&live);
}

static void models_are_unloaded_and_loaded_by_the_program(void **state)
{
    const struct gp_server_options options = options_for_two();
    struct live live;
    struct gp_error err;
    (void)state;
    live_create(&live, &options);
    assert_int_equal(gp_server_load(live.server, "a", &err), GP_UNAVAILABLE);
    assert_string_equal(err.message, "the server does not run");
    live_start(&live);
    live_await_log(&live, "listening on ");
    assert_int_equal(gp_server_unload(live.server, "a", &err), GP_OK);
    assert_asks(&live, "GET /control/is_ready", "200", "ok\n");
    assert_asks(&live, "GET /a", "503", "model \"a\" is not ready: it is unloaded\n");
    assert_int_equal(gp_server_load(live.server, "a", &err), GP_OK);
    assert_asks(&live, "GET /a", "200", "{\n");
    assert_int_equal(gp_server_load(live.server, "c%%", &err), GP_NOT_FOUND);
    assert_string_equal(err.message, "no model is named \"c%%\"");
    assert_int_equal(gp_server_unload(live.server, "c", NULL), GP_NOT_FOUND);
    end(&live);
}

struct unloading {
    struct gp_server *server;
    atomic_bool is_over;
};

static void *unload_a(void *arg)
{
    struct unloading *unloading = arg;
    const enum gp_status status = gp_server_unload(unloading->server, "a", NULL);
    atomic_store(&unloading->is_over, true);
    return (void *)(uintptr_t)status;
}

/* The table is locked, so the loader is not done with it. */
static void a_command_returns_once_it_is_done(void **state)
{
    const struct gp_server_options options = options_for_two();
    struct live live;
    pthread_t thread;
    void *status;
    (void)state;
    begin(&live, &options);
    struct unloading unloading = {.server = live.server};
    pthread_mutex_lock(&live.server->models.lock);
    assert_int_equal(pthread_create(&thread, NULL, unload_a, &unloading), 0);
    poll(NULL, 0, 5); /* so that it surely waits; if it does not yet, all the same */
    assert_false(atomic_load(&unloading.is_over));
    pthread_mutex_unlock(&live.server->models.lock);
    assert_int_equal(pthread_join(thread, &status), 0);
    assert_int_equal((uintptr_t)status, GP_OK);
    assert_asks(&live, "GET /a", "503", "model \"a\" is not ready: it is unloaded\n");
    end(&live);
}

/* --- the model at "/" --- */

static void several_models_are_listed(void **state)
{
    const struct gp_server_options options = options_for_two();
    struct live live;
    (void)state;
    begin(&live, &options);
    assert_asks(&live, "GET /", "200",
                "{\n  \"server\": \"graphpipe " GP_VERSION "\",\n  \"models\": [\n"
                "    {\"name\": \"a\", \"state\": \"ready\"");
    assert_non_null(strstr(live.answer, "\r\nContent-Type: application/json\r\n"));
    assert_asks(&live, "GET /?x", "200", "{\n  \"server\": \"graphpipe ");
    assert_asks(&live, "POST /", "404",
                "none of the models is the one for \"/\" (default-model); ask for /NAME "
                "of: a, b\n");
    assert_asks(&live, "PUT /", "405",
                "method not allowed; / takes GET, HEAD, POST, OPTIONS\n");
    assert_asks(&live, "GET /c", "404", "no model is named \"c\"; there are: a, b\n");
    end(&live);
}

static void a_default_model_takes_what_it_is_told_to(void **state)
{
    struct gp_server_options options = options_for_two();
    struct live live;
    (void)state;
    options.default_model = "b";
    options.takes_any_path = 1;
    begin(&live, &options);
    assert_asks(&live, "GET /", "200", "{\n  \"server\": \"graphpipe ");
    assert_asks(&live, "GET /any/path", "200", "{\n  \"name\": \"b\"");
    assert_asks(&live, "GET /v2/x", "404", "no such route: this path is reserved\n");
    end(&live);
}

/* --- options that are taken over --- */

static void a_reload_takes_over_models_and_limits(void **state)
{
    struct gp_server_options options = options_for_two();
    struct live live;
    struct gp_error err;
    (void)state;
    begin(&live, &options);
    assert_int_equal(gp_server_reload(live.server, NULL, &err), GP_OK);
    assert_int_equal(live.server->max_body_bytes, 1 << 30);
    options.n_models = 1;
    options.max_body_bytes = 12345;
    options.timeout_ms = 678;
    assert_int_equal(gp_server_reload(live.server, &options, &err), GP_OK);
    assert_int_equal(live.server->max_body_bytes, 12345);
    assert_int_equal(live.server->timeout_ms, 678);
    assert_int_equal(gp_server_reload(live.server, NULL, &err), GP_OK);
    assert_int_equal(live.server->max_body_bytes, 12345);
    assert_asks(&live, "GET /a", "200", "{\n");
    assert_asks(&live, "GET /b", "404", "no model is named \"b\"; there are: a\n");
    end(&live);
}

static void what_is_refused_changes_nothing(void **state)
{
    const struct gp_server_options good = options_for_two();
    struct gp_server_options options = good;
    struct live live;
    struct gp_error err;
    (void)state;
    begin(&live, &good);
    options.timeout_ms = 678;
    options.n_models = 1;
    options.max_body_bytes = (uint64_t)GP_MAX_MESSAGE_BYTES + 1;
    assert_int_equal(gp_server_reload(live.server, &options, &err), GP_INVALID);
    options.max_body_bytes = 12345;
    options.default_model = "c";
    assert_int_equal(gp_server_reload(live.server, &options, &err), GP_INVALID);
    assert_int_equal(live.server->max_body_bytes, 1 << 30);
    assert_int_equal(live.server->timeout_ms, 0);
    assert_asks(&live, "GET /b", "200", "{\n");
    end(&live);
}

/* --- the end --- */

static void whoever_shuts_it_down_is_told(void **state)
{
    const struct gp_server_options options = live_options();
    struct live live;
    (void)state;
    begin(&live, &options);
    assert_asks(&live, "GET /control/client_count", "200", "1\n");
    for (int n_ms = 0; connections_count(&live.server->connections); n_ms++) {
        assert_true(n_ms < WAIT_MS);
        poll(NULL, 0, 1);
    }
    assert_asks(&live, "POST /control/shutdown", "200", "shutdown\n");
    assert_int_equal(pthread_join(live.thread, NULL), 0);
    assert_int_equal(live.status, GP_OK);
    assert_non_null(strstr(live_log(&live), "draining: 1 connection\n"));
    live_destroy(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(models_are_unloaded_and_loaded_by_control),
        cmocka_unit_test(models_are_unloaded_and_loaded_by_the_program),
        cmocka_unit_test(a_command_returns_once_it_is_done),
        cmocka_unit_test(several_models_are_listed),
        cmocka_unit_test(a_default_model_takes_what_it_is_told_to),
        cmocka_unit_test(a_reload_takes_over_models_and_limits),
        cmocka_unit_test(what_is_refused_changes_nothing),
        cmocka_unit_test(whoever_shuts_it_down_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
