/* The files of a store keep to their size, and a full disk is no reason to end. */
#include "cache/store.h"

#include "kept_log.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <cmocka.h>

static struct log kept;

static void files_keep_to_their_size(void **state)
{
    (void)state;
    enum { N = 3000, SIZE = 2500, KEPT = 5 };
    struct store *store = store_make(2 * STORE_LEAST, NULL);
    unsigned n_found = 0;
    for (unsigned i = 0; i < N; i++) {
        row_put(store, i, SIZE);
        if (i % 100 == 99) {
            store_await(store, i + 1);
            assert_true(store_size() <= 2 * STORE_LEAST);
        }
        for (unsigned k = 0; i % 100 == 99 && k < KEPT; k++) /* these are asked for */
            assert_true(row_found(store, k, SIZE));
    }
    for (unsigned i = 0; i < N; i++)
        n_found += row_found(store, i, SIZE);
    const struct store_counts counts = store_count(store);
    assert_int_equal(counts.n_stored, N);
    assert_true(counts.n_turns >= 3);
    assert_true(n_found > 100 && n_found < N);
    assert_true(row_found(store, N - 1, SIZE));
    store_close(store);

    /* the folder of a larger cache is cut to size */
    store = store_make(STORE_LEAST, NULL);
    assert_true(store_size() <= STORE_LEAST);
    store_assert_works(store, N);
    store_close(store);

    /* who only looks leaves it as it is */
    store = store_make(0, NULL);
    assert_true(row_found(store, N, 300));
    assert_int_equal(store_count(store).max_bytes, STORE_LEAST);
    assert_int_equal(store_count(store).n_turns, 0);
    store_close(store);
}

static void a_full_disk_is_said_once(void **state)
{
    (void)state;
    enum { N = 40, SIZE = 4000 };
    struct rlimit limit, before;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    kept_log_begin(&kept);
    struct store *store = store_make(4 * STORE_LEAST, &kept);
    store_assert_works(store, 1);

    limit = (struct rlimit){.rlim_cur = (rlim_t)store_count(store).size_bytes,
                            .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    for (unsigned i = 0; i < 2; i++) {
        for (unsigned k = 0; k < N; k++)
            row_put(store, 100 * (i + 1) + k, SIZE);
        store_await(store, 1 + N * (i + 1));
        assert_int_equal(store_count(store).n_dropped, N * (i + 1));
        for (int looks = 0; row_found(store, 100 * (i + 1), SIZE); looks++)
            assert_true(looks < 1000000);      /* its thread forgets them next */
        assert_true(row_found(store, 1, 300)); /* what was there still is */
    }
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    for (unsigned k = 0; k < N; k++)
        row_put(store, 100 + k, SIZE);
    store_await(store, 1 + 3 * N);
    for (unsigned k = 0; k < N; k++)
        assert_true(row_found(store, 100 + k, SIZE));
    assert_int_equal(store_count(store).n_stored, 1 + N);
    assert_logged(&kept, "warning: the row cache in * cannot be written: *; rows are "
                         "dropped until it can\n"
                         "the row cache in * is written again\n");
    store_close(store);
    kept_log_end(&kept);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(files_keep_to_their_size),
        TEST(a_full_disk_is_said_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
