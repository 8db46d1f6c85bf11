/* What bench measures with: the histogram, the schedule and random numbers. */
#include "cli/histogram.c"
#include "cli/schedule.c"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* --- histogram ---------------------------------------------------------------------- */

static void assert_near(int64_t value, int64_t wanted, double tolerance)
{
    const double ratio = (double)value / (double)wanted;
    if (ratio < 1 - tolerance || ratio > 1 + tolerance)
        fail_msg("%lld is not near %lld", (long long)value, (long long)wanted);
}

static void buckets_cover_everything(void **state)
{
    (void)state;
    for (size_t i = 0; i < HISTOGRAM_BUCKETS; i++) {
        const int64_t floor_ns = histogram_floor_ns(i);
        const int64_t next_ns = histogram_floor_ns(i + 1);
        assert_true(next_ns > floor_ns);
        assert_int_equal(bucket_of(floor_ns), i);
        assert_int_equal(bucket_of(next_ns - 1), i);
        if (floor_ns >= 1024) /* two digits and better from a microsecond on */
            assert_true((next_ns - floor_ns) * 128 <= floor_ns);
    }
    assert_true(histogram_floor_ns(HISTOGRAM_BUCKETS) > 100 * CLOCK_S);
    assert_int_equal(bucket_of(INT64_MAX), HISTOGRAM_BUCKETS - 1);
    assert_int_equal(bucket_of(0), 0);
    assert_int_equal(bucket_of(-5), 0);
}

static void percentiles_are_right(void **state)
{
    (void)state;
    static struct histogram histogram;
    for (int64_t us = 1; us <= 100000; us++)
        histogram_add(&histogram, us * 1000);
    assert_int_equal(histogram.n, 100000);
    assert_int_equal(histogram.least_ns, 1000);
    assert_int_equal(histogram.greatest_ns, 100000000);
    assert_near((int64_t)histogram_mean_ns(&histogram), 50000500, 1e-6);
    assert_near(histogram_at(&histogram, 0.5), 50000000, 0.005);
    assert_near(histogram_at(&histogram, 0.9), 90000000, 0.005);
    assert_near(histogram_at(&histogram, 0.99), 99000000, 0.005);
    assert_near(histogram_at(&histogram, 0.999), 99900000, 0.005);
    assert_int_equal(histogram_at(&histogram, 1), 100000000);
    assert_int_equal(histogram_at(&histogram, 0), 1000);
}

static void few_values(void **state)
{
    (void)state;
    static struct histogram histogram;
    assert_int_equal(histogram_at(&histogram, 0.5), 0);
    assert_true(histogram_mean_ns(&histogram) == 0);
    histogram_add(&histogram, 123456789);
    assert_int_equal(histogram_at(&histogram, 0.5), 123456789);
    assert_int_equal(histogram_at(&histogram, 0.999), 123456789);
    histogram_add(&histogram, 1000 * CLOCK_S); /* beyond the last bucket */
    assert_near(histogram_at(&histogram, 0.5), 123456789, 0.005);
    assert_true(histogram_at(&histogram, 1) > 100 * CLOCK_S);
    assert_int_equal(histogram.greatest_ns, 1000 * CLOCK_S);
}

static void merging_is_adding(void **state)
{
    (void)state;
    static struct histogram all, even, odd, empty;
    for (int64_t i = 0; i < 1000; i++) {
        histogram_add(&all, i * i * 100);
        histogram_add(i % 2 ? &odd : &even, i * i * 100);
    }
    histogram_merge(&odd, &empty);
    histogram_merge(&odd, &even);
    assert_memory_equal(&odd, &all, sizeof all);
    histogram_merge(&empty, &all);
    assert_memory_equal(&empty, &all, sizeof all);
}

/* --- schedule ----------------------------------------------------------------------- */

static void constant_rate_does_not_drift(void **state)
{
    (void)state;
    struct schedule schedule;
    schedule_init(&schedule, 5 * CLOCK_S, 3, false, 1);
    assert_int_equal(schedule.next_ns, 5 * CLOCK_S);
    for (int i = 0; i < 3000000; i++)
        schedule_step(&schedule);
    assert_int_equal(schedule.next_ns, 1000005 * CLOCK_S);
}

static void poisson_rate_and_spread(void **state)
{
    (void)state;
    enum { N = 200000 };
    struct schedule schedule;
    double sum_of_squares = 0;
    int64_t n_long = 0, before = 0;
    schedule_init(&schedule, 0, 1000, true, 7);
    for (int i = 0; i < N; i++) {
        const double gap_ms = (double)(schedule.next_ns - before) / (double)CLOCK_MS;
        assert_true(gap_ms >= 0);
        sum_of_squares += gap_ms * gap_ms;
        n_long += gap_ms > 1;
        before = schedule.next_ns;
        schedule_step(&schedule);
    }
    assert_near(before, N * CLOCK_MS, 0.01);           /* the mean is 1 ms */
    assert_near((int64_t)sum_of_squares, 2 * N, 0.03); /* and so is the deviation */
    assert_near(n_long, (int64_t)(N * 0.36788), 0.01); /* e^-1 are longer */
}

static void seeds_repeat(void **state)
{
    (void)state;
    struct random a = {1}, b = {1}, c = {2};
    bool differs = false;
    for (int i = 0; i < 100; i++) {
        const double value = random_uniform(&a);
        assert_true(value >= 0 && value < 1);
        assert_true(value == random_uniform(&b));
        differs = differs || value != random_uniform(&c);
    }
    assert_true(differs);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_cover_everything),
        cmocka_unit_test(percentiles_are_right),
        cmocka_unit_test(few_values),
        cmocka_unit_test(merging_is_adding),
        cmocka_unit_test(constant_rate_does_not_drift),
        cmocka_unit_test(poisson_rate_and_spread),
        cmocka_unit_test(seeds_repeat),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
