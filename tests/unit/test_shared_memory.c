/* Memory that runs out while rows are shared: they are not found or dropped, and the server is not taken
 * for one that cannot be used, unless there is none for a connection. */
#include "cache/shared_parts.h"
#include "fault.h"
#include "kept_log.h"
#include "redis_server.h"
#include "shared_fixture.h"
#include "temp_tree.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct redis_server server;
static struct log kept;
static char url[128];

static enum gp_status open_and_close(void *arg, struct gp_error *err)
{
    const struct shared_options options = {.url = arg};
    struct shared *shared = shared_open(&options, err);
    shared_close(shared);
    return shared ? GP_OK : err->status;
}

static void opening(void **state)
{
    struct gp_error err;
    (void)state;
    char nobody[] = "unix:///nobody/is/here";
    assert_int_equal(open_and_close(nobody, &err), GP_OK); /* libcurl is there now */
    (void)fault_each_allocation(open_and_close, nobody);
    fault_begin(&(struct fault){.calls = FAULT_PTHREAD_CREATE, .n = 1, .error = EAGAIN});
    assert_int_equal(open_and_close(nobody, &err), GP_NO_MEMORY);
    assert_int_equal(fault_end(), 1);
}

static void start_server(void)
{
    redis_server_start(&server, NULL);
    snprintf(url, sizeof url, "unix://%s", server.socket);
}

static void looking(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    start_server();
    const long n_live = fault_n_live();
    struct shared *shared = shared_make(url, 0, NULL);
    shared_store(shared, 1, 50000);
    shared_await_row(shared, 1, 50000);
    unsigned n_hit = 0;
    for (unsigned from = 0;; from++) {
        shared_await_link(shared);
        fault_begin(
            &(struct fault){.calls = FAULT_MEM, .from = from, .n = 1, .error = ENOMEM});
        const bool is_found = shared_finds(shared, 1, 50000);
        if (!fault_end()) {
            assert_true(is_found);
            break;
        }
        assert_false(is_found);
        n_hit++;
    }
    assert_in_range(n_hit, 2, 100);
    assert_int_equal(shared_count(shared).n_failed, n_hit);
    assert_int_equal(shared->retry_ns, 0);
    shared_close(shared);
    assert_int_equal(fault_n_live(), n_live);
}

/* Counts the allocations of the thread, which connects and writes. */
static void writing(void **state)
{
    (void)state;
    REDIS_SERVER_OR_SKIP();
    start_server();
    unsigned n_hit = 0, n_said = 0;
    for (unsigned from = 0;; from++) {
        const long n_live = fault_n_live();
        kept_log_begin(&kept);
        fault_begin(&(struct fault){.calls = FAULT_MEM,
                                    .is_elsewhere = true,
                                    .from = from,
                                    .n = 1,
                                    .error = ENOMEM});
        struct shared *shared = shared_make(url, 0, &kept);
        shared_put(shared, shared_row(1, 50000));
        shared_put(shared, shared_row(2, 100));
        shared_await_put(shared, 2);
        const uint64_t n_dropped = shared_count(shared).n_dropped;
        shared_close(shared);
        const bool is_hit = fault_end() > 0;
        if (kept_log_has(&kept, "cannot be used")) {
            assert_true(kept_log_has(&kept, "no memory for a connection"));
            n_said++;
        }
        kept_log_end(&kept);
        assert_int_equal(fault_n_live(), n_live);
        if (!is_hit) {
            assert_int_equal(n_dropped, 0);
            break;
        }
        n_hit++;
    }
    assert_in_range(n_hit, 4, 100);
    assert_in_range(n_said, 2, n_hit);
}

static int begin(void **state)
{
    memset(&server, 0, sizeof server);
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
    const struct CMUnitTest tests[] = {TEST(opening), TEST(looking), TEST(writing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
