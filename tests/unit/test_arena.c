/* Arenas that are paid for: the first block is the heap's, the rest is bought from the pool, and
 * everything is given back.
 */
#include "base/arena.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

enum { KIB = 1 << 10, MIB = 1 << 20 };

struct fixture {
    struct pool *pool;
    struct pool_peer peer;
    struct pool_promise promise;
    struct gp_arena *arena;
};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.pool = pool_create((size_t)64 * MIB),
                         .arena = gp_arena_create()};
    f.promise.peer = &f.peer;
    assert_true(f.pool && f.arena);
    arena_pay_from(f.arena, f.pool, &f.promise);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    gp_arena_destroy(f->arena);
    pool_unreserve(f->pool, &f->promise);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    assert_int_equal(pool_count(f->pool).reserved_bytes, 0);
    assert_int_equal(f->peer.held_bytes, 0);
    pool_destroy(f->pool);
    return 0;
}

static bool is_in_arena(const struct fixture *f, const struct pool_arena *arena,
                        const void *at)
{
    const struct pool_range *range = pool_range(f->pool, arena);
    return (uintptr_t)at - (uintptr_t)range->base < range->size_bytes;
}

static bool is_in_pool(const struct fixture *f, const void *at)
{
    return is_in_arena(f, NULL, at);
}

static void small_requests_touch_no_pool(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 16; i++)
            assert_false(is_in_pool(f, gp_arena_alloc(f->arena, 1000)));
        assert_int_equal(pool_count(f->pool).n_taken, 0);
        gp_arena_reset(f->arena);
    }
}

static void the_rest_is_bought(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < 2000; i++) {
        unsigned char *block = gp_arena_alloc(f->arena, 1000);
        assert_non_null(block);
        assert_int_equal((uintptr_t)block % sizeof(max_align_t) % 16, 0);
        assert_int_equal(is_in_pool(f, block),
                         i >= 16); /* blocks of 1008 bytes in 16 KiB */
        memset(block, 1, 1000);
    }
    const size_t used = pool_count(f->pool).used_bytes;
    assert_in_range(used, 1900 * 1000, 2200 * 1000);
    assert_int_equal(f->peer.held_bytes, used);
    gp_arena_reset(f->arena);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    assert_false(is_in_pool(f, gp_arena_alloc(f->arena, 1000)));
}

/* A large block comes from the pool even when it is the first one. */
static void large_blocks(void **state)
{
    struct fixture *f = *state;
    unsigned char *block = gp_arena_alloc(f->arena, 5 * MIB);
    assert_true(is_in_pool(f, block));
    memset(block, 1, 5 * MIB);
    assert_false(is_in_pool(f, gp_arena_alloc(f->arena, 100 * KIB)) &&
                 pool_count(f->pool).used_bytes < 5 * MIB);
    assert_null(gp_arena_alloc(f->arena, SIZE_MAX - 100));
}

/* What nobody admitted is the peer's share at most, where the others would be left with less. */
static void within_the_share(void **state)
{
    struct fixture *f = *state;
    size_t total = 0;
    while (total < 64 && gp_arena_alloc(f->arena, MIB))
        total++;
    assert_in_range(total, 30, 48); /* the last quarter is kept for others */
    assert_int_equal(pool_count(f->pool).n_over_share, 1);
    struct pool_peer other = {0};
    struct pool_promise promise = {.peer = &other};
    assert_int_equal(pool_reserve(f->pool, &promise, 15 * MIB, 0), POOL_GRANTED);
    pool_unreserve(f->pool, &promise);
}

/* A promise is used up first, whatever else is held. */
static void promised(void **state)
{
    struct fixture *f = *state;
    struct pool_promise others = {0};
    assert_int_equal(pool_reserve(f->pool, &f->promise, 8 * MIB, 0), POOL_GRANTED);
    assert_int_equal(pool_reserve(f->pool, &others, 56 * MIB, 0), POOL_GRANTED);
    assert_non_null(gp_arena_alloc(f->arena, 7 * MIB));
    assert_null(gp_arena_alloc(f->arena, 2 * MIB));
    assert_true(f->promise.size_bytes <= MIB);
    pool_unreserve(f->pool, &others);
    assert_non_null(gp_arena_alloc(f->arena, 2 * MIB));
}

/* All of a shared arena lies where child processes see it, and outlives its peer; the next time it
 * may be for another model. */
static void shared(void **state)
{
    struct fixture *f = *state;
    struct pool_pair pair, other;
    assert_true(pool_open(f->pool, &pair) && pool_open(f->pool, &other));
    struct gp_arena *arena = arena_create_shared();
    assert_non_null(arena);
    assert_null(gp_arena_alloc(arena, 1)); /* nobody pays yet */
    arena_share_from(arena, f->pool, pair.inputs, &f->promise);
    assert_true(is_in_arena(f, pair.inputs, gp_arena_alloc(arena, 1)));
    assert_true(is_in_arena(f, pair.inputs, gp_arena_alloc(arena, MIB)));
    assert_true(f->peer.held_bytes > MIB);
    gp_arena_reset(arena);
    pool_close(f->pool, &pair);
    arena_share_from(arena, f->pool, other.inputs, &f->promise);
    assert_true(is_in_arena(f, other.inputs, gp_arena_alloc(arena, MIB)));
    arena_disown(arena);
    assert_int_equal(f->peer.held_bytes, 0);
    assert_true(pool_count(f->pool).used_bytes >= MIB);
    gp_arena_destroy(arena);
    assert_int_equal(pool_count(f->pool).used_bytes, 0);
    pool_close(f->pool, &other);
}

/* What comes from the heap is nobody's, and no pool is asked about it. */
static void nothing_to_disown(void **state)
{
    struct fixture *f = *state;
    struct gp_arena *arena = gp_arena_create();
    assert_non_null(gp_arena_alloc(arena, 1));
    arena_disown(arena);
    gp_arena_destroy(arena);
    assert_non_null(gp_arena_alloc(f->arena, 1));
    assert_non_null(gp_arena_alloc(f->arena, MIB));
    arena_disown(f->arena);
    assert_int_equal(f->peer.held_bytes, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(small_requests_touch_no_pool),
        TEST(the_rest_is_bought),
        TEST(large_blocks),
        TEST(within_the_share),
        TEST(promised),
        TEST(shared),
        TEST(nothing_to_disown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
