/* The ground floor: text that is written into, memory that is given back all at once,
 * and arithmetic that says when it does not fit.
 */
#include "base/checked.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

#include <graphpipe/message.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

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

/* A steady load of small requests allocates nothing: the memory is the same after a reset, and was
 * not free in between for another to take. */
static void arena_keeps_a_chunk(void **state)
{
    (void)state;
    struct gp_arena *arena = gp_arena_create();
    const void *first = gp_arena_alloc(arena, 100);
    void *others[10];
    for (int i = 0; i < 10; i++) {
        gp_arena_reset(arena);
        others[i] = mem_alloc(16 * 1024);
        assert_ptr_equal(gp_arena_alloc(arena, 100), first);
    }
    for (int i = 0; i < 10; i++)
        mem_free(others[i]);
    gp_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checked),       cmocka_unit_test(memory),
        cmocka_unit_test(clock_goes_on), cmocka_unit_test(utf8),
        cmocka_unit_test(json),          cmocka_unit_test(text_grows),
        cmocka_unit_test(arena_blocks),  cmocka_unit_test(arena_keeps_a_chunk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
