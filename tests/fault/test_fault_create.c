/* Making and starting a server, with each allocation and each system call failing in turn: a
 * status and a message, and nothing is left, the socket's file included. */
#include "fault.h"

#include <graphpipe/server.h>

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { N_ENDLESS = 100 };

static char path[64], plugins[PATH_MAX], test_plugins[PATH_MAX];

static int setup(void **state)
{
    (void)state;
    const char *build = getenv("GP_BUILD_DIR");
    snprintf(path, sizeof path, "/tmp/gp-fault-%ld", (long)getpid());
    snprintf(plugins, sizeof plugins, "%s/lib/graphpipe", build);
    snprintf(test_plugins, sizeof test_plugins, "%s/lib/graphpipe-test", build);
    return 0;
}

static enum gp_status nothing(void *self, const struct gp_call *call,
                              struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self;
    (void)call;
    (void)outputs;
    return gp_error_set(err, GP_INVALID, "nothing to do");
}

/* One listener of each kind. */
static struct gp_server *make(const char *engine, const char *folder,
                              struct gp_error *err)
{
    char where[80];
    snprintf(where, sizeof where, "unix:%s", path);
    const char *const listen[] = {where, "127.0.0.1:0"};
    const struct gp_server_options options = {.engine = engine,
                                              .engine_dir = folder,
                                              .listen = listen,
                                              .n_listen = 2,
                                              .n_pollers = 2,
                                              .n_slots = 2};
    return engine ? gp_server_create(&options, err)
                  : gp_server_create_function(nothing, NULL, &options, err);
}

static enum gp_status create(void *arg, struct gp_error *err)
{
    const char *engine = arg;
    struct gp_server *server = make(engine, plugins, err);
    if (server) {
        assert_string_equal(gp_server_address(server, 0) + 5, path);
        gp_server_destroy(server);
    }
    assert_int_not_equal(access(path, F_OK), 0);
    return server ? GP_OK : err->status;
}

static void creating(void **state)
{
    (void)state;
    print_message("a function: %u allocations\n", fault_each_allocation(create, NULL));
    print_message("a plug-in: %u allocations\n", fault_each_allocation(create, "echo"));
}

/* --- system calls --------------------------------------------------------------------- */

/* The n-th call of the kind fails with this error, until none does. */
static unsigned fail_each(unsigned calls, int error, fault_scenario *scenario, void *arg)
{
    const long n_live = fault_n_live();
    for (unsigned from = 0; from < N_ENDLESS; from++) {
        struct gp_error err = {GP_OK, ""};
        const unsigned n_descriptors = fault_n_descriptors();
        fault_begin(
            &(struct fault){.calls = calls, .from = from, .n = 1, .error = error});
        const enum gp_status status = scenario(arg, &err);
        const bool has_failed = fault_end() > 0;
        if ((status != GP_OK) != has_failed)
            fail_msg("call %u of %x: %s: %s", from, calls, gp_status_name(status),
                     err.message);
        assert_int_equal(has_failed, err.message[0] != '\0');
        assert_int_equal(fault_n_live(), n_live);
        assert_int_equal(fault_n_descriptors(), n_descriptors);
        if (!has_failed)
            return from;
    }
    fail_msg("there is no end of calls");
    return 0;
}

static void creating_by_system_calls(void **state)
{
    (void)state;
    static const struct {
        unsigned call;
        int error;
    } faults[] = {{FAULT_EVENTFD, EMFILE},   {FAULT_EPOLL_CREATE1, ENFILE},
                  {FAULT_EPOLL_ADD, ENOSPC}, {FAULT_TIMERFD_CREATE, ENOMEM},
                  {FAULT_BIND, EACCES},      {FAULT_LISTEN, EADDRINUSE}};
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        assert_true(fail_each(faults[i].call, faults[i].error, create, NULL) > 0);
    print_message("%u failed so far\n", fault_n_hits());
}

/* The first socket only looks whether the path is taken. */
static void creating_without_sockets(void **state)
{
    (void)state;
    struct gp_error err;
    const unsigned n_descriptors = fault_n_descriptors();
    fault_begin(&(struct fault){.calls = FAULT_SOCKET, .error = EMFILE});
    assert_null(make(NULL, NULL, &err));
    assert_true(fault_end() > 0);
    assert_int_equal(err.status, GP_IO);
    assert_int_equal(fault_n_descriptors(), n_descriptors);
}

/* The pool may try in two ways. */
static void creating_without_a_pool(void **state)
{
    (void)state;
    struct gp_error err;
    const unsigned n_descriptors = fault_n_descriptors();
    fault_begin(&(struct fault){.calls = FAULT_MEMFD_CREATE, .error = EMFILE});
    assert_null(make(NULL, NULL, &err));
    assert_true(fault_end() > 0);
    assert_int_equal(err.status, GP_NO_MEMORY);
    assert_int_equal(fault_n_descriptors(), n_descriptors);
}

/* A descriptor in reserve is good to have, but not needed. */
static void creating_without_reserve(void **state)
{
    (void)state;
    struct gp_error err = {GP_OK, ""};
    fault_begin(&(struct fault){.calls = FAULT_OPEN, .error = EMFILE});
    assert_int_equal(create(NULL, &err), GP_OK);
    assert_int_equal(fault_end(), 1);
}

/* --- starting ------------------------------------------------------------------------- */

static unsigned running; /* calls that fail while it starts */

/* It is told to end before it begins, so that it returns when nothing fails. */
static enum gp_status run(void *arg, struct gp_error *err)
{
    const struct fault fault = *(const struct fault *)arg;
    struct gp_server *server = make("pinned", test_plugins, err);
    assert_non_null(server);
    gp_server_stop(server);
    fault_begin(&fault);
    const enum gp_status status = gp_server_run(server, err);
    running = fault_end();
    gp_server_destroy(server);
    assert_int_not_equal(access(path, F_OK), 0);
    return status;
}

/* Without memory a line of the log may be lost, and nothing else. */
static void start_failing(unsigned calls, int error, unsigned n_unneeded)
{
    struct fault fault = {.calls = calls, .n = 1, .error = error};
    const long n_live = fault_n_live();
    const unsigned n_descriptors = fault_n_descriptors();
    unsigned n_failed = 0;
    do {
        struct gp_error err = {GP_OK, ""};
        const enum gp_status status = run(&fault, &err);
        n_failed += status != GP_OK;
        assert_true(running || status == GP_OK);
        assert_int_equal(status != GP_OK, err.message[0] != '\0');
        assert_int_equal(fault_n_live(), n_live);
        assert_int_equal(fault_n_descriptors(), n_descriptors);
        fault.from++;
    } while (running && fault.from < N_ENDLESS);
    assert_true(fault.from > 1 && fault.from < N_ENDLESS);
    assert_in_range(n_failed + 1, fault.from - n_unneeded, fault.from);
    print_message("starting: %u calls of %x\n", fault.from - 1, calls);
}

static void starting(void **state)
{
    (void)state;
    start_failing(FAULT_MEM, ENOMEM, 2);
    start_failing(FAULT_PTHREAD_CREATE, EAGAIN, 0);
    start_failing(FAULT_EPOLL_ADD, ENOMEM, 0);
}

/* A client has come by the first listener when the second one fails. */
static void starting_with_a_client(void **state)
{
    (void)state;
    struct fault fault = {
        .calls = FAULT_EPOLL_ADD, .from = 1, .n = 1, .pause_ms = 50, .error = ENOSPC};
    struct gp_error err;
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const long n_live = fault_n_live();
    const unsigned n_descriptors = fault_n_descriptors();
    const int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct gp_server *server = make(NULL, NULL, &err);
    assert_non_null(server);
    memcpy(name.sun_path, path, sizeof path);
    assert_int_equal(connect(fd, (struct sockaddr *)&name, sizeof name), 0);
    fault_begin(&fault);
    assert_int_equal(gp_server_run(server, &err), GP_IO);
    assert_int_equal(fault_end(), 1);
    gp_server_destroy(server);
    char byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    assert_int_equal(fault_n_live(), n_live);
    assert_int_equal(fault_n_descriptors(), n_descriptors);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(creating),
                                       cmocka_unit_test(creating_by_system_calls),
                                       cmocka_unit_test(creating_without_sockets),
                                       cmocka_unit_test(creating_without_a_pool),
                                       cmocka_unit_test(creating_without_reserve),
                                       cmocka_unit_test(starting),
                                       cmocka_unit_test(starting_with_a_client)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
