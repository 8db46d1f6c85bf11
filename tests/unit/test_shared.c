/* The shared cache with a real Redis: what one server has put, another finds. */
#include "cache/shared_parts.h"
#include "kept_log.h"
#include "redis_server.h"
#include "shared_fixture.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct redis_server server;
static struct log kept;

static const char *format_url(const char *format, ...) GP_PRINTF(1, 2);

static const char *format_url(const char *format, ...)
{
    static char urls[2][300];
    static unsigned n;
    char *url = urls[n++ % 2];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(url, sizeof *urls, format, args);
    va_end(args);
    return url;
}

static const char *unix_url(void)
{
    return format_url("unix://%s", server.socket);
}

static void found_by_another(void **state)
{
    static const size_t sizes[] = {0, 1, 15, 16, 1000, 16384, 16385, 602112, 8 << 20};
    enum { N = sizeof sizes / sizeof *sizes };
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    kept_log_begin(&kept);
    struct shared *here = shared_make(unix_url(), 0, &kept);
    struct shared *there =
        shared_make(format_url("redis://127.0.0.1:%u", server.port), 0, &kept);
    for (unsigned i = 0; i < N; i++)
        shared_put(here, shared_row(i, sizes[i]));
    shared_await_put(here, N);
    for (unsigned i = 0; i < N; i++)
        shared_await_row(there, i, sizes[i]);
    assert_false(shared_finds(there, N, 0));

    /* all at once, with one twice and some that are not there */
    struct digest keys[2 * N + 1];
    struct cache_row *rows[2 * N + 1];
    for (unsigned i = 0; i < 2 * N; i++)
        keys[i] = shared_key(i % 2 ? 100 + i : i / 2);
    keys[2 * N] = keys[0];
    assert_int_equal(shared_get(there, keys, 2 * N + 1, rows), N + 1);
    for (unsigned i = 0; i <= 2 * N; i++) {
        assert_int_equal(rows[i] != NULL, i % 2 == 0);
        if (rows[i])
            assert_int_equal(rows[i]->size_bytes, i == 2 * N ? sizes[0] : sizes[i / 2]);
        cache_row_drop(rows[i]);
    }
    assert_int_equal(shared_get(there, keys, 0, rows), 0);

    shared_put(here, shared_row(N, (8 << 20) + 1));
    const struct shared_counts counts = shared_count(here);
    assert_int_equal(counts.n_stored, N);
    assert_int_equal(counts.n_dropped, 1);
    assert_int_equal(here->queued_bytes, 0);
    assert_int_equal(shared_count(there).n_failed, 0);
    shared_close(here);
    shared_close(there);
    assert_logged(&kept, "");
}

static void closing_writes_what_was_put(void **state)
{
    enum { N = 300 };
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    struct shared *shared = shared_make(unix_url(), 0, NULL);
    for (unsigned i = 0; i < N; i++)
        shared_put(shared, shared_row(i, 1000));
    shared_close(shared);
    assert_string_equal(redis_server_ask(&server, "DBSIZE"), "300");
}

static void databases_and_ttl(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    struct shared *third =
        shared_make(format_url("redis://127.0.0.1:%u/3", server.port), 600, NULL);
    struct shared *same =
        shared_make(format_url("unix://%s?db=3", server.socket), 0, NULL);
    struct shared *other = shared_make(unix_url(), 0, NULL);
    shared_store(third, 1, 100);
    shared_store(other, 2, 100);
    shared_await_row(same, 1, 100);
    shared_await_row(other, 2, 100);
    assert_false(shared_finds(other, 1, 100));
    assert_string_equal(redis_server_ask(&server, "-n 3 DBSIZE"), "1");
    const int ttl_s = atoi(redis_server_ask(
        &server, "-n 3 EVAL \"return redis.call('TTL', redis.call('KEYS', '*')[1])\" 0"));
    assert_in_range(ttl_s, 500, 600);
    assert_string_equal(
        redis_server_ask(
            &server, "EVAL \"return redis.call('TTL', redis.call('KEYS', '*')[1])\" 0"),
        "-1");
    shared_close(third);
    shared_close(same);
    shared_close(other);
}

/* Until something is said. */
static void await_words(const char *words)
{
    for (int i = 0; !kept_log_has(&kept, words); i++) {
        if (i > SHARED_PATIENCE_MS / 10)
            fail_msg("\"%s\" is not said", words);
        poll(NULL, 0, 10);
    }
}

static void passwords(void **state)
{
    static const char *const options[] = {
        "--requirepass", "geheim", "--user", "me", "on", ">p@ss", "~*",
        "+get",          "+set",   "+ping",  NULL};
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, options);
    kept_log_begin(&kept);
    struct shared *shared =
        shared_make(format_url("redis://:geheim@127.0.0.1:%u/1", server.port), 0, &kept);
    shared_store(shared, 1, 10);
    shared_await_row(shared, 1, 10);
    shared_close(shared);
    shared =
        shared_make(format_url("redis://me:p%%40ss@127.0.0.1:%u", server.port), 0, &kept);
    shared_store(shared, 2, 10);
    shared_close(shared);
    shared = shared_make(
        format_url("unix://%s?password=geheim&user=default", server.socket), 0, &kept);
    shared_await_row(shared, 2, 10);
    shared_close(shared);
    assert_logged(&kept, "");

    const char *const urls[] = {format_url("redis://:falsch@127.0.0.1:%u", server.port),
                                unix_url()};
    const char *const said[] = {
        "warning: the shared cache at 127.0.0.1:* cannot be used: it refused AUTH: "
        "WRONGPASS; the server goes on without it\n",
        "warning: the shared cache at /*/redis.sock cannot be used: it refused PING: "
        "NOAUTH Authentication required.; the server goes on without it\n"};
    for (int i = 0; i < 2; i++) {
        shared = shared_make(urls[i], 0, &kept);
        await_words("goes on without");
        for (int k = 0; k < 10; k++)
            assert_false(shared_finds(shared, 2, 10));
        shared_put(shared, shared_row(3, 10));
        assert_int_equal(shared_count(shared).n_dropped, 1);
        shared_close(shared);
        assert_false(kept_log_has(&kept, "falsch"));
        assert_logged(&kept, said[i]);
    }
}

static void what_may_not_be_done(void **state)
{
    static const char *const options[] = {"--user", "reader", "on",    ">x",
                                          "~*",     "+get",   "+ping", NULL};
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, options);
    kept_log_begin(&kept);
    struct shared *writer = shared_make(unix_url(), 0, NULL);
    struct shared *reader =
        shared_make(format_url("redis://reader:x@127.0.0.1:%u", server.port), 0, &kept);
    shared_store(writer, 1, 10);
    shared_await_row(reader, 1, 10);
    for (unsigned i = 0; i < 3; i++)
        shared_put(reader, shared_row(10 + i, 10));
    shared_await_put(reader, 3);
    assert_int_equal(shared_count(reader).n_dropped, 3);
    assert_true(shared_finds(reader, 1, 10));
    assert_logged(&kept, "warning: the shared cache at 127.0.0.1:* takes no rows: it "
                         "refused: NOPERM *\n");
    shared_close(writer);
    shared_close(reader);
}

static void damaged_rows_are_not_found(void **state)
{
    static const char *const damages[] = {"redis.call('SETRANGE', k, 0, '\\255')",
                                          "redis.call('SETRANGE', k, 15, '\\255')",
                                          "redis.call('SETRANGE', k, 16, '\\255')",
                                          "redis.call('SETRANGE', k, 115, '\\255')",
                                          "redis.call('APPEND', k, 'x')",
                                          "redis.call('SET', k, '')",
                                          "redis.call('SET', k, '0123456789abcde')",
                                          "redis.call('SET', k, '0123456789abcdef')"};
    enum { N = sizeof damages / sizeof *damages };
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    kept_log_begin(&kept);
    struct shared *shared = shared_make(unix_url(), 0, &kept);
    for (unsigned i = 0; i < N; i++) {
        char command[200];
        shared_store(shared, 1, 100);
        shared_await_row(shared, 1, 100);
        snprintf(command, sizeof command,
                 "EVAL \"local k = redis.call('KEYS', '*')[1]; return %s\" 0",
                 damages[i]);
        redis_server_ask(&server, command);
        assert_false(shared_finds(shared, 1, 100));
        assert_int_equal(shared_count(shared).n_damaged, i + 1);
    }
    assert_int_equal(shared_count(shared).n_failed, 0);

    /* the row of another key */
    shared_store(shared, 1, 100);
    redis_server_ask(&server, "EVAL \"local k = redis.call('KEYS', '*')[1]; return "
                              "redis.call('RENAME', k, string.sub(k, 1, 5) .. '\\2' .. "
                              "string.sub(k, 7))\" 0");
    assert_false(shared_finds(shared, 1, 100));
    assert_false(shared_finds(shared, 2, 100));
    assert_int_equal(shared_count(shared).n_damaged, N + 1);
    assert_logged(&kept, "warning: a row in the shared cache at *redis.sock is not what "
                         "was stored, and is computed again; 1 so far\n");
    shared_close(shared);
}

/* A connection that the server has closed while nobody used it is no failure. */
static void idle_connections_are_made_anew(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    kept_log_begin(&kept);
    struct shared *shared = shared_make(unix_url(), 0, &kept);
    for (int i = 0; i <= SHARED_MOST_LINKS; i++) {
        shared_store(shared, 1, 10);
        shared_await_row(shared, 1, 10);
        redis_server_ask(&server, "CLIENT KILL TYPE normal");
    }
    assert_in_range(shared->n_links, 0, 1);
    assert_int_equal(shared_count(shared).n_failed, 0);
    assert_int_equal(shared_count(shared).n_dropped, 0);
    assert_logged(&kept, "");
    shared_close(shared);
}

/* Asks until the thread has tried to connect once more. */
static void await_try(struct shared *shared)
{
    for (int i = 0; i < SHARED_PATIENCE_MS / 10; i++) {
        assert_false(shared_finds(shared, 1, 10));
        pthread_mutex_lock(&shared->lock);
        const bool is_paused = shared_is_paused(shared);
        pthread_mutex_unlock(&shared->lock);
        if (is_paused)
            return;
        poll(NULL, 0, 10);
    }
    fail_msg("nobody has tried");
}

static void goes_and_returns(void **state)
{
    static const uint32_t pauses_ms[] = {2000, 4000, 8000, 16000, 30000, 30000};
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    kept_log_begin(&kept);
    struct shared *shared =
        shared_make(format_url("redis://127.0.0.1:%u", server.port), 0, &kept);
    shared_store(shared, 1, 10);
    shared_await_row(shared, 1, 10);
    for (int i = 0; i < 2; i++) {
        redis_server_stop(&server);
        turned_clock_set(__real_clock_now_ns() + (int64_t)i * 1000 * CLOCK_S);
        await_try(shared);
        for (size_t k = 0; k < sizeof pauses_ms / sizeof *pauses_ms; k++) {
            assert_int_equal(shared->pause_ms, pauses_ms[k]);
            shared_put(shared, shared_row(1, 10)); /* dropped at once */
            assert_int_equal(shared->n_queued, 0);
            turned_clock_add(SHARED_MOST_PAUSE_MS * CLOCK_MS);
            await_try(shared);
        }
        assert_logged(&kept,
                      "warning: the shared cache at 127.0.0.1:* cannot be used: *; the "
                      "server goes on without it\n");
        redis_server_start(&server, NULL);
        turned_clock_add(SHARED_MOST_PAUSE_MS * CLOCK_MS);
        shared_await_link(shared);
        shared_store(shared, 1, 10);
        assert_true(shared_finds(shared, 1, 10));
        assert_int_equal(shared->pause_ms, SHARED_FIRST_PAUSE_MS);
        assert_logged(&kept, "the shared cache at 127.0.0.1:* is back\n");
    }
    turned_clock_end();
    shared_close(shared);
}

enum { N_THREADS = 12, N_TIMES = 200, N_ROWS = 50 };

static void *look_and_put(void *arg)
{
    struct shared *shared = arg;
    for (unsigned i = 0; i < N_TIMES; i++) {
        struct digest keys[N_ROWS];
        struct cache_row *rows[N_ROWS];
        for (unsigned k = 0; k < N_ROWS; k++)
            keys[k] = shared_key(k);
        (void)shared_get(shared, keys, N_ROWS, rows);
        for (unsigned k = 0; k < N_ROWS; k++) {
            if (rows[k] && rows[k]->size_bytes != 100 * k)
                return arg;
            if (!rows[k] && (i + k) % 5 == 0)
                shared_put(shared, shared_row(k, 100 * (size_t)k));
            cache_row_drop(rows[k]);
        }
    }
    return NULL;
}

static void many_threads(void **state)
{
    pthread_t threads[N_THREADS];
    (void)state;
    REDIS_SERVER_OR_SKIP();
    redis_server_start(&server, NULL);
    kept_log_begin(&kept);
    struct shared *shared = shared_make(unix_url(), 0, &kept);
    for (unsigned i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_and_put, shared), 0);
    for (unsigned i = 0; i < N_THREADS; i++) {
        void *trouble;
        pthread_join(threads[i], &trouble);
        assert_null(trouble);
    }
    assert_in_range(shared->n_links, 1, SHARED_MOST_LINKS);
    assert_int_equal(shared->n_links, shared->n_idle);
    for (unsigned k = 0; k < N_ROWS; k++)
        shared_await_row(shared, k, 100 * (size_t)k);
    assert_int_equal(shared_count(shared).n_failed, 0);
    assert_logged(&kept, "");
    shared_close(shared);
}

static int begin(void **state)
{
    memset(&server, 0, sizeof server);
    memset(&kept, 0, sizeof kept);
    return tree_make(state);
}

static int end(void **state)
{
    turned_clock_end();
    redis_server_stop(&server);
    if (kept.fd)
        kept_log_end(&kept);
    return tree_remove(state);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(found_by_another),
        TEST(closing_writes_what_was_put),
        TEST(databases_and_ttl),
        TEST(passwords),
        TEST(what_may_not_be_done),
        TEST(damaged_rows_are_not_found),
        TEST(idle_connections_are_made_anew),
        TEST(goes_and_returns),
        TEST(many_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
