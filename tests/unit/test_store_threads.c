/* Many threads at one store that is too small for them: files turn, rows are brought over, and it is flushed
 * at times. Runs under ThreadSanitizer too. */
#include "cache/store.h"

#include "store_fixture.h"
#include "temp_tree.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_THREADS = 6, N_ROUNDS = 400, N_ROWS = 600, N_GETS = 8 };

static struct store *store;
static atomic_uint n_found, n_wrong, n_lost;

static size_t size_of(unsigned number)
{
    return 40 + number % 9 * 500;
}

static bool look_for(struct store_look *look, unsigned number)
{
    struct store_found found;
    const struct digest key = row_key(number);
    if (!store_get(look, &key, &found))
        return false;
    const bool is_right = found.size_bytes == size_of(number) &&
                          row_is(number, found.bytes, found.size_bytes);
    atomic_fetch_add(is_right ? &n_found : &n_wrong, 1);
    cache_row_drop(found.row);
    return true;
}

static void *use_store(void *arg)
{
    const unsigned thread = *(const unsigned *)arg;
    struct gp_error err;
    for (unsigned i = 0; i < N_ROUNDS; i++) {
        struct store_look look;
        const unsigned own =
            N_ROWS + thread * N_ROUNDS + i; /* put by this thread alone */
        row_put(store, own, size_of(own));
        row_put(store, (thread + i * 17) % N_ROWS, size_of((thread + i * 17) % N_ROWS));
        (void)store_look_begin(store, &look);
        for (unsigned k = 0; k < N_GETS; k++)
            (void)look_for(&look, (thread * 7 + i * 13 + k * 29) % N_ROWS);
        if (!look_for(&look, own))
            atomic_fetch_add(&n_lost, 1);
        store_look_end(&look);
        if (thread == 0 && i % 150 == 149)
            (void)store_flush(store, &err);
        if (i % 100 == 99)
            (void)store_count(store);
    }
    return NULL;
}

static void many_threads(void **state)
{
    (void)state;
    pthread_t threads[N_THREADS];
    unsigned numbers[N_THREADS];
    store = store_make(STORE_LEAST, NULL);
    for (unsigned i = 0; i < N_THREADS; i++) {
        numbers[i] = i;
        assert_int_equal(pthread_create(&threads[i], NULL, use_store, &numbers[i]), 0);
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    const struct store_counts counts = store_count(store);
    assert_int_equal(n_wrong, 0);
    assert_true(n_found > N_THREADS * N_ROUNDS / 2);
    /* those that a flush forgot just then, or two turns */
    assert_true(n_lost < N_THREADS * N_ROUNDS / 10);
    assert_int_equal(counts.n_damaged, 0);
    assert_true(counts.n_turns > 0);
    store_close(store);
}

/* A row that was put is found at each moment of its way to the disk. */
static _Atomic unsigned newest;
static atomic_bool is_over;

static void *look_for_newest(void *arg)
{
    (void)arg;
    while (!atomic_load(&is_over)) {
        const unsigned number = atomic_load(&newest);
        struct store_look look;
        (void)store_look_begin(store, &look);
        for (unsigned k = 0; k < 5; k++)
            if (!look_for(&look, number))
                atomic_fetch_add(&n_lost, 1);
        store_look_end(&look);
    }
    return NULL;
}

static void no_gap_between_table_and_disk(void **state)
{
    (void)state;
    pthread_t threads[2];
    atomic_store(&n_lost, 0);
    atomic_store(&n_found, 0);
    store = store_make(64 * STORE_LEAST, NULL);
    row_put(store, 0, size_of(0));
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_for_newest, NULL), 0);
    for (unsigned i = 1; i <= 20; i++) {
        row_put(store, i, size_of(i));
        atomic_store(&newest, i);
        store_await(store, i + 1);
        const unsigned before = n_found;
        while (n_found < before + 10) /* they have seen it on disk */
            (void)sched_yield();
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(n_lost, 0);
    assert_int_equal(n_wrong, 0);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(many_threads, tree_make, tree_remove),
        cmocka_unit_test_setup_teardown(no_gap_between_table_and_disk, tree_make,
                                        tree_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
