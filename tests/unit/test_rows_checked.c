/* What comes of a row check when a model is opened: with --max-batch auto, and with a number. */
#include "recorded.h"
#include "row_check_fixture.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct model *open_checked(uint32_t max_batch, const int64_t *shape,
                                  const char *warm_up)
{
    struct model *model = row_check_open(max_batch, shape);
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
    row_checked.engine.answer = row_check_less_mean;
    model = open_checked(GP_MAX_BATCH_AUTO, row_model_any, NULL);
    assert_int_equal(model->batch_rules.max_rows, 0);
    assert_int_equal(model->slots.queue.max_rows, 0);
    assert_logged(&row_host.log,
                  "m: --max-batch auto: requests run one at a time: output 0 of a "
                  "row differs when it runs with 4 others\n");
    row_model_close(model);
    row_checked.engine.answer = row_check_constant;
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
    row_checked.engine.answer = row_check_less_mean;
    struct model *model = row_check_open(GP_MAX_BATCH_AUTO, row_model_two);
    model->slots.queue.max_delay_ns = 1;
    model_check_rows(model, NULL);
    assert_int_equal(model->description.inputs[0].shape[0], 2);
    assert_int_equal(model->description.outputs[0].shape[0], 2);
    assert_ptr_equal(model->metadata.inputs, model->description.inputs);
    assert_ptr_equal(model->metadata.outputs, model->description.outputs);
    assert_false(model->batch_rules.is_fixed);
    assert_int_equal(model->batch_rules.n_sizes, 0);
    assert_int_equal(model->slots.queue.max_delay_ns, 0); /* for nobody */
    row_model_close(model);
}

static void declared(void **state)
{
    (void)state;
    struct model *model = open_checked(8, row_model_any, NULL);
    assert_logged(&row_host.log, "");
    row_model_close(model);
    row_checked.engine.answer = row_check_constant;
    row_model_close(open_checked(8, row_model_any, NULL));
    assert_logged(&row_host.log, "");
    row_checked.engine.answer = row_check_less_mean;
    model = open_checked(8, row_model_any, NULL);
    assert_int_equal(model->batch_rules.max_rows, 8); /* it is believed */
    assert_logged(&row_host.log,
                  "warning: m: --max-batch is for models whose rows do not depend "
                  "on each other, but here they do: output 0 of a row differs when "
                  "it runs with 4 others\n");
    row_model_close(model);
    row_checked.engine.n_runs = 0;
    row_model_close(open_checked(8, NULL, NULL)); /* who knows what it takes */
    row_model_close(open_checked(1, row_model_any, NULL));
    row_model_close(open_checked(0, row_model_any, NULL));
    assert_int_equal(row_checked.engine.n_runs, 0);
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

/* They tell more than the description of an input that may be anything. */
static void a_model_of_any_input(void **state)
{
    (void)state;
    recorded_put("/two/a", "x", 1, NULL);
    recorded_put("/two/b", "x", 2, NULL);
    row_checked.engine.answer = row_check_less_mean;
    row_model_close(open_checked(8, NULL, tree_path("/two")));
    assert_logged(&row_host.log, "warning: m: --max-batch is for models *");
    row_checked.engine.answer = row_check_constant;
    row_model_close(open_checked(GP_MAX_BATCH_AUTO, NULL, "3"));
    assert_logged(&row_host.log, "warning: m: --max-batch auto: *alike; *");
}

/* Nothing is run to find that out. */
static void a_model_without_rows(void **state)
{
    static const int64_t one3[] = {1, ROW_MODEL_WIDTH};
    (void)state;
    struct model *model = row_check_open(GP_MAX_BATCH_AUTO, row_model_any);
    model->batch_rules.why_none = "it is none of those";
    model_check_rows(model, NULL);
    assert_int_equal(model->batch_rules.max_rows, 0);
    assert_logged(&row_host.log, "m: --max-batch auto: requests run one at a time: it "
                                 "is none of those\n");
    row_model_close(model);
    row_model_close(open_checked(GP_MAX_BATCH_AUTO, one3, NULL));
    assert_logged(&row_host.log, "");
    assert_int_equal(row_checked.engine.n_runs, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, row_check_begin, row_check_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(found_by_itself),
        TEST(a_fixed_model_that_is_not_batched),
        TEST(declared),
        TEST(a_model_of_any_input),
        TEST(a_model_without_rows),
        TEST(rows_of_the_warm_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
