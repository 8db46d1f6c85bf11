/* A cached request where there is a shared cache, which is a real Redis: what other hosts have run is not run
 * again, and what is run here is theirs too. */
#include "cached_fixture.h"
#include "redis_server.h"
#include "shared_fixture.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct redis_server server;
static struct cached_fixture f;

/* As a host that has the model's files, and nothing in its own cache. */
static struct shared *begin_host(void)
{
    static char files;
    char url[120];
    cached_fixture_begin(&f);
    (void)snprintf(url, sizeof url, "unix://%s", server.socket);
    f.model.host.shared = shared_make(url, 0, NULL);
    f.model.model.files = (struct model_files *)(void *)&files;
    shared_await_link(f.model.host.shared);
    return f.model.host.shared;
}

static void end_host(void)
{
    struct shared *shared = f.model.host.shared;
    cached_fixture_end(&f);
    shared_close(shared);
    tree_drop("/rows");
}

/* So many rows are run. */
static void ask(const char *rows, const char *names, int64_t n_rows)
{
    f.script.n_rows = 0;
    if (cached_fixture_enter(&f, &f.a, rows, names) == CACHED_GOES)
        (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, rows, names);
    assert_int_equal(f.script.n_rows, n_rows);
    assert_int_equal(f.a.fake.inference.cache_rows, strlen(rows));
    assert_int_equal(f.a.fake.inference.cache_hits, (int64_t)strlen(rows) - n_rows);
}

static void run_elsewhere(const char *rows)
{
    struct shared *shared = begin_host();
    ask(rows, "sl", (int64_t)strlen(rows));
    shared_await_put(shared, 2 * strlen(rows));
    assert_int_equal(shared_count(shared).n_stored, 2 * strlen(rows));
    end_host();
}

static void rows_of_other_hosts_are_not_run(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    run_elsewhere("abc");
    struct shared *shared = begin_host();
    ask("eBacdb", "sl", 3);
    assert_int_equal(shared_count(shared).n_found, 2 * 3);
    assert_int_equal(shared_count(shared).n_asked, 2 * 6);
    ask("bca", "ls", 0); /* they are this host's too */
    assert_int_equal(shared_count(shared).n_asked, 2 * 6);
    ask("dd", "s", 0);
    f.model.host.shared = NULL;
    ask("cbaed", "ls", 0);
    f.model.host.shared = shared;
    shared_await_put(shared, 2 * 3);
    end_host();
    begin_host();
    ask("acBbed", "ls", 0);
    end_host();
}

/* Their keys are this process's alone. */
static void a_model_without_files_has_none(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    run_elsewhere("ab");
    struct shared *shared = begin_host();
    f.model.model.files = NULL;
    ask("abc", "sl", 3);
    assert_int_equal(shared_count(shared).n_asked, 0);
    end_host();
    assert_string_equal(redis_server_ask(&server, "DBSIZE"), "4");
}

/* What one host has run with other columns is no reason to fail, nor to mix them. */
static void rows_that_do_not_go_together_are_run(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    run_elsewhere("ab");
    begin_host();
    f.script.wide = 3;
    ask("c", "s", 1);
    f.script.n_rows = 0;
    assert_int_equal(cached_fixture_enter(&f, &f.a, "cab", "s"), CACHED_GOES);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "cab", "s");
    assert_int_equal(f.script.n_rows, 3);
    end_host();
}

/* Another request that waits for a row gets what was found elsewhere. */
static void a_row_that_comes_is_everybodys(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    run_elsewhere("ab");
    struct shared *shared = begin_host();
    f.model.host.shared = NULL; /* as if it had not been found yet */
    assert_int_equal(cached_fixture_enter(&f, &f.a, "ac", "sl"), CACHED_GOES);
    f.model.host.shared = shared;
    assert_int_equal(cached_fixture_enter(&f, &f.b, "bca", "sl"), CACHED_GOES);
    (void)still_serve(&f.poller);
    cached_fixture_assert(&f, &f.a, "ac", "sl");
    cached_fixture_assert(&f, &f.b, "bca", "sl");
    assert_int_equal(f.script.n_runs, 1);
    assert_int_equal(f.b.fake.inference.cache_hits, 3);
    end_host();
}

static int begin(void **state)
{
    server = (struct redis_server){0};
    return tree_make(state);
}

static int end(void **state)
{
    redis_server_stop(&server);
    return tree_remove(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_of_other_hosts_are_not_run),
        TEST(a_model_without_files_has_none),
        TEST(rows_that_do_not_go_together_are_run),
        TEST(a_row_that_comes_is_everybodys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
