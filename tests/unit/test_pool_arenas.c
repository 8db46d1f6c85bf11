/* Arenas that come and go with models: one budget for all, nothing of one in another, and nothing
 * left of one that is closed once its last buffer has been given back. */
#include "base/clock.h"
#include "base/place.h"
#include "base/pool.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Two MiB, a huge page: where the system has them, larger buffers are counted in units of it. */
enum { MIB = 1 << 20, UNIT = 2 << 20 };

static bool lies_in(const struct pool *pool, const struct pool_arena *arena,
                    const struct pool_buffer *buffer)
{
    const struct pool_range *range = pool_range(pool, arena);
    return (uintptr_t)buffer->data - (uintptr_t)range->base < range->size_bytes;
}

/* What of the process an arena could leave behind. */
struct traces {
    size_t n_descriptors;
    size_t n_mappings; /* of arenas */
    uint64_t n_addresses;
};

static size_t count_mappings(void)
{
    char line[512];
    size_t n = 0;
    FILE *maps = fopen("/proc/self/maps", "re");
    assert_non_null(maps);
    while (fgets(line, sizeof line, maps))
        n += strstr(line, "memfd:graphpipe-pool") != NULL;
    (void)fclose(maps);
    return n;
}

static struct traces look_around(void)
{
    struct traces traces = {.n_mappings = count_mappings(),
                            .n_addresses = place_addresses_left()};
    DIR *folder = opendir("/proc/self/fd");
    assert_non_null(folder);
    while (readdir(folder))
        traces.n_descriptors++;
    (void)closedir(folder);
    return traces;
}

static bool is_sanitized(void)
{
    const char *sanitizer = getenv("GP_SANITIZE");
    return sanitizer && *sanitizer;
}

/* The heap may have grown a little meanwhile, and a sanitizer's much. */
static void assert_no_traces(const struct traces *before)
{
    const struct traces now = look_around();
    assert_int_equal(now.n_descriptors, before->n_descriptors);
    assert_int_equal(now.n_mappings, before->n_mappings);
    if (!is_sanitized())
        assert_true(now.n_addresses + 32 * MIB > before->n_addresses);
}

static size_t held_by_file(const struct pool *pool, const struct pool_arena *arena)
{
    struct stat file;
    assert_int_equal(fstat(pool_range(pool, arena)->fd, &file), 0);
    return (size_t)file.st_blocks * 512;
}

/* Each buffer lies in the file that it was asked for, and in no other; the budget is one. */
static void one_budget(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_pair a, b;
    assert_true(pool_open(pool, &a) && pool_open(pool, &b));
    struct pool_arena *arenas[] = {NULL, a.inputs, a.outputs, b.inputs, b.outputs};
    struct pool_buffer buffers[5], more;
    unsigned char *where[5];
    for (int i = 0; i < 5; i++) {
        assert_true(pool_take(pool, arenas[i], 3 * UNIT, NULL, &buffers[i]));
        assert_true(pool_touch(pool, &buffers[i], 1));
        buffers[i].data[0] = (unsigned char)('0' + i);
        where[i] = buffers[i].data;
        for (int k = 0; k < 5; k++)
            assert_int_equal(lies_in(pool, arenas[k], &buffers[i]), k == i);
    }
    for (int i = 0; i < 5; i++) {
        char seen = 0;
        const int fd = pool_range(pool, arenas[i])->fd;
        assert_int_equal(pread(fd, &seen, 1, (off_t)pool_offset(&buffers[i])), 1);
        assert_int_equal(seen, '0' + i);
        assert_false(pool_take(pool, arenas[i], UNIT + 1, NULL, &more));
    }
    for (int i = 0; i < 5; i++)
        pool_give(pool, &buffers[i]);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    for (int i = 4; i >= 0; i--) { /* each is warm where it was */
        assert_true(pool_take(pool, arenas[i], 3 * UNIT, NULL, &buffers[i]));
        assert_ptr_equal(buffers[i].data, where[i]);
    }
    for (int i = 0; i < 5; i++)
        pool_give(pool, &buffers[i]);
    pool_trim(pool, 0);
    for (int i = 0; i < 5; i++)
        assert_int_equal(held_by_file(pool, arenas[i]), 0);
    pool_close(pool, &a);
    pool_close(pool, &b);
    pool_destroy(pool);
}

static void use(struct pool *pool, struct pool_arena *arena, size_t size)
{
    struct pool_buffer buffer;
    assert_true(pool_take(pool, arena, size, NULL, &buffer));
    assert_true(pool_touch(pool, &buffer, size));
    memset(buffer.data, 1, size);
    pool_give(pool, &buffer);
}

/* Room is made of what was used least lately: models that serve stay warm. */
static void idle_models_make_room(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_pair idle, busy;
    assert_true(pool_open(pool, &idle) && pool_open(pool, &busy));
    use(pool, idle.inputs, 4 * UNIT);
    use(pool, busy.inputs, 4 * UNIT);
    use(pool, NULL, 4 * UNIT);
    use(pool, busy.outputs, 8 * UNIT);
    assert_int_equal(held_by_file(pool, idle.inputs), 0);
    assert_int_equal(held_by_file(pool, busy.inputs), 4 * UNIT);
    use(pool, NULL, 16 * UNIT); /* and of the others where that is not enough */
    assert_int_equal(pool_count(pool).idle_bytes, 16 * UNIT);
    pool_close(pool, &idle);
    pool_close(pool, &busy);
    pool_destroy(pool);
}

/* A reader that is slow holds an answer when its model has gone. */
static void closed_while_held(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    const struct traces before = look_around();
    struct pool_peer peer = {0};
    struct pool_promise promise = {.peer = &peer};
    struct pool_pair pair;
    struct pool_buffer held[2];
    assert_true(pool_open(pool, &pair));
    use(pool, pair.outputs, 3 * UNIT);
    use(pool, pair.outputs, 1); /* at its beginning */
    for (int i = 0; i < 2; i++) {
        assert_true(pool_take(pool, pair.outputs, UNIT, &promise, &held[i]));
        assert_true(pool_touch(pool, &held[i], UNIT));
        memset(held[i].data, 'x', UNIT);
    }
    assert_int_equal(pool_count(pool).idle_bytes, 3 * UNIT + 4096);
    pool_close(pool, &pair);
    assert_null(pair.outputs);
    pool_close(pool, &pair); /* there is none */
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    assert_int_equal(pool_count(pool).used_bytes, 2 * UNIT);
    assert_int_equal(peer.held_bytes, 2 * UNIT);
    assert_int_equal(look_around().n_descriptors, before.n_descriptors + 1);
    assert_int_equal(held[1].data[UNIT - 1], 'x');
    pool_give(pool, &held[0]);
    assert_int_equal(pool_count(pool).idle_bytes, 0); /* nobody will take it again */
    assert_int_equal(held[1].data[0], 'x');
    pool_disown(pool, &held[1]);
    assert_int_equal(peer.held_bytes, 0);
    pool_give(pool, &held[1]);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    assert_no_traces(&before);
    pool_destroy(pool);
}

/* From now on no pages of the arena can be given back; gives its file, for mend_file. */
static int break_file(const struct pool *pool, const struct pool_arena *arena)
{
    const int fd = pool_range(pool, arena)->fd, file = dup(fd);
    const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_true(file >= 0 && other >= 0);
    assert_int_equal(dup2(other, fd), fd);
    close(other);
    return file;
}

static void mend_file(const struct pool *pool, const struct pool_arena *arena, int file)
{
    const int fd = pool_range(pool, arena)->fd;
    assert_int_equal(dup2(file, fd), fd);
    close(file);
}

/* Pages that the kernel does not take back still count, in the pool and in a peer's share, until it
 * does or the arena goes. */
static void pages_that_stay_are_counted(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_peer peer = {0};
    struct pool_promise promise = {.peer = &peer};
    struct pool_pair pair;
    struct pool_buffer buffer;
    assert_true(pool_open(pool, &pair));
    use(pool, NULL, 4 * UNIT);
    use(pool, pair.outputs, 3 * UNIT);
    const int private = break_file(pool, NULL), outputs = break_file(pool, pair.outputs);
    pool_trim(pool, 0);
    assert_int_equal(pool_count(pool).idle_bytes, 7 * UNIT);
    assert_false(pool_take(pool, pair.inputs, 10 * UNIT, NULL, &buffer));
    assert_int_equal(pool_reserve(pool, &promise, 10 * UNIT, 0), POOL_FULL);
    assert_int_equal(pool_count(pool).idle_bytes, 7 * UNIT);
    assert_int_equal(pool_reserve(pool, &promise, 9 * UNIT, 0), POOL_GRANTED);
    assert_true(pool_take(pool, NULL, 3 * UNIT, &promise, &buffer)); /* where 4 are */
    assert_int_equal(buffer.touched_bytes, 4 * UNIT);
    assert_int_equal(peer.held_bytes, 9 * UNIT);
    assert_int_equal(pool_count(pool).idle_bytes, 3 * UNIT);
    pool_unreserve(pool, &promise);
    pool_give(pool, &buffer);
    assert_int_equal(peer.held_bytes, 0);
    assert_int_equal(pool_count(pool).idle_bytes, 7 * UNIT);
    pool_close(pool, &pair); /* with all its pages */
    close(outputs);
    assert_int_equal(pool_count(pool).idle_bytes, 4 * UNIT);
    mend_file(pool, NULL, private);
    pool_trim(pool, 0);
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    assert_int_equal(held_by_file(pool, NULL), 0);
    pool_destroy(pool);
}

/* What must not happen ends the process on the spot. */
static void assert_aborts(void (*mistake)(struct pool *pool))
{
    struct pool *pool = pool_create(16 * UNIT);
    int status;
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct rlimit none = {0, 0};
        (void)setrlimit(RLIMIT_CORE, &none);
        (void)signal(SIGABRT, SIG_DFL);
        (void)freopen("/dev/null", "w", stderr);
        mistake(pool);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
    pool_destroy(pool);
}

static void take_where_it_is_closed(struct pool *pool)
{
    struct pool_pair pair;
    struct pool_buffer held, more;
    if (!pool_open(pool, &pair) || !pool_take(pool, pair.inputs, 1, NULL, &held))
        return;
    struct pool_arena *arena = pair.inputs;
    pool_close(pool, &pair);
    (void)pool_take(pool, arena, 1, NULL, &more);
}

static void destroy_with_a_pair(struct pool *pool)
{
    struct pool_pair pair;
    if (pool_open(pool, &pair))
        pool_destroy(pool);
}

static void destroy_with_a_buffer(struct pool *pool)
{
    struct pool_buffer held;
    if (pool_take(pool, NULL, 1, NULL, &held))
        pool_destroy(pool);
}

static void mistakes_are_noticed(void **state)
{
    (void)state;
    assert_aborts(take_where_it_is_closed);
    assert_aborts(destroy_with_a_pair);
    assert_aborts(destroy_with_a_buffer);
}

static void a_thousand_come_and_go(void **state)
{
    (void)state;
    struct pool *pool = pool_create(64 * MIB);
    struct traces before = {0};
    const int n = is_sanitized() ? 100 : 1000;
    for (int i = 0; i < n; i++) {
        struct pool_pair pair;
        assert_true(pool_open(pool, &pair));
        use(pool, pair.inputs, 100000);
        use(pool, pair.outputs, (size_t)i * 3000);
        pool_close(pool, &pair);
        if (i == 10)
            before = look_around();
    }
    assert_no_traces(&before);
    const struct pool_counts counts = pool_count(pool);
    assert_int_equal(counts.used_bytes + counts.reserved_bytes + counts.idle_bytes, 0);
    struct pool_buffer all;
    assert_true(pool_take(pool, NULL, 64 * MIB, NULL, &all));
    pool_give(pool, &all);
    pool_destroy(pool);
}

/* Where descriptors are short: nothing is kept, and errno says it. */
static void descriptors_are_short(void **state)
{
    (void)state;
    struct rlimit before, limit;
    struct pool_pair pair;
    struct pool *pool = pool_create(64 * MIB);
    const struct traces traces = look_around();
    const int next = dup(0);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &before), 0);
    for (int n_free = 0; n_free < 2; n_free++) {
        limit = before;
        limit.rlim_cur = (rlim_t)(next + n_free);
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        const bool is_open = pool_open(pool, &pair);
        const int error = errno;
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &before), 0);
        assert_false(is_open);
        assert_int_equal(error, EMFILE);
        assert_true(!pair.inputs && !pair.outputs);
        assert_no_traces(&traces);
    }
    pool_destroy(pool);
}

/* --- threads -------------------------------------------------------------------------- */

enum { N_THREADS = 4, N_ROUNDS = 60 };

/* A buffer that one thread has taken and another gives back, as late as it likes. */
struct hand_over {
    struct pool *pool;
    pthread_mutex_t lock;
    struct pool_buffer left[N_THREADS];
    atomic_bool is_over;
};

static void leave_one(struct hand_over *over, struct pool_buffer *buffer, unsigned number)
{
    pthread_mutex_lock(&over->lock);
    struct pool_buffer *place = &over->left[number % N_THREADS];
    struct pool_buffer earlier = *place;
    *place = *buffer;
    pthread_mutex_unlock(&over->lock);
    if (earlier.data)
        assert_int_equal(earlier.data[0], 'x');
    pool_give(over->pool, &earlier);
}

static void *open_and_close(void *context)
{
    struct hand_over *over = context;
    struct pool *pool = over->pool;
    for (unsigned i = 0; i < N_ROUNDS; i++) {
        struct pool_pair pair;
        if (!pool_open(pool, &pair))
            return NULL;
        for (unsigned k = 0; k < 20; k++) {
            struct pool_promise promise = {0};
            struct pool_buffer in, out;
            struct pool_arena *arena = k % 3 ? pair.inputs : NULL;
            if (pool_reserve(pool, &promise, 5000 * k, 70000) != POOL_GRANTED)
                continue;
            if (pool_take(pool, arena, 5000 * k, &promise, &in) &&
                pool_touch(pool, &in, 5000 * k))
                memset(in.data, 1, 5000 * k);
            if (pool_take(pool, pair.outputs, 70000, &promise, &out) &&
                pool_touch(pool, &out, 70000)) {
                memset(out.data, 'x', 70000);
                leave_one(over, &out, k);
            }
            pool_give(pool, &in);
            pool_unreserve(pool, &promise);
        }
        pool_close(pool, &pair);
    }
    return over;
}

static void *trim_often(void *context)
{
    struct hand_over *over = context;
    while (!atomic_load(&over->is_over))
        pool_trim(over->pool, 0);
    return NULL;
}

static void of_threads(void **state)
{
    (void)state;
    struct hand_over over = {.pool = pool_create(4 * MIB),
                             .lock = PTHREAD_MUTEX_INITIALIZER};
    const struct traces before = look_around();
    pthread_t threads[N_THREADS], trimmer;
    assert_int_equal(pthread_create(&trimmer, NULL, trim_often, &over), 0);
    for (int i = 0; i < N_THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_and_close, &over), 0);
    for (int i = 0; i < N_THREADS; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, &over);
    }
    atomic_store(&over.is_over, true);
    assert_int_equal(pthread_join(trimmer, NULL), 0);
    for (int i = 0; i < N_THREADS; i++)
        pool_give(over.pool, &over.left[i]);
    const struct pool_counts counts = pool_count(over.pool);
    assert_int_equal(counts.used_bytes + counts.reserved_bytes, 0);
    assert_int_equal(look_around().n_descriptors, before.n_descriptors);
    pool_destroy(over.pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_budget),
        cmocka_unit_test(idle_models_make_room),
        cmocka_unit_test(closed_while_held),
        cmocka_unit_test(pages_that_stay_are_counted),
        cmocka_unit_test(mistakes_are_noticed),
        cmocka_unit_test(a_thousand_come_and_go),
        cmocka_unit_test(descriptors_are_short),
        cmocka_unit_test(of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
