/* Addresses as people type them: what is understood, and what is said to the others. */
#include "client/address.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct good {
    const char *text;
    const char *host;
    const char *port;
    const char *host_field;
    const char *target;
} goods[] = {
    {"http://127.0.0.1:9000", "127.0.0.1", "9000", "127.0.0.1:9000", "/"},
    {"http://example", "example", "9000", "example:9000", "/"},
    {"http://example/", "example", "9000", "example:9000", "/"},
    {"http://example:80/a/b?c=d", "example", "80", "example:80", "/a/b?c=d"},
    {"http://example?c", "example", "9000", "example:9000", "/?c"},
    {"http://example/a#b", "example", "9000", "example:9000", "/a"},
    {"http://[::1]:9001/m", "::1", "9001", "[::1]:9001", "/m"},
    {"[::1]:9001", "::1", "9001", "[::1]:9001", "/"},
    {"[::1]", "::1", "9000", "[::1]:9000", "/"},
    {"http://[fe80::1%eth0]:1", "fe80::1%eth0", "1", "[fe80::1]:1", "/"},
    {"localhost:9000", "localhost", "9000", "localhost:9000", "/"},
    {"localhost:65535/m", "localhost", "65535", "localhost:65535", "/m"},
    {"localhost/redirect?to=http://x", "localhost", "9000", "localhost:9000",
     "/redirect?to=http://x"},
    {"a:1/b://c", "a", "1", "a:1", "/b://c"},
    {"a:00080", "a", "80", "a:80", "/"},
    {"a:1#b", "a", "1", "a:1", "/"},
    {"http://a/u@b", "a", "9000", "a:9000", "/u@b"},
    {"http://a/!~\xc3\xa4", "a", "9000", "a:9000", "/!~\xc3\xa4"},
};

static void good_ones(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof goods / sizeof *goods; i++) {
        struct client_address address;
        struct gp_error err;
        if (client_address_init(&address, goods[i].text, &err) != GP_OK)
            fail_msg("%s", err.message);
        assert_false(address.is_unix);
        assert_string_equal(address.host, goods[i].host);
        assert_string_equal(address.port, goods[i].port);
        assert_string_equal(address.host_field, goods[i].host_field);
        assert_memory_equal(address.label, "http://", 7);
        assert_string_equal(address.label + 7, goods[i].host_field);
        assert_string_equal(address.target, goods[i].target);
        client_address_finish(&address);
    }
}

static void sockets(void **state)
{
    (void)state;
    static const struct {
        const char *text, *target;
    } cases[] = {
        {"unix:/run/a b.sock", "/"},
        {"unix:///run/a b.sock", "/"},
        {"unix:/run/a b.sock:/", "/"},
        {"unix:/run/a b.sock://a", "//a"},
        {"unix:/run/a b.sock:/cat/versions/3?x#y", "/cat/versions/3?x"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct client_address address;
        assert_int_equal(client_address_init(&address, cases[i].text, NULL), GP_OK);
        assert_true(address.is_unix);
        assert_string_equal(address.unix_path.sun_path, "/run/a b.sock");
        assert_string_equal(address.host_field, "localhost");
        assert_string_equal(address.label, "unix:/run/a b.sock");
        assert_string_equal(address.target, cases[i].target);
        client_address_finish(&address);
    }
}

static void bad_ones(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        const char *message; /* a part of it */
    } bads[] = {
        {NULL, "empty"},
        {"", "empty"},
        {"http://", "no host"},
        {":9000", "no host"},
        {"http://:9000", "no host"},
        {"/path", "no host"},
        {"9000", "number for a host; a port of this machine is 127.0.0.1:PORT"},
        {"http://80:9000/m", "number for a host"},
        {"[]:9000", "no host"},
        {"[::1", "no host"},
        {"[::1]x", "no host"},
        {"::1", "no host"},
        {"fe80::1", "brackets"},
        {"a:b:c", "brackets"},
        {"http://a:0", "1 to 65535"},
        {"http://a:65536", "1 to 65535"},
        {"http://a:", "1 to 65535"},
        {"http://a:9x", "1 to 65535"},
        {"http://a:-1", "1 to 65535"},
        {"http://a:+1", "1 to 65535"},
        {"http://a:99999999999999999999", "1 to 65535"},
        {"https://a", "neither http://HOST[:PORT] nor unix:/path"},
        {"tcp://a:1", "neither"},
        {"http://user@a", "user name"},
        {"http://a b", "blanks"},
        {"http://a\r\nX: y", "blanks"},
        {"http://a/\x7f", "blanks"},
        {"unix:", "no path"},
        {"unix::/cat", "no path"},
        {"unix:/a:/cat b", "has blanks behind the socket's path"},
        {"unix:/a\nb", "control"},
        {"http://a/\x1f", "control"},
        {"unix:/a\x7f", "control"},
        {"http://a:000080", "1 to 65535"},
        {"[::1]:", "1 to 65535"},
        {"[::1]:1:2", "too many colons"},
        {"a:1:", "too many colons"},
        {"u@a:1/b", "user name"},
        {"unix:/1234567890123456789012345678901234567890123456789012345678901234567890"
         "1234567890123456789012345678901234567890",
         "107"},
    };
    for (size_t i = 0; i < sizeof bads / sizeof *bads; i++) {
        struct client_address address;
        struct gp_error err = {GP_OK, ""};
        assert_int_equal(client_address_init(&address, bads[i].text, &err), GP_INVALID);
        if (!strstr(err.message, bads[i].message))
            fail_msg("%s gave: %s", bads[i].text, err.message);
        client_address_finish(&address);
    }
}

/* What is as long as it may be is taken, one byte more is refused. */
static void sizes_have_limits(void **state)
{
    (void)state;
    static const struct {
        const char *before;
        size_t most;       /* bytes after it */
        const char *words; /* of the refusal */
    } cases[] = {
        {"", 255, "has no host"},
        {"http://", 255, "has no host"},
        {"unix:", 107, "has a path over 107 bytes"},
        {"unix://", 105, "has a path over 107 bytes"}, /* a part of the path */
        {"a/", 4094, "is over 4096 bytes"},
        {"unix:/a:/", 4087, "is over 4096 bytes"},
    };
    for (size_t i = 0; i < 2 * sizeof cases / sizeof *cases; i++) {
        char text[5000] = "";
        struct client_address address;
        struct gp_error err = {GP_OK, ""};
        memset(text + sprintf(text, "%s", cases[i / 2].before), 'x',
               cases[i / 2].most + i % 2);
        if (i % 2 == 0) {
            assert_int_equal(client_address_init(&address, text, &err), GP_OK);
        } else {
            assert_int_equal(client_address_init(&address, text, &err), GP_INVALID);
            assert_memory_equal(err.message, "address \"", 9);
            assert_memory_equal(err.message + 9, text, 50);
            assert_non_null(strstr(err.message, cases[i / 2].words));
        }
        client_address_finish(&address);
    }
}

/* The beginning of an address is enough to recognise it. */
static void long_addresses_are_quoted_in_part(void **state)
{
    (void)state;
    char text[400] = "", words[400];
    struct client_address address;
    struct gp_error err = {GP_OK, ""};
    memset(text, 'x', 300);
    snprintf(words, sizeof words,
             "address \"%.200s\" has no host: use http://HOST[:PORT] or unix:/path",
             text);
    assert_int_equal(client_address_init(&address, text, &err), GP_INVALID);
    assert_string_equal(err.message, words);
    client_address_finish(&address);
}

static void numbers_and_names_are_resolved(void **state)
{
    (void)state;
    static const char *const texts[] = {"127.0.0.1:1", "[::1]:1", "localhost:1"};
    for (size_t i = 0; i < 3; i++) {
        struct client_address address;
        struct addrinfo *list = NULL;
        struct gp_error err = {GP_OK, ""};
        assert_int_equal(client_address_init(&address, texts[i], NULL), GP_OK);
        if (client_resolve(&address, clock_now_ns() + 10 * CLOCK_S, &list, &err) != GP_OK)
            fail_msg("%s", err.message);
        assert_non_null(list);
        freeaddrinfo(list);
        client_address_finish(&address);
    }
}

/* A lookup that outlasts the deadline is left to itself. */
static void resolving_ends_at_the_deadline(void **state)
{
    (void)state;
    struct client_address address;
    struct addrinfo *list = NULL;
    assert_int_equal(client_address_init(&address, "localhost:1", NULL), GP_OK);
    for (int i = 0; i < 20; i++) {
        const enum gp_status status =
            client_resolve(&address, clock_now_ns(), &list, NULL);
        assert_true(status == GP_TIMEOUT || status == GP_OK);
        if (status == GP_OK)
            freeaddrinfo(list);
    }
    client_address_finish(&address);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(sockets),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(sizes_have_limits),
        cmocka_unit_test(long_addresses_are_quoted_in_part),
        cmocka_unit_test(numbers_and_names_are_resolved),
        cmocka_unit_test(resolving_ends_at_the_deadline),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
