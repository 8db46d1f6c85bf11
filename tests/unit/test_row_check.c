/* Whether rows depend on each other: models that do it in all the ways that we know, and some that only
 * seem to. */
#include "kept_log.h"
#include "model/row_check.h"
#include "recorded.h"
#include "row_model.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = ROW_MODEL_WIDTH, ALL_RUNS = 5 + 1 + 7 };

typedef enum gp_status answer_fn(const float *x, float *y, uint32_t n,
                                 struct gp_error *err);

/* What the model does. */
static struct {
    answer_fn *answer;     /* n rows of WIDTH */
    unsigned n_runs;       /* so far */
    uint32_t n_rows[32];   /* of each */
    int64_t width;         /* it wants, where its description leaves it open; 0: any */
    int64_t takes_ns;      /* by a clock that is turned */
    bool has_one_row_only; /* its output */
    bool is_scalar;        /* likewise */
} engine;

static struct row_check check;

static const int64_t any[] = {-1, -1};

static enum gp_status take_run(void *self, const struct gp_call *call,
                               struct gp_outputs *outputs, struct gp_error *e)
{
    (void)self;
    const struct gp_tensor *x = &call->inputs[0];
    const uint32_t n = (uint32_t)x->shape[0];
    float y[64 * WIDTH] = {0};
    engine.n_rows[engine.n_runs++ % 32] = n;
    if (engine.takes_ns)
        turned_clock_add(engine.takes_ns);
    if (engine.width && x->shape[1] != engine.width)
        return gp_error_set(e, GP_INVALID, "not as wide as it should be");
    const enum gp_status status = engine.answer ? engine.answer(x->data, y, n, e) : GP_OK;
    if (status != GP_OK)
        return status;
    const int64_t shape[] = {engine.has_one_row_only ? 1 : n, WIDTH};
    const size_t size = engine.is_scalar ? 1 : (size_t)shape[0] * WIDTH;
    float *to =
        gp_outputs_alloc(outputs, 0, GP_FLOAT32, shape, engine.is_scalar ? 0 : 2, e);
    if (to)
        memcpy(to, y, size * sizeof *to);
    return to ? GP_OK : e->status;
}

static enum gp_status twice(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)e;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = 2 * x[i];
    return GP_OK;
}

static int set_up(void **state)
{
    memset(&engine, 0, sizeof engine);
    engine.answer = twice;
    return row_model_begin(state);
}

static int tear_down(void **state)
{
    turned_clock_end();
    return row_model_end(state);
}

static void check_it(const int64_t *shape, const char *requests)
{
    struct model *model = row_model_open(take_run, GP_MAX_BATCH_AUTO, shape);
    assert_int_equal(row_check_model(model, requests, &check, &row_host.err), GP_OK);
    row_model_close(model);
}

static void assert_found(enum row_verdict verdict, const char *why)
{
    assert_int_equal(check.verdict, verdict);
    assert_string_equal(check.why, why);
}

/* --- what is found --- */

static void independent(void **state)
{
    static const uint32_t n_rows[] = {1, 1, 1, 1, 1, 1, 5, 5, 2, 3, 3, 4, 2};
    (void)state;
    check_it(row_model_any, NULL);
    assert_found(ROWS_INDEPENDENT, "");
    assert_int_equal(check.n_rows, 5);
    assert_int_equal(check.n_runs, ALL_RUNS);
    assert_int_equal(engine.n_runs, ALL_RUNS);
    assert_memory_equal(engine.n_rows, n_rows, sizeof n_rows);
    assert_true(check.difference == 0);
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
    engine.answer = by_number;
    check_it(row_model_any, NULL);
    assert_found(ROWS_INDEPENDENT, "");
    assert_true(fabs(check.difference - 4e-4) < 1e-5);
}

static enum gp_status fails_in_company(const float *x, float *y, uint32_t n,
                                       struct gp_error *e)
{
    return n == 1 ? twice(x, y, n, e) : gp_error_set(e, GP_ENGINE, "one at a time");
}

static enum gp_status less_mean(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)e;
    for (uint32_t j = 0; j < WIDTH; j++) {
        float mean = 0;
        for (uint32_t i = 0; i < n; i++)
            mean += x[i * WIDTH + j] / (float)n;
        for (uint32_t i = 0; i < n; i++)
            y[i * WIDTH + j] = x[i * WIDTH + j] - mean;
    }
    return GP_OK;
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
    (void)twice(x, y, n, e);
    y[0] = n == 4 ? NAN : y[0];
    return GP_OK;
}

static void dependent(void **state)
{
    static const struct {
        answer_fn *answer;
        unsigned n_runs;
        const char *why;
    } models[] = {
        {fails_in_company, 7, "5 rows together fail: one at a time"},
        {less_mean, 7, "output 0 of a row differs when it runs with 4 others"},
        {nan_in_company, 12, "output 0 of a row differs when it runs with 3 others"},
        {deduplicated, 11,
         "output 0 of a row differs by 0.9 of its largest value when "
         "it runs with 2 others"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        engine.answer = models[i].answer;
        check_it(row_model_any, NULL);
        assert_int_equal(check.n_runs, models[i].n_runs);
        assert_found(ROWS_DEPENDENT, models[i].why);
    }
    static answer_fn *const others[] = {sum, reversed};
    for (size_t i = 0; i < 2; i++) {
        engine.answer = others[i];
        check_it(row_model_any, NULL);
        assert_int_equal(check.verdict, ROWS_DEPENDENT);
        assert_non_null(strstr(check.why, "of its largest value when it runs with 4"));
    }
}

static void outputs_without_rows(void **state)
{
    (void)state;
    engine.has_one_row_only = true;
    check_it(row_model_any, NULL);
    assert_found(ROWS_DEPENDENT, "output 0 is float32[1,3] for 5 rows");
    engine.is_scalar = true;
    check_it(row_model_any, NULL);
    assert_found(ROWS_DEPENDENT, "output 0 is float32[] for 1 row");
}

static enum gp_status counted(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)twice(x, y, n, e);
    y[1] += (float)engine.n_runs;
    return GP_OK;
}

static enum gp_status constant(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    (void)x;
    (void)e;
    for (uint32_t i = 0; i < n * WIDTH; i++)
        y[i] = 7;
    return GP_OK;
}

static enum gp_status unlucky(const float *x, float *y, uint32_t n, struct gp_error *e)
{
    return n == 1 ? twice(x, y, n, e) : gp_error_set(e, GP_NO_MEMORY, "no memory");
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
        answer_fn *answer;
        const char *why;
    } models[] = {{counted, "one row alone is answered differently twice"},
                  {constant, "it answers all rows alike"},
                  {unlucky, "5 rows together fail: no memory"},
                  {never, "a row alone fails: no"}};
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        engine.answer = models[i].answer;
        check_it(row_model_any, NULL);
        assert_found(ROWS_UNKNOWN, models[i].why);
    }
    atomic_store(&row_host.is_ending, true);
    engine.answer = twice;
    check_it(row_model_any, NULL);
    assert_found(ROWS_UNKNOWN, "a row alone fails: the server is ending");
}

/* A run has to have as many as its model is made for: the rest are copies. */
static void a_fixed_number(void **state)
{
    (void)state;
    check_it(row_model_two, NULL);
    assert_found(ROWS_INDEPENDENT, "");
    for (unsigned i = 0; i < engine.n_runs && i < 32; i++)
        assert_int_equal(engine.n_rows[i], 2);
    engine.answer = less_mean;
    check_it(row_model_two, NULL);
    assert_int_equal(check.verdict, ROWS_DEPENDENT);
}

/* Sizes that the model leaves open, and yet not every one will do. */
static void other_sizes(void **state)
{
    static const int64_t sizes[] = {4, 1, 64};
    (void)state;
    engine.answer = constant; /* it does not look at them */
    for (unsigned i = 0; i < 3; i++) {
        engine.width = sizes[i];
        check_it(any, NULL);
        assert_found(ROWS_UNKNOWN, "it answers all rows alike");
        assert_int_equal(check.n_runs, i + ALL_RUNS);
    }
    engine.width = 5;
    check_it(any, NULL);
    assert_found(ROWS_UNKNOWN, "a row alone fails: not as wide as it should be");
    assert_int_equal(check.n_runs, 3);
}

/* Two rows alone, and all both ways, whatever it takes. */
static void a_slow_model(void **state)
{
    static const uint32_t n_rows[] = {1, 1, 1, 2, 2};
    (void)state;
    turned_clock_set(CLOCK_S);
    engine.takes_ns = ROW_CHECK_NS + 1;
    check_it(row_model_any, NULL);
    assert_found(ROWS_INDEPENDENT, "");
    assert_int_equal(check.n_rows, 2);
    assert_int_equal(check.n_runs, 5);
    assert_memory_equal(engine.n_rows, n_rows, sizeof n_rows);
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
    check_it(row_model_any, tree_path("/all"));
    assert_found(ROWS_INDEPENDENT, "");
    assert_int_equal(check.n_rows, 5);
    recorded_put("/like/a", "x", 1, NULL);
    recorded_put("/like/b", "x", 1, NULL);
    check_it(row_model_any, tree_path("/like"));
    assert_found(ROWS_UNKNOWN, "it answers all rows alike");
    assert_int_equal(check.n_rows, 2);
}

static void assert_not_taken(const char *path, const char *wanted)
{
    check_it(row_model_any, path);
    assert_int_equal(check.verdict, ROWS_UNKNOWN);
    if (!strstr(check.why, wanted))
        fail_msg("\"%s\" is not in \"%s\"", wanted, check.why);
    assert_int_equal(engine.n_runs, 0);
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
    recorded_put("/named/a", "x", 1, NULL);
    recorded_put("/named/b", NULL, 1, NULL);
    assert_not_taken(tree_path("/named"), "/named/b: its inputs, outputs or config");
    tree_put("/text", "no request");
    assert_not_taken(tree_path("/text"), "/text: ");
}

/* --- what comes of it --- */

static struct model *open_checked(uint32_t max_batch, const int64_t *shape,
                                  const char *warm_up)
{
    struct model *model = row_model_open(take_run, max_batch, shape);
    model_check_rows(model, warm_up);
    return model;
}

static void found_by_itself(void **state)
{
    (void)state;
    struct model *model = open_checked(GP_MAX_BATCH_AUTO, row_model_any, "3");
    assert_int_equal(model->batch_rules.max_rows, 32);
    assert_int_equal(model->slots.queue.max_rows, 32);
    assert_logged(&row_host.log,
                  "m: --max-batch auto: 5 rows in 13 runs do not depend on each "
                  "other (largest difference 0), so up to 32 run together\n");
    row_model_close(model);
    engine.answer = less_mean;
    model = open_checked(GP_MAX_BATCH_AUTO, row_model_any, NULL);
    assert_int_equal(model->batch_rules.max_rows, 0);
    assert_int_equal(model->slots.queue.max_rows, 0);
    assert_logged(&row_host.log,
                  "m: --max-batch auto: requests run one at a time: output 0 of a "
                  "row differs when it runs with 4 others\n");
    row_model_close(model);
    engine.answer = constant;
    model = open_checked(GP_MAX_BATCH_AUTO, row_model_any, NULL);
    assert_int_equal(model->batch_rules.max_rows, 0);
    assert_logged(
        &row_host.log,
        "warning: m: --max-batch auto: requests run one at a time, since it is "
        "unknown whether rows depend on each other: it answers all rows alike; "
        "`graphpipe check-rows` takes recorded requests, and so does --warm-up\n");
    row_model_close(model);
}

/* It takes what it is made for again, and says so. */
static void a_fixed_model_that_is_not_batched(void **state)
{
    (void)state;
    engine.answer = less_mean;
    struct model *model = open_checked(GP_MAX_BATCH_AUTO, row_model_two, NULL);
    assert_int_equal(model->description.inputs[0].shape[0], 2);
    assert_int_equal(model->description.outputs[0].shape[0], 2);
    assert_ptr_equal(model->metadata.inputs, model->description.inputs);
    assert_ptr_equal(model->metadata.outputs, model->description.outputs);
    assert_false(model->batch_rules.is_fixed);
    row_model_close(model);
}

static void declared(void **state)
{
    (void)state;
    struct model *model = open_checked(8, row_model_any, NULL);
    assert_logged(&row_host.log, "");
    row_model_close(model);
    engine.answer = constant;
    row_model_close(open_checked(8, row_model_any, NULL));
    assert_logged(&row_host.log, "");
    engine.answer = less_mean;
    model = open_checked(8, row_model_any, NULL);
    assert_int_equal(model->batch_rules.max_rows, 8); /* it is believed */
    assert_logged(&row_host.log,
                  "warning: m: --max-batch is for models whose rows do not depend "
                  "on each other, but here they do: output 0 of a row differs when "
                  "it runs with 4 others\n");
    row_model_close(model);
    engine.n_runs = 0;
    row_model_close(open_checked(8, NULL, NULL)); /* who knows what it takes */
    row_model_close(open_checked(1, row_model_any, NULL));
    row_model_close(open_checked(0, row_model_any, NULL));
    assert_int_equal(engine.n_runs, 0);
}

/* A warm-up of recorded requests has rows as clients send them. */
static void rows_of_the_warm_up(void **state)
{
    (void)state;
    recorded_put("/one", "x", 1, NULL);
    struct model *model =
        open_checked(GP_MAX_BATCH_AUTO, row_model_any, tree_path("/one"));
    assert_true(kept_log_has(&row_host.log, "the requests have fewer than 2 rows"));
    row_model_close(model);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(independent),     TEST(independent_but_for_rounding),
        TEST(dependent),       TEST(outputs_without_rows),
        TEST(unknown),         TEST(a_fixed_number),
        TEST(other_sizes),     TEST(a_slow_model),
        TEST(recorded),        TEST(bad_recorded),
        TEST(found_by_itself), TEST(a_fixed_model_that_is_not_batched),
        TEST(declared),        TEST(rows_of_the_warm_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
