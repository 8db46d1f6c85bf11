/* What metrics are counted under. */
#include "server/metrics.h"

#include "base/clock.h"

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
    static const int64_t us[] = {/* by which people ask for quantiles */
                                 100,      250,      500,      1000,     2500,
                                 5000,     10000,    25000,    50000,    100000,
                                 250000,   500000,   1000000,  2500000,  5000000,
                                 10000000, 25000000, 50000000, 100000000};
    for (int i = 0; i < METRICS_N_BUCKETS - 1; i++)
        assert_int_equal(metrics_bounds_ns[i], us[i] * 1000);
    metrics_inference_run(counts, 0, 0, 3);
    metrics_run(counts, 0, metrics_bounds_ns[0]);
    metrics_batch(counts, 0, 1, RUN_HAD_WAITED);
    metrics_inference_run(counts, 0, metrics_bounds_ns[3], 4);
    metrics_run(counts, 0, metrics_bounds_ns[0] + 1);
    metrics_batch(counts, 0, 3, RUN_WAS_FULL);
    metrics_inference_run(counts, 0, most + 1, 0);
    const struct counters *c = &counts->counters;
    assert_int_equal(counters_sum(c, METRICS_ROWS), 7);
    assert_int_equal(counters_sum(c, METRICS_RUN_TIME), 1);
    assert_int_equal(counters_sum(c, METRICS_RUN_TIME + 1), 1);
    assert_int_equal(counters_sum(c, METRICS_RUN_TIME + METRICS_N_BUCKETS),
                     2 * metrics_bounds_ns[0] + 1);
    assert_int_equal(counters_sum(c, METRICS_WAIT_TIME), 1);
    assert_int_equal(counters_sum(c, METRICS_WAIT_TIME + 3), 1);
    assert_int_equal(counters_sum(c, METRICS_WAIT_TIME + METRICS_N_BUCKETS - 1), 1);
    assert_int_equal(counters_sum(c, METRICS_BATCH_ROWS), 1);
    assert_int_equal(counters_sum(c, METRICS_BATCH_ROWS + 2), 1); /* above 2, up to 4 */
    assert_int_equal(counters_sum(c, METRICS_BATCH_ROWS + METRICS_N_BATCH_BUCKETS),
                     1 + 3);
    for (unsigned i = 0; i < RUN_N_REASONS; i++)
        assert_int_equal(counters_sum(c, METRICS_BATCHES + i),
                         i == RUN_HAD_WAITED || i == RUN_WAS_FULL);
    counts_drop(counts);
    counts_drop_list(list);
}

/* A code that no status has counts as 500; a time is in the first bucket that holds it. */
static void test_requests_and_inferences(void **state)
{
    static const struct {
        int64_t ns;
        unsigned bucket;
        uint64_t sum;
    } cases[] = {
        {-1, 0, 0},
        {0, 0, 0},
        {100000, 0, 100000},
        {100001, 1, 100001},
        {1, 0, 1},
        {100000 * CLOCK_MS, METRICS_N_BUCKETS - 2, 100000 * CLOCK_MS},
        {100000 * CLOCK_MS + 1, METRICS_N_BUCKETS - 1, 100000 * CLOCK_MS + 1},
    };
    (void)state;
    struct metrics metrics = {0};
    assert_true(metrics_init(&metrics, 1));
    assert_true(metrics.started_s > 1e9);
    for (unsigned kind = METRICS_OTHER; kind < METRICS_INFERENCE; kind++)
        for (unsigned i = 0; i < METRICS_N_CODES; i++) {
            const unsigned at = METRICS_REQUESTS + kind * METRICS_N_CODES + i;
            metrics_request(&metrics, 0, (enum metrics_kind)kind, metrics_codes[i]);
            assert_int_equal(counters_sum(&metrics.counters, at), 1);
        }
    metrics_request(&metrics, 0, METRICS_SCRAPE, 418);
    assert_int_equal(counters_sum(&metrics.counters,
                                  METRICS_REQUESTS + METRICS_SCRAPE * METRICS_N_CODES +
                                      METRICS_N_CODES - 1),
                     2);
    metrics_finish(&metrics);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct counts *list = NULL;
        struct counts *counts = counts_take(&list, 1, METRICS_N_OF_MODEL, 1);
        metrics_inference(counts, 0, METRICS_JSON, 404, cases[i].ns);
        const struct counters *c = &counts->counters;
        const unsigned at = METRICS_INFERENCES + METRICS_JSON * METRICS_N_CODES + 3;
        assert_int_equal(metrics_codes[3], 404);
        assert_int_equal(counters_sum(c, at), 1);
        for (unsigned k = 0; k < METRICS_N_BUCKETS; k++)
            assert_int_equal(counters_sum(c, METRICS_REQUEST_TIME + k),
                             k == cases[i].bucket);
        assert_int_equal(counters_sum(c, METRICS_REQUEST_TIME + METRICS_N_BUCKETS),
                         cases[i].sum);
        counts_drop(counts);
        counts_drop_list(list);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_all_codes_are_counted),
        cmocka_unit_test(test_buckets),
        cmocka_unit_test(test_requests_and_inferences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
