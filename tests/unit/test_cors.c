/* Which origins --cors-origin takes, and what pages of them are answered. */
#include "server/cors.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

struct fixture {
    struct gp_arena *arena;
    struct cors cors;
    struct gp_error err;
};

static enum gp_status init(struct fixture *f, const char *const *origins, size_t n)
{
    *f = (struct fixture){.arena = gp_arena_create()};
    return cors_init(&f->cors, f->arena, origins, n, &f->err);
}

static void assert_found(const struct fixture *f, const char *origin, bool is_allowed,
                         const char *fields)
{
    bool may = !is_allowed;
    const char *found = cors_find(&f->cors, origin, origin ? strlen(origin) : 0, &may);
    if (fields)
        assert_string_equal(found, fields);
    else
        assert_null(found);
    assert_int_equal(may, is_allowed);
}

#define EXPOSE "Access-Control-Expose-Headers: Retry-After, X-GraphPipe-Cache\r\n"
#define FOR(origin) "Access-Control-Allow-Origin: " origin "\r\n" EXPOSE

static void those_named_may(void **state)
{
    char name[] = "http://a:1"; /* it is not borrowed */
    const char *const origins[] = {name, "https://b"};
    struct fixture f;
    (void)state;
    assert_int_equal(init(&f, origins, 2), GP_OK);
    name[7] = 'x';
    assert_found(&f, "http://a:1", true, FOR("http://a:1") "Vary: Origin\r\n");
    assert_found(&f, "https://b", true, FOR("https://b") "Vary: Origin\r\n");
    assert_found(&f, "https://bc", false, "Vary: Origin\r\n");
    assert_found(&f, "https://", false, "Vary: Origin\r\n");
    assert_found(&f, "", false, "Vary: Origin\r\n");
    assert_found(&f, NULL, false, "Vary: Origin\r\n");
    gp_arena_destroy(f.arena);
}

static void all_may(void **state)
{
    const char *const origins[] = {"*"};
    struct fixture f;
    (void)state;
    assert_int_equal(init(&f, origins, 1), GP_OK);
    assert_found(&f, "null", true, FOR("*"));
    assert_found(&f, NULL, false, FOR("*"));
    gp_arena_destroy(f.arena);
}

static void nobody_may(void **state)
{
    struct fixture f;
    (void)state;
    assert_int_equal(init(&f, NULL, 0), GP_OK);
    assert_found(&f, "https://a", false, NULL);
    assert_found(&f, NULL, false, NULL);
    gp_arena_destroy(f.arena);
}

static void others_are_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "null",
        "a",
        "://a",
        "https:/a",
        "https://",
        "https://a/",
        "https://a/b",
        "https://a?",
        "https://a#",
        "https://*",
        "https://A",
        "HTTPS://a",
        "https://a, b",
        "https://a,https://b",
        "https://u@a",
        "https://a\r\nX: y",
        "https://\xc3\xa4",
        "https://a\x7f",
        "**",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const char *const origins[] = {"https://good", bad[i]};
        struct fixture f;
        if (init(&f, origins, 2) != GP_INVALID)
            fail_msg("\"%s\" is taken", bad[i]);
        assert_non_null(strstr(f.err.message, "--cors-origin is \""));
        gp_arena_destroy(f.arena);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_named_may),
        cmocka_unit_test(all_may),
        cmocka_unit_test(nobody_may),
        cmocka_unit_test(others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
