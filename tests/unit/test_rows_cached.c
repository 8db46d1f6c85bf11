/* Models with a cache: what it is one of, rows or whole requests, and why; and models that get none. */
#include "row_check_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static char the_store;

static struct store *give_store(void *context, struct gp_error *err)
{
    (void)err;
    return context;
}

static struct store *refuse_store(void *context, struct gp_error *err)
{
    (void)context;
    gp_error_set(err, GP_IO, "the disk is full");
    return NULL;
}

static int begin(void **state)
{
    const int result = row_check_begin(state);
    row_host.host.need_store = give_store;
    row_host.host.store_context = &the_store;
    return result;
}

static struct model *open_cached(uint32_t max_batch, const int64_t *shape,
                                 const char *warm_up)
{
    struct model *model = row_check_open(max_batch, shape);
    assert_ptr_equal(model->store, &the_store);
    model_check_rows(model, warm_up);
    return model;
}

static void assert_whole(struct model *model, const char *lines)
{
    assert_false(model->caches_rows);
    assert_logged(&row_host.log, lines);
    row_model_close(model);
}

static void assert_by_row(struct model *model, const char *lines)
{
    assert_true(model->caches_rows);
    assert_logged(&row_host.log, lines);
    row_model_close(model);
}

/* It finds out that rows are independent, but nobody asked for batches. */
static void rows_are_found_to_be_independent(void **state)
{
    (void)state;
    struct model *model = open_cached(0, row_model_any, NULL);
    assert_int_equal(model->batch_rules.max_rows, 0);
    assert_int_equal(model->slots.queue.max_rows, 0);
    assert_by_row(model,
                  "m: cached by row: 5 rows in 13 runs do not depend on each other "
                  "(largest difference 0)\n");
}

static void rows_are_found_to_depend_on_each_other(void **state)
{
    (void)state;
    row_checked.engine.answer = row_check_less_mean;
    assert_whole(
        open_cached(0, row_model_any, "3"),
        "m: whole requests are cached, not rows: output 0 of a row differs when it "
        "runs with 4 others\n");
    row_checked.engine.answer = row_check_constant;
    assert_whole(
        open_cached(0, row_model_any, NULL),
        "m: whole requests are cached, not rows: it is unknown whether they depend "
        "on each other: it answers all rows alike\n");
}

static void a_model_of_so_many_rows_has_none_to_itself(void **state)
{
    (void)state;
    assert_whole(
        open_cached(0, row_model_two, NULL),
        "m: whole requests are cached, not rows: it runs 2 rows at a time, neither "
        "more nor fewer\n");
    assert_int_equal(row_checked.engine.n_runs, 0);
}

static void what_was_declared_is_believed(void **state)
{
    (void)state;
    assert_by_row(open_cached(8, row_model_any, NULL),
                  "m: cached by row, as --max-batch says\n");
    assert_by_row(open_cached(2, row_model_two, NULL),
                  "m: cached by row, as --max-batch says\n");
    row_checked.engine.answer = row_check_less_mean;
    assert_by_row(
        open_cached(8, row_model_any, NULL),
        "warning: m: --max-batch is for models whose rows do not depend on each "
        "other, but here they do: *\nm: cached by row, as --max-batch says\n");
    assert_by_row(open_cached(8, NULL, NULL), "m: cached by row, as --max-batch says\n");
}

static void rows_that_run_one_at_a_time_are_independent(void **state)
{
    static const int64_t one3[] = {1, ROW_MODEL_WIDTH};
    (void)state;
    assert_by_row(open_cached(1, row_model_any, NULL),
                  "m: cached by row: each runs by itself\n");
    assert_by_row(open_cached(GP_MAX_BATCH_AUTO, one3, NULL),
                  "m: cached by row: each runs by itself\n");
    assert_int_equal(row_checked.engine.n_runs, 0);
}

static void what_batches_by_itself_is_cached_so(void **state)
{
    (void)state;
    assert_by_row(open_cached(GP_MAX_BATCH_AUTO, row_model_any, NULL),
                  "m: --max-batch auto: 5 rows *\nm: cached by row: 5 rows *\n");
    row_checked.engine.answer = row_check_less_mean;
    assert_whole(open_cached(GP_MAX_BATCH_AUTO, row_model_any, NULL),
                 "m: --max-batch auto: requests run one at a time: *\n"
                 "m: whole requests are cached, not rows: output 0 of a row differs *\n");
}

static void without_a_cache_nothing_is_found_out(void **state)
{
    (void)state;
    row_host.host.need_store = NULL;
    struct model *model = row_check_open(0, row_model_any);
    model_check_rows(model, NULL);
    assert_null(model->store);
    assert_int_equal(row_checked.engine.n_runs, 0);
    assert_whole(model, "");
}

/* A function is another one each time. */
static void it_is_known_by_a_digest(void **state)
{
    (void)state;
    struct model *one = row_check_open(0, row_model_any),
                 *other = row_check_open(0, row_model_any);
    assert_memory_not_equal(one->digest.bytes, other->digest.bytes,
                            sizeof one->digest.bytes);
    row_model_close(one);
    row_model_close(other);
}

static void without_a_store_it_is_not_opened(void **state)
{
    const struct gp_model_options options = {
        .size_bytes = sizeof options, .n_slots = 1, .cache = 1};
    (void)state;
    row_host.host.need_store = refuse_store;
    assert_null(row_model_try(NULL, &options, row_model_any, 1));
    assert_string_equal(row_host.err.message, "the disk is full");
    row_host.host.need_store = NULL;
    assert_null(row_model_try(NULL, &options, row_model_any, 1));
    assert_string_equal(row_host.err.message, "--cache is for models of a server");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, row_check_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(rows_are_found_to_be_independent),
        TEST(rows_are_found_to_depend_on_each_other),
        TEST(a_model_of_so_many_rows_has_none_to_itself),
        TEST(what_was_declared_is_believed),
        TEST(rows_that_run_one_at_a_time_are_independent),
        TEST(what_batches_by_itself_is_cached_so),
        TEST(without_a_cache_nothing_is_found_out),
        TEST(it_is_known_by_a_digest),
        TEST(without_a_store_it_is_not_opened),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
