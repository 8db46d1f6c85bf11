/* Memory that runs out while rows are checked, on the thread that runs them and on the one that waits: it
 * is told, or the rows remain unknown, and nothing is left. Likewise while a model is opened that takes
 * batches. */
#include "fault.h"
#include "model/compare.h"
#include "model/row_check.h"
#include "recorded.h"
#include "row_model.h"
#include "temp_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static enum gp_status twice(void *self, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err)
{
    const struct gp_tensor *x = &call->inputs[0];
    (void)self;
    float *y = gp_outputs_alloc(outputs, 0, GP_FLOAT32, x->shape, x->rank, err);
    for (size_t i = 0; y && i < x->size_bytes / sizeof *y; i++)
        y[i] = 2 * ((const float *)x->data)[i];
    return y ? GP_OK : err->status;
}

/* True if it was hit. */
static bool check_failing(const char *requests, bool is_elsewhere, unsigned from,
                          unsigned n)
{
    const long n_live = fault_n_live();
    struct model *model = row_model_open(twice, GP_MAX_BATCH_AUTO, row_model_any);
    struct row_check check;
    fault_begin(&(struct fault){.calls = FAULT_MEMORY,
                                .is_elsewhere = is_elsewhere,
                                .from = from,
                                .n = n,
                                .error = ENOMEM});
    const enum gp_status status = row_check_model(model, requests, &check, &row_host.err);
    const bool is_hit = fault_end() > 0;
    if (status != GP_OK) {
        assert_true(is_hit);
        assert_int_equal(status, GP_NO_MEMORY);
        assert_true(row_host.err.message[0]);
    } else if (check.verdict == ROWS_UNKNOWN) {
        assert_true(is_hit);
        assert_non_null(strstr(check.why, "memory"));
    } else {
        assert_int_equal(check.verdict, ROWS_INDEPENDENT);
    }
    row_model_close(model);
    assert_int_equal(fault_n_live(), n_live);
    return is_hit;
}

static void each_fails(const char *requests)
{
    struct model *model = row_model_open(twice, GP_MAX_BATCH_AUTO, row_model_any);
    struct row_check check;
    assert_int_equal(row_check_model(model, requests, &check, &row_host.err), GP_OK);
    row_model_close(model); /* the pool has grown */
    for (int is_elsewhere = 0; is_elsewhere < 2; is_elsewhere++)
        for (unsigned n = 0; n < 2; n++) {
            unsigned from = 0;
            while (check_failing(requests, is_elsewhere, from, n))
                from++;
            assert_true(from > (is_elsewhere ? 10 : 1));
        }
}

static void generated(void **state)
{
    (void)state;
    each_fails(NULL);
}

static void recorded(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        char path[24];
        (void)snprintf(path, sizeof path, "/all/%d", i);
        recorded_put(path, "x", (float)i, "{}");
    }
    each_fails(tree_path("/all"));
}

static enum gp_status copy_strings(void *arg, struct gp_error *err)
{
    static const struct gp_string strings[] = {{"a", 1}, {"", 0}, {"bc", 2}};
    static const int64_t shape[] = {3};
    const struct gp_tensor tensor = gp_tensor_view(GP_STRING, shape, 1, strings);
    struct gp_tensor copy;
    (void)arg;
    struct gp_arena *arena = gp_arena_create();
    const bool is_copied = arena && compare_copy(arena, &tensor, &copy);
    gp_arena_destroy(arena);
    return is_copied ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "no copy");
}

static const uint32_t sizes[] = {1, 4};

static const struct opening {
    struct gp_model_options options;
    const int64_t *shape;
} openings[] = {
    {{.n_slots = 1, .max_batch = GP_MAX_BATCH_AUTO}, row_model_two},
    {{.n_slots = 1, .max_batch = 2}, row_model_two},
    {{.n_slots = 1, .max_batch = 8, .batch_sizes = sizes, .n_batch_sizes = 2},
     row_model_any},
};

static enum gp_status open_batching(void *arg, struct gp_error *err)
{
    const struct opening *opening = arg;
    struct model *model = row_model_try(twice, &opening->options, opening->shape, 1);
    if (!model)
        return gp_error_set(err, row_host.err.status, "%s", row_host.err.message);
    row_model_close(model);
    return GP_OK;
}

static void copied_and_opened(void **state)
{
    (void)state;
    (void)fault_each_allocation(copy_strings, NULL);
    for (size_t i = 0; i < sizeof openings / sizeof *openings; i++)
        (void)fault_each_allocation(open_batching, (void *)(uintptr_t)&openings[i]);
}

#define TEST(function)                                                                   \
    cmocka_unit_test_setup_teardown(function, row_model_begin, row_model_end)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(generated), TEST(recorded),
                                       TEST(copied_and_opened)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
