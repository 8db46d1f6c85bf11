/* Text of others, shown and cut: by a table, for each character there is, for each pair of
 * bytes, for each place to cut at, and for random bytes. */
#include "base/text.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { LONGEST = 48, SHOWN_BYTES = 12 * LONGEST };

#define BYTES(literal) literal, sizeof(literal) - 1

static size_t encode(uint32_t c, char *to)
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    const size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

/* Whatever was shown is UTF-8 that can be seen, and showing it again changes nothing. */
static void assert_shown(const char *shown, size_t size)
{
    char again[SHOWN_BYTES];
    uint32_t c = 0;
    assert_int_equal(strlen(shown), size);
    for (size_t at = 0; at < size;) {
        const size_t n = gp_text_next(shown + at, size - at, &c);
        assert_true(n > 0 && gp_text_is_visible(c));
        at += n;
    }
    assert_int_equal(gp_text_show(again, sizeof again, shown, size), size);
    assert_string_equal(again, shown);
}

/* The bytes that text_foreign wrote so, which tells that no two texts are written alike. */
static size_t read_foreign(const char *shown, char *to)
{
    char *const start = to;
    while (*shown) {
        char *end = NULL;
        if (*shown != '\\') {
            *to++ = *shown++;
        } else if (shown[1] == 'x') {
            const char digits[] = {shown[2], shown[3], '\0'};
            *to++ = (char)strtoul(digits, &end, 16);
            shown += 4;
        } else if (shown[1] == 'u') {
            to += encode((uint32_t)strtoul(shown + 3, &end, 16), to);
            assert_int_equal(*end, '}');
            shown = end + 1;
        } else {
            const char c = shown[1];
            *to++ = c == 'n' ? '\n' : c == 'r' ? '\r' : c == 't' ? '\t' : c;
            shown += 2;
        }
    }
    return (size_t)(to - start);
}

static void check(const char *bytes, size_t size)
{
    char shown[SHOWN_BYTES], read[SHOWN_BYTES];
    struct text text = {0};
    assert_shown(shown, gp_text_show(shown, sizeof shown, bytes, size));
    text_show(&text, bytes, size);
    assert_string_equal(text.data ? text.data : "", shown);
    text_finish(&text);
    text_foreign(&text, bytes, size);
    assert_int_equal(read_foreign(text.data ? text.data : "", read), size);
    assert_memory_equal(read, bytes, size);
    text_finish(&text);
}

static void shown(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t size;
        const char *shown;
    } cases[] = {
        {BYTES(""), ""},
        {BYTES("plain \"text\" \\"), "plain \"text\" \\"},
        {BYTES("имя 名 🙂"), "имя 名 🙂"},
        {BYTES("a\0b"), "a\\x00b"},
        {BYTES("\r\n\t"), "\\r\\n\\t"},
        {BYTES("\x1b[2J\a\x7f"), "\\x1b[2J\\x07\\x7f"},
        {BYTES("\xc2\x9b"
               "2J"),
         "\\u{9b}2J"},
        {BYTES("\x9b"
               "2J"),
         "\\x9b2J"},
        {BYTES("a\u202eb\u2066c"), "a\\u{202e}b\\u{2066}c"},
        {BYTES("\u200e\u200f\u061c"), "\\u{200e}\\u{200f}\\u{61c}"},
        {BYTES("\u2028\u2029\ufeff"), "\\u{2028}\\u{2029}\\u{feff}"},
        {BYTES("\U000e0041\U0010ffff"), "\\u{e0041}\\u{10ffff}"},
        {BYTES("\xd0"), "\\xd0"},
        {BYTES("\xe2\x82x"), "\\xe2\\x82x"},
        {BYTES("\xc0\xaf\xed\xa0\x80"), "\\xc0\\xaf\\xed\\xa0\\x80"},
        {BYTES("\xf4\x90\x80\x80\xff"), "\\xf4\\x90\\x80\\x80\\xff"},
    };
    char text[SHOWN_BYTES];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const size_t n = gp_text_show(text, sizeof text, cases[i].bytes, cases[i].size);
        assert_string_equal(text, cases[i].shown);
        assert_int_equal(n, strlen(text));
        check(cases[i].bytes, cases[i].size);
    }
}

static void a_backslash_is_doubled_where_text_is_quoted_first(void **state)
{
    (void)state;
    struct text text = {0};
    text_foreign_puts(&text, "\\x1b is not \x1b");
    assert_string_equal(text.data, "\\\\x1b is not \\x1b");
    text_finish(&text);
}

static void each_character(void **state)
{
    (void)state;
    char bytes[8];
    uint32_t read = 0;
    for (uint32_t c = 0; c < 0x110000; c++) {
        const size_t n = encode(c, bytes);
        const bool is_surrogate = c >= 0xd800 && c < 0xe000;
        assert_int_equal(gp_text_next(bytes, n, &read), is_surrogate ? 0 : n);
        for (size_t cut = 0; cut < n; cut++)
            assert_int_equal(gp_text_next(bytes, cut, &read), 0);
        if (c < 0x3000 || c > 0x10fff0 || is_surrogate || !gp_text_is_visible(c))
            check(bytes, n);
    }
}

static void each_pair_of_bytes(void **state)
{
    (void)state;
    for (int i = 0; i < 0x10000; i++) {
        const char bytes[] = {(char)(i >> 8), (char)i};
        check(bytes, 2);
    }
}

static void random_bytes(void **state)
{
    (void)state;
    /* of a kind that makes characters, whole and broken ones */
    static const char *const parts[] = {"\xd0",     "\xb0",     "\xe2\x80", "\xae",
                                        "\xf0\x9f", "\x99\x82", "\\",       "\\u{",
                                        "x",        "}",        "\x1b",     "\n"};
    srand(1);
    for (int i = 0; i < 100000; i++) {
        char bytes[LONGEST];
        size_t n = 0;
        for (int k = rand() % 16; k > 0; k--) {
            const char *part = parts[(size_t)rand() % (sizeof parts / sizeof *parts)];
            if (rand() % 8)
                n += (size_t)snprintf(bytes + n, sizeof bytes - n, "%s", part);
            else
                bytes[n++] = (char)rand();
        }
        check(bytes, n);
    }
}

static const char mixed[] = "aж名🙂\u202e\x1bбz";

static void cut_at_each_byte(void **state)
{
    (void)state;
    const size_t size = sizeof mixed - 1;
    for (size_t most = 0; most <= size + 2; most++) {
        const size_t n = gp_text_cut(mixed, size, most);
        assert_true(n <= most && n <= size && n + 3 >= (most < size ? most : size));
        assert_true(text_is_utf8(mixed, n));
        assert_int_equal(gp_cut(mixed, most), n);
    }
    assert_int_equal(gp_text_cut("\x80\x80\x80\x80\x80\x80", 6, 5), 5);
    assert_int_equal(gp_text_cut("\x80\x80\x80", 3, 2), 2);
}

static void shown_in_any_room(void **state)
{
    (void)state;
    char whole[SHOWN_BYTES], part[SHOWN_BYTES];
    const size_t size = gp_text_show(whole, sizeof whole, mixed, sizeof mixed - 1);
    assert_int_equal(gp_text_show(part, 0, mixed, sizeof mixed - 1), 0);
    for (size_t room = 1; room <= size + 2; room++) {
        memset(part, '#', sizeof part);
        const size_t n = gp_text_show(part, room, mixed, sizeof mixed - 1);
        assert_true(n < room && part[room] == '#');
        assert_shown(part, n);
        if (room > size) {
            assert_string_equal(part, whole);
            continue;
        }
        const size_t n_dots = room > 3 ? 3 : 0;
        assert_memory_equal(part + n - n_dots, "...", n_dots);
        assert_memory_equal(part, whole, n - n_dots);
        assert_true(text_is_utf8(part, n - n_dots));
    }
}

/* Cyrillic names came out as question marks, since one byte of the last letter was left. */
static void messages_are_whole(void **state)
{
    (void)state;
    struct gp_error err;
    char name[1200] = "";
    for (size_t i = 0; i + 3 < sizeof name; i++) {
        memset(name, 'a', i % 5);
        for (size_t n = i % 5; n < i; n += 2)
            memcpy(name + n, "ж", sizeof "ж");
        assert_int_equal(
            gp_error_set(&err, GP_INVALID, "no input \"%s\"; it has %s", name, "one"),
            GP_INVALID);
        const size_t size = strlen(err.message);
        assert_true(text_is_utf8(err.message, size) && !strstr(err.message, "\\x"));
        assert_true(size < 480 || size >= sizeof err.message - 4 ||
                    strcmp(err.message + size - 8, " has one") == 0);
        if (strlen(name) > sizeof err.message)
            assert_string_equal(err.message + size - 3, "...");
    }
    gp_error_set(&err, GP_INVALID, "%s", "two\nlines \x1b[31m \u202e\xff");
    assert_string_equal(err.message, "two\\nlines \\x1b[31m \\u{202e}\\xff");
    gp_error_set(&err, GP_INVALID, "again: %s", err.message); /* of itself */
    assert_string_equal(err.message, "again: two\\nlines \\x1b[31m \\u{202e}\\xff");
    assert_int_equal(gp_error_set(NULL, GP_BUSY, "x"), GP_BUSY);
}

static void json_escapes_what_cannot_be_seen(void **state)
{
    (void)state;
    struct text text = {0};
    text_json_puts(&text, "ж\"\\\n\xc2\x9b\u202e\u2028\ufeff\U000e0041\U0010ffff\xd0");
    assert_string_equal(text.data,
                        "\"ж\\\"\\\\\\u000a\\u009b\\u202e\\u2028\\ufeff\\udb40\\udc41"
                        "\\udbff\\udfff\\ufffd\"");
    text_finish(&text);
}

static void a_label_has_what_is_there(void **state)
{
    (void)state;
    struct text text = {0};
    text_label(&text, "\xd0\xb6 \"\\\n\x1b\xd0");
    assert_string_equal(text.data, "\"\xd0\xb6 \\\"\\\\\\n\x1b\ufffd\"");
    text_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shown),
        cmocka_unit_test(a_backslash_is_doubled_where_text_is_quoted_first),
        cmocka_unit_test(each_character),
        cmocka_unit_test(each_pair_of_bytes),
        cmocka_unit_test(random_bytes),
        cmocka_unit_test(cut_at_each_byte),
        cmocka_unit_test(shown_in_any_room),
        cmocka_unit_test(messages_are_whole),
        cmocka_unit_test(json_escapes_what_cannot_be_seen),
        cmocka_unit_test(a_label_has_what_is_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
