/* A model is loaded anew while it serves, with each call that this takes failing in turn: the reason
 * is told, the model before goes on, the next load goes well, and nothing is left. */
#include "fault.h"
#include "site.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

enum { N_ENDLESS = 1000, WAIT_MS = 20000 };

/* The engine, and what it is opened with. */
struct subject {
    const char *engine;
    const char *folder; /* of the plug-in, in the build's lib/ */
    const char *option; /* or NULL */
    int isolate;
};

static void open_site(struct site *site, const struct subject *subject)
{
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/lib/%s", getenv("GP_BUILD_DIR"), subject->folder);
    site_open(site,
              &(struct gp_server_options){.size_bytes = sizeof(struct gp_server_options),
                                          .engine = subject->engine,
                                          .engine_dir = folder,
                                          .engine_options = &subject->option,
                                          .n_engine_options = subject->option != NULL,
                                          .isolate = subject->isolate,
                                          .worker = getenv("GP_BIN"),
                                          .pool_bytes = 64 << 20,
                                          .n_slots = 2});
}

static void assert_serves(const struct site *site)
{
    static const char get[] = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
    struct peer peer;
    peer_open(&peer, site);
    peer_send(&peer, get, sizeof get - 1);
    assert_int_equal(peer_receive(&peer, false).status, 200);
    peer_close(&peer);
}

/* True when a call was hit, which a load may do without. */
static bool load_failing(const struct site *site, const char *name, unsigned calls,
                         int error, unsigned from, unsigned n)
{
    struct gp_error err = {.message = ""};
    fault_begin(&(struct fault){
        .calls = calls, .is_elsewhere = true, .from = from, .n = n, .error = error});
    const enum gp_status status = gp_server_load(site->server, name, &err);
    const bool was_hit = fault_end() > 0;
    if (status != GP_OK && (!was_hit || !err.message[0]))
        fail_msg("call %u of %x: %s: %s", from, calls, gp_status_name(status),
                 err.message);
    assert_serves(site);
    if (was_hit && gp_server_load(site->server, name, &err) != GP_OK)
        fail_msg("after call %u of %x: %s", from, calls, err.message);
    return was_hit;
}

static unsigned fail_each(const struct site *site, const char *name, unsigned calls,
                          int error, unsigned n)
{
    unsigned from = 0;
    while (load_failing(site, name, calls, error, from, n))
        if (++from == N_ENDLESS)
            fail_msg("there is no end of calls");
    return from;
}

/* The folder has a link for each, and two more. */
static unsigned long count_threads(void)
{
    struct stat folder;
    assert_int_equal(stat("/proc/self/task", &folder), 0);
    return folder.st_nlink;
}

static const struct {
    unsigned calls;
    int error;
} faults[] = {{FAULT_PTHREAD_CREATE, EAGAIN},
              {FAULT_MEMORY, ENOMEM},
              {FAULT_EVENTFD, EMFILE},
              {FAULT_MEMFD_CREATE, ENFILE}};

static void load_without(const struct subject *subject)
{
    struct site site;
    open_site(&site, subject);
    assert_serves(&site);
    const unsigned long n_threads = count_threads();
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (unsigned n = 0; n < 2; n++)
            print_message(
                "%s: %u calls\n", subject->engine,
                fail_each(&site, subject->engine, faults[i].calls, faults[i].error, n));
    assert_true(fault_n_hits() > 0);
    for (int n_ms = 0; count_threads() > n_threads; n_ms++) { /* those not needed leave */
        assert_true(n_ms < WAIT_MS);
        poll(NULL, 0, 1);
    }
    site_close(&site);
}

/* Two sets of models, which have one in common. */
static enum gp_status configure(const struct site *site, bool is_other,
                                struct gp_error *err)
{
    static const struct gp_model_alias aliases[] = {{"stable", 1}};
    struct gp_model_options models[] = {
        {.name = "echo", .engine = "echo", .n_slots = 2, .aliases = aliases},
        {.name = is_other ? "second" : "first", .engine = "echo", .n_slots = 1}};
    for (size_t i = 0; i < 2; i++)
        models[i].size_bytes = sizeof models[i];
    models[0].n_slots += is_other;
    models[0].n_aliases = is_other;
    const struct gp_server_options options = {.size_bytes = sizeof options,
                                              .models = models,
                                              .n_models = 2,
                                              .default_model = "echo"};
    return gp_server_reload(site->server, &options, err);
}

static bool configure_failing(const struct site *site, unsigned calls, int error,
                              unsigned from, unsigned n)
{
    struct gp_error err = {.message = ""};
    fault_begin(&(struct fault){
        .calls = calls, .is_elsewhere = true, .from = from, .n = n, .error = error});
    const enum gp_status status = configure(site, true, &err);
    const bool was_hit = fault_end() > 0;
    if (status != GP_OK && (!was_hit || !err.message[0]))
        fail_msg("call %u of %x: %s: %s", from, calls, gp_status_name(status),
                 err.message);
    assert_serves(site);
    if (configure(site, true, &err) != GP_OK || configure(site, false, &err) != GP_OK)
        fail_msg("after call %u of %x: %s", from, calls, err.message);
    return was_hit;
}

/* Models are opened, opened anew and retired by other options. */
static void other_options(void **state)
{
    (void)state;
    struct site site;
    struct gp_error err;
    open_site(&site, &(struct subject){"echo", "graphpipe", NULL, 0});
    assert_int_equal(configure(&site, false, &err), GP_OK);
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        for (unsigned n = 0; n < 2; n++) {
            unsigned from = 0;
            while (configure_failing(&site, faults[i].calls, faults[i].error, from, n))
                if (++from == N_ENDLESS)
                    fail_msg("there is no end of calls");
            print_message("options: %u calls\n", from);
        }
    site_close(&site);
}

static void here(void **state)
{
    (void)state;
    load_without(&(struct subject){"echo", "graphpipe", NULL, 0});
}

static void on_threads_of_slots(void **state)
{
    (void)state;
    load_without(&(struct subject){"slow", "graphpipe-test", "pinned", 0});
}

static void in_children(void **state)
{
    (void)state;
    load_without(&(struct subject){"echo", "graphpipe", NULL, 1});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(other_options),
        cmocka_unit_test(here),
        cmocka_unit_test(on_threads_of_slots),
        cmocka_unit_test(in_children),
    };
    return cmocka_run_group_tests_name("fault_load", tests, NULL, NULL);
}
