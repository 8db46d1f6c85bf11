/* Whether rows depend on each other: models that do it in all the ways that we know, and some that only
 * seem to. */
#include "recorded.h"
#include "row_check_fixture.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = ROW_MODEL_WIDTH, ALL_RUNS = 5 + 1 + 7 };

static const int64_t any[] = {-1, -1};

/* --- what is found --- */

static void independent(void **state)
{
    static const uint32_t n_rows[] = {1, 1, 1, 1, 1, 1, 5, 5, 2, 3, 3, 4, 2};
    (void)state;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_INDEPENDENT, "");
    assert_int_equal(row_checked.check.n_rows, 5);
    assert_int_equal(row_checked.check.n_runs, ALL_RUNS);
    assert_int_equal(row_checked.engine.n_runs, ALL_RUNS);
    assert_memory_equal(row_checked.engine.n_rows, n_rows, sizeof n_rows);
    assert_true(row_checked.check.difference == 0);
}

/* Each with each, and in the order of the sample as well as against it. */
static void rows_are_mixed(void **state)
{
    static const uint32_t wanted[][ROW_CHECK_MOST_ROWS] = {
        {0},       {0, 1, 2, 3, 4}, {4, 3, 2, 1, 0}, {1, 0},
        {0, 2, 4}, {1, 1, 3},       {2, 4, 0, 3},    {3, 4}};
    const struct row_engine *engine = &row_checked.engine;
    (void)state;
    row_check_it(row_model_any, NULL);
    for (unsigned i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const unsigned run = 5 + i; /* after each row alone */
        for (uint32_t at = 0; at < engine->n_rows[run]; at++)
            assert_true(engine->firsts[run][at] == engine->firsts[wanted[i][at]][0]);
    }
}

static enum gp_status by_number(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)e;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = x[i] * (1 + 1e-4f * (float)(n - 1));
    return GP_OK;
}

/* As if other instructions added them up. */
static void independent_but_for_rounding(void **state)
{
    (void)state;
    row_checked.engine.answer = by_number;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_INDEPENDENT, "");
    assert_true(fabs(row_checked.check.difference - 4e-4) < 1e-5);
}

static enum gp_status fails_in_company(const float *x, float *y, uint32_t n,
                                       struct gp_error *e)
{
    return n == 1 ? row_check_twice(x, y, n, e)
                  : gp_error_set(e, GP_ENGINE, "one at a time");
}

/* Of those before it. */
static enum gp_status sum(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)e;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = x[i] + (i >= WIDTH ? y[i - WIDTH] : 0);
    return GP_OK;
}

static enum gp_status reversed(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)e;
    for (uint32_t i = 0; i < n; i++)
        memcpy(y + i * WIDTH, x + (n - 1 - i) * WIDTH, WIDTH * sizeof *x);
    return GP_OK;
}

/* Equal ones are one. */
static enum gp_status deduplicated(const float *x, float *y, uint32_t n,
                                   struct gp_error *e)
{
    (void)e;
    memcpy(y, x, n * WIDTH * sizeof *x);
    for (uint32_t i = 1; i < n; i++)
        if (memcmp(x, x + i * WIDTH, WIDTH * sizeof *x) == 0)
            memset(y + i * WIDTH, 0, WIDTH * sizeof *y);
    return GP_OK;
}

static enum gp_status nan_in_company(const float *x, float *y, uint32_t n,
                                     struct gp_error *e)
{
    (void)row_check_twice(x, y, n, e);
    y[0] = n == 4 ? NAN : y[0];
    return GP_OK;
}

static void dependent(void **state)
{
    static const struct {
        row_answer *answer;
        unsigned n_runs;
        const char *why;
    } models[] = {
        {fails_in_company, 7, "5 rows together fail: one at a time"},
        {row_check_less_mean, 7, "output 0 of a row differs when it runs with 4 others"},
        {nan_in_company, 12, "output 0 of a row differs when it runs with 3 others"},
        {deduplicated, 11,
         "output 0 of a row differs by 0.9 of its largest value when "
         "it runs with 2 others"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        row_checked.engine.answer = models[i].answer;
        row_check_it(row_model_any, NULL);
        assert_int_equal(row_checked.check.n_runs, models[i].n_runs);
        row_check_assert_found(ROWS_DEPENDENT, models[i].why);
    }
    static row_answer *const others[] = {sum, reversed};
    for (size_t i = 0; i < 2; i++) {
        row_checked.engine.answer = others[i];
        row_check_it(row_model_any, NULL);
        assert_int_equal(row_checked.check.verdict, ROWS_DEPENDENT);
        assert_non_null(
            strstr(row_checked.check.why, "of its largest value when it runs with 4"));
    }
}

static void outputs_without_rows(void **state)
{
    (void)state;
    row_checked.engine.has_one_row_only = true;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_DEPENDENT, "output 0 is float32[1,3] for 5 rows");
    row_checked.engine.is_scalar = true;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_DEPENDENT, "output 0 is float32[] for 1 row");
}

static enum gp_status counted(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)row_check_twice(x, y, n, e);
    y[1] += (float)row_checked.engine.n_runs;
    return GP_OK;
}

static enum gp_status bad_luck;

static enum gp_status unlucky(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    return n == 1 ? row_check_twice(x, y, n, e) : gp_error_set(e, bad_luck, "bad luck");
}

/* Failures that come of something else than of rows that run together. */
static void bad_luck_tells_nothing(void **state)
{
    static const struct {
        enum gp_status status;
        enum row_verdict verdict;
    } failures[] = {{GP_NO_MEMORY, ROWS_UNKNOWN},    {GP_DEADLINE, ROWS_UNKNOWN},
                    {GP_CANCELLED, ROWS_UNKNOWN},    {GP_UNAVAILABLE, ROWS_UNKNOWN},
                    {GP_BUSY, ROWS_UNKNOWN},         {GP_TOO_LARGE, ROWS_UNKNOWN},
                    {GP_IO, ROWS_UNKNOWN},           {GP_ENGINE, ROWS_DEPENDENT},
                    {GP_INVALID, ROWS_DEPENDENT},    {GP_INTERNAL, ROWS_DEPENDENT},
                    {GP_UNSUPPORTED, ROWS_DEPENDENT}};
    (void)state;
    row_checked.engine.answer = unlucky;
    for (size_t i = 0; i < sizeof failures / sizeof *failures; i++) {
        bad_luck = failures[i].status;
        row_check_it(row_model_any, NULL);
        row_check_assert_found(failures[i].verdict, "5 rows together fail: bad luck");
    }
}

static enum gp_status never(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)x;
    (void)y;
    (void)n;
    return gp_error_set(e, GP_ENGINE, "no");
}

static void unknown(void **state)
{
    static const struct {
        row_answer *answer;
        const char *why;
    } models[] = {{counted, "one row alone is answered differently twice"},
                  {row_check_constant, "it answers all rows alike"},
                  {never, "a row alone fails: no"}};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        row_checked.engine.answer = models[i].answer;
        row_check_it(row_model_any, NULL);
        row_check_assert_found(ROWS_UNKNOWN, models[i].why);
    }
    atomic_store(&row_host.is_ending, true);
    row_checked.engine.answer = row_check_twice;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_UNKNOWN, "a row alone fails: the server is ending");
    assert_int_equal(row_checked.check.n_runs, 1); /* no other sizes are tried */
}

static enum gp_status once(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    return row_checked.engine.n_runs == 1 ? row_check_twice(x, y, n, e)
                                          : gp_error_set(e, GP_ENGINE, "not again");
}

/* A size that did for one row is not to blame. */
static void a_later_row_fails(void **state)
{
    (void)state;
    row_checked.engine.answer = once;
    row_check_it(any, NULL);
    row_check_assert_found(ROWS_UNKNOWN, "a row alone fails: not again");
    assert_int_equal(row_checked.check.n_runs, 2);
}

/* A run has to have as many as its model is made for: the rest are copies. */
static void a_fixed_number(void **state)
{
    (void)state;
    row_check_it(row_model_two, NULL);
    row_check_assert_found(ROWS_INDEPENDENT, "");
    for (unsigned i = 0; i < row_checked.engine.n_runs && i < 32; i++)
        assert_int_equal(row_checked.engine.n_rows[i], 2);
    row_checked.engine.answer = row_check_less_mean;
    row_check_it(row_model_two, NULL);
    assert_int_equal(row_checked.check.verdict, ROWS_DEPENDENT);
}

/* Sizes that the model leaves open, and yet not every one will do. */
static void other_sizes(void **state)
{
    static const int64_t sizes[] = {4, 1, 64};
    (void)state;
    row_checked.engine.answer = row_check_constant; /* it does not look at them */
    for (unsigned i = 0; i < 3; i++) {
        row_checked.engine.width = sizes[i];
        row_check_it(any, NULL);
        row_check_assert_found(ROWS_UNKNOWN, "it answers all rows alike");
        assert_int_equal(row_checked.check.n_runs, i + ALL_RUNS);
        assert_int_equal(row_checked.check.open, sizes[i]);
    }
    row_checked.engine.width = 5;
    row_check_it(any, NULL);
    row_check_assert_found(ROWS_UNKNOWN,
                           "a row alone fails: not as wide as it should be");
    assert_int_equal(row_checked.check.n_runs, 3);
}

/* Two rows alone, and all both ways, whatever it takes. */
static void a_slow_model(void **state)
{
    static const uint32_t n_rows[] = {1, 1, 1, 2, 2};
    (void)state;
    turned_clock_set(CLOCK_S);
    row_checked.engine.takes_ns = ROW_CHECK_NS + 1;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_INDEPENDENT, "");
    assert_int_equal(row_checked.check.n_rows, 2);
    assert_int_equal(row_checked.check.n_runs, 5);
    assert_memory_equal(row_checked.engine.n_rows, n_rows, sizeof n_rows);
}

/* No run begins later than it may, but for those. */
static void time_that_is_over(void **state)
{
    static const struct {
        int64_t part; /* of the time: what a run takes */
        unsigned n_rows, n_runs;
    } cases[] = {{2, 3, 3 + 1 + 2}, {5, 5, 5 + 1 + 2}, {10, 5, 5 + 1 + 5}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        turned_clock_set(CLOCK_S);
        row_checked.engine.takes_ns = ROW_CHECK_NS / cases[i].part;
        row_check_it(row_model_any, NULL);
        row_check_assert_found(ROWS_INDEPENDENT, "");
        assert_int_equal(row_checked.check.n_rows, cases[i].n_rows);
        assert_int_equal(row_checked.check.n_runs, cases[i].n_runs);
    }
}

/* --- several outputs --- */

static enum gp_status thousandfold(const float *x, float *y, uint32_t n,
                                   struct gp_error *e)
{
    (void)e;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = 1000 * x[i];
    return GP_OK;
}

static enum gp_status a_little_by_number(const float *x, float *y, uint32_t n,
                                         struct gp_error *e)
{
    (void)e;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = x[i] * (1 + 1e-2f * (float)(n - 1));
    return GP_OK;
}

static enum gp_status by_company(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    return n == 1 ? row_check_constant(x, y, n, e) : row_check_twice(x, y, n, e);
}

/* Each by its own largest value, and one is enough. */
static void each_output_is_compared(void **state)
{
    struct row_engine *engine = &row_checked.engine;
    (void)state;
    engine->second = row_check_less_mean;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_DEPENDENT,
                           "output 1 of a row differs when it runs with 4 others");
    engine->answer = thousandfold;
    engine->second = a_little_by_number;
    row_check_it(row_model_any, NULL);
    assert_int_equal(row_checked.check.verdict, ROWS_DEPENDENT);
    assert_non_null(strstr(row_checked.check.why, "output 1 of a row differs by 0.0"));
    engine->answer = engine->second = row_check_constant;
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_UNKNOWN, "it answers all rows alike");
    engine->second = row_check_twice; /* which tells rows apart */
    row_check_it(row_model_any, NULL);
    row_check_assert_found(ROWS_INDEPENDENT, "");
    engine->second = by_company;
    row_check_it(row_model_any, NULL);
    assert_int_equal(row_checked.check.verdict, ROWS_DEPENDENT);
}

static void there_are_as_many_outputs_in_each_run(void **state)
{
    (void)state;
    row_checked.engine.second = row_check_twice;
    for (unsigned from = 2; from <= ALL_RUNS; from++) {
        row_checked.engine.second_from = from;
        row_check_it(row_model_any, NULL);
        row_check_assert_found(ROWS_UNKNOWN,
                               "it has 1 outputs in one run, and 2 in another");
        assert_int_equal(row_checked.check.n_runs, from);
    }
}

/* --- recorded rows --- */

static void recorded(void **state)
{
    (void)state;
    for (int i = 0; i < 7; i++) {
        char path[24];
        (void)snprintf(path, sizeof path, "/all/%d", i);
        recorded_put(path, "x", (float)i, NULL);
    }
    tree_put("/all/9", "is not needed");
    row_check_it(row_model_any, tree_path("/all"));
    row_check_assert_found(ROWS_INDEPENDENT, "");
    assert_int_equal(row_checked.check.n_rows, 5);
    recorded_put("/like/a", "x", 1, NULL);
    recorded_put("/like/b", "x", 1, NULL);
    row_check_it(row_model_any, tree_path("/like"));
    row_check_assert_found(ROWS_UNKNOWN, "it answers all rows alike");
    assert_int_equal(row_checked.check.n_rows, 2);
}

static void assert_not_taken(const char *path, const char *wanted)
{
    row_check_it(row_model_any, path);
    assert_int_equal(row_checked.check.verdict, ROWS_UNKNOWN);
    if (!strstr(row_checked.check.why, wanted))
        fail_msg("\"%s\" is not in \"%s\"", wanted, row_checked.check.why);
    assert_int_equal(row_checked.engine.n_runs, 0);
}

static void bad_recorded(void **state)
{
    (void)state;
    recorded_put("/one", "x", 1, NULL);
    assert_not_taken(tree_path("/one"), "the requests have fewer than 2 rows");
    assert_not_taken("3", "\"3\" is neither a file nor a folder");
    assert_not_taken(tree_path("/none"), "cannot read");
    recorded_put("/mixed/a", "x", 1, NULL);
    recorded_put("/mixed/b", "x", 1, "{}");
    assert_not_taken(tree_path("/mixed"),
                     "/mixed/b: its inputs, outputs or config are not like");
    assert_true(strncmp(row_checked.check.why, "request 2, /", 12) == 0);
    recorded_put("/named/a", "x", 1, NULL);
    recorded_put("/named/b", NULL, 1, NULL);
    assert_not_taken(tree_path("/named"), "/named/b: its inputs, outputs or config");
    tree_put("/text", "no request");
    assert_not_taken(tree_path("/text"), "/text: ");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, row_check_begin, row_check_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(independent),
        TEST(rows_are_mixed),
        TEST(independent_but_for_rounding),
        TEST(dependent),
        TEST(outputs_without_rows),
        TEST(unknown),
        TEST(bad_luck_tells_nothing),
        TEST(a_later_row_fails),
        TEST(a_fixed_number),
        TEST(other_sizes),
        TEST(a_slow_model),
        TEST(time_that_is_over),
        TEST(each_output_is_compared),
        TEST(there_are_as_many_outputs_in_each_run),
        TEST(recorded),
        TEST(bad_recorded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
