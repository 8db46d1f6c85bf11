/* What metrics are counted under. */
#include "server/metrics.h"

#include <graphpipe/status.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static bool is_code(int http)
{
    for (int i = 0; i < METRICS_N_CODES; i++)
        if (metrics_codes[i] == http)
            return true;
    return false;
}

static void test_all_codes_are_counted(void **state)
{
    (void)state;
#define CHECK_CODE(symbol, number, name, http) assert_true(is_code(http));
    GP_STATUS_MAP(CHECK_CODE)
#undef CHECK_CODE
}

static void test_buckets(void **state)
{
    (void)state;
    struct counts *list = NULL;
    struct counts *counts = counts_take(&list, 1, METRICS_N_OF_MODEL, 1);
    const int64_t most = metrics_bounds_ns[METRICS_N_BUCKETS - 2];
    for (int i = 1; i < METRICS_N_BUCKETS - 1; i++)
        assert_true(metrics_bounds_ns[i] > metrics_bounds_ns[i - 1]);
    metrics_run(counts, 0, 0, metrics_bounds_ns[0], 3);
    metrics_run(counts, 0, metrics_bounds_ns[3], metrics_bounds_ns[0] + 1, 4);
    metrics_run(counts, 0, most + 1, 0, 0);
    const struct counters *c = &counts->counters;
    assert_int_equal(counters_sum(c, METRICS_ROWS), 7);
    assert_int_equal(counters_sum(c, METRICS_RUN_TIME), 1);
    assert_int_equal(counters_sum(c, METRICS_RUN_TIME + 1), 1);
    assert_int_equal(counters_sum(c, METRICS_RUN_TIME + METRICS_N_BUCKETS),
                     2 * metrics_bounds_ns[0] + 1);
    assert_int_equal(counters_sum(c, METRICS_WAIT_TIME), 1);
    assert_int_equal(counters_sum(c, METRICS_WAIT_TIME + 3), 1);
    assert_int_equal(counters_sum(c, METRICS_WAIT_TIME + METRICS_N_BUCKETS - 1), 1);
    counts_drop(counts);
    counts_drop_list(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_codes_are_counted),
        cmocka_unit_test(test_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
