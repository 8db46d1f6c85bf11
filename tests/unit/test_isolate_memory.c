/* What a model has of its own, its pair of arenas and its children, with each call that makes them
 * failing in turn: the reason is told, nothing is left, and the next try goes well. */
#include "fault.h"

#include "base/clock.h"
#include "base/pool.h"
#include "engine/isolate.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MIB = 1 << 20 };

static enum gp_status open_pair(void *arg, struct gp_error *err)
{
    struct pool *pool = arg;
    struct pool_pair pair;
    const bool is_open = pool_open(pool, &pair);
    pool_close(pool, &pair);
    return is_open ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "no memory for a pair");
}

static void pairs(void **state)
{
    (void)state;
    struct pool *pool = pool_create(64 * MIB);
    assert_int_equal(fault_each_allocation(open_pair, pool), 8);
    pool_destroy(pool);
}

static enum gp_status open_isolate(void *arg, struct gp_error *err)
{
    const struct gp_engine_options engine = {
        .size_bytes = sizeof engine, .n_slots = 2, .n_cores = 1};
    const struct isolate_options options = {.name = "echo",
                                            .worker = getenv("GP_BIN"),
                                            .hang_ns = CLOCK_S,
                                            .pool = arg,
                                            .engine = &engine};
    struct isolate *isolate;
    if (isolate_open(&options, &isolate, err) != GP_OK)
        return err->status;
    isolate_engine(isolate)->close(isolate);
    return GP_OK;
}

/* One call at a time, until the try does without the next one; gives how many there are. */
static unsigned each_call(unsigned calls, int error, const char *reason)
{
    struct pool *pool = pool_create(64 * MIB);
    const unsigned n_descriptors = fault_n_descriptors();
    const long n_live = fault_n_live();
    unsigned n_hit = 1, n = 0;
    while (n_hit) {
        struct gp_error err = {.message = ""};
        fault_begin(&(struct fault){.calls = calls, .from = n++, .n = 1, .error = error});
        const enum gp_status status = open_isolate(pool, &err);
        n_hit = fault_end();
        assert_int_equal(status != GP_OK, n_hit != 0);
        if (n_hit && !strstr(err.message, reason))
            fail_msg("call %u: %s", n, err.message);
        fault_check_descriptors(n_descriptors);
        assert_int_equal(fault_n_live(), n_live);
        assert_true(n < 100);
    }
    pool_destroy(pool);
    return n - 1;
}

static void children(void **state)
{
    (void)state;
    assert_non_null(getenv("GP_BIN"));
    assert_in_range(each_call(FAULT_MEM | FAULT_ARENA, ENOMEM, "memory"), 4, 90);
    assert_in_range(each_call(FAULT_MMAP, ENOMEM, "a smaller --pool needs less"), 4, 4);
    assert_in_range(each_call(FAULT_MEMFD_CREATE, EMFILE, "Too many open files"), 2, 2);
    assert_in_range(each_call(FAULT_EVENTFD, EMFILE, "Too many open files"), 5, 5);
    assert_in_range(each_call(FAULT_PTHREAD_CREATE, EAGAIN, "cannot make a thread"), 1,
                    1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs),
        cmocka_unit_test(children),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
