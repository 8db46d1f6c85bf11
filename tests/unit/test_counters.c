/* Counters that threads add to, and what the process uses. */
#include "base/counters.h"
#include "base/process.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

enum { N_THREADS = 5, N_ADDED = 20000 };

struct adder {
    struct counters *counters;
    unsigned number;
    pthread_t thread;
};

static void *add_many(void *arg)
{
    const struct adder *adder = arg;
    for (unsigned i = 0; i < N_ADDED; i++)
        counters_add(adder->counters, adder->number, i % 3, i % 3 + 1);
    return NULL;
}

/* More threads than rows: none of what they add is lost. */
static void test_many_threads(void **state)
{
    (void)state;
    struct counters counters;
    struct adder adders[N_THREADS];
    assert_true(counters_init(&counters, 3, 2));
    for (unsigned i = 0; i < N_THREADS; i++) {
        adders[i] = (struct adder){.counters = &counters, .number = i * 7};
        assert_int_equal(pthread_create(&adders[i].thread, NULL, add_many, &adders[i]),
                         0);
    }
    uint64_t before = 0;
    for (int i = 0; i < 1000; i++) {
        const uint64_t now = counters_sum(&counters, 0);
        assert_true(now >= before);
        before = now;
    }
    for (unsigned i = 0; i < N_THREADS; i++)
        pthread_join(adders[i].thread, NULL);
    uint64_t sum = 0;
    for (unsigned i = 0; i < 3; i++)
        sum += counters_sum(&counters, i) / (i + 1);
    assert_int_equal(sum, N_THREADS * N_ADDED);
    counters_finish(&counters);
}

static void test_rows_share_no_line(void **state)
{
    (void)state;
    struct counters counters;
    assert_true(counters_init(&counters, 3, 4));
    const size_t last = (size_t)&counters.rows[2],
                 next = (size_t)&counters.rows[counters.row_size];
    assert_true(next / 64 > last / 64);
    assert_true(next - last <= 128 + sizeof *counters.rows); /* nor do they waste any */
    assert_int_equal(counters.last_row, 3);
    counters_finish(&counters);
}

static void test_process(void **state)
{
    (void)state;
    struct process_usage usage;
    assert_true(process_usage(&usage));
    assert_true(usage.cpu_s > 0 && usage.n_threads >= 1 && usage.n_fds >= 3);
    assert_true(usage.resident_bytes && usage.resident_bytes <= usage.virtual_bytes);
    assert_true(usage.n_fds <= usage.max_fds);
    assert_true(process_started_s() > 1e9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_threads),
        cmocka_unit_test(test_rows_share_no_line),
        cmocka_unit_test(test_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
