/* What a server says when it starts, and what its run leaves. */
#include "base/clock.h"
#include "base/process.h"

#include "live.h"
#include "turned_clock.h"

#include <stdio.h>
#include <unistd.h>

#define MIB ((uint64_t)1 << 20)
#define GIB ((uint64_t)1 << 30)

/* A whole run, with its log. */
static void run(struct live *live)
{
    const struct listener *last = live->server->listeners;
    char words[128];
    while (last->next)
        last = last->next;
    (void)snprintf(words, sizeof words, "inspect %s)\n", last->address);
    live_start(live);
    live_await_log(live, words);
    live_stop(live, GP_OK);
    (void)live_log(live);
}

/* Two sockets that nobody else has. */
static const char *const *two_addresses(void)
{
    static char addresses[2][64];
    static const char *const both[] = {addresses[0], addresses[1]};
    for (int i = 0; i < 2; i++)
        (void)snprintf(addresses[i], sizeof addresses[i], "unix:/tmp/gp-start-%d-%ld", i,
                       (long)getpid());
    return both;
}

static void assert_logs(struct live *live, const char *lines)
{
    if (!strstr(live->log, lines))
        fail_msg("no \"%s\" in \"%s\"", lines, live->log);
}

/* --- the place --- */

struct place_case {
    struct place place;
    uint64_t pool_bytes;
    const char *line, *warning;
};

static void it_says_what_it_has(void **state)
{
    static const struct place_case cases[] = {
        {{1, 1, NULL, GIB, "the memory"},
         16 * MIB,
         "1 core, pool 16 MiB (--pool)\n",
         NULL},
        {{2, 2, NULL, GIB, "the memory"}, MIB, "2 cores, pool 1 MiB (--pool)\n", NULL},
        {{1, 32, "affinity", GIB, "the memory"},
         MIB,
         "1 of 32 cores (affinity), pool 1 MiB (--pool)\n",
         NULL},
        {{2, 2, NULL, GIB, "memory.max"},
         0,
         "2 cores, pool 512 MiB (half of memory.max)\n",
         NULL},
        {{2, 2, NULL, 40 * GIB, "the memory"},
         10 * GIB - 1,
         "2 cores, pool 10239 MiB (--pool)\n",
         NULL},
        {{2, 2, NULL, 40 * GIB, "the memory"},
         10 * GIB,
         "2 cores, pool 10 GiB (--pool)\n",
         NULL},
        {{2, 2, NULL, 40 * GIB, "the memory"},
         11 * GIB - 1,
         "2 cores, pool 10 GiB (--pool)\n",
         NULL},
        {{2, 2, NULL, 64 * MIB, "memory.max"},
         64 * MIB,
         "2 cores, pool 64 MiB (--pool)\n",
         NULL},
        {{2, 2, NULL, 64 * MIB, "memory.max"},
         65 * MIB,
         "2 cores, pool 65 MiB (--pool)\n",
         " warning: the pool of 65 MiB is more than memory.max, 64 MiB: set a smaller "
         "--pool\n"},
    };
    const struct gp_server_options options = live_options();
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct live live;
        live_create(&live, &options);
        live.server->place = cases[i].place;
        live.server->options.pool_bytes = cases[i].pool_bytes;
        run(&live);
        assert_logs(&live, cases[i].line);
        if (cases[i].warning)
            assert_logs(&live, cases[i].warning);
        else
            assert_null(strstr(live.log, "warning"));
        live_destroy(&live);
    }
}

/* --- the models --- */

static const int64_t shape[] = {-1, 3};
static const struct gp_io x = {
    .name = "x", .shape = shape, .rank = 2, .dtype = GP_FLOAT32};
static const struct gp_io y = {.name = "y", .shape = shape, .rank = 1, .dtype = GP_INT8};

static void it_says_what_it_serves(void **state)
{
    static const struct gp_metadata one_way = {.inputs = &x, .n_inputs = 1},
                                    both = {.inputs = &x,
                                            .n_inputs = 1,
                                            .outputs = &y,
                                            .n_outputs = 1};
    static const struct {
        const struct gp_metadata *metadata;
        int64_t took_ns, warm_up_ns;
        const char *line;
    } cases[] = {
        {&both, 1234999999, 0,
         "m  function " GP_VERSION
         "  function   x float32[-1,3] -> y int8[-1]   ready in 1234 ms"
         "\n"},
        {&one_way, 2 * CLOCK_MS, 1999999,
         "m  function " GP_VERSION
         "  function   x float32[-1,3]   ready in 2 ms, 1 of them for "
         "its warm-up\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gp_server_options options = live_options();
        struct live live;
        options.model_name = "m";
        options.metadata = cases[i].metadata;
        turned_clock_set(1000000000 * CLOCK_S);
        live_create(&live, &options);
        turned_clock_add(cases[i].took_ns);
        live.server->models.open->warm_up_ns = cases[i].warm_up_ns;
        run(&live);
        assert_logs(&live, cases[i].line);
        live_destroy(&live);
        turned_clock_end();
    }
}

/* --- where it listens --- */

/* Models, cores and addresses, in that order, and the end. */
static void it_says_where_it_listens(void **state)
{
    const char *const listen[] = {two_addresses()[0], "127.0.0.1:0"};
    struct gp_server_options options = live_options();
    struct live live;
    char wanted[512];
    (void)state;
    options.listen = listen;
    options.n_listen = 2;
    options.pool_bytes = 16 * MIB;
    live_create(&live, &options);
    live.server->place = (struct place){.n_cores = 1, .memory_bytes = GIB};
    (void)snprintf(wanted, sizeof wanted,
                   " ms\n"
                   "1 core, pool 16 MiB (--pool)\n"
                   "listening on %s   (graphpipe inspect %s)\n"
                   "listening on %s   (graphpipe inspect %s)\n"
                   "draining: 0 connections\n",
                   listen[0], listen[0], gp_server_address(live.server, 1),
                   gp_server_address(live.server, 1));
    run(&live);
    assert_logs(&live, wanted);
    live_destroy(&live);
}

#define OPEN                                                                             \
    " warning: %s is open to other machines, without a password and "                    \
    "in the clear: whoever reaches it may use the model and read /metrics%s; put a "     \
    "proxy with TLS and access control in front, and name the hosts to answer for with " \
    "--allow-host\n"

/* Once, with the first that others reach. */
static void it_warns_of_what_others_reach(void **state)
{
    static const char *const hosts[] = {"x"};
    static const struct {
        bool is_local[2], allows_control, names_hosts;
        int which; /* -1: none */
        const char *more;
    } cases[] = {
        {{true, true}, true, false, -1, NULL},
        {{true, false}, false, false, 1, ""},
        {{false, true}, false, false, 0, ""},
        {{false, false}, true, false, 0, ", and shut the server down"},
        {{false, false}, true, true, -1, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct gp_server_options options = live_options();
        struct live live;
        char wanted[512];
        options.listen = two_addresses();
        options.n_listen = 2;
        options.allow_hosts = hosts;
        options.n_allow_hosts = cases[i].names_hosts;
        options.allow_remote_control = cases[i].allows_control;
        live_create(&live, &options);
        live.server->listeners->is_local = cases[i].is_local[0];
        live.server->listeners->next->is_local = cases[i].is_local[1];
        run(&live);
        const char *at = strstr(live.log, "warning");
        if (cases[i].which >= 0) {
            (void)snprintf(wanted, sizeof wanted, OPEN, options.listen[cases[i].which],
                           cases[i].more);
            assert_logs(&live, wanted);
        }
        assert_true(!at == (cases[i].which < 0));
        assert_true(!at || !strstr(at + 1, "warning"));
        live_destroy(&live);
    }
}

/* --- its threads --- */

static uint64_t count_threads(void)
{
    struct process_usage usage;
    assert_true(process_usage(&usage));
    return usage.n_threads;
}

static void a_run_leaves_no_thread(void **state)
{
    const struct gp_server_options options = live_options();
    struct live live;
    (void)state;
    live_create(&live, &options);
    const uint64_t n = count_threads();
    run(&live);
    live_await_threads(n);
    live_destroy(&live);
}

/* A start that fails says why, and leaves none either. */
static void what_cannot_be_watched_fails_the_start(void **state)
{
    const struct gp_server_options options = live_options();
    struct live live;
    struct gp_error err;
    char wanted[128];
    (void)state;
    live_create(&live, &options);
    struct listener *listener = live.server->listeners;
    const int fd = listener->source.fd;
    const uint64_t n = count_threads();
    listener->source.fd = -1;
    assert_int_equal(gp_server_run(live.server, &err), GP_IO);
    (void)snprintf(wanted, sizeof wanted, "cannot watch %s", listener->address);
    assert_string_equal(err.message, wanted);
    live_await_threads(n);
    assert_string_equal(live_log(&live), "");
    listener->source.fd = fd;
    live_destroy(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_says_what_it_has),
        cmocka_unit_test(it_says_what_it_serves),
        cmocka_unit_test(it_says_where_it_listens),
        cmocka_unit_test(it_warns_of_what_others_reach),
        cmocka_unit_test(a_run_leaves_no_thread),
        cmocka_unit_test(what_cannot_be_watched_fails_the_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
