#include "cache/redis_url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_text(const char *text, const char *wanted)
{
    assert_int_equal(text != NULL, wanted != NULL);
    if (wanted)
        assert_string_equal(text, wanted);
}

static void accepted(void **state)
{
    static const struct {
        const char *text;
        struct redis_url url;
    } cases[] = {
        {"redis://host", {.host = "host", .port = 6379, .label = "host:6379"}},
        {"redis://10.0.0.1:7000/",
         {.host = "10.0.0.1", .port = 7000, .label = "10.0.0.1:7000"}},
        {"redis://[::1]:1/15",
         {.host = "[::1]", .port = 1, .db = 15, .label = "[::1]:1"}},
        {"redis://[fe80::1]",
         {.host = "[fe80::1]", .port = 6379, .label = "[fe80::1]:6379"}},
        {"redis://:pw@h",
         {.host = "h", .port = 6379, .user = "", .password = "pw", .label = "h:6379"}},
        {"redis://me:p%40%25%c3%A4@h/2",
         {.host = "h",
          .port = 6379,
          .db = 2,
          .user = "me",
          .password = "p@%\xc3\xa4",
          .label = "h:6379"}},
        {"redis://me:a/b?c@d:e@h:65535",
         {.host = "h",
          .port = 65535,
          .user = "me",
          .password = "a/b?c@d:e",
          .label = "h:65535"}},
        {"redis://me:@h",
         {.host = "h", .port = 6379, .user = "me", .password = "", .label = "h:6379"}},
        {"rediss://h?cacert=/etc/my%20ca.pem",
         {.host = "h",
          .port = 6379,
          .is_tls = true,
          .cacert = "/etc/my ca.pem",
          .label = "h:6379"}},
        {"unix:///run/redis.sock",
         {.socket = "/run/redis.sock", .label = "/run/redis.sock"}},
        {"unix:///a@b%3fc?db=3&password=x&user=y",
         {.socket = "/a@b?c", .db = 3, .user = "y", .password = "x", .label = "/a@b?c"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct redis_url *wanted = &cases[i].url;
        struct redis_url url;
        struct gp_error err;
        if (redis_url_init(&url, cases[i].text, &err) != GP_OK)
            fail_msg("%s: %s", cases[i].text, err.message);
        assert_int_equal(url.is_tls, wanted->is_tls);
        assert_int_equal(url.port, wanted->port);
        assert_int_equal(url.db, wanted->db);
        assert_text(url.host, wanted->host);
        assert_text(url.socket, wanted->socket);
        assert_text(url.user, wanted->user);
        assert_text(url.password, wanted->password);
        assert_text(url.cacert, wanted->cacert);
        assert_string_equal(url.label, wanted->label);
        redis_url_finish(&url);
        redis_url_finish(&url);
    }
}

static void refused(void **state)
{
    static const struct {
        const char *text, *words;
    } cases[] = {
        {"", "begins with none of"},
        {"host:6379", "begins with none of"},
        {"http://geheim@host", "begins with none of"},
        {"REDIS://h", "begins with none of"},
        {"redis:/h", "begins with none of"},
        {"redis://", "has no host"},
        {"redis://:geheim", "has no host"},
        {"redis://:1", "has no host"},
        {"redis:///0", "has no host"},
        {"redis://geheim@h", "user without a password"},
        {"redis://me:geheim@", "has no host"},
        {"redis://me:geheim@h:0", "port that is not 1 to 65535"},
        {"redis://h:geheim", "port that is not 1 to 65535"},
        {"redis://h:", "port that is not 1 to 65535"},
        {"redis://h:65536", "port that is not 1 to 65535"},
        {"redis://h:99999999999999999999", "port that is not 1 to 65535"},
        {"redis://h:+1", "port that is not 1 to 65535"},
        {"redis://h/geheim", "database that is not 0 to"},
        {"redis://h/-1", "database that is not 0 to"},
        {"redis://h/1/2", "database that is not 0 to"},
        {"redis://h/100000", "database that is not 0 to"},
        {"redis://gehe im", "neither a name nor an address"},
        {"redis://h#geheim", "neither a name nor an address"},
        {"redis://h\r\nX", "neither a name nor an address"},
        {"redis://::1", "has no host"},
        {"redis://[::1", "neither a name nor an address"},
        {"redis://[]", "neither a name nor an address"},
        {"redis://[::1]x:1", "neither a name nor an address"},
        {"redis://[fe80::1%eth0]", "neither a name nor an address"},
        {"redis://me:geheim%4@h", "% without two hexadecimal digits"},
        {"redis://me:geheim%@h", "% without two hexadecimal digits"},
        {"redis://me:geheim%00@h", "% without two hexadecimal digits"},
        {"redis://h?password=geheim", "may have nothing behind the \"?\""},
        {"redis://h?cacert=x", "may have nothing behind the \"?\""},
        {"rediss://h?db=1", "may have cacert=FILE behind the \"?\""},
        {"rediss://h?cacert=", "may have cacert=FILE behind the \"?\""},
        {"rediss://h?cacert=%zz", "% without two hexadecimal digits"},
        {"unix://path", "no path that begins with \"/\""},
        {"unix:///", "no path that begins with \"/\""},
        {"unix:///p%", "has a path over 107 bytes, or a % that"},
        {"unix:///p?password=a&geheim", "db=, user= and password="},
        {"unix:///p?db=x", "database that is not 0 to"},
        {"unix:///p?user=geheim", "user without a password"},
        {"unix:///"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
         "aaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
         "has a path over 107 bytes"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct redis_url url;
        struct gp_error err = {.status = GP_OK};
        assert_int_equal(redis_url_init(&url, cases[i].text, &err), GP_INVALID);
        if (!strstr(err.message, cases[i].words) || strstr(err.message, "geheim") ||
            !strstr(err.message, "use redis://"))
            fail_msg("%s: %s", cases[i].text, err.message);
    }
}

static void long_ones(void **state)
{
    static char text[5000] = "redis://";
    struct redis_url url;
    struct gp_error err;
    (void)state;
    memset(text + 8, 'a', 255);
    assert_int_equal(redis_url_init(&url, text, &err), GP_OK);
    redis_url_finish(&url);
    text[8 + 255] = 'a';
    assert_int_equal(redis_url_init(&url, text, &err), GP_INVALID);
    memset(text + 8, 'a', sizeof text - 9);
    assert_int_equal(redis_url_init(&url, text, &err), GP_INVALID);
    assert_non_null(strstr(err.message, "is over 4096 bytes"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted),
        cmocka_unit_test(refused),
        cmocka_unit_test(long_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
