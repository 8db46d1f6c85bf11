/* The other signals of a process that serves: hangups, and those of children; and those that writes would
 * cause. */
#include "server/signals.h"

#include "forked.h"
#include "temp_tree.h"

#include <poll.h>
#include <sys/prctl.h>
#include <sys/wait.h>

static enum gp_status run_nothing(void *self, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self, (void)call, (void)outputs;
    return gp_error_set(err, GP_ENGINE, "nothing");
}

static int serve_function(void)
{
    const struct gp_server_options options = forked_options();
    return gp_serve_function(run_nothing, NULL, &options);
}

/* --- hangups --- */

static struct gp_server *create_server(const void *arg, struct gp_error *err)
{
    struct gp_server_options options = forked_options();
    (void)arg;
    options.log_fd = STDERR_FILENO;
    options.log_level = GP_LOG_INFO;
    return gp_server_create_function(run_nothing, NULL, &options, err);
}

static bool reread(const void *arg, struct gp_server *server)
{
    (void)dprintf(STDERR_FILENO, "%s %d\n", (const char *)arg,
                  atomic_load(&server->metrics.has_bad_config));
    return forked_take_order() == 'y';
}

static int serve_rereading(void)
{
    const struct signals_server with = {
        .create = create_server, .reread = reread, .arg = "bad"};
    struct gp_error err;
    return signals_serve(&with, &err) == GP_OK ? 0 : 4;
}

/* One at a time, and once more for all that came meanwhile. */
static void a_hangup_reads_the_configuration_again(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_rereading);
    close(forked_connect(&child));
    const unsigned n_threads = forked_count_threads(&child);
    forked_signal(&child, SIGHUP);
    forked_await(&child, "bad 0\n");
    for (int i = 0; i < 3; i++)
        forked_signal(&child, SIGHUP);
    /* this does nothing, and once it is taken so are those before it */
    forked_signal(&child, SIGUSR1);
    forked_await_taken(&child);
    forked_order(&child, 'n');
    forked_await(&child, "bad 1\n");
    forked_signal(&child, SIGUSR2); /* does nothing either */
    forked_order(&child, 'y');
    forked_await_threads(&child, n_threads);
    assert_int_equal(forked_count(&child, "bad "), 2);
    child.size = 0;
    child.text[0] = '\0';
    forked_signal(&child, SIGHUP);
    forked_await(&child, "bad 0\n");
    forked_signal(&child, SIGTERM);
    forked_order(&child, 'y');
    forked_exits(&child, 0);
    assert_int_equal(forked_count(&child, "bad "), 1);
    assert_int_equal(forked_count(&child, "SIGHUP"), 0); /* no trouble with it */
}

static struct gp_server *create_for_file(const void *arg, struct gp_error *err)
{
    return gp_server_create(arg, err);
}

static int serve_file(void)
{
    struct gp_server_options options = forked_options();
    options.engine = "echo";
    options.model_path = tree_path("/model");
    options.log_fd = STDERR_FILENO;
    options.log_level = GP_LOG_INFO;
    struct gp_error err;
    const struct signals_server with = {.create = create_for_file, .arg = &options};
    return signals_serve(&with, &err) == GP_OK ? 0 : 4;
}

static void without_a_configuration_it_loads_what_changed(void **state)
{
    struct forked child;
    (void)state;
    tree_put("/model", "one");
    forked_begin(&child, serve_file);
    forked_await(&child, "graphpipe inspect");
    tree_put("/model", "another");
    forked_signal(&child, SIGHUP);
    forked_await(&child, "model version 1 is ready: loaded in ");
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 0);
}

/* --- orphans --- */

/* A grandchild of the caller, whose parent has gone; gives its number. */
static pid_t make_orphan(void)
{
    int numbers[2];
    pid_t orphan = 0;
    if (pipe(numbers) != 0)
        return 0;
    const pid_t parent = fork();
    if (parent == 0) {
        orphan = fork();
        if (orphan == 0)
            for (char c = 1; c && (c = forked_take_order()) && c != 'o';) {
            }
        else
            (void)write(numbers[1], &orphan, sizeof orphan);
        _exit(0);
    }
    (void)read(numbers[0], &orphan, sizeof orphan);
    (void)waitpid(parent, NULL, 0);
    return orphan;
}

static int serve_as_subreaper(void)
{
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    (void)dprintf(STDERR_FILENO, "orphan %d\n", (int)make_orphan());
    return serve_function();
}

static void orphans_are_waited_for(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_as_subreaper);
    forked_await(&child, "graphpipe inspect");
    const pid_t orphan = (pid_t)atoi(strstr(child.text, "orphan ") + 7);
    assert_true(orphan > 0);
    assert_int_equal(kill(orphan, 0), 0);
    forked_order(&child, 'o');
    for (int n_ms = 0; kill(orphan, 0) == 0; n_ms++) {
        assert_true(n_ms < FORKED_PATIENCE_MS);
        poll(NULL, 0, 1);
    }
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 0);
}

/* It ends on order; whoever made it may wait for it afterwards. */
static int serve_beside_a_child(void)
{
    int status = 0;
    const pid_t own = fork();
    if (own == 0) {
        (void)forked_take_order();
        _exit(7);
    }
    const int served = serve_function();
    return served == 0 && waitpid(own, &status, 0) == own && WEXITSTATUS(status) == 7 ? 0
                                                                                      : 4;
}

static void other_children_are_left_to_who_made_them(void **state)
{
    struct forked child;
    (void)state;
    forked_begin(&child, serve_beside_a_child);
    forked_await(&child, "graphpipe inspect");
    forked_order(&child, 'o');
    forked_signal(&child, SIGCHLD);
    forked_signal(&child, SIGTERM);
    forked_exits(&child, 0);
}

/* --- writes --- */

static void handle_nothing(int number)
{
    (void)number;
}

/* Unless the program has a handler for them. */
static void writes_without_a_reader_do_not_end_it(void **state)
{
    static const int numbers[] = {SIGPIPE, SIGXFSZ};
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        struct sigaction before, after;
        assert_int_equal(sigaction(numbers[i], NULL, &before), 0);
        assert_true(signal(numbers[i], SIG_DFL) != SIG_ERR);
        signals_ignore_writes();
        assert_int_equal(sigaction(numbers[i], NULL, &after), 0);
        assert_true(after.sa_handler == SIG_IGN);
        assert_true(signal(numbers[i], handle_nothing) != SIG_ERR);
        signals_ignore_writes();
        assert_int_equal(sigaction(numbers[i], NULL, &after), 0);
        assert_true(after.sa_handler == handle_nothing);
        assert_int_equal(sigaction(numbers[i], &before, NULL), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hangup_reads_the_configuration_again),
        cmocka_unit_test_setup_teardown(without_a_configuration_it_loads_what_changed,
                                        tree_make, tree_remove),
        cmocka_unit_test(orphans_are_waited_for),
        cmocka_unit_test(other_children_are_left_to_who_made_them),
        cmocka_unit_test(writes_without_a_reader_do_not_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
