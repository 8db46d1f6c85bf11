/* Whole requests with each allocation of the server's failing in turn: the peer gets its answer
 * or 503, never a closed connection alone; the next request is answered; nothing is left. */
#include "fault.h"
#include "samples.h"

#include <errno.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { N_ENDLESS = 500 };

/* True when something failed. */
static bool ask(struct site *site, const struct sample *sample, unsigned from, unsigned n)
{
    struct peer peer, next;
    fault_begin(&(struct fault){.calls = FAULT_MEMORY,
                                .is_elsewhere = true,
                                .from = from,
                                .n = n,
                                .error = ENOMEM});
    peer_open(&peer, site);
    peer_send(&peer, sample->bytes, sample->size);
    const struct reply answer = sample_judge(sample, &peer, true);
    if (!answer.status)
        fail_msg("%s: closed without an answer", sample->name);
    if (answer.is_last)
        peer_close(&peer);
    site_settle(site);
    const bool has_failed = fault_end() > 0;
    if (!has_failed && answer.status != sample->status[sample->n_answers - 1])
        fail_msg("%s: %d, though nothing failed", sample->name, answer.status);
    if (!answer.is_last) {
        sample_succeeds(sample, &peer);
        peer_close(&peer);
    }
    peer_open(&next, site);
    sample_succeeds(sample, &next);
    peer_close(&next);
    return has_failed;
}

/* Each failure meets a server that has nothing in reserve. */
static unsigned ask_all(const struct sample *sample,
                        const struct gp_server_options *options, unsigned n)
{
    bool has_failed = true;
    unsigned from = 0;
    for (; has_failed && from < N_ENDLESS; from++) {
        struct site site;
        site_open(&site, options);
        has_failed = ask(&site, sample, from, n);
        site_close(&site);
    }
    assert_true(from < N_ENDLESS);
    return from - 1;
}

static void ask_each(const char *what, const struct gp_server_options *options)
{
    const unsigned n_before = fault_n_hits();
    unsigned n_allocations = 0;
    samples_make(options);
    for (size_t i = 0; i < n_samples; i++) {
        n_allocations += ask_all(&samples[i], options, 1);
        ask_all(&samples[i], options, 0);
    }
    print_message("%s: %zu requests, %u allocations, %u failed\n", what, n_samples,
                  n_allocations, fault_n_hits() - n_before);
    samples_free();
}

static void a_function(void **state)
{
    (void)state;
    ask_each("function", &(struct gp_server_options){.n_slots = 2});
}

/* Inputs are matched with the model's, and the first is converted. */
static void a_described_function(void **state)
{
    (void)state;
    static const struct gp_io ios[] = {
        {.name = "a", .description = "", .flags = GP_IO_ANY_RANK, .dtype = GP_BFLOAT16},
        {.name = "b", .description = "", .flags = GP_IO_ANY_RANK, .dtype = GP_BOOL},
        {.name = "c", .description = "", .flags = GP_IO_ANY_RANK},
        {.name = "d", .description = "", .flags = GP_IO_ANY_RANK},
        {.name = "e", .description = "", .flags = GP_IO_ANY_RANK}};
    static const struct gp_metadata metadata = {
        .name = "m", .inputs = ios, .outputs = ios, .n_inputs = 4, .n_outputs = 5};
    ask_each("described function", &(struct gp_server_options){
                                       .n_slots = 1,
                                       .metadata = &metadata,
                                       .log_format = GP_LOG_JSON,
                                   });
}

static void a_plugin(void **state)
{
    (void)state;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/lib/graphpipe", getenv("GP_BUILD_DIR"));
    ask_each("echo", &(struct gp_server_options){.engine = "echo", .engine_dir = folder});
}

static void a_plugin_with_threads(void **state)
{
    (void)state;
    char folder[PATH_MAX];
    snprintf(folder, sizeof folder, "%s/lib/graphpipe-test", getenv("GP_BUILD_DIR"));
    ask_each("pinned",
             &(struct gp_server_options){.engine = "pinned", .engine_dir = folder});
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_function), cmocka_unit_test(a_described_function),
        cmocka_unit_test(a_plugin), cmocka_unit_test(a_plugin_with_threads)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
