/* The pool: sizes, what is kept and counted, who may hold how much.
 */
#include "base/clock.h"
#include "base/pool.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

/* Two MiB, a huge page: where the system has them, larger buffers are counted in units of it. */
enum { MIB = 1 << 20, UNIT = 2 << 20 };

static void sizes(void **state)
{
    (void)state;
    struct pool *pool = pool_create((size_t)1 << 30);
    assert_non_null(pool);
    for (size_t size = 1; size < (size_t)64 << 20; size = size * 3 + 1) {
        struct pool_buffer buffer;
        assert_true(pool_take(pool, NULL, size, NULL, &buffer));
        assert_true(buffer.size_bytes >= size &&
                    buffer.size_bytes < size + (size > MIB ? UNIT : 4096));
        assert_int_equal((uintptr_t)buffer.data % 64, 0);
        assert_int_equal(pool_count(pool).used_bytes, buffer.size_bytes);
        assert_true(pool_touch(pool, &buffer, size));
        buffer.data[0] = buffer.data[size - 1] = 1;
        pool_give(pool, &buffer);
        assert_null(buffer.data);
        assert_int_equal(pool_count(pool).used_bytes, 0);
    }
    struct pool_buffer none = {0};
    assert_false(pool_take(pool, NULL, SIZE_MAX, NULL, &none));
    pool_give(pool, &none);
    pool_destroy(pool);
    pool_destroy(NULL);
}

/* A steady load touches no new pages. */
static void reuses(void **state)
{
    (void)state;
    struct pool *pool = pool_create((size_t)64 << 20);
    struct pool_buffer a, b, c;
    assert_true(pool_take(pool, NULL, 6 << 20, NULL, &a));
    assert_true(pool_touch(pool, &a, 1)); /* 4 MiB ahead */
    assert_int_equal(a.touched_bytes, 4 << 20);
    assert_true(pool_touch(pool, &a, 6 << 20));
    assert_int_equal(a.touched_bytes, 6 << 20);
    const unsigned char *data = a.data;
    pool_give(pool, &a);
    assert_int_equal(pool_count(pool).idle_bytes, 6 << 20);
    assert_true(pool_take(pool, NULL, 4100 << 10, NULL,
                          &b)); /* the same class: the same buffer */
    assert_ptr_equal(b.data, data);
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    assert_int_equal(pool_count(pool).used_bytes, 6 << 20); /* what lies behind it */
    assert_true(pool_take(pool, NULL, 9000, NULL, &c)); /* another class: another one */
    assert_ptr_not_equal(c.data, data);
    assert_true(pool_touch(pool, &b, 4100 << 10));
    assert_int_equal(pool_count(pool).touched_bytes, 6 << 20);
    pool_give(pool, &b);
    pool_give(pool, &c);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    pool_trim(pool, CLOCK_S);
    assert_int_equal(pool_count(pool).idle_bytes, 6 << 20);
    pool_trim(pool, 0); /* back to the system */
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    pool_destroy(pool);
}

/* What an earlier taker left is cleared as far as it is asked for, and pages that are new have nothing. */
static void clears_what_was_left(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * MIB);
    struct pool_buffer buffer;
    assert_true(pool_take(pool, NULL, 8 * MIB, NULL, &buffer));
    assert_true(pool_touch(pool, &buffer, 1)); /* 4 MiB of it */
    memset(buffer.data, 'x', 4 * MIB);
    assert_true(pool_touch_zeroed(pool, &buffer, 1000));
    assert_int_equal(buffer.data[0] + buffer.data[999], 0);
    assert_int_equal(buffer.data[1000], 'x');
    assert_true(pool_touch_zeroed(pool, &buffer, 5 * MIB));
    for (size_t i = 0; i < 5 * MIB; i += 100)
        assert_int_equal(buffer.data[i], 0);
    pool_give(pool, &buffer);
    pool_destroy(pool);
}

/* Used, reserved and idle memory together stay within the budget; idle memory goes first. */
static void keeps_to_its_budget(void **state)
{
    (void)state;
    const size_t unit = UNIT;
    struct pool *pool = pool_create(8 * unit);
    struct pool_buffer buffers[8], more;
    for (int i = 0; i < 8; i++) {
        assert_true(pool_take(pool, NULL, unit, NULL, &buffers[i]));
        assert_true(pool_touch(pool, &buffers[i], unit));
    }
    assert_false(pool_take(pool, NULL, 1, NULL, &more));
    struct pool_promise promise = {0};
    assert_int_equal(pool_reserve(pool, &promise, 1, 0), POOL_FULL);
    assert_int_equal(pool_count(pool).n_refused, 2);
    for (int i = 0; i < 8; i++)
        pool_give(pool, &buffers[i]);
    assert_int_equal(pool_count(pool).idle_bytes, 8 * unit);

    assert_int_equal(pool_reserve(pool, &promise, 3 * unit, unit), POOL_GRANTED);
    assert_int_equal(promise.size_bytes, 4 * unit);
    assert_int_equal(pool_count(pool).idle_bytes, 4 * unit);
    assert_true(pool_take(pool, NULL, 3 * unit, NULL,
                          &more)); /* another class: the idle ones go */
    assert_true(pool_count(pool).idle_bytes <= unit);
    assert_false(pool_take(pool, NULL, 2 * unit, NULL, &buffers[0]));
    assert_true(pool_take(pool, NULL, 2 * unit, &promise, &buffers[0]));
    assert_int_equal(promise.size_bytes, 2 * unit);
    assert_int_equal(pool_count(pool).reserved_bytes, 2 * unit);
    pool_unreserve(pool, &promise);
    pool_give(pool, &buffers[0]);
    pool_give(pool, &more);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    assert_int_equal(pool_count(pool).reserved_bytes, 0);
    pool_destroy(pool);
}

/* Another process that holds the descriptor sees the bytes, and cannot shorten the file. */
static void is_shared_memory(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 << 20);
    struct pool_buffer buffer;
    char seen[5] = "";
    assert_true(pool_take(pool, NULL, 5, NULL, &buffer));
    assert_true(pool_touch(pool, &buffer, 5));
    memcpy(buffer.data, "here", 5);
    assert_int_equal(
        pread(pool_range(pool, NULL)->fd, seen, 5, (off_t)pool_offset(&buffer)), 5);
    assert_string_equal(seen, "here");
    assert_int_equal(ftruncate(pool_range(pool, NULL)->fd, 0), -1);
    pool_give(pool, &buffer);
    pool_destroy(pool);
}

/* Of a peer that may go before its buffer is given back. */
static void disowned(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_peer peer = {0};
    struct pool_promise promise = {.peer = &peer};
    struct pool_buffer buffer;
    assert_true(pool_take(pool, NULL, UNIT, &promise, &buffer));
    assert_int_equal(peer.held_bytes, UNIT);
    pool_disown(pool, &buffer);
    assert_int_equal(peer.held_bytes, 0);
    assert_int_equal(pool_count(pool).used_bytes, UNIT);
    peer.held_bytes = 12345; /* it is not looked at any more */
    pool_give(pool, &buffer);
    assert_int_equal(peer.held_bytes, 12345);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    pool_destroy(pool);
}

static void *take_and_give(void *context)
{
    struct pool *pool = context;
    for (size_t i = 0; i < 2000; i++) {
        struct pool_buffer buffer;
        if (!pool_take(pool, NULL, 1000 * (i % 30), NULL, &buffer) ||
            !pool_touch(pool, &buffer, buffer.size_bytes))
            return NULL;
        memset(buffer.data, 1, buffer.size_bytes);
        pool_give(pool, &buffer);
    }
    return pool;
}

static void of_threads(void **state)
{
    (void)state;
    struct pool *pool = pool_create(1 << 20);
    pthread_t threads[4];
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, pool), 0);
    for (size_t i = 0; i < 4; i++) {
        void *result;
        assert_int_equal(pthread_join(threads[i], &result), 0);
        assert_ptr_equal(result, pool);
    }
    assert_int_equal(pool_count(pool).used_bytes, 0);
    pool_destroy(pool);
}

/* --- peers ------------------------------------------------------------------------------ */

/* A peer that takes until it is refused, in buffers of a MiB; gives how many it got. */
static size_t take_all(struct pool *pool, struct pool_promise *promise,
                       struct pool_buffer *buffers, size_t n_most,
                       enum pool_answer refusal)
{
    for (size_t n = 0; n < n_most; n++) {
        const enum pool_answer answer = pool_reserve(pool, promise, UNIT, 0);
        if (answer != POOL_GRANTED) {
            assert_int_equal(answer, refusal);
            return n;
        }
        assert_true(pool_take(pool, NULL, UNIT, promise, &buffers[n]));
        assert_true(pool_touch(pool, &buffers[n], UNIT));
    }
    return n_most;
}

static void give_all(struct pool *pool, struct pool_buffer *buffers, size_t n)
{
    for (size_t i = 0; i < n; i++)
        pool_give(pool, &buffers[i]);
}

/* One that is alone gets three quarters; a newcomer always finds the last one, and only that;
 * the first has its own back when it holds less than a quarter, or the others leave. */
static void last_quarter_is_for_others(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_peer greedy = {0}, other = {0}, third = {0};
    struct pool_promise a = {.peer = &greedy}, b = {.peer = &other}, c = {.peer = &third};
    struct pool_buffer of_a[16], of_b[16], of_c[16];
    assert_int_equal(pool_share(pool), 4 * UNIT);
    assert_int_equal(take_all(pool, &a, of_a, 16, POOL_OVER_SHARE), 12);
    assert_int_equal(greedy.held_bytes, 12 * UNIT);
    assert_int_equal(pool_count(pool).n_over_share, 1);
    assert_int_equal(pool_count(pool).n_refused, 0);

    assert_int_equal(take_all(pool, &b, of_b, 16, POOL_OVER_SHARE), 4);
    assert_int_equal(take_all(pool, &c, of_c, 16, POOL_FULL), 0);
    assert_int_equal(pool_count(pool).n_refused, 1);

    give_all(pool, of_a, 2); /* what goes back is for those within their share */
    assert_int_equal(pool_reserve(pool, &a, UNIT, 0), POOL_OVER_SHARE);
    assert_int_equal(pool_reserve(pool, &b, UNIT, 0), POOL_OVER_SHARE);
    assert_int_equal(take_all(pool, &c, of_c, 16, POOL_FULL), 2);

    give_all(pool, of_b, 4);
    give_all(pool, of_c, 2);
    assert_int_equal(take_all(pool, &a, of_a, 16, POOL_OVER_SHARE), 2);
    give_all(pool, of_a, 12);
    assert_int_equal(greedy.held_bytes, 0);
    assert_int_equal(other.held_bytes, 0);
    assert_int_equal(third.held_bytes, 0);
    pool_destroy(pool);
}

/* Many addresses of one site: each within its quarter, together no more than seven eighths. */
static void last_eighth_is_for_other_sites(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_peer site = {0}, other = {0};
    struct pool_peer of_site[5] = {
        {0, &site}, {0, &site}, {0, &site}, {0, &site}, {0, &site}};
    struct pool_buffer buffers[5][4], last[2];
    size_t n[5], n_all = 0;
    for (int i = 0; i < 5; i++) {
        struct pool_promise promise = {.peer = &of_site[i]};
        n[i] = take_all(pool, &promise, buffers[i], i < 2 ? 4 : 3, POOL_OVER_SHARE);
        n_all += n[i];
    }
    assert_int_equal(n_all, 14);
    assert_int_equal(site.held_bytes, 14 * UNIT);
    struct pool_promise promise = {.peer = &other};
    assert_int_equal(take_all(pool, &promise, last, 2, POOL_FULL), 2);
    for (int i = 0; i < 5; i++)
        give_all(pool, buffers[i], n[i]);
    give_all(pool, last, 2);
    assert_int_equal(site.held_bytes, 0);
    pool_destroy(pool);
}

/* A promise is held from the start, moves into buffers, and what is left of it goes back. */
static void promises_are_held(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_peer peer = {0};
    struct pool_promise promise = {.peer = &peer};
    struct pool_buffer body, output, more;
    assert_int_equal(pool_reserve(pool, &promise, 2 * UNIT, UNIT), POOL_GRANTED);
    assert_int_equal(peer.held_bytes, 3 * UNIT);
    assert_true(pool_take(pool, NULL, 2 * UNIT, &promise, &body));
    assert_int_equal(peer.held_bytes, 3 * UNIT);
    assert_true(pool_take(pool, NULL, UNIT / 2, &promise, &output));
    assert_int_equal(peer.held_bytes, 3 * UNIT);
    assert_true(
        pool_take(pool, NULL, UNIT, &promise, &more)); /* half of it was not promised */
    assert_int_equal(promise.size_bytes, 0);
    assert_int_equal(peer.held_bytes, 7 * UNIT / 2);
    pool_give(pool, &more);
    pool_give(pool, &body);
    assert_int_equal(peer.held_bytes, UNIT / 2);
    assert_int_equal(pool_reserve(pool, &promise, 5000, 0), POOL_GRANTED);
    assert_int_equal(peer.held_bytes, UNIT / 2 + 8192);
    pool_unreserve(pool, &promise);
    pool_unreserve(pool, &promise);
    pool_give(pool, &output);
    assert_int_equal(peer.held_bytes, 0);
    pool_destroy(pool);
}

/* What was promised can be bought, whatever has become of the rest of the pool since. */
static void promises_are_kept_beyond_the_share(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_peer greedy = {0}, other = {0};
    struct pool_promise a = {.peer = &greedy}, b = {.peer = &other};
    struct pool_buffer of_a[10], of_b[4], bought;
    assert_int_equal(take_all(pool, &a, of_a, 10, POOL_GRANTED), 10);
    assert_int_equal(pool_reserve(pool, &a, UNIT, 0), POOL_GRANTED);
    assert_int_equal(take_all(pool, &b, of_b, 4, POOL_GRANTED), 4);
    assert_int_equal(pool_buy(pool, NULL, UNIT, &a, &bought), POOL_GRANTED);
    assert_int_equal(greedy.held_bytes, 11 * UNIT);
    assert_int_equal(a.size_bytes, 0);
    pool_give(pool, &bought);
    assert_int_equal(pool_buy(pool, NULL, UNIT, &a, &bought), POOL_OVER_SHARE);
    assert_int_equal(pool_buy(pool, NULL, UNIT, &b, &bought), POOL_OVER_SHARE);
    give_all(pool, of_a, 10);
    give_all(pool, of_b, 4);
    pool_destroy(pool);
}

/* A warm buffer may be larger than what is asked for: the surplus is kept and counted, but not
 * where it would leave newcomers less than a quarter and its taker has more. */
static void surplus_is_no_share(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 * UNIT);
    struct pool_peer one = {0}, two = {0};
    struct pool_promise a = {.peer = &one}, b = {.peer = &two};
    struct pool_buffer of_a[5], first, second;
    assert_true(pool_take(pool, NULL, 4 * UNIT, NULL, &first));
    assert_true(pool_take(pool, NULL, 4 * UNIT, NULL, &second));
    assert_true(pool_touch(pool, &first, 4 * UNIT));
    assert_true(pool_touch(pool, &second, 4 * UNIT));
    pool_give(pool, &first);
    pool_give(pool, &second);
    assert_int_equal(pool_reserve(pool, &b, 3 * UNIT, 0), POOL_GRANTED);
    assert_true(pool_take(pool, NULL, 3 * UNIT, &b, &first));
    assert_int_equal(two.held_bytes, 4 * UNIT);
    assert_int_equal(take_all(pool, &a, of_a, 5, POOL_FULL), 5);
    assert_int_equal(pool_reserve(pool, &b, 3 * UNIT, 0), POOL_GRANTED);
    assert_int_equal(pool_count(pool).idle_bytes, 4 * UNIT);
    assert_true(pool_take(pool, NULL, 3 * UNIT, &b, &second));
    assert_int_equal(two.held_bytes, 7 * UNIT);
    assert_int_equal(second.touched_bytes, 3 * UNIT);
    assert_int_equal(pool_count(pool).used_bytes, 12 * UNIT);
    struct stat file;
    assert_int_equal(fstat(pool_range(pool, NULL)->fd, &file),
                     0); /* and so it is in the file */
    assert_int_equal(file.st_blocks * 512, 12 * UNIT);
    pool_give(pool, &first);
    pool_give(pool, &second);
    give_all(pool, of_a, 5);
    assert_int_equal(two.held_bytes, 0);
    pool_destroy(pool);
}

/* --- huge pages ------------------------------------------------------------------------- */

/* What is counted is what the file has, with huge pages and without; and where huge pages could
 * be, the buffers are aligned to them. */
static void counted_is_held(void **state)
{
    (void)state;
    const size_t sizes[] = {100, 40000, MIB, 3 * MIB / 2, 5 * MIB + 1, 9 * MIB};
    struct pool *pool = pool_create(64 * MIB);
    struct pool_buffer buffers[6];
    for (size_t i = 0; i < 6; i++) {
        assert_true(pool_take(pool, NULL, sizes[i], NULL, &buffers[i]));
        assert_true(pool_touch(pool, &buffers[i], sizes[i]));
        if (sizes[i] > MIB) {
            assert_int_equal((uintptr_t)buffers[i].data % (2 * MIB), 0);
            assert_int_equal(pool_offset(&buffers[i]) % (2 * MIB), 0);
        }
        memset(buffers[i].data, 1, sizes[i]);
        struct stat file;
        assert_int_equal(fstat(pool_range(pool, NULL)->fd, &file), 0);
        assert_int_equal(file.st_blocks * 512, pool_count(pool).used_bytes);
    }
    give_all(pool, buffers, 6);
    pool_trim(pool, 0);
    struct stat file;
    assert_int_equal(fstat(pool_range(pool, NULL)->fd, &file), 0);
    assert_int_equal(file.st_blocks, 0);
    pool_destroy(pool);
}

/* A limit on files is one on files of memory, over which a signal ends the process. */
static void limit_on_file_sizes(void **state)
{
    struct rlimit before, limit;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    limit = before;
    limit.rlim_cur = 4096;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    struct pool *pool = pool_create(16 * MIB);
    struct pool_buffer buffer;
    assert_non_null(pool);
    assert_int_equal(pool_range(pool, NULL)->fd, -1);
    assert_true(pool_take(pool, NULL, 8 * MIB, NULL, &buffer));
    assert_true(pool_touch(pool, &buffer, 8 * MIB));
    memset(buffer.data, 1, 8 * MIB);
    unsigned char *data = buffer.data;
    pool_give(pool, &buffer);
    assert_int_equal(data[0], 1);
    pool_trim(pool, 0); /* gives the pages back, to be zeros */
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    assert_int_equal(data[0], 0);
    pool_destroy(pool);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(reuses),
        cmocka_unit_test(clears_what_was_left),
        cmocka_unit_test(keeps_to_its_budget),
        cmocka_unit_test(is_shared_memory),
        cmocka_unit_test(disowned),
        cmocka_unit_test(of_threads),
        cmocka_unit_test(last_quarter_is_for_others),
        cmocka_unit_test(last_eighth_is_for_other_sites),
        cmocka_unit_test(promises_are_held),
        cmocka_unit_test(promises_are_kept_beyond_the_share),
        cmocka_unit_test(surplus_is_no_share),
        cmocka_unit_test(counted_is_held),
        cmocka_unit_test(limit_on_file_sizes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
