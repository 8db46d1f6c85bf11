/* A scenario again and again, with another of its allocations failing each time. */
#include "fault.h"

#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { N_ENDLESS = 1000, PATIENCE_MS = 5000 };

unsigned fault_n_descriptors(void)
{
    unsigned n = 0;
    DIR *folder = opendir("/proc/self/fd");
    while (folder && readdir(folder))
        n++;
    if (folder)
        closedir(folder);
    return n;
}

void fault_check_descriptors(unsigned n_wanted)
{
    for (int i = 0; i < PATIENCE_MS && fault_n_descriptors() != n_wanted; i++)
        poll(NULL, 0, 1);
    assert_int_equal(fault_n_descriptors(), n_wanted);
}

/* True when the scenario was hit. */
static bool run_failing(fault_scenario *scenario, void *arg, unsigned from, unsigned n)
{
    const long n_live = fault_n_live_here();
    const unsigned n_descriptors = fault_n_descriptors();
    struct gp_error err = {GP_OK, ""};
    fault_begin(
        &(struct fault){.calls = FAULT_MEMORY, .from = from, .n = n, .error = ENOMEM});
    const enum gp_status status = scenario(arg, &err);
    const bool is_failing = fault_end() > 0;
    if (status != (is_failing ? GP_NO_MEMORY : GP_OK))
        fail_msg("allocation %u%s: %s: %s", from, n ? "" : " and on",
                 gp_status_name(status), err.message);
    if (is_failing) {
        assert_int_equal(err.status, status);
        assert_true(err.message[0]);
    }
    assert_int_equal(fault_n_live_here(), n_live);
    fault_check_descriptors(n_descriptors);
    return is_failing;
}

unsigned fault_each_allocation(fault_scenario *scenario, void *arg)
{
    unsigned n_calls[2];
    for (unsigned n = 0; n < 2; n++) {
        unsigned from = 0;
        while (run_failing(scenario, arg, from, n))
            if (++from == N_ENDLESS)
                fail_msg("there is no end of allocations");
        n_calls[n] = from;
    }
    assert_int_equal(n_calls[0], n_calls[1]);
    if (n_calls[0] == 0)
        fail_msg("no allocation was seen: they do not go through fault.c");
    return n_calls[0];
}
