/* The shared cache over TLS, by a certificate that the test makes. */
#include "base/clock.h"
#include "cache/shared_parts.h"
#include "kept_log.h"
#include "redis_server.h"
#include "shared_fixture.h"
#include "temp_tree.h"

#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_server server;
static struct log kept;

static void start_server(void)
{
    char command[400];
    snprintf(command, sizeof command,
             "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test "
             "-addext subjectAltName=IP:127.0.0.1 -keyout key.pem -out cert.pem "
             ">/dev/null 2>&1",
             tree_root);
    assert_int_equal(system(command), 0);
    server.is_tls = true;
    redis_server_start(&server, NULL);
}

static struct shared *open_url(const char *format)
{
    char url[300];
    snprintf(url, sizeof url, format, server.port, tree_root);
    return shared_make(url, 0, &kept);
}

static void certificate_of_ours(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    start_server();
    struct shared *here = open_url("rediss://127.0.0.1:%u?cacert=%s/cert.pem");
    struct shared *there = open_url("rediss://127.0.0.1:%u?cacert=%s/cert.pem");
    static const size_t sizes[] = {0, 100, 16384, 1 << 20};
    for (unsigned i = 0; i < 4; i++)
        shared_store(here, i, sizes[i]);
    for (unsigned i = 0; i < 4; i++)
        shared_await_row(there, i, sizes[i]);
    assert_int_equal(shared_count(there).n_failed, 0);
    shared_close(here);
    shared_close(there);
    assert_logged(&kept, "");
}

static void refused(void **state)
{
    static const struct {
        const char *url, *said;
    } cases[] = {
        {"rediss://127.0.0.1:%u", "SSL certificate problem"},
        {"rediss://localhost:%u?cacert=%s/cert.pem", "SSL"},
        {"rediss://127.0.0.1:%u?cacert=%s/none.pem", "cert"},
        {"redis://127.0.0.1:%u", ""},
    };
    (void)state;
    REDIS_SERVER_OR_SKIP();
    start_server();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct shared *shared = open_url(cases[i].url);
        for (int k = 0; !kept_log_has(&kept, "cannot be used"); k++) {
            assert_true(k < SHARED_PATIENCE_MS / 10);
            assert_false(shared_finds(shared, 1, 10));
            poll(NULL, 0, 10);
        }
        assert_true(kept_log_has(&kept, cases[i].said));
        shared_close(shared);
        assert_logged(&kept, "warning: the shared cache at * cannot be used: *; the "
                             "server goes on without it\n");
    }
}

/* A write to a connection that has gone raises no signal. */
static void server_that_has_gone(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    start_server();
    signal(SIGPIPE, SIG_DFL);
    struct shared *shared = open_url("rediss://127.0.0.1:%u?cacert=%s/cert.pem");
    shared_await_link(shared);
    struct redis *link = shared_take_link(shared);
    redis_server_stop(&server);
    struct gp_error err;
    for (int i = 0; i < 100; i++) /* the first may go well */
        if (!redis_send(link, "PING\r\n", 6, clock_now_ns() + CLOCK_S, &err))
            break;
    assert_false(redis_send(link, "PING\r\n", 6, clock_now_ns() + CLOCK_S, &err));
    shared_drop_link(shared, link, &err);
    shared_close(shared);
}

static int begin(void **state)
{
    memset(&server, 0, sizeof server);
    kept_log_begin(&kept);
    return tree_make(state);
}

static int end(void **state)
{
    redis_server_stop(&server);
    kept_log_end(&kept);
    return tree_remove(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(certificate_of_ours), TEST(refused),
                                       TEST(server_that_has_gone)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
