/* Whose name a Host field, or the authority of a target, is. */
#include "server/host.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void loopback(void **state)
{
    (void)state;
    static const char *const names[] = {"localhost",      "LocalHost",
                                        "localhost:9000", "localhost:",
                                        "127.0.0.1",      "127.0.0.1:9000",
                                        "127.255.3.4:1",  "[::1]",
                                        "[::1]:9000",     "[0:0:0:0:0:0:0:1]:9000"};
    static const char *const others[] = {
        "",
        ":",
        ":9000",
        "[",
        "[]",
        "[]:1",
        "[::1",
        "[::1]9000",
        "[::2]",
        "[127.0.0.1]",
        "::1",
        "::1:9000",
        "localhost.evil.example",
        "localhost.",
        "a.localhost",
        "localhosts",
        "localhos",
        "localhost:9000:1",
        "localhost:9000@evil",
        "evil@localhost",
        "localhost:a",
        "localhost ",
        " localhost",
        "127.0.0.1.evil.example",
        "127.0.0.256",
        "127.1",
        "0.0.0.0",
        "128.0.0.1",
        "2130706433",
        "0x7f.0.0.1",
        "[::ffff:127.0.0.1]",
        "[::1%lo]",
        "[localhost]",
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (!host_is_loopback(names[i], strlen(names[i])))
            fail_msg("%s", names[i]);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (host_is_loopback(others[i], strlen(others[i])))
            fail_msg("%s", others[i]);
    assert_false(host_is_loopback("localhost\0x", 11));
    assert_false(host_is_loopback("127.0.0.1\0", 10));
    assert_true(
        host_is_loopback("localhost.evil", 9)); /* no byte behind it is looked at */
}

static void named(void **state)
{
    (void)state;
    static const struct {
        const char *authority, *name;
        bool is_named;
    } cases[] = {
        {"models.example", "models.example", true},
        {"Models.Example:80", "models.example", true},
        {"models.example:80", "models.example:80", true},
        {"models.example:81", "models.example:80", false},
        {"models.example", "models.example:80", false},
        {"models.example:80x", "models.example", false},
        {"models.example.evil", "models.example", false},
        {"evil.models.example", "models.example", false},
        {"models.exampl", "models.example", false},
        {"[2001:db8::1]:9000", "[2001:db8::1]", true},
        {"[2001:db8::1]", "[2001:db8::1]", true},
        {"", "models.example", false},
        {":80", "models.example", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (host_is_named(cases[i].authority, strlen(cases[i].authority),
                          cases[i].name) != cases[i].is_named)
            fail_msg("%s, %s", cases[i].authority, cases[i].name);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loopback),
        cmocka_unit_test(named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
