/* JSON files: what is taken, what is refused and where, the lines of keys, and memory that runs
 * short. The parser is yyjson; these tests hold what is relied on of it. */
#include "base/mem.h"
#include "cli/file.c"

static unsigned n_until_short; /* allocations of yyjson that go well; 0: all */

static void *short_alloc(size_t size_bytes)
{
    return n_until_short && --n_until_short == 0 ? NULL : mem_alloc(size_bytes);
}

static void *short_resize(void *block, size_t size_bytes)
{
    return n_until_short && --n_until_short == 0 ? NULL : mem_resize(block, size_bytes);
}

#define mem_alloc short_alloc
#define mem_resize short_resize
#include "cli/json_doc.c"
#undef mem_alloc
#undef mem_resize

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static struct gp_arena *arena;
static char path[64];
static struct json_doc json;
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    arena = gp_arena_create();
    (void)snprintf(path, sizeof path, "/tmp/gp-json-%d", (int)getpid());
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gp_arena_destroy(arena);
    (void)unlink(path);
    return 0;
}

static enum gp_status open_bytes(const void *bytes, size_t size_bytes)
{
    const struct iovec part = {(void *)(uintptr_t)bytes, size_bytes};
    struct gp_encoding content = {.parts = &part, .n_parts = 1};
    err = (struct gp_error){0};
    assert_int_equal(file_write(path, &content, &err), GP_OK);
    return json_doc_open(&json, path, arena, &err);
}

static enum gp_status open_text(const char *text)
{
    return open_bytes(text, strlen(text));
}

static void assert_refused(const char *text, size_t size_bytes, unsigned line)
{
    char start[96];
    (void)snprintf(start, sizeof start, "%s:%u: no JSON: ", path, line);
    if (open_bytes(text, size_bytes) == GP_OK)
        fail_msg("%.40s was taken", text);
    assert_int_equal(err.status, GP_MALFORMED);
    assert_memory_equal(err.message, start, strlen(start));
    json_doc_close(&json);
}

static void test_refusals(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",         " ",        "{",         "[1,",       "[1 2]",        "[,]",
        "{\"a\"}",  "{\"a\":}", "{a:1}",     "{,}",       "01",           "1.",
        "-",        ".5",       "1e",        "+1",        "0x10",         "nan",
        "inf",      "tru",      "\"a",       "\"\\x\"",   "\"\\u12g4\"",  "\"\\ud800\"",
        "\"\xff\"", "1 2",      "[]]",       "{\"a\":1]", "\"\n\"",       "\"\\",
        "1 /*",     "'a'",      "\xff\xfe[", "{}\"",      "\xef\xbb\xbf",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        assert_refused(texts[i], strlen(texts[i]), 1);
    assert_refused("1\0", 2, 1);
    assert_refused("{\"a\0\": 1}", 9, 1);
    assert_refused("{\n\"a\": 1,\n\n\"b\": oops}\n", 23, 4);
    assert_refused("{\r\n\"a\": 1,\r\n\"b\": oops}", 23, 3);
    assert_int_equal(json_doc_open(&json, "/nonexistent/file", arena, &err),
                     GP_NOT_FOUND);
}

static void test_depth(void **state)
{
    (void)state;
    enum { DEPTH = 1 << 20 };
    char *deep = malloc(2 * DEPTH);
    memset(deep, '[', DEPTH);
    memset(deep + DEPTH, ']', DEPTH);
    assert_int_equal(open_bytes(deep, 2 * DEPTH), GP_OK);
    json_doc_close(&json);
    assert_refused(deep, DEPTH, 1);
    free(deep);
}

static void test_size(void **state)
{
    (void)state;
    char *blanks = malloc(JSON_DOC_MAX_BYTES + 1);
    memset(blanks, ' ', JSON_DOC_MAX_BYTES + 1);
    blanks[0] = '1';
    assert_int_equal(open_bytes(blanks, JSON_DOC_MAX_BYTES), GP_OK);
    json_doc_close(&json);
    assert_int_equal(open_bytes(blanks, JSON_DOC_MAX_BYTES + 1), GP_INVALID);
    assert_non_null(strstr(err.message, "16777217 bytes"));
    free(blanks);
}

static unsigned line_of(const char *name)
{
    yyjson_obj_iter at = yyjson_obj_iter_with(yyjson_doc_get_root(json.doc));
    return json_doc_line(&json, yyjson_obj_iter_getn(&at, name, strlen(name)) - 1);
}

/* Escapes that become line breaks while strings are unescaped in place count for nothing. */
static void test_lines(void **state)
{
    (void)state;
    assert_int_equal(open_text("\xef\xbb\xbf// a mark and a comment\n"
                               "{\"one\": \"\\n\\n\\u000a\\n\", \"two\": [1,\r\n"
                               "2, /* \n\n */ ], \"esc\\u0061pe\": {},\n\n"
                               "\"\": 1, \"last\": null,}\n"),
                     GP_OK);
    assert_int_equal(line_of("one"), 2);
    assert_int_equal(line_of("two"), 2);
    assert_int_equal(line_of("escape"), 5);
    assert_int_equal(line_of("last"), 7);
    assert_int_equal(line_of(""), 7);
    assert_int_equal(line_of("one"), 2);
    json_doc_close(&json);
}

/* Strings live as long as the arena. */
static void test_strings(void **state)
{
    (void)state;
    assert_int_equal(open_text("[\"x\\n\\u00e4\\u20ac\\/\"]"), GP_OK);
    const char *string =
        yyjson_get_str(yyjson_arr_get_first(yyjson_doc_get_root(json.doc)));
    json_doc_close(&json);
    json_doc_close(&json);
    assert_string_equal(string, "x\n\xc3\xa4\xe2\x82\xac/");
}

static void test_short_memory(void **state)
{
    (void)state;
    enum gp_status status = GP_NO_MEMORY;
    for (unsigned n = 1; status == GP_NO_MEMORY; n++) {
        n_until_short = n;
        status = open_text("{\"a\": [[1, 2], {\"b\": \"c\"}], \"d\": [true]}");
        assert_true(status == GP_OK || n < 20);
        if (status == GP_NO_MEMORY)
            assert_non_null(strstr(err.message, "out of memory"));
        assert_int_equal(n == 1 ? status : GP_NO_MEMORY, GP_NO_MEMORY);
        json_doc_close(&json);
    }
    assert_int_equal(status, GP_OK);
    n_until_short = 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refusals), cmocka_unit_test(test_depth),
        cmocka_unit_test(test_size),     cmocka_unit_test(test_lines),
        cmocka_unit_test(test_strings),  cmocka_unit_test(test_short_memory),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
