/* The signals of a process that serves: how it ends by the first, by the second, and past the limit. */
#include "server/signals.h"

#include "base/clock.h"
#include "base/process.h"
#include "forked.h"
#include "live.h"
#include "scene.h"
#include "turned_clock.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

/* --- what it serves --- */

/* Goes on when it is told to, and takes the limits on time for over if that is with 't'. */
static enum gp_status run_on_order(void *self, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t n = 1;
    (void)self, (void)call;
    (void)dprintf(STDERR_FILENO, "running\n");
    if (forked_take_order() == 't') {
        /* it is in the past, so nobody waits until a moment that comes at a later look */
        turned_clock_set(__real_clock_now_ns() - 100 * CLOCK_S);
        turned_clock_add_at_each_look(CLOCK_S / 20);
        (void)dprintf(STDERR_FILENO, "turned\n");
        (void)forked_take_order(); /* never */
    }
    return gp_outputs_alloc(outputs, 0, GP_UINT8, &n, 1, err) ? GP_OK : err->status;
}

static int serve_function(void)
{
    const struct gp_server_options options = forked_options();
    return gp_serve_function(run_on_order, NULL, &options);
}

/* A request of which the body does not come: the server waits for it while it drains. */
static int begin_request(struct forked *child)
{
    static const char head[] = "POST /control/is_alive HTTP/1.1\r\nHost: x\r\n"
                               "Content-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    char answer[64];
    const int fd = forked_connect(child);
    assert_int_equal(send(fd, head, sizeof head - 1, MSG_NOSIGNAL), sizeof head - 1);
    assert_true(recv(fd, answer, sizeof answer, 0) > 0);
    return fd;
}

/* One that runs until an order comes. */
static int begin_run(struct forked *child)
{
    char head[128];
    size_t size;
    char *body = scene_message(8, "", &size);
    const int fd = forked_connect(child);
    (void)snprintf(head, sizeof head,
                   "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n", size);
    assert_true(send(fd, head, strlen(head), MSG_NOSIGNAL) > 0);
    assert_int_equal(send(fd, body, size, MSG_NOSIGNAL), size);
    free(body);
    forked_await(child, "running\n");
    return fd;
}

/* --- the end --- */

static void the_first_signal_drains(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct forked child;
        forked_begin(&child, serve_function);
        forked_await(&child, "listening on ");
        forked_signal(&child, numbers[i]);
        forked_exits(&child, 0);
        assert_non_null(strstr(child.text, "draining: 0 connections\n"));
    }
}

static void the_second_ends_it_at_once(void **state)
{
    static const int numbers[][2] = {{SIGTERM, SIGINT}, {SIGINT, SIGTERM}};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct forked child;
        forked_begin(&child, serve_function);
        const int client = begin_request(&child);
        forked_signal(&child, numbers[i][0]);
        forked_await(&child, "draining: 1 connection\n");
        forked_signal(&child, numbers[i][1]);
        forked_exits(&child, 128 + numbers[i][1]);
        close(client);
    }
}

static struct gp_server *never_create(const void *arg, struct gp_error *err)
{
    (void)arg;
    (void)dprintf(STDERR_FILENO, "making\n");
    (void)forked_take_order();
    gp_error_set(err, GP_IO, "it was told to");
    return NULL;
}

static int serve_never(void)
{
    const struct signals_server with = {.create = never_create};
    struct gp_error err;
    return signals_serve(&with, &err) == GP_IO ? 3 : 4;
}

/* Nothing is lost. A hangup has nothing to read again yet. */
static void while_it_is_made_the_first_ends_it(void **state)
{
    static const int numbers[] = {SIGTERM, SIGINT};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct forked child;
        forked_begin(&child, serve_never);
        forked_await(&child, "making\n");
        forked_signal(&child, SIGHUP);
        forked_signal(&child, numbers[i]);
        forked_exits(&child, 128 + numbers[i]);
    }
}

static void what_cannot_be_made_fails(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_never);
    forked_order(&child, 'g');
    forked_exits(&child, 3);
}

static void a_run_that_never_ends_does_not_hold_it_up(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_function);
    const int client = begin_run(&child);
    forked_order(&child, 't');
    forked_await(&child, "turned\n");
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 1);
    /* what it logs may be lost: by such a clock nobody waits for that either */
    assert_non_null(strstr(child.text, "1 request was still running at the end\n"));
    close(client);
}

/* Says how many threads there are without it. */
static struct gp_server *create_server(const void *arg, struct gp_error *err)
{
    struct gp_server_options options = forked_options();
    struct process_usage usage = {0};
    (void)arg;
    options.log_fd = STDERR_FILENO;
    options.log_level = GP_LOG_INFO;
    (void)process_usage(&usage);
    (void)dprintf(STDERR_FILENO, "threads %d\n", (int)usage.n_threads);
    return gp_server_create_function(run_on_order, NULL, &options, err);
}

/* Takes what the server needs at its end. */
static bool hold_models(const void *arg, struct gp_server *server)
{
    (void)arg;
    pthread_mutex_lock(&server->models.lock);
    turned_clock_set(__real_clock_now_ns());
    turned_clock_add_at_each_look(60 * CLOCK_S);
    (void)dprintf(STDERR_FILENO, "holding\n");
    (void)forked_take_order(); /* never */
    return true;
}

static int serve_held(void)
{
    const struct signals_server with = {.create = create_server, .reread = hold_models};
    struct gp_error err;
    (void)signals_serve(&with, &err);
    return 4;
}

static void whatever_holds_it_up_it_ends(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_held);
    forked_await(&child, "graphpipe inspect");
    forked_signal(&child, SIGHUP);
    forked_await(&child, "holding\n");
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 1);
    assert_non_null(strstr(child.text,
                           " error: the server did not end within a second after "
                           "the drain limit\n"));
}

/* --- after the run --- */

static bool reread_on_order(const void *arg, struct gp_server *server)
{
    (void)arg, (void)server;
    (void)dprintf(STDERR_FILENO, "reading\n");
    if (forked_take_order() == 't') {
        turned_clock_set(__real_clock_now_ns());
        turned_clock_add_at_each_look(60 * CLOCK_S);
        (void)dprintf(STDERR_FILENO, "turned\n");
        (void)forked_take_order(); /* never */
    }
    return true;
}

static int serve_rereading(void)
{
    const struct signals_server with = {.create = create_server,
                                        .reread = reread_on_order};
    struct gp_error err;
    return signals_serve(&with, &err) == GP_OK ? 0 : 4;
}

/* Ends the run by a route. What was begun by a signal is waited for, so the process has not ended. */
static void begin_after_run(struct forked *child)
{
    static const char request[] =
        "POST /control/shutdown HTTP/1.1\r\nHost: localhost\r\n\r\n";
    char bytes[256];
    forked_begin(child, serve_rereading);
    const int fd = forked_connect(child);
    forked_signal(child, SIGHUP);
    forked_await(child, "reading\n");
    assert_true(send(fd, request, sizeof request - 1, MSG_NOSIGNAL) > 0);
    while (recv(fd, bytes, sizeof bytes, 0) > 0) {
    }
    close(fd);
    const int n = atoi(strstr(child->text, "threads ") + strlen("threads "));
    forked_await_threads(child,
                         (unsigned)n + 2); /* with the log's, and the one that reads */
}

static void after_its_run_a_signal_waits_for_the_end(void **state)
{
    struct forked child;
    (void)state;
    begin_after_run(&child);
    forked_signal(&child, SIGTERM);
    forked_await_taken(&child);
    forked_order(&child, 'g');
    forked_exits(&child, 0);
}

static void after_its_run_the_second_ends_it_too(void **state)
{
    struct forked child;
    (void)state;
    begin_after_run(&child);
    forked_signal(&child, SIGTERM);
    forked_await_taken(&child);
    forked_signal(&child, SIGINT);
    forked_exits(&child, 128 + SIGINT);
}

static void after_its_run_whatever_holds_it_up_it_ends(void **state)
{
    struct forked child;
    (void)state;
    begin_after_run(&child);
    forked_order(&child, 't');
    forked_await(&child, "turned\n");
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 1);
}

/* --- what is left of it --- */

static int serve_and_look(void)
{
    sigset_t blocked;
    struct sigaction action;
    struct process_usage before = {0}, after = {0};
    (void)process_usage(&before);
    const int served = serve_function();
    (void)process_usage(&after);
    if (after.n_fds != before.n_fds)
        return 7;
    pthread_sigmask(SIG_SETMASK, NULL, &blocked);
    const int taken[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGCHLD};
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (!sigismember(&blocked, taken[i]))
            return taken[i];
    if (sigismember(&blocked, SIGPIPE) || sigismember(&blocked, SIGSEGV))
        return 5;
    sigaction(SIGPIPE, NULL, &action);
    return action.sa_handler == SIG_IGN ? served : 6;
}

static void the_signals_stay_blocked(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_and_look);
    forked_await(&child, "listening on ");
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 0);
}

/* --- gp_serve_function --- */

static int serve_refused(void)
{
    const struct gp_server_options options = {.size_bytes = sizeof options, .isolate = 1};
    return gp_serve_function(run_on_order, NULL, &options);
}

static void why_it_does_not_start_is_printed(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_refused);
    forked_exits(&child, 1);
    assert_string_equal(child.text,
                        "a function of this process cannot be isolated from it\n");
}

static int serve_silently(void)
{
    struct gp_server_options options = live_options();
    options.log_fd = STDERR_FILENO;
    options.log_level = GP_LOG_ERROR;
    return gp_serve_function(run_on_order, NULL, &options);
}

/* Nothing but errors, where the caller asks for that. */
static void a_log_of_its_own_has_its_level(void **state)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct forked child;
    (void)state;
    forked_begin(&child, serve_silently);
    (void)snprintf(name.sun_path, sizeof name.sun_path, "/tmp/gp-live-%ld",
                   (long)child.pid);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    for (int n_ms = 0; connect(fd, (const void *)&name, sizeof name) != 0; n_ms++) {
        assert_true(n_ms < FORKED_PATIENCE_MS);
        poll(NULL, 0, 1);
    }
    /* it takes connections before it serves them */
    static const char request[] = "GET /control/is_alive HTTP/1.1\r\nHost: x\r\n\r\n";
    char answer[16];
    assert_int_equal(write(fd, request, sizeof request - 1), sizeof request - 1);
    assert_int_equal(recv(fd, answer, sizeof answer, MSG_WAITALL), sizeof answer);
    assert_memory_equal(answer, "HTTP/1.1 200 OK\r", sizeof answer);
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 0);
    assert_string_equal(child.text, "");
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_signal_drains),
        cmocka_unit_test(the_second_ends_it_at_once),
        cmocka_unit_test(while_it_is_made_the_first_ends_it),
        cmocka_unit_test(what_cannot_be_made_fails),
        cmocka_unit_test(a_run_that_never_ends_does_not_hold_it_up),
        cmocka_unit_test(whatever_holds_it_up_it_ends),
        cmocka_unit_test(after_its_run_a_signal_waits_for_the_end),
        cmocka_unit_test(after_its_run_the_second_ends_it_too),
        cmocka_unit_test(after_its_run_whatever_holds_it_up_it_ends),
        cmocka_unit_test(the_signals_stay_blocked),
        cmocka_unit_test(why_it_does_not_start_is_printed),
        cmocka_unit_test(a_log_of_its_own_has_its_level),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
