/* Processes that share a store and are killed at any moment: the others go on, and every row that is found
 * has the bytes that its number says. GP_KILLS sets how many; GP_SEED repeats the choices. */
#include "cache/store.h"

#include "chance.h"
#include "store_fixture.h"
#include "temp_tree.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum {
    N_KILLS = 80,
    N_AT_ONCE = 2,
    MOST_MS = 60, /* that one lives */
    N_ROWS = 3000,
    SIZE = 12 * STORE_LEAST
};

/* Of all processes. */
static struct tally {
    atomic_uint n_found, n_wrong, n_damaged, n_opened, n_refused;
} * tally;

static size_t size_of(unsigned number)
{
    return (number % 50) * 400;
}

static bool is_right(struct store *store, unsigned number)
{
    struct store_look look;
    struct store_found found;
    const struct digest key = row_key(number);
    bool is_right = true;
    (void)store_look_begin(store, &look);
    if (store_get(&look, &key, &found)) {
        is_right = found.size_bytes == size_of(number) &&
                   row_is(number, found.bytes, found.size_bytes);
        atomic_fetch_add(is_right ? &tally->n_found : &tally->n_wrong, 1);
        cache_row_drop(found.row);
    }
    store_look_end(&look);
    return is_right;
}

static void put_some(struct store *store, unsigned first, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        const unsigned number = (first + i * 7) % N_ROWS;
        const struct digest key = row_key(number);
        struct cache_row *row = cache_row_create(&key, size_of(number));
        if (!row)
            return;
        row_fill(number, row->bytes, row->size_bytes);
        store_put(store, row);
        (void)is_right(store, (number * 31) % N_ROWS);
    }
}

static struct store *try_open(void)
{
    struct gp_error err;
    struct store *store = store_open(
        &(struct store_options){.dir = store_file(""), .size_bytes = SIZE}, &err);
    atomic_fetch_add(store ? &tally->n_opened : &tally->n_refused, 1);
    if (!store)
        fprintf(stderr, "%s\n", err.message);
    return store;
}

/* Until it is killed, or told to end by the end of a pipe. */
static void use_store(int end, unsigned seed)
{
    struct store *store = try_open();
    struct pollfd until = {.fd = end, .events = POLLIN};
    for (unsigned i = seed; store && (end < 0 || poll(&until, 1, 0) == 0); i += 1009)
        put_some(store, i % N_ROWS, 100);
    if (store)
        atomic_fetch_add(&tally->n_damaged, (unsigned)store_count(store).n_damaged);
    store_close(store);
}

static int ends[2];

static pid_t begin_user(bool is_steady, unsigned seed)
{
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(ends[1]);
        use_store(is_steady ? ends[0] : -1, seed);
        _exit(0);
    }
    return pid;
}

static void kill_many(void)
{
    pid_t pids[N_AT_ONCE];
    int ended;
    const char *wanted = getenv("GP_KILLS");
    const unsigned n_kills = wanted ? (unsigned)strtoul(wanted, NULL, 10) : N_KILLS;
    for (unsigned i = 0; i < N_AT_ONCE; i++)
        pids[i] = begin_user(false, i);
    for (unsigned i = 0; i < n_kills; i++) {
        pid_t *pid = &pids[i % N_AT_ONCE];
        (void)poll(NULL, 0, (int)any(MOST_MS / N_AT_ONCE));
        assert_int_equal(kill(*pid, SIGKILL), 0);
        assert_int_equal(waitpid(*pid, &ended, 0), *pid);
        assert_true(WIFSIGNALED(ended) && WTERMSIG(ended) == SIGKILL);
        *pid = begin_user(false, i);
    }
    for (unsigned i = 0; i < N_AT_ONCE; i++) {
        assert_int_equal(kill(pids[i], SIGKILL), 0);
        assert_int_equal(waitpid(pids[i], &ended, 0), pids[i]);
    }
}

static void killed_at_any_moment(void **state)
{
    (void)state;
    int ended;
    const char *seed = getenv("GP_SEED");
    chance_seed = seed ? strtoul(seed, NULL, 10) : (unsigned long)getpid();
    printf("GP_SEED=%lu\n", chance_seed);
    tally = mmap(NULL, sizeof *tally, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
                 -1, 0);
    assert_true(tally != MAP_FAILED);
    assert_int_equal(pipe(ends), 0);
    const pid_t steady = begin_user(true, 1);
    kill_many();
    close(ends[1]);
    assert_int_equal(waitpid(steady, &ended, 0), steady);
    assert_int_equal(ended, 0);
    close(ends[0]);

    struct store *store = store_make(SIZE, NULL);
    const unsigned n_found = tally->n_found;
    for (unsigned i = 0; i < N_ROWS; i++)
        assert_true(is_right(store, i));
    assert_true(tally->n_found > n_found);
    row_put(store, N_ROWS, 100);
    store_await(store, 1);
    assert_int_equal(store_count(store).n_stored, 1);
    assert_true(row_found(store, N_ROWS, 100));
    assert_int_equal(store_count(store).n_damaged, 0);
    assert_true(store_size() <= SIZE);
    store_close(store);
    printf("%u opened, %u rows found\n", tally->n_opened, tally->n_found);
    assert_int_equal(tally->n_wrong, 0);
    assert_int_equal(tally->n_damaged, 0);
    assert_int_equal(tally->n_refused, 0);
    assert_int_not_equal(access(store_file("rows.mdb.damaged"), F_OK), 0);
    munmap(tally, sizeof *tally);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(killed_at_any_moment, tree_make, tree_remove),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
