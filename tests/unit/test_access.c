/* What is logged of requests, and of what is refused. */
#include "server/access.h"

#include "scene.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>

/* The lines so far, which are handed over and written. */
static void read_log(struct scene *f, int fd, char *text, size_t size)
{
    log_write(&f->server->log, &still_worker(&f->server->poller)->lines);
    log_flush(&f->server->log);
    const ssize_t n = read(fd, text, size - 1);
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
        int fds[2];
        assert_int_equal(pipe(fds), 0);
        struct scene *f = scene_begin(&(struct gp_server_options){
            .log_fd = fds[1], .log_level = GP_LOG_DEBUG, .log_format = cases[i].format});
        log_three(f);
        read_log(f, fds[0], text, sizeof text);
        const char *at = text;
        for (size_t k = 0; k < sizeof cases[i].words / sizeof *cases[i].words; k++) {
            const char *word = cases[i].words[k], *found = strstr(at, word);
            if (!found)
                fail_msg("no \"%s\" in \"%s\" of \"%s\"", word, at, text);
            at = found + strlen(word);
        }
        scene_end(f);
        close(fds[0]);
        close(fds[1]);
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
    };
    int fds[2];
    (void)state;
    assert_int_equal(pipe2(fds, O_NONBLOCK), 0);
    struct scene *f = scene_begin(
        &(struct gp_server_options){.log_fd = fds[1], .log_level = GP_LOG_WARNING});
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
    scene_end(f);
    close(fds[0]);
    close(fds[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(access_lines_say_who_and_how_long),
        cmocka_unit_test(refusals_are_told_now_and_then),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
