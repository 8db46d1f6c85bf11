/* Where the pool's buffers lie: every mix that fits the budget finds its slots, none overlap, and
 * with few addresses the classes take turns. Only addresses are looked at: no page is touched. */
#include "base/mem.h"
#include "base/place.h"
#include "base/pool_space.h"
#include "skipping.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* Not powers of two either; in units of huge pages, where the system has them. */
static const size_t budgets[] = {2 * MIB, 6 * MIB, 64 * MIB, 100 * MIB, 256 * MIB};
enum { N_BUDGETS = sizeof budgets / sizeof *budgets };

static size_t least_of(int class)
{
    return class ? (KIB << (class + 1)) + 1 : 1;
}

/* The budget is used up by buffers of one size, and one more is asked for. */
static size_t fill(struct pool *pool, struct pool_buffer *buffers, size_t n, size_t size)
{
    while (pool_take(pool, NULL, size, NULL, &buffers[n]))
        n++;
    struct pool_buffer rest;
    const struct pool_counts counts = pool_count(pool);
    const size_t left = counts.budget_bytes - counts.used_bytes;
    assert_true(left < round_up(size, size > MIB ? HUGE_BYTES : PAGE_BYTES));
    assert_false(pool_take(pool, NULL, left + 1, NULL, &rest));
    return n;
}

/* Of those from `from` on one is kept in each piece of 1/64 of the budget, the others go. */
static size_t keep_scattered(struct pool *pool, struct pool_buffer *buffers, size_t from,
                             size_t n)
{
    const size_t piece = pool_count(pool).budget_bytes / 64;
    size_t n_kept = from, last = SIZE_MAX;
    for (size_t i = from; i < n; i++) {
        const size_t at = pool_offset(&buffers[i]) / piece;
        if (at != last && buffers[i].size_bytes < piece / 16)
            buffers[n_kept++] = buffers[i];
        else
            pool_give(pool, &buffers[i]);
        last = at;
    }
    return n_kept;
}

/* The worst that clients can do: buffers of each size in turn take all that is left, and a few of
 * them, as far apart as they lie, are kept. What then is left of the budget can still be had, in
 * whatever size. */
static void scattered_buffers_block_none(void **state)
{
    (void)state;
    for (size_t b = 0; b < N_BUDGETS; b++) {
        struct pool *pool = pool_create(budgets[b]);
        struct pool_buffer *buffers =
            mem_array(budgets[b] / PAGE_BYTES + 1, sizeof *buffers);
        assert_true(pool && buffers);
        size_t n = 0;
        for (int class = 0; least_of(class) < budgets[b] / 2; class ++) {
            const size_t from = n;
            n = fill(pool, buffers, n, least_of(class));
            n = keep_scattered(pool, buffers, from, n);
        }
        assert_true(budgets[b] < 64 * MIB || n > 256);
        const struct pool_counts counts = pool_count(pool);
        const size_t left = (counts.budget_bytes - counts.used_bytes) / HUGE_BYTES;
        if (left) {
            assert_true(pool_take(pool, NULL, left * HUGE_BYTES, NULL, &buffers[n]));
            pool_give(pool, &buffers[n]);
        }
        while (n)
            pool_give(pool, &buffers[--n]);
        assert_true(pool_take(pool, NULL, budgets[b], NULL, &buffers[0]));
        pool_give(pool, &buffers[0]);
        mem_free(buffers);
        pool_destroy(pool);
    }
}

/* Where the last buffer lies when the budget is used up by buffers of one size. */
static size_t highest(struct pool *pool, struct pool_buffer *buffers, size_t size)
{
    size_t n = fill(pool, buffers, 0, size), offset = 0;
    while (n) {
        const size_t at = pool_offset(&buffers[--n]);
        offset = at > offset ? at : offset;
        pool_give(pool, &buffers[n]);
    }
    return offset;
}

/* A slot made for one who cannot pay would lie where the next class has its home. */
static void refused_takers_get_no_slot(void **state)
{
    static struct pool_buffer buffers[64 * MIB / PAGE_BYTES + 1];
    (void)state;
    struct pool *pool = pool_create(64 * MIB), *fresh = pool_create(64 * MIB);
    (void)highest(pool, buffers, PAGE_BYTES);
    assert_int_equal(highest(pool, buffers, 2 * PAGE_BYTES),
                     highest(fresh, buffers, 2 * PAGE_BYTES));
    pool_destroy(pool);
    pool_destroy(fresh);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    return *seed ^= *seed << 17;
}

enum { N_LIVE = 300 };

static void assert_apart(const struct pool_buffer *live, const struct pool_buffer *buffer)
{
    for (size_t i = 0; i < N_LIVE; i++)
        if (live[i].data && &live[i] != buffer)
            assert_true(live[i].data + live[i].size_bytes <= buffer->data ||
                        buffer->data + buffer->size_bytes <= live[i].data);
}

/* Some of any size come and go; gives how many were refused though the budget had room. */
static size_t mix(struct pool *pool, size_t n_rounds, const struct pool_pair *pair)
{
    static struct pool_buffer live[N_LIVE];
    uint64_t seed = 88172645463325252u;
    size_t n_refused = 0;
    for (size_t i = 0; i < n_rounds; i++) {
        struct pool_buffer *buffer = &live[next_random(&seed) % N_LIVE];
        const struct pool_counts counts = pool_count(pool);
        const size_t left = counts.budget_bytes - counts.used_bytes;
        if (buffer->data) {
            pool_give(pool, buffer);
            continue;
        }
        const size_t most = counts.budget_bytes >> next_random(&seed) % 15;
        const size_t size = next_random(&seed) % most + 1;
        const bool is_output = pair && next_random(&seed) % 2;
        struct pool_arena *arena = !pair       ? NULL
                                   : is_output ? pair->outputs
                                               : pair->inputs;
        if (pool_take(pool, arena, size, NULL, buffer)) {
            if (!pair)
                assert_apart(live, buffer);
        } else if (round_up(size, HUGE_BYTES) <= left) {
            n_refused++;
        }
    }
    for (size_t i = 0; i < N_LIVE; i++)
        pool_give(pool, &live[i]);
    return n_refused;
}

static void any_mix_that_fits(void **state)
{
    (void)state;
    for (size_t b = 0; b < N_BUDGETS; b++) {
        struct pool *pool = pool_create(budgets[b]);
        struct pool_pair pair;
        assert_int_equal(mix(pool, 20000, NULL), 0);
        assert_true(pool_open(pool, &pair));
        assert_int_equal(mix(pool, 20000, &pair), 0);
        pool_close(pool, &pair);
        pool_destroy(pool);
    }
}

/* 20 classes at most, of two budgets at most each. */
static void addresses_are_in_proportion(void **state)
{
    (void)state;
    for (size_t budget = PAGE_BYTES; budget < 100 * GIB;
         budget += budget / 3 + PAGE_BYTES)
        assert_in_range(pool_space_most_bytes(budget), budget, 40 * budget + 40 * MIB);
    assert_true(pool_space_most_bytes(64 * MIB) < 26 * 64 * MIB);
    assert_true(pool_space_most_bytes(256 * MIB) < 30 * 256 * MIB);
}

/* Leaves so many addresses until the limit is set to what it was, which comes back. */
static struct rlimit leave_addresses(uint64_t n_addresses)
{
    struct rlimit before, limit;
    const char *sanitizer = getenv("GP_SANITIZE");
    if (sanitizer && *sanitizer)
        SKIP_BECAUSE("sanitizers map terabytes");
    assert_int_equal(getrlimit(RLIMIT_AS, &before), 0);
    limit = before;
    limit.rlim_cur = 1 * GIB; /* to see what is mapped now */
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    limit.rlim_cur += n_addresses - place_addresses_left();
    assert_int_equal(setrlimit(RLIMIT_AS, &limit), 0);
    return before;
}

static struct pool *make_with(uint64_t n_addresses, size_t budget)
{
    const struct rlimit before = leave_addresses(n_addresses);
    struct pool *pool = pool_create(budget);
    assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    return pool;
}

static void few_addresses(void **state)
{
    (void)state;
    struct pool *pool = make_with(512 * MIB, 64 * MIB);
    assert_non_null(pool);
    assert_in_range(pool_range(pool, NULL)->size_bytes, 186 * MIB, 192 * MIB);
    pool_destroy(pool);
    pool = make_with(140 * MIB, 64 * MIB);
    assert_non_null(pool);
    pool_destroy(pool);
    assert_null(make_with(100 * MIB, 64 * MIB));
}

enum { MOST_PAIRS = 100 };

static size_t open_pairs(struct pool *pool, struct pool_pair *pairs)
{
    size_t n = 0;
    while (n < MOST_PAIRS && pool_open(pool, &pairs[n]))
        n++;
    return n;
}

static void close_pairs(struct pool *pool, struct pool_pair *pairs, size_t n)
{
    while (n)
        pool_close(pool, &pairs[--n]);
}

/* Each has at least the budget; when one is closed there is room for another. */
static void few_addresses_for_pairs(void **state)
{
    static struct pool_pair pairs[MOST_PAIRS];
    static const size_t n_wanted[] = {1, 2, 12}, mib[] = {512, 1024, 4096};
    (void)state;
    for (int i = 0; i < 3; i++) {
        const struct rlimit before = leave_addresses(mib[i] * MIB);
        struct pool *pool = pool_create(64 * MIB);
        assert_non_null(pool);
        const size_t n = open_pairs(pool, pairs);
        assert_in_range(n, n_wanted[i], n_wanted[i] + 2);
        assert_int_equal(errno, ENOMEM);
        assert_true(place_addresses_left() > 48 * MIB); /* for threads */
        struct pool_buffer all;
        for (size_t k = 0; k < n; k++) {
            assert_true(pool_take(pool, pairs[k].outputs, 64 * MIB, NULL, &all));
            pool_give(pool, &all);
        }
        pool_close(pool, &pairs[0]);
        assert_true(pool_open(pool, &pairs[0]));
        close_pairs(pool, pairs, n);
        pool_destroy(pool);
        assert_int_equal(setrlimit(RLIMIT_AS, &before), 0);
    }
}

/* With pools of up to 256 GiB in 2^47 addresses; sanitizers have terabytes of them. The last one still
 * has two budgets, or one and a quarter in the largest pool. */
static void pairs_for_a_hundred_models(void **state)
{
    static struct pool_pair pairs[MOST_PAIRS];
    const size_t large[] = {64 * MIB, GIB, 16 * GIB, 128 * GIB, 256 * GIB};
    const char *sanitizer = getenv("GP_SANITIZE");
    (void)state;
    for (size_t i = 0; i < (sanitizer && *sanitizer ? 1 : 5); i++) {
        struct pool *pool = pool_create(large[i]);
        assert_non_null(pool);
        const uint64_t n_addresses = place_addresses_left();
        assert_int_equal(open_pairs(pool, pairs), MOST_PAIRS);
        const size_t last = pool_range(pool, pairs[MOST_PAIRS - 1].inputs)->size_bytes;
        assert_true(last >= (i < 4 ? 2 * large[i] : large[i] / 4 * 5));
        close_pairs(pool, pairs, MOST_PAIRS);
        assert_true(place_addresses_left() + 64 * MIB > n_addresses);
        pool_destroy(pool);
    }
}

/* Each size has the whole budget in its turn: what others let lie idle is given up, with its
 * pages. */
static void classes_take_turns(void **state)
{
    static struct pool_buffer buffers[64 * MIB / PAGE_BYTES + 1];
    (void)state;
    struct pool *pool = make_with(260 * MIB, 64 * MIB);
    assert_non_null(pool);
    for (int round = 0; round < 2; round++)
        for (int class = 0; least_of(class) < 64 * MIB; class ++) {
            size_t n = fill(pool, buffers, 0, (size_t)PAGE_BYTES << class);
            assert_true(n >= 64 * MIB / (PAGE_BYTES << class));
            assert_true(pool_touch(pool, &buffers[0], 1));
            while (n)
                pool_give(pool, &buffers[--n]);
        }
    struct stat file;
    assert_int_equal(fstat(pool_range(pool, NULL)->fd, &file), 0);
    assert_int_equal(file.st_blocks * 512, pool_count(pool).idle_bytes);
    pool_trim(pool, 0);
    assert_int_equal(fstat(pool_range(pool, NULL)->fd, &file), 0);
    assert_int_equal(file.st_blocks, 0);
    pool_destroy(pool);
}

/* Where pages cannot be given back, what lies there is not given up for another class: it would be
 * lost to the count, and the next taker would see its bytes. */
static void pages_that_stay_keep_their_place(void **state)
{
    static struct pool_buffer buffers[64 * MIB / PAGE_BYTES + 1];
    (void)state;
    struct pool *pool = make_with(260 * MIB, 64 * MIB);
    assert_non_null(pool);
    size_t n = fill(pool, buffers, 0, PAGE_BYTES);
    for (size_t i = 0; i < n; i += 16)
        assert_true(pool_touch(pool, &buffers[i], 1));
    while (n)
        pool_give(pool, &buffers[--n]);
    const size_t idle_bytes = pool_count(pool).idle_bytes;
    const int fd = pool_range(pool, NULL)->fd, file = dup(fd);
    const int other = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_int_equal(dup2(other, fd), fd); /* in which there are no holes */
    for (int class = 1; least_of(class) < 64 * MIB; class ++) {
        while (pool_take(pool, NULL, (size_t)PAGE_BYTES << class, NULL, &buffers[n]))
            n++;
        while (n)
            pool_give(pool, &buffers[--n]);
        assert_int_equal(pool_count(pool).idle_bytes, idle_bytes);
    }
    assert_int_equal(dup2(file, fd), fd);
    close(file);
    close(other);
    pool_trim(pool, 0);
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    struct stat held;
    assert_int_equal(fstat(fd, &held), 0);
    assert_int_equal(held.st_blocks, 0);
    pool_destroy(pool);
}

/* Fewer than a few hundred of 10 000 do not find a place, and all that do are apart. */
static void mixes_with_few_addresses(void **state)
{
    (void)state;
    struct pool *pool = make_with(520 * MIB, 64 * MIB);
    assert_in_range(mix(pool, 20000, NULL), 0, 100);
    pool_destroy(pool);
}

/* Whether a core dump would have the mapping that begins there, by the kernel's flags for it. */
static bool is_dumped(const void *base)
{
    char line[512], wanted[32];
    bool is_it = false, is_dumped = true;
    FILE *maps = fopen("/proc/self/smaps", "re");
    assert_non_null(maps);
    (void)snprintf(wanted, sizeof wanted, "%lx-", (unsigned long)(uintptr_t)base);
    while (fgets(line, sizeof line, maps)) {
        if (strncmp(line, "VmFlags:", 8) == 0)
            is_dumped = is_dumped && !(is_it && strstr(line, " dd"));
        else if (strchr(line, '-') && strspn(line, "0123456789abcdef-") > 10)
            is_it = strncmp(line, wanted, strlen(wanted)) == 0;
    }
    (void)fclose(maps);
    return is_dumped;
}

/* It has what clients have sent, and gigabytes of it. */
static void no_core_dump_has_it(void **state)
{
    struct pool *pool = pool_create(64 * MIB);
    void *other = mmap(NULL, MIB, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    (void)state;
    assert_true(pool && other != MAP_FAILED);
    assert_false(is_dumped(pool_range(pool, NULL)->base));
    assert_true(is_dumped(other));
    assert_int_equal(munmap(other, MIB), 0);
    pool_destroy(pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_core_dump_has_it),
        cmocka_unit_test(scattered_buffers_block_none),
        cmocka_unit_test(refused_takers_get_no_slot),
        cmocka_unit_test(any_mix_that_fits),
        cmocka_unit_test(addresses_are_in_proportion),
        cmocka_unit_test(few_addresses),
        cmocka_unit_test(few_addresses_for_pairs),
        cmocka_unit_test(pairs_for_a_hundred_models),
        cmocka_unit_test(classes_take_turns),
        cmocka_unit_test(pages_that_stay_keep_their_place),
        cmocka_unit_test(mixes_with_few_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
