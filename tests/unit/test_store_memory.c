/* A store when memory, maps, files or threads are refused: it is told, or rows are dropped; nothing is left
 * of it, and once there are some again the same goes well. */
#include "cache/store.h"

#include "fault.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

/* Opens a store, puts a row and finds it. */
static enum gp_status use_store(void *arg, struct gp_error *err)
{
    (void)arg;
    const struct digest key = row_key(1);
    struct store_look look;
    struct store_found found;
    struct store *store = store_open(
        &(struct store_options){.dir = store_file(""), .size_bytes = STORE_LEAST}, err);
    if (!store)
        return err->status;
    struct cache_row *row = cache_row_create(&key, 1000);
    if (!row) {
        store_close(store);
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a row");
    }
    row_fill(1, row->bytes, 1000);
    cache_row_hold(row); /* so that it is freed here */
    store_put(store, row);
    assert_true(store_look_begin(store, &look));
    assert_true(store_get(&look, &key, &found));
    cache_row_drop(found.row);
    store_look_end(&look);
    store_close(store);
    cache_row_drop(row);
    return GP_OK;
}

static void each_allocation(void **state)
{
    (void)state;
    assert_true(fault_each_allocation(use_store, NULL) >= 8);
    assert_int_not_equal(access(store_file("rows.mdb.damaged"), F_OK), 0);
    struct store *store = store_make(STORE_LEAST, NULL);
    assert_true(row_found(store, 1, 1000));
    store_close(store);
}

static void assert_refused(unsigned call, unsigned from, int error, enum gp_status status,
                           const char *says)
{
    struct gp_error err = {0};
    const unsigned n_descriptors = fault_n_descriptors();
    fault_begin(&(struct fault){.calls = call, .from = from, .n = 1, .error = error});
    assert_null(store_open(
        &(struct store_options){.dir = store_file(""), .size_bytes = STORE_LEAST}, &err));
    assert_int_equal(fault_end(), 1);
    assert_int_equal(err.status, status);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" lacks \"%s\"", err.message, says);
    assert_int_equal(fault_n_descriptors(), n_descriptors);
}

static void no_files_and_no_threads(void **state)
{
    (void)state;
    assert_refused(FAULT_OPEN, 0, EMFILE, GP_UNAVAILABLE, "Too many open files");
    assert_refused(FAULT_WRITE, 0, 0, GP_UNAVAILABLE,
                   "No space left"); /* for all of it */
    assert_refused(FAULT_WRITE, 0, ENOSPC, GP_UNAVAILABLE, "No space left");
    assert_refused(
        FAULT_OPEN, 1, EIO, GP_UNAVAILABLE,
        "cannot open a file of rows of 454656 bytes: Input/output error; a disk "
        "with room is needed");
    assert_refused(FAULT_OPEN, 1, ENOMEM, GP_NO_MEMORY, "Cannot allocate memory");
    assert_refused(FAULT_PTHREAD_CREATE, 0, EAGAIN, GP_NO_MEMORY, "thread");
    store_close(store_make(STORE_LEAST, NULL));
}

/* Where the thread turns files and follows the folder. */
static void the_thread_goes_on(void **state)
{
    (void)state;
    enum { N = 300, SIZE = 3000 };
    static const unsigned calls[] = {FAULT_MEM, FAULT_MMAP, FAULT_OPEN};
    struct store *store = store_make(STORE_LEAST, NULL);
    uint64_t n = 0;
    for (unsigned c = 0; c < sizeof calls / sizeof *calls; c++) {
        fault_begin(&(struct fault){.calls = calls[c],
                                    .is_elsewhere = true,
                                    .error = calls[c] == FAULT_OPEN ? EMFILE : ENOMEM});
        for (unsigned i = 0; i < N; i++)
            row_put(store, 1000 * c + i, SIZE);
        store_await(store, n += N);
        assert_true(fault_end() > 0);
        assert_true(store_count(store).n_dropped > 0);
        row_put(store, 1000 * c + N, SIZE);
        store_await(store, ++n);
        assert_true(row_found(store, 1000 * c + N, SIZE));
    }
    assert_int_not_equal(access(store_file("rows.mdb.damaged"), F_OK), 0);
    store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_allocation),
        TEST(no_files_and_no_threads),
        TEST(the_thread_goes_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
