/* Looks at a store, of which LMDB has so many at once, and rows on their way to the disk while its thread is
 * held up. */
#include "cache/store_parts.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000, SIZE = 30000, LAST = 1000, TOO_MANY = ROWS_MAX_READERS + 50 };

static struct store_look looks[TOO_MANY];

/* With rows in both files: number 0 in the old one, and LAST in the young one. */
static struct store *make_two(void)
{
    struct store *store = store_make(STORE_LEAST, NULL);
    store_turn(store, 1);
    const uint64_t n = store_count(store).n_stored;
    row_put(store, LAST, SIZE);
    store_await(store, n + 1);
    return store;
}

/* Begins so many at once; how many of them find the row. */
static unsigned begin_looks(struct store *store, unsigned n, unsigned number)
{
    const struct digest key = row_key(number);
    struct store_found found;
    unsigned n_found = 0;
    for (unsigned i = 0; i < n; i++) {
        assert_true(store_look_begin(store, &looks[i]));
        n_found += store_get(&looks[i], &key, &found);
        assert_null(found.row);
    }
    return n_found;
}

static void end_looks(unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        store_look_end(&looks[i]);
}

static void a_look_gives_back_what_it_took(void **state)
{
    (void)state;
    struct store *store = make_two();
    for (unsigned i = 0; i < TOO_MANY; i++) {
        (void)begin_looks(store, 1, 2000);
        end_looks(1);
    }
    assert_true(row_found(store, 0, SIZE));
    assert_true(row_found(store, LAST, SIZE));
    store_close(store);
}

/* Nor does one that looks again, for what was written since it began. */
static void looking_again_takes_nothing(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    const struct digest key = row_key(1);
    struct store_look look;
    struct store_found found;
    assert_true(store_look_begin(store, &look));
    row_put(store, 1, 100);
    store_await(store, 1);
    for (unsigned i = 0; i < TOO_MANY; i++) {
        assert_true(store_get(&look, &key, &found));
        cache_row_drop(found.row);
    }
    store_look_end(&look);
    assert_int_equal(store->pair->n_looks, 0);
    store_close(store);
}

static void without_a_store_nothing_is_found(void **state)
{
    (void)state;
    const struct digest key = row_key(1);
    struct store_look look;
    struct store_found found;
    assert_false(store_look_begin(NULL, &look));
    assert_false(store_get(&look, &key, &found));
    store_look_end(&look);
}

/* More than there can be at once find nothing, and leave nothing. */
static void looks_that_are_too_many_find_nothing(void **state)
{
    (void)state;
    unsigned n_readers;
    struct store *store = make_two();
    /* some more than it was told, which have room in its lock file too */
    assert_int_equal(mdb_env_get_maxreaders(store->pair->young->env, &n_readers), 0);
    assert_in_range(n_readers, ROWS_MAX_READERS, TOO_MANY - 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(begin_looks(store, TOO_MANY, LAST), n_readers);
        end_looks(TOO_MANY);
        const struct store_pair *pair = store->pair;
        assert_int_equal(pair->young->n_idle, ROWS_MAX_IDLE);
        assert_int_equal(pair->old->n_idle, ROWS_MAX_IDLE);
    }
    store_close(store);
}

/* --- with others --- */

/* When it is told to, opens the store, puts row 1, and begins so many looks. */
static int look(int in, int out, unsigned n)
{
    (void)store_take_letter(in);
    struct store *store = store_make(STORE_LEAST, NULL);
    row_put(store, 1, 100);
    store_await(store, 1);
    const char answer = begin_looks(store, n, 1) == n ? 'y' : 'n';
    if (write(out, &answer, 1) != 1)
        return 1;
    (void)store_take_letter(in);
    end_looks(n);
    store_close(store);
    return 0;
}

static int look_once(int in, int out)
{
    return look(in, out, 1);
}

static int look_much(int in, int out)
{
    return look(in, out, ROWS_MAX_READERS - 50);
}

/* What they looked at would stay for ever. */
static void readers_that_were_killed_are_forgotten(void **state)
{
    (void)state;
    struct store_child witness, victim, crowd; /* before there are threads here */
    int n_dead;
    store_child_begin(&witness, look_once);
    store_child_begin(&victim, look_once);
    store_child_begin(&crowd, look_much);
    assert_int_equal(store_child_order(&witness, 'l'), 'y');
    assert_int_equal(store_child_order(&victim, 'l'), 'y');
    assert_int_equal(store_child_end(&victim, SIGKILL), 0);
    struct store *store = store_make(STORE_LEAST, NULL); /* at its opening */
    assert_int_equal(mdb_reader_check(store->pair->young->env, &n_dead), 0);
    assert_int_equal(n_dead, 0);

    assert_int_equal(store_child_order(&crowd, 'l'), 'y');
    assert_true(begin_looks(store, 200, 1) < 200);
    end_looks(200);
    assert_int_equal(store_child_end(&crowd, SIGKILL), 0);
    assert_int_equal(begin_looks(store, 200, 1), 200); /* when there is no room */
    end_looks(200);
    store_close(store);
    assert_int_equal(store_child_end(&witness, 0), 0);
}

/* Until the thread has nothing to do, and has closed what nobody looks at. */
static void await_quiet(struct store *store)
{
    for (int i = 0;; i++) {
        pthread_mutex_lock(&store->lock);
        const bool is_quiet =
            !store->retired && !store->is_poked && store->n_renewed == 0;
        pthread_mutex_unlock(&store->lock);
        if (is_quiet)
            return;
        assert_true(i < PATIENCE_MS);
        (void)poll(NULL, 0, 1);
    }
}

/* A file that was removed takes its room until nobody looks at it. */
static void a_file_stays_as_long_as_it_is_looked_at(void **state)
{
    (void)state;
    const struct digest key = row_key(1);
    struct store *store = store_make(STORE_LEAST, NULL);
    struct store_look look;
    struct store_found found;
    row_put(store, 1, 5000);
    store_await(store, 1);
    assert_true(store_look_begin(store, &look));
    assert_true(store_get(&look, &key, &found));
    for (int i = 0; i < 2; i++)
        assert_int_equal(store_flush(store, NULL), GP_OK);
    assert_true(row_is(1, found.bytes, 5000));
    assert_int_equal(found.size_bytes, 5000);
    pthread_mutex_lock(&store->lock);
    assert_non_null(store->retired);
    pthread_mutex_unlock(&store->lock);
    store_look_end(&look);
    await_quiet(store);
    assert_false(row_found(store, 1, 5000));
    store_close(store);
}

/* A row of the old file that was found is to be written to the young one, but not after a flush. */
static void a_flush_forgets_what_was_found(void **state)
{
    (void)state;
    struct store *store = make_two();
    assert_true(row_found(store, 0, SIZE));
    assert_int_equal(store_flush(store, NULL), GP_OK);
    pthread_mutex_lock(&store->lock);
    const unsigned n_renewed = store->n_renewed;
    pthread_mutex_unlock(&store->lock);
    assert_int_equal(n_renewed, 0);
    assert_false(row_found(store, 0, SIZE));
    assert_int_equal(store_count(store).n_rows, 0);
    store_close(store);
}

/* --- ahead of the disk --- */

/* The thread can write nothing until this ends. */
static MDB_txn *hold_up(struct store *store)
{
    MDB_txn *txn;
    assert_int_equal(rows_begin(store->pair->young, &txn), 0);
    return txn;
}

static void a_row_that_waits_is_not_put_again(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    MDB_txn *txn = hold_up(store);
    row_put(store, 1, 100);
    const uint64_t n_put = store_n_put(store);
    for (int i = 0; i < 5; i++) {
        row_put(store, 1, 100);
        assert_true(row_found(store, 1, 100));
    }
    assert_int_equal(store_n_put(store), n_put);
    row_put(store, 2, 100);
    assert_int_equal(store_n_put(store), n_put + 1);
    mdb_txn_abort(txn);
    store_await(store, 2);
    row_put(store, 1, 100); /* written: its number grows again */
    assert_int_equal(store_n_put(store), n_put + 2);
    store_await(store, 3);
    assert_int_equal(store_count(store).n_dropped, 0);
    assert_int_equal(store_count(store).n_rows, 2);
    store_close(store);
}

static void what_is_too_far_ahead_of_the_disk_is_dropped(void **state)
{
    (void)state;
    enum { BYTES = 1 << 20, N = STORE_MOST_PENDING_BYTES / BYTES };
    struct store *store = store_make(64 * STORE_LEAST, NULL);
    MDB_txn *txn = hold_up(store);
    for (unsigned i = 0; i < N + 3; i++)
        row_put(store, i, BYTES); /* with its head it is a little more */
    assert_int_equal(store_count(store).n_dropped, 4);
    for (unsigned i = 0; i < N + 3; i++)
        assert_int_equal(row_found(store, i, BYTES), i < N - 1);
    row_put(store, 100, 100); /* for which there is room */
    assert_true(row_found(store, 100, 100));
    mdb_txn_abort(txn);
    store_await(store, N + 4);
    assert_int_equal(store_count(store).n_stored, N);
    row_put(store, N + 2, BYTES); /* now there is */
    store_await(store, N + 5);
    assert_true(row_found(store, N + 2, BYTES));
    store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_look_gives_back_what_it_took),
        TEST(looking_again_takes_nothing),
        TEST(without_a_store_nothing_is_found),
        TEST(looks_that_are_too_many_find_nothing),
        TEST(readers_that_were_killed_are_forgotten),
        TEST(a_file_stays_as_long_as_it_is_looked_at),
        TEST(a_flush_forgets_what_was_found),
        TEST(a_row_that_waits_is_not_put_again),
        TEST(what_is_too_far_ahead_of_the_disk_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
