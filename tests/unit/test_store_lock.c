/* The lock of a store's folder is held no longer than it has to be, and waited for. Linked with --wrap of
 * fcntl, nanosleep and pthread_cond_timedwait. */
#include "cache/store_parts.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/file.h>
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
    store_assert_refused(&(struct store_options){.dir = dir, .size_bytes = STORE_LEAST},
                         status, says);
}

static void the_lock_is_given_back(void **state)
{
    (void)state;
    struct store *store = store_make(STORE_LEAST, NULL);
    await_lock();
    store_turn(store, 1);
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

/* A row that was flushed before the thread began with it counts neither as stored nor as dropped. */
static void await_thread(struct store *store)
{
    for (int i = 0; atomic_load(&store->n_pending) > 0; i++) {
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
    await_thread(store);
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
    tree_drop("/cache/lock");
    tree_folder("/cache/lock");
    assert_refused(store_file(""), GP_UNAVAILABLE,
                   "cannot open its file \"lock\": Is a directory");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_lock_is_given_back),
        TEST(a_flush_keeps_no_lock_while_the_thread_hangs),
        TEST(a_lock_that_another_keeps_is_waited_for),
        TEST(a_disk_without_locks_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
