/* The folder of a store: what is there is not believed, and its lock is held no longer than it has to be.
 * Linked with --wrap=fcntl, --wrap=nanosleep and --wrap=pthread_cond_timedwait. */
#include "cache/store_parts.h"
#include "descriptors.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 60000, LOCK_WAIT_MS = 5000 };

/* --- calls that do something else in the test's thread --- */

static _Thread_local int byte_error; /* of who locks a byte */

int __real_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...);
int __wrap_fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    void *arg = va_arg(args, void *);
    va_end(args);
    if (command != F_OFD_SETLK || !byte_error)
        return __real_fcntl(fd, command, arg);
    errno = byte_error;
    return -1;
}

static _Thread_local int keeper = -1;  /* by which another has the lock */
static _Thread_local int64_t kept_ms;  /* so far, by pauses, which take no time */
static _Thread_local int64_t keeps_ms; /* then it gives it back; 0: never */

int __wrap_nanosleep(const struct timespec *pause, struct timespec *left);
int __wrap_nanosleep(const struct timespec *pause, struct timespec *left)
{
    if (keeper < 0)
        return clock_nanosleep(CLOCK_MONOTONIC, 0, pause, left);
    kept_ms += pause->tv_nsec / 1000000;
    if (kept_ms == keeps_ms)
        (void)flock(keeper, LOCK_UN);
    return 0;
}

static _Thread_local bool is_patient = true;

int __real_pthread_cond_timedwait(pthread_cond_t *news, pthread_mutex_t *lock,
                                  const struct timespec *end);
int __wrap_pthread_cond_timedwait(pthread_cond_t *news, pthread_mutex_t *lock,
                                  const struct timespec *end);
int __wrap_pthread_cond_timedwait(pthread_cond_t *news, pthread_mutex_t *lock,
                                  const struct timespec *end)
{
    return is_patient ? __real_pthread_cond_timedwait(news, lock, end) : ETIMEDOUT;
}

/* --- locks --- */

static int open_lock(void)
{
    const int fd = open(store_file("lock"), O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    return fd;
}

/* As another process that uses the folder; the store's thread may have it for a moment. */
static void keep_lock(int64_t ms)
{
    const int fd = open_lock();
    for (int i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        assert_true(i < PATIENCE_MS);
        (void)poll(NULL, 0, 1);
    }
    keeper = fd;
    keeps_ms = ms;
    kept_ms = 0;
}

static void give_lock(void)
{
    close(keeper);
    keeper = -1;
}

static void await_lock(void)
{
    keep_lock(0);
    give_lock();
}

static void assert_refused(const char *dir, enum gp_status status, const char *says)
{
    struct gp_error err = {0};
    const unsigned n = descriptors_count();
    assert_null(store_open(&(struct store_options){dir, STORE_LEAST, 0, NULL}, &err));
    assert_int_equal(err.status, status);
    if (!strstr(err.message, says))
        fail_msg("\"%s\" lacks \"%s\"", err.message, says);
    assert_int_equal(descriptors_count(), n);
}

static void fill_until(struct store *store, unsigned n_turns)
{
    enum { N_AT_ONCE = 4, SIZE = 30000 };
    for (unsigned n = 0; store_count(store).n_turns < n_turns;) {
        for (unsigned i = 0; i < N_AT_ONCE; i++)
            row_put(store, n++, SIZE);
        store_await(store, n);
    }
}

static void the_lock_is_given_back(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    await_lock();
    fill_until(store, 1);
    await_lock();
    assert_int_equal(store_flush(store, NULL), GP_OK);
    await_lock();
    store_close(store);
    await_lock();
}

/* Until the thread writes a row and waits for another that writes, which is this thread. */
static MDB_txn *hold_up_thread(struct store *store, unsigned number)
{
    MDB_txn *txn;
    assert_int_equal(rows_begin(store->pair->young, &txn), 0);
    row_put(store, number, 100);
    for (int i = 0;; i++) {
        pthread_mutex_lock(&store->lock);
        const bool is_written = store->writing.n_rows == 1;
        pthread_mutex_unlock(&store->lock);
        if (is_written)
            return txn;
        assert_true(i < PATIENCE_MS);
        (void)poll(NULL, 0, 1);
    }
}

/* Others may go on, though this process does not yet. */
static void a_flush_keeps_no_lock_while_the_thread_hangs(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    MDB_txn *txn = hold_up_thread(store, 1);
    is_patient = false;
    assert_int_equal(store_flush(store, NULL), GP_OK);
    is_patient = true;
    const int fd = open_lock();
    assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
    close(fd);
    assert_false(row_found(store, 1, 100));
    mdb_txn_abort(txn);
    store_await(store, 1);
    assert_false(row_found(store, 1, 100));
    store_close(store);
}

static void a_lock_that_another_keeps_is_waited_for(void **state)
{
    (void)state;
    struct gp_error err;
    struct store *store = store_make(STORE_LEAST, NULL);
    keep_lock(LOCK_WAIT_MS);
    assert_int_equal(store_flush(store, &err), GP_OK);
    give_lock();
    keep_lock(0);
    assert_int_equal(store_flush(store, &err), GP_BUSY);
    assert_non_null(strstr(err.message,
                           "/cache: another process keeps the file \"lock\"; try again"));
    assert_int_equal(kept_ms, LOCK_WAIT_MS);
    give_lock();
    store_close(store);

    keep_lock(LOCK_WAIT_MS + 5);
    assert_refused(store_file(""), GP_UNAVAILABLE,
                   "another process keeps its file \"lock\": Resource temporarily "
                   "unavailable");
    give_lock();
    store_close(store_make(STORE_LEAST, NULL));
}

static void a_disk_without_locks_is_refused(void **state)
{
    (void)state;
    byte_error = ENOLCK;
    assert_refused(store_file(""), GP_UNAVAILABLE,
                   "cannot lock its file \"lock\": No locks available");
    static const int taken[] = {EAGAIN, EACCES};
    for (int i = 0; i < 2; i++) {
        byte_error = taken[i];
        assert_refused(store_file(""), GP_BUSY, "is already used by a process");
    }
    byte_error = 0;
    store_close(store_make(STORE_LEAST, NULL));
}

/* --- files --- */

static bool is_there(const char *name)
{
    return access(store_file(name), F_OK) == 0;
}

static void put_files(const char *const *names)
{
    for (; *names; names++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/cache/%s", *names);
        tree_put(path, "");
    }
}

static void files_that_nobody_needs_are_removed(void **state)
{
    static const char *const needless[] = {"rows-9.mdb", "rows-9.mdb-lock",
                                           "rows-7.mdb-lock", NULL},
                             *const others[] = {"rows-8.mdbx", "rows.mdb", "row-8.mdb",
                                                "notes", NULL};
    (void)state;
    store_close(store_make(STORE_LEAST, NULL));
    put_files(needless);
    put_files(others);
    store_close(store_make(STORE_LEAST, NULL));
    for (const char *const *name = needless; *name; name++)
        assert_false(is_there(*name));
    for (const char *const *name = others; *name; name++)
        assert_true(is_there(*name));
    assert_true(is_there("rows-2.mdb"));
}

/* Two processes would have another file open under the same name. */
static void no_number_is_used_twice(void **state)
{
    static const char *const strays[] = {"rows-40.mdb", "rows-18446744073709551615.mdb",
                                         "rows-39.mdb-lock", NULL};
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    assert_true(is_there("rows-2.mdb") && is_there("rows-2.mdb-lock"));
    assert_int_equal(store_flush(store, NULL), GP_OK);
    assert_true(is_there("rows-4.mdb"));
    assert_false(is_there("rows-2.mdb") || is_there("rows-2.mdb-lock"));
    store_close(store);
    put_files(strays);
    tree_put("/cache/generation", "of another release");
    store_close(store_make(STORE_LEAST, NULL));
    assert_true(is_there("rows-42.mdb"));
    assert_false(is_there("rows-4.mdb") || is_there("rows-40.mdb"));
    assert_false(is_there("rows-4.mdb-lock") || is_there("rows-39.mdb-lock"));
    assert_true(is_there("rows.mdb.damaged") && is_there("generation.damaged"));
}

/* Where the damaged file would go there is a folder, or one that is full. */
static void what_cannot_be_set_aside_is_removed(void **state)
{
    (void)state;
    store_close(store_make(STORE_LEAST, NULL));
    tree_put("/cache/rows.mdb.damaged/file", "");
    tree_put("/cache/generation", "of another release");
    store_close(store_make(STORE_LEAST, NULL));
    assert_true(is_there("rows-4.mdb"));
    assert_false(is_there("rows-2.mdb") || is_there("rows-2.mdb-lock"));
    tree_put("/cache/rows-4.mdb", "");
    const int fd = open(store_file("rows-4.mdb"), O_WRONLY);
    assert_int_equal(ftruncate(fd, 8 << 10), 0); /* of zeros */
    close(fd);
    store_close(store_make(STORE_LEAST, NULL));
    assert_true(is_there("rows-5.mdb"));
    assert_false(is_there("rows-4.mdb") || is_there("rows-4.mdb-lock"));

    tree_put("/cache/generation", "of another release");
    tree_drop("/cache/generation.damaged");
    tree_put("/cache/generation.damaged/file", "");
    assert_refused(store_file(""), GP_UNAVAILABLE,
                   "cannot map its file \"generation\": Is a directory");
}

/* The older of two files, which is the one before the young. */
static void a_turn_keeps_the_file_before(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    fill_until(store, 2);
    assert_true(is_there("rows-4.mdb") && is_there("rows-3.mdb"));
    assert_false(is_there("rows-2.mdb") || is_there("rows-2.mdb-lock"));
    store_close(store);
}

/* What a server gave that was damaged since. */
static void a_size_that_cannot_be_is_not_believed(void **state)
{
    static const uint64_t sizes[] = {0, STORE_LEAST - 1, UINT64_C(65) << 40, UINT64_MAX};
    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        store_close(store_make(2 * STORE_LEAST, NULL));
        const int fd = open(store_file("generation"), O_RDWR);
        assert_int_equal(pwrite(fd, &sizes[i], sizeof sizes[i],
                                offsetof(struct folder_shared, size_bytes)),
                         sizeof sizes[i]);
        close(fd);
        struct store *store = store_make(0, NULL);
        assert_int_equal(store_count(store).max_bytes, STORE_LEAST);
        store_close(store);
    }
}

/* --- paths --- */

static void a_path_is_so_long_at_most(void **state)
{
    enum { MOST = PATH_MAX - 64 };
    static char path[MOST + 2];
    (void)state;
    memset(path, 'a', sizeof path - 1);
    for (size_t at = 200; at < MOST - 1; at += 200)
        path[at] = '/';
    memcpy(path, tree_root, strlen(tree_root));
    path[strlen(tree_root)] = '/';
    assert_refused(path, GP_INVALID,
                   "--cache-dir: a path of 4033 bytes; wanted 1 to 4032");
    path[MOST] = '\0';
    store_close(store_make_with(&(struct store_options){path, STORE_LEAST, 0, NULL}));
    assert_refused(NULL, GP_INVALID, "--cache-dir: a path of 0 bytes");
}

static void the_process_may_go_elsewhere(void **state)
{
    (void)state;
    assert_int_equal(chdir(tree_root), 0);
    struct store *store =
        store_make_with(&(struct store_options){"cache", STORE_LEAST, 0, NULL});
    assert_int_equal(chdir("/"), 0);
    assert_int_equal(store_flush(store, NULL), GP_OK);
    row_put(store, 1, 100);
    store_close(store);
    assert_true(is_there("rows-4.mdb"));
    store = store_make(STORE_LEAST, NULL);
    assert_true(row_found(store, 1, 100));
    store_close(store);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_lock_is_given_back),
        TEST(a_flush_keeps_no_lock_while_the_thread_hangs),
        TEST(a_lock_that_another_keeps_is_waited_for),
        TEST(a_disk_without_locks_is_refused),
        TEST(files_that_nobody_needs_are_removed),
        TEST(no_number_is_used_twice),
        TEST(what_cannot_be_set_aside_is_removed),
        TEST(a_turn_keeps_the_file_before),
        TEST(a_size_that_cannot_be_is_not_believed),
        TEST(a_path_is_so_long_at_most),
        TEST(the_process_may_go_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
