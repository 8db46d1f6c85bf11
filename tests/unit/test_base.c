/* The ground floor: text that is written into, memory that is given back all at once or
 * by size class, and arithmetic that says when it does not fit.
 */
#include "base/checked.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/pool.h"
#include "base/text.h"

#include <graphpipe/message.h>

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static void checked(void **state)
{
    (void)state;
    size_t n = 0;
    assert_true(checked_add(SIZE_MAX - 1, 1, &n));
    assert_true(n == SIZE_MAX);
    assert_false(checked_add(SIZE_MAX, 1, &n));
    assert_true(checked_mul(SIZE_MAX / 2, 2, &n));
    assert_true(n == SIZE_MAX - 1);
    assert_false(checked_mul(SIZE_MAX / 2 + 1, 2, &n));
    assert_true(checked_mul(SIZE_MAX, 0, &n));
    assert_int_equal(n, 0);
}

static void memory(void **state)
{
    (void)state;
    assert_null(mem_array(SIZE_MAX / 2, 3));
    unsigned char *zeros = mem_array(3, 100);
    assert_non_null(zeros);
    for (size_t i = 0; i < 300; i++)
        assert_int_equal(zeros[i], 0);
    zeros = mem_resize(zeros, 0);
    assert_non_null(zeros);
    mem_free(zeros);
    char *copy = mem_strdup("text");
    assert_string_equal(copy, "text");
    mem_free(copy);
    mem_free(NULL);
}

static void clock_goes_on(void **state)
{
    (void)state;
    const int64_t before = clock_now_ns();
    assert_true(before > 0);
    assert_true(clock_now_ns() >= before);
}

static void utf8(void **state)
{
    (void)state;
    const char *right[] = {"",
                           "plain",
                           "\x7f",
                           "\xc2\x80",
                           "\xdf\xbf",
                           "\xe0\xa0\x80",
                           "\xed\x9f\xbf",
                           "\xee\x80\x80",
                           "\xef\xbf\xbf",
                           "\xf0\x90\x80\x80",
                           "\xf4\x8f\xbf\xbf",
                           "größe \xf0\x9f\x98\x80"};
    const char *wrong[] = {"\x80",
                           "\xbf",
                           "\xc0\x80",
                           "\xc1\xbf",
                           "\xc2",
                           "\xc2\x41",
                           "\xe0\x9f\xbf",
                           "\xe2\x82",
                           "\xe2\x82\x41",
                           "\xed\xa0\x80",
                           "\xed\xbf\xbf",
                           "\xf0\x8f\xbf\xbf",
                           "\xf0\x90\x80",
                           "\xf4\x90\x80\x80",
                           "\xf5\x80\x80\x80",
                           "\xfe",
                           "\xff",
                           "after \xff"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++)
        assert_true(text_is_utf8(right[i], strlen(right[i])));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        assert_false(text_is_utf8(wrong[i], strlen(wrong[i])));
    assert_true(text_is_utf8("a\0b", 3));
}

static void json(void **state)
{
    (void)state;
    const struct {
        const char *bytes;
        size_t size;
        const char *text;
    } cases[] = {{"", 0, "\"\""},
                 {"plain / text", 12, "\"plain / text\""},
                 {"\"\\", 2, "\"\\\"\\\\\""},
                 {"\0\n\t\x1f\x7f", 5, "\"\\u0000\\u000a\\u0009\\u001f\\u007f\""},
                 {"gr\xc3\xb6\xc3\x9f", 6, "\"gr\xc3\xb6\xc3\x9f\""},
                 {"a\xff\xc3", 3, "\"a\\ufffd\\ufffd\""}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct text text = {0};
        text_json(&text, cases[i].bytes, cases[i].size);
        assert_false(text.is_short);
        assert_string_equal(text.data, cases[i].text);
        assert_int_equal(text.size_bytes, strlen(cases[i].text));
        text_finish(&text);
    }
}

static void text_grows(void **state)
{
    (void)state;
    struct text text = {0};
    char wanted[8000] = "";
    size_t size = 0;
    for (int i = 0; i < 1000; i++) {
        text_printf(&text, "%d,", i);
        size += (size_t)snprintf(wanted + size, sizeof wanted - size, "%d,", i);
    }
    text_add(&text, NULL, 0);
    text_puts(&text, "end");
    memcpy(wanted + size, "end", 4);
    assert_string_equal(text.data, wanted);
    assert_int_equal(text.size_bytes, size + 3);
    assert_true(text.capacity_bytes > text.size_bytes);
    text_finish(&text);
    assert_null(text.data);
    text_finish(&text);

    /* every length about the sizes at which it grows */
    for (size_t n = 250; n < 520; n++) {
        struct text exact = {0};
        for (size_t i = 0; i < n; i++)
            text_puts(&exact, "x");
        text_add(&exact, wanted, n);
        assert_int_equal(exact.size_bytes, 2 * n);
        assert_int_equal(exact.data[2 * n], '\0');
        text_finish(&exact);
    }
}

static void arena_blocks(void **state)
{
    (void)state;
    struct gp_arena *arena = gp_arena_create();
    assert_non_null(arena);
    unsigned char *blocks[2000];
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < 2000; i++) {
            blocks[i] = gp_arena_alloc(arena, i % 97);
            assert_non_null(blocks[i]);
            assert_int_equal((uintptr_t)blocks[i] % _Alignof(max_align_t), 0);
            memset(blocks[i], (int)(i % 256), i % 97);
        }
        for (size_t i = 0; i < 2000; i++)
            for (size_t j = 0; j < i % 97; j++)
                assert_int_equal(blocks[i][j], i % 256);
        unsigned char *large = gp_arena_alloc(arena, 1 << 20);
        assert_non_null(large);
        memset(large, 1, 1 << 20);
        gp_arena_reset(arena);
    }
    assert_null(gp_arena_alloc(arena, SIZE_MAX));
    gp_arena_destroy(arena);
    gp_arena_destroy(NULL);
}

/* A steady load of small requests allocates nothing: the memory is the same after a
 * reset. */
static void arena_keeps_a_chunk(void **state)
{
    (void)state;
    struct gp_arena *arena = gp_arena_create();
    const void *first = gp_arena_alloc(arena, 100);
    for (int i = 0; i < 10; i++) {
        gp_arena_reset(arena);
        assert_ptr_equal(gp_arena_alloc(arena, 100), first);
    }
    gp_arena_destroy(arena);
}

static void pool_sizes(void **state)
{
    (void)state;
    struct pool *pool = pool_create((size_t)1 << 30);
    assert_non_null(pool);
    for (size_t size = 1; size < (size_t)64 << 20; size = size * 3 + 1) {
        struct pool_buffer buffer;
        assert_true(pool_take(pool, size, NULL, &buffer));
        assert_true(buffer.size_bytes >= size && buffer.size_bytes < size + 4096);
        assert_int_equal((uintptr_t)buffer.data % 64, 0);
        assert_int_equal(pool_count(pool).used_bytes, buffer.size_bytes);
        assert_true(pool_touch(pool, &buffer, size));
        buffer.data[0] = buffer.data[size - 1] = 1;
        pool_give(pool, &buffer);
        assert_null(buffer.data);
        assert_int_equal(pool_count(pool).used_bytes, 0);
    }
    struct pool_buffer none = {0};
    assert_false(pool_take(pool, SIZE_MAX, NULL, &none));
    pool_give(pool, &none);
    pool_destroy(pool);
    pool_destroy(NULL);
}

/* A steady load touches no new pages. */
static void pool_reuses(void **state)
{
    (void)state;
    struct pool *pool = pool_create((size_t)64 << 20);
    struct pool_buffer a, b, c;
    assert_true(pool_take(pool, 5 << 20, NULL, &a));
    assert_true(pool_touch(pool, &a, 1)); /* 4 MiB ahead */
    assert_int_equal(a.touched_bytes, 4 << 20);
    assert_true(pool_touch(pool, &a, 5 << 20));
    assert_int_equal(a.touched_bytes, 5 << 20);
    const unsigned char *data = a.data;
    pool_give(pool, &a);
    assert_int_equal(pool_count(pool).idle_bytes, 5 << 20);
    assert_true(
        pool_take(pool, 4100 << 10, NULL, &b)); /* the same class: the same buffer */
    assert_ptr_equal(b.data, data);
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    assert_int_equal(pool_count(pool).used_bytes, 5 << 20); /* what lies behind it */
    assert_true(pool_take(pool, 9000, NULL, &c)); /* another class: another one */
    assert_ptr_not_equal(c.data, data);
    assert_true(pool_touch(pool, &b, 4100 << 10));
    assert_int_equal(pool_count(pool).touched_bytes, 5 << 20);
    pool_give(pool, &b);
    pool_give(pool, &c);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    pool_trim(pool, CLOCK_S);
    assert_int_equal(pool_count(pool).idle_bytes, 5 << 20);
    pool_trim(pool, 0); /* back to the system */
    assert_int_equal(pool_count(pool).idle_bytes, 0);
    pool_destroy(pool);
}

/* Used, reserved and idle memory together stay within the budget; idle memory goes first. */
static void pool_keeps_to_its_budget(void **state)
{
    (void)state;
    const size_t mib = 1 << 20;
    struct pool *pool = pool_create(8 * mib);
    struct pool_buffer buffers[8], more;
    for (int i = 0; i < 8; i++) {
        assert_true(pool_take(pool, mib, NULL, &buffers[i]));
        assert_true(pool_touch(pool, &buffers[i], mib));
    }
    assert_false(pool_take(pool, 1, NULL, &more));
    assert_false(pool_reserve(pool, 1));
    assert_int_equal(pool_count(pool).n_refused, 2);
    for (int i = 0; i < 8; i++)
        pool_give(pool, &buffers[i]);
    assert_int_equal(pool_count(pool).idle_bytes, 8 * mib);

    size_t reserved = 4 * mib;
    assert_true(pool_reserve(pool, reserved));
    assert_int_equal(pool_count(pool).idle_bytes, 4 * mib);
    assert_true(
        pool_take(pool, 3 * mib, NULL, &more)); /* another class: the idle ones go */
    assert_true(pool_count(pool).idle_bytes <= mib);
    assert_false(pool_take(pool, 2 * mib, NULL, &buffers[0]));
    assert_true(pool_take(pool, 2 * mib, &reserved, &buffers[0]));
    assert_int_equal(reserved, 2 * mib);
    assert_int_equal(pool_count(pool).reserved_bytes, 2 * mib);
    pool_unreserve(pool, reserved);
    pool_give(pool, &buffers[0]);
    pool_give(pool, &more);
    assert_int_equal(pool_count(pool).used_bytes, 0);
    assert_int_equal(pool_count(pool).reserved_bytes, 0);
    pool_destroy(pool);
}

/* Another process that holds the descriptor sees the bytes, and cannot shorten the file. */
static void pool_is_shared_memory(void **state)
{
    (void)state;
    struct pool *pool = pool_create(16 << 20);
    struct pool_buffer buffer;
    char seen[5] = "";
    assert_true(pool_take(pool, 5, NULL, &buffer));
    assert_true(pool_touch(pool, &buffer, 5));
    memcpy(buffer.data, "here", 5);
    assert_int_equal(pread(pool_fd(pool), seen, 5, (off_t)pool_offset(pool, &buffer)), 5);
    assert_string_equal(seen, "here");
    assert_int_equal(ftruncate(pool_fd(pool), 0), -1);
    pool_give(pool, &buffer);
    pool_destroy(pool);
}

static void *take_and_give(void *context)
{
    struct pool *pool = context;
    for (size_t i = 0; i < 2000; i++) {
        struct pool_buffer buffer;
        if (!pool_take(pool, 1000 * (i % 30), NULL, &buffer) ||
            !pool_touch(pool, &buffer, buffer.size_bytes))
            return NULL;
        memset(buffer.data, 1, buffer.size_bytes);
        pool_give(pool, &buffer);
    }
    return pool;
}

static void pool_of_threads(void **state)
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked),
        cmocka_unit_test(memory),
        cmocka_unit_test(clock_goes_on),
        cmocka_unit_test(utf8),
        cmocka_unit_test(json),
        cmocka_unit_test(text_grows),
        cmocka_unit_test(arena_blocks),
        cmocka_unit_test(arena_keeps_a_chunk),
        cmocka_unit_test(pool_sizes),
        cmocka_unit_test(pool_reuses),
        cmocka_unit_test(pool_keeps_to_its_budget),
        cmocka_unit_test(pool_is_shared_memory),
        cmocka_unit_test(pool_of_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
