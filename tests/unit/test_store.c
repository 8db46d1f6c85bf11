/* The store of rows: what was put is found, at once and later, here and by others, until it is too old or
 * flushed; and folders that cannot be used are refused. */
#include "cache/store.h"

#include "cache/store_rows.h"
#include "kept_log.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

/* The second that it is; 0: the real one. Linked with --wrap=time. */
static _Atomic time_t second;

time_t __real_time(time_t *now);
time_t __wrap_time(time_t *now);
time_t __wrap_time(time_t *now)
{
    const time_t is = second ? second : __real_time(NULL);
    if (now)
        *now = is;
    return is;
}

static void found_at_once_then_on_disk_then_by_the_next(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 100, 2000, 5000, 100000, 700000};
    enum { N = sizeof sizes / sizeof *sizes };
    struct store *store = store_make(16 * STORE_LEAST, NULL);
    for (unsigned i = 0; i < N; i++) {
        const uint64_t n_put = store_n_put(store);
        assert_false(row_found(store, i, sizes[i]));
        row_put(store, i, sizes[i]);
        assert_true(store_n_put(store) != n_put);
        assert_true(row_found(store, i, sizes[i]));
    }
    store_await(store, N);
    for (unsigned i = 0; i < N; i++)
        assert_true(row_found(store, i, sizes[i]));
    const struct store_counts counts = store_count(store);
    assert_int_equal(counts.n_rows, N);
    assert_int_equal(counts.n_stored, N);
    assert_int_equal(counts.n_dropped + counts.n_damaged + counts.n_turns, 0);
    assert_true(counts.size_bytes > 700000);
    row_put(store, N, 100); /* that is written by the close */
    store_close(store);

    store = store_make(16 * STORE_LEAST, NULL);
    for (unsigned i = 0; i < N; i++)
        assert_true(row_found(store, i, sizes[i]));
    assert_true(row_found(store, N, 100));
    assert_int_equal(store_count(store).n_rows, N + 1);
    store_close(store);
    store_close(NULL);
}

/* Rows leave the tables and are in files that the look does not see. */
static void a_look_finds_what_is_written_during_it(void **state)
{
    (void)state;
    struct store *store = store_make(4 * STORE_LEAST, NULL);
    const struct digest first = row_key(1), later = row_key(2), never = row_key(3);
    struct store_look look;
    struct store_found kept, found;
    row_put(store, 1, 4000);
    store_await(store, 1);
    assert_true(store_look_begin(store, &look));
    assert_true(store_get(&look, &first, &kept));
    assert_null(kept.row);
    for (unsigned n = 0; n < 3; n++) {
        row_put(store, 2, 3000); /* found in the table, or written already */
        assert_true(store_get(&look, &later, &found));
        cache_row_drop(found.row);
        store_await(store, 2);
        assert_true(store_get(&look, &later, &found));
        assert_true(row_is(2, found.bytes, 3000));
        cache_row_drop(found.row);
        assert_false(store_get(&look, &never, &found));
    }
    assert_true(row_is(1, kept.bytes, 4000));
    store_look_end(&look);
    store_close(store);
}

/* Though they are written together with what comes after them. */
static void rows_that_never_pause_are_written(void **state)
{
    (void)state;
    static const struct timespec less_than_a_pause = {.tv_nsec = 5 * 1000000};
    struct store *store = store_make(STORE_LEAST, NULL);
    for (unsigned i = 0; store_count(store).n_stored == 0; i++) {
        assert_true(i < 4000);
        row_put(store, i, 10);
        (void)nanosleep(&less_than_a_pause, NULL);
    }
    store_close(store);
}

static void rows_that_are_too_much_are_dropped(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    row_put(store, 1, STORE_LEAST / 16); /* more than an eighth of a file */
    assert_int_equal(store_count(store).n_dropped, 1);
    assert_false(row_found(store, 1, STORE_LEAST / 16));
    row_put(store, 2, STORE_LEAST / 32);
    assert_true(row_found(store, 2, STORE_LEAST / 32));
    store_close(store);
}

static void rows_are_forgotten_when_they_are_old(void **state)
{
    (void)state;
    second = 1000000;
    const struct store_options options = {
        .dir = store_file(""), .size_bytes = STORE_LEAST, .ttl_s = 100};
    struct store *store = store_make_with(&options);
    row_put(store, 1, 10);
    store_await(store, 1);
    second += 99;
    assert_true(row_found(store, 1, 10));
    second += 1;
    assert_false(row_found(store, 1, 10));
    row_put(store, 1, 10); /* anew, over the old one */
    store_await(store, 2);
    second += 99;
    assert_true(row_found(store, 1, 10));
    second -= 150; /* a clock that was set back a little, and by years */
    assert_true(row_found(store, 1, 10));
    second -= 100000;
    assert_false(row_found(store, 1, 10));
    store_close(store);
    second = 0;
}

/* --- with others --- */

/* 'g': is row 1 there? 'p': puts row 2. 'f': flushes. */
static int serve_orders(int in, int out)
{
    struct gp_error err;
    struct store *store = store_make(4 * STORE_LEAST, NULL);
    uint64_t n = 0;
    for (char letter; (letter = store_take_letter(in)) != '-';) {
        char answer = 'y';
        if (letter == 'g')
            answer = row_found(store, 1, 5000) ? 'y' : 'n';
        if (letter == 'p') {
            row_put(store, 2, 5000);
            store_await(store, ++n);
        }
        if (letter == 'f')
            answer = store_flush(store, &err) == GP_OK ? 'y' : 'n';
        if (write(out, &answer, 1) != 1)
            return 1;
    }
    store_close(store);
    return 0;
}

static void another_process_finds_it(void **state)
{
    (void)state;
    struct store_child child;
    struct gp_error err;
    store_child_begin(&child, serve_orders);
    assert_int_equal(store_child_order(&child, 'g'), 'n');
    struct store *store = store_make(4 * STORE_LEAST, NULL);
    row_put(store, 1, 5000);
    store_await(store, 1);
    assert_int_equal(store_child_order(&child, 'g'), 'y');
    assert_int_equal(store_child_order(&child, 'p'), 'y');
    assert_true(row_found(store, 2, 5000));

    /* nobody finds anything after a flush, whether it was written or not */
    row_put(store, 3, 100);
    assert_int_equal(store_child_order(&child, 'f'), 'y');
    for (unsigned i = 1; i <= 3; i++)
        assert_false(row_found(store, i, i == 3 ? 100 : 5000));
    row_put(store, 1, 5000);
    assert_true(row_found(store, 1, 5000));
    assert_int_equal(store_flush(store, &err), GP_OK);
    assert_false(row_found(store, 1, 5000));
    assert_int_equal(store_child_order(&child, 'g'), 'n');
    row_put(store, 1, 5000);
    /* the writer may still be counting what the flushes took back, so the counts do not tell when */
    const struct timespec pause = {.tv_nsec = 10000000};
    for (int i = 0; i < 3000 && store_child_order(&child, 'g') != 'y'; i++)
        (void)nanosleep(&pause, NULL);
    assert_int_equal(store_child_order(&child, 'g'), 'y');
    store_close(store);
    assert_int_equal(store_child_end(&child, 0), 0);
}

/* Begins to write, says so and never ends. */
static int stop_while_writing(int in, int out)
{
    struct rows_file *file;
    MDB_txn *txn;
    char path[300];
    (void)store_take_letter(in);
    snprintf(path, sizeof path, "%s/rows-2.mdb", store_file(""));
    if (rows_open(path, STORE_LEAST / 2, &file) != 0 || rows_begin(file, &txn) != 0 ||
        write(out, "w", 1) != 1)
        return 1;
    return store_take_letter(in);
}

static void a_process_that_stops_holds_up_no_end(void **state)
{
    (void)state;
    struct store_child child;
    store_child_begin(&child, stop_while_writing);
    static struct log log;
    static struct store
        *store; /* stays with its thread, which a leak checker sees here */
    kept_log_begin(&log);
    store = store_make(STORE_LEAST, &log);
    assert_int_equal(store_child_order(&child, 'w'), 'w');
    row_put(store, 1, 100);
    assert_true(row_found(store, 1, 100));
    store_close(store);
    assert_logged(&log,
                  "warning: the row cache in * cannot be closed: its disk, or another "
                  "process that uses it, does not answer\n");
    assert_int_equal(store_child_end(&child, 0), '-');
    kept_log_end(&log);
}

/* --- folders that cannot be used --- */

static void sizes_that_are_absurd_are_refused(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, STORE_LEAST - 1, (size_t)65 << 40, SIZE_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        store_assert_refused(&(struct store_options){store_file(""), sizes[i], 0, NULL},
                             GP_INVALID, "wanted 1 MiB to 64 TiB");
    assert_int_equal(access(store_file(""), F_OK), -1);
}

static void folders_that_cannot_be_written_are_refused(void **state)
{
    (void)state;
    tree_put("/file", "");
    store_assert_refused(
        &(struct store_options){tree_path("/file"), STORE_LEAST, 0, NULL}, GP_UNAVAILABLE,
        "Not a directory");
    store_assert_refused(&(struct store_options){"", STORE_LEAST, 0, NULL}, GP_INVALID,
                         "--cache-dir");
    store_assert_refused(
        &(struct store_options){"/proc/self/rows/here", STORE_LEAST, 0, NULL},
        GP_UNAVAILABLE, "/proc/self/rows");

    int ended;
    tree_folder("/cache");
    assert_int_equal(chmod(store_file(""), 0555), 0);
    assert_int_equal(chmod(tree_root, 0755), 0);
    const pid_t pid = fork();
    if (pid == 0) { /* as somebody who may not do everything */
        if (geteuid() == 0 && setuid(65534) != 0)
            _exit(1);
        struct gp_error err = {0};
        const bool is_refused = !store_open(
            &(struct store_options){store_file(""), STORE_LEAST, 0, NULL}, &err);
        _exit(is_refused && strstr(err.message, "Permission denied") ? 0 : 2);
    }
    assert_int_equal(waitpid(pid, &ended, 0), pid);
    assert_int_equal(ended, 0);
}

static void one_store_in_a_process(void **state)
{
    (void)state;
    const struct store_options options = {store_file(""), STORE_LEAST, 0, NULL};
    struct store *store = store_make_with(&options);
    store_assert_refused(&options, GP_BUSY, "already used by a process");
    row_put(store, 1, 100); /* the first is none the worse for it */
    store_await(store, 1);
    assert_true(row_found(store, 1, 100));
    store_close(store);
    store_close(store_make_with(&options));
}

static void the_folder_is_its_owners(void **state)
{
    (void)state;
    struct stat stat_;
    const char *dir = tree_path("/a/b/rows");
    store_close(store_make_with(&(struct store_options){dir, STORE_LEAST, 0, NULL}));
    for (int i = 0; i < 3; i++) {
        const char *path = tree_path(i == 0 ? "/a" : i == 1 ? "/a/b" : "/a/b/rows");
        assert_int_equal(stat(path, &stat_), 0);
        assert_int_equal(stat_.st_mode & 0777, 0700);
    }
    assert_int_equal(stat(tree_path("/a/b/rows/generation"), &stat_), 0);
    assert_int_equal(stat_.st_mode & 0777, 0600);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(found_at_once_then_on_disk_then_by_the_next),
        TEST(a_look_finds_what_is_written_during_it),
        TEST(rows_that_never_pause_are_written),
        TEST(rows_that_are_too_much_are_dropped),
        TEST(rows_are_forgotten_when_they_are_old),
        TEST(another_process_finds_it),
        TEST(a_process_that_stops_holds_up_no_end),
        TEST(sizes_that_are_absurd_are_refused),
        TEST(folders_that_cannot_be_written_are_refused),
        TEST(one_store_in_a_process),
        TEST(the_folder_is_its_owners),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
