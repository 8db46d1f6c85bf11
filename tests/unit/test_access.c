/* What is logged of requests, and of what is refused. */
#include "server/access.h"

#include "scene.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

static int fds[2]; /* what the log is written to */

static struct scene *begin(enum gp_log_level level, enum gp_log_format format)
{
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    return scene_begin(&(struct gp_server_options){
        .log_fd = fds[1], .log_level = level, .log_format = format});
}

static void end(struct scene *f)
{
    scene_end(f);
    close(fds[0]);
    close(fds[1]);
}

/* The lines so far, which are handed over and written. */
static void read_log(struct scene *f, char *text, size_t size)
{
    log_write(&f->server->log, &still_worker(&f->server->poller)->lines);
    log_flush(&f->server->log);
    const ssize_t n = read(fds[0], text, size - 1);
    assert_true(n > 0);
    text[n] = '\0';
}

/* Two clients ask for one slot: the second waits until the run of the first is over, and both runs take
 * 250.25 ms. Afterwards a third is refused. */
static void log_three(struct scene *f)
{
    struct sockaddr_storage from = {.ss_family = AF_INET};
    struct sockaddr_in *in = (void *)&from;
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6, .sin6_port = htons(80)};
    in->sin_port = htons(4567);
    assert_int_equal(inet_pton(AF_INET, "10.1.2.3", &in->sin_addr), 1);
    assert_int_equal(inet_pton(AF_INET6, "2001:db8::1", &in6.sin6_addr), 1);
    struct visitor *first = scene_connect(f, 0, &from);
    struct visitor *second = scene_connect(f, 1, &in6);
    struct visitor *third = scene_connect(f, 2, NULL);
    f->run_ns = 250250 * CLOCK_MS / 1000;
    scene_post(f, first, 8, "1", "");
    assert_true(still_serve_one(&f->server->poller)); /* it has the slot */
    turned_clock_add(500 * CLOCK_MS);
    scene_post(f, second, 8, "1", "");
    assert_true(still_serve_one(&f->server->poller));
    turned_clock_add(1000 * CLOCK_MS);
    scene_serve(f);
    scene_hear(f, first, "HTTP/1.1 200 OK\r\n");
    scene_hear(f, second, "HTTP/1.1 200 OK\r\n");
    scene_say(f, third, "GET /gone?x HTTP/1.1\r\nHost: x\r\n\r\n");
    scene_hear(f, third, "HTTP/1.1 404 Not Found\r\n");
}

static void access_lines_say_who_and_how_long(void **state)
{
    static const struct {
        enum gp_log_format format;
        const char *words[7];
    } cases[] = {
        {GP_LOG_JSON,
         {"\"peer\":\"10.1.2.3:4567\",\"method\":\"POST\",\"target\":\"/"
          "\",\"status\":200,",
          "\"total_ms\":1750.250,\"waited_ms\":0.000,\"ran_ms\":250.250}\n",
          "\"peer\":\"[2001:db8::1]:80\",\"method\":\"POST\",",
          "\"total_ms\":1500.500,\"waited_ms\":1250.250,\"ran_ms\":250.250}\n",
          "\"peer\":\"unix\",\"method\":\"GET\",\"target\":\"/gone?x\",\"status\":404,",
          "\"total_ms\":0.000,\"waited_ms\":0.000,\"ran_ms\":0.000,", "\"error\":\""}},
        {GP_LOG_TEXT,
         {" 10.1.2.3:4567 POST / 200  in ",
          " bytes  1750.250 ms (waited 0.000, ran 250.250)\n",
          " [2001:db8::1]:80 POST / 200  in ",
          " bytes  1500.500 ms (waited 1250.250, ran 250.250)\n",
          " unix GET /gone?x 404  in 0  out ",
          " bytes  0.000 ms (waited 0.000, ran 0.000)  ", "\n"}},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[4096];
        struct scene *f = begin(GP_LOG_DEBUG, cases[i].format);
        log_three(f);
        read_log(f, text, sizeof text);
        const char *at = text;
        for (size_t k = 0; k < sizeof cases[i].words / sizeof *cases[i].words; k++) {
            const char *word = cases[i].words[k], *found = strstr(at, word);
            if (!found)
                fail_msg("no \"%s\" in \"%s\" of \"%s\"", word, at, text);
            at = found + strlen(word);
        }
        end(f);
    }
}

/* Each line says how many like it there were since the last; a kind has its own. */
static void refusals_are_told_now_and_then(void **state)
{
    static const struct sockaddr_in6 from = {.sin6_family = AF_UNIX};
    static const struct {
        int64_t ms;
        enum metrics_refusal what;
        const char *line; /* NULL: none */
    } cases[] = {
        {0, METRICS_REFUSED_BODY, "unix was refused: why\n"},
        {1, METRICS_REFUSED_BODY, NULL},
        {1, METRICS_REFUSED_HEAD, "unix was refused: why\n"},
        {9999, METRICS_REFUSED_BODY, NULL},
        {10000, METRICS_REFUSED_BODY,
         "unix was refused: why (and 2 more like it since the last such line)\n"},
        {19999, METRICS_REFUSED_BODY, NULL},
        {20000, METRICS_REFUSED_BODY,
         "unix was refused: why (and 1 more like it since the last such line)\n"},
        {30000, METRICS_REFUSED_BODY, "unix was refused: why\n"},
        {SCENE_NS / CLOCK_MS + 60000, METRICS_REFUSED_BODY, "unix was refused: why\n"},
    };
    (void)state;
    struct scene *f = begin(GP_LOG_WARNING, GP_LOG_TEXT);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[1024] = "";
        scene_turn_to(cases[i].ms);
        access_refused(f->server, cases[i].what, &from, "why");
        log_flush(&f->server->log);
        const bool is_told = read(fds[0], text, sizeof text - 1) > 0;
        assert_int_equal(is_told, cases[i].line != NULL);
        if (is_told && !strstr(text, cases[i].line))
            fail_msg("\"%s\" instead of \"%s\"", text, cases[i].line);
    }
    end(f);
}

#define HOST " HTTP/1.1\r\nHost: x\r\n"

#define UNIX "\",\"level\":\"debug\",\"peer\":\"unix\","

static const struct {
    const char *request, *then, *json, *text;
} lines[] = {
    {"GET /control/is_alive?a\\b" HOST "\r\n", NULL,
     UNIX "\"method\":\"GET\",\"target\":\"/control/is_alive?a\\\\b\",\"status\":200,"
          "\"received_bytes\":0,\"sent_bytes\":82,\"total_ms\":0.000,\"waited_ms\":0.000,"
          "\"ran_ms\":0.000}\n",
     " unix GET /control/is_alive?a\\\\b 200  in 0  out 82 bytes  0.000 ms (waited "
     "0.000, ran 0.000)\n"},
    {"POST /control/is_alive" HOST "Content-Length: 4\r\n\r\nbo", "dy",
     UNIX "\"method\":\"POST\",\"target\":\"/control/is_alive\",\"status\":200,"
          "\"received_bytes\":4,\"sent_bytes\":82,\"total_ms\":1012.345,"
          "\"waited_ms\":0.000,\"ran_ms\":0.000}\n",
     " unix POST /control/is_alive 200  in 4  out 82 bytes  1012.345 ms (waited "
     "0.000, ran 0.000)\n"},
    {"HEAD /control/is_alive" HOST "\r\n", NULL,
     UNIX "\"method\":\"HEAD\",\"target\":\"/control/is_alive\",\"status\":200,"
          "\"received_bytes\":0,\"sent_bytes\":79,\"total_ms\":0.000,"
          "\"waited_ms\":0.000,\"ran_ms\":0.000}\n",
     " unix HEAD /control/is_alive 200  in 0  out 79 bytes  0.000 ms (waited 0.000, "
     "ran 0.000)\n"},
    {"GET /sixteen.letters" HOST "\r\n", NULL,
     UNIX
     "\"method\":\"GET\",\"target\":\"/sixteen.letters\",\"status\":404,"
     "\"received_bytes\":0,\"sent_bytes\":144,\"total_ms\":0.000,\"waited_ms\":0.000,"
     "\"ran_ms\":0.000,\"error\":\"no model is named \\\"sixteen.letters\\\"; there "
     "are: function\"}\n",
     " unix GET /sixteen.letters 404  in 0  out 144 bytes  0.000 ms (waited 0.000, ran "
     "0.000)  no model is named \"sixteen.letters\"; there are: function\n"},
    {"DELETE /x" HOST "\r\n", NULL,
     UNIX "\"method\":\"OTHER\",\"target\":\"/x\",\"status\":404,\"received_bytes\":0,"
          "\"sent_bytes\":130,\"total_ms\":0.000,\"waited_ms\":0.000,\"ran_ms\":0.000,"
          "\"error\":\"no model is named \\\"x\\\"; there are: function\"}\n",
     " unix OTHER /x 404  in 0  out 130 bytes  0.000 ms (waited 0.000, ran 0.000)  "
     "no "
     "model is named \"x\"; there are: function\n"},
    {"GET / HTTP/1.1\r\n", "\r\n",
     UNIX "\"method\":\"-\",\"target\":\"-\",\"status\":400,\"received_bytes\":0,"
          "\"sent_bytes\":132,\"total_ms\":1012.345,\"waited_ms\":0.000,\"ran_ms\":0.000,"
          "\"error\":\"field \\\"Host\\\" is missing\"}\n",
     " unix - - 400  in 0  out 132 bytes  1012.345 ms (waited 0.000, ran 0.000)  "
     "field \"Host\" is missing\n"},
    {"POST /control/is_alive" HOST "Content-Length: 4\r\n\r\nbo", "",
     UNIX "\"method\":\"POST\",\"target\":\"/control/is_alive\",\"status\":499,"
          "\"received_bytes\":2,\"sent_bytes\":0,\"total_ms\":1012.345,"
          "\"waited_ms\":0.000,\"ran_ms\":0.000,\"error\":\"the client left\"}\n",
     " unix POST /control/is_alive 499  in 2  out 0 bytes  1012.345 ms (waited "
     "0.000, "
     "ran 0.000)  the client left\n"},
};

/* What was asked for, what came of it, how much was received and sent, and why it failed. */
static void access_lines_say_what_and_how_much(void **state)
{
    (void)state;
    for (int is_json = 0; is_json < 2; is_json++) {
        struct scene *f = begin(GP_LOG_DEBUG, is_json ? GP_LOG_JSON : GP_LOG_TEXT);
        for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
            char text[4096];
            struct visitor *client = scene_connect(f, 0, NULL);
            scene_say(f, client, lines[i].request);
            turned_clock_add(lines[i].then ? 1012345 * CLOCK_MS / 1000 : 0);
            if (lines[i].then && !*lines[i].then)
                scene_leave(f, client);
            else
                scene_say(f, client, lines[i].then ? lines[i].then : "");
            read_log(f, text, sizeof text);
            const char *wanted = is_json ? lines[i].json : lines[i].text;
            const char *begins = is_json ? "{\"time\":\"" : "";
            const char *found =
                text + strlen(begins) + sizeof "2026-11-30T05:55:01.371Z" - 1;
            assert_memory_equal(text, begins, strlen(begins));
            assert_true(found < text + strlen(text));
            assert_string_equal(found, wanted);
            if (client->fd)
                scene_leave(f, client);
        }
        end(f);
    }
}

static void a_long_target_is_cut(void **state)
{
    char request[2048] = "GET /";
    (void)state;
    memset(request + 5, 'x', 1100);
    strcat(request, HOST "\r\n");
    for (int is_json = 0; is_json < 2; is_json++) {
        char text[4096];
        struct scene *f = begin(GP_LOG_DEBUG, is_json ? GP_LOG_JSON : GP_LOG_TEXT);
        scene_say(f, scene_connect(f, 0, NULL), request);
        read_log(f, text, sizeof text);
        const char *target = strstr(text, "/xxx");
        assert_non_null(target);
        assert_int_equal(strspn(target + 1, "x"), 1023);
        end(f);
    }
}

/* Why an answer was not sent to its end, of one that reads too slowly. */
static void a_slow_reader_is_told_of(void **state)
{
    char text[4096];
    (void)state;
    struct scene *f = begin(GP_LOG_DEBUG, GP_LOG_TEXT);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_post(f, client, 8, "4194304", "");
    scene_serve(f);
    scene_expire_at(f, 60000);
    read_log(f, text, sizeof text);
    assert_non_null(strstr(text, " unix POST / 499  in "));
    assert_non_null(strstr(text, "  the client took the answer too slowly\n"));
    assert_int_equal(connections_count(&f->server->connections), 0);
    end(f);
}

/* They are for who asks for all there is. */
static void access_lines_are_for_debugging(void **state)
{
    char text[16];
    (void)state;
    struct scene *f = begin(GP_LOG_INFO, GP_LOG_TEXT);
    struct visitor *client = scene_connect(f, 0, NULL);
    scene_say(f, client, "GET /control/is_alive" HOST "\r\n");
    scene_hear(f, client, "HTTP/1.1 200 OK\r\n");
    log_write(&f->server->log, &still_worker(&f->server->poller)->lines);
    log_flush(&f->server->log);
    assert_int_equal(read(fds[0], text, sizeof text), -1);
    end(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_lines_say_who_and_how_long),
        cmocka_unit_test(access_lines_say_what_and_how_much),
        cmocka_unit_test(a_long_target_is_cut),
        cmocka_unit_test(a_slow_reader_is_told_of),
        cmocka_unit_test(access_lines_are_for_debugging),
        cmocka_unit_test(refusals_are_told_now_and_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
