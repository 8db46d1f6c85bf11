/* Memory that runs out while a model's files are read, and files that cannot be opened or read, at every
 * place: the reading fails, nothing is left, and no digest comes of it. */
#include "fault.h"
#include "model/model_files.h"
#include "temp_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int begin(void **state)
{
    const int result = tree_make(state);
    tree_put("/m.onnx", "m_data w/a");
    tree_put("/m.bin", "1");
    tree_put("/m_data", "1");
    tree_put("/w/a", "1");
    tree_put("/other", "1");
    return result;
}

static enum gp_status read_once(void *path, struct gp_error *err)
{
    static const atomic_bool is_ending;
    struct model_files files = {.is_ending = &is_ending};
    enum gp_status status = model_files_read(&files, path, err);
    if (status == GP_OK)
        status = model_files_check(&files, err);
    model_files_finish(&files);
    return status;
}

static void memory_runs_out(void **state)
{
    char path[128];
    (void)state;
    (void)snprintf(path, sizeof path, "%s", tree_path("/m.onnx"));
    assert_true(fault_each_allocation(read_once, path) > 20);
    assert_true(fault_each_allocation(read_once, tree_root) > 10);
}

static void files_cannot_be_read(void **state)
{
    static const unsigned kinds[] = {FAULT_OPEN, FAULT_READ};
    char path[128];
    (void)state;
    (void)snprintf(path, sizeof path, "%s", tree_path("/m.onnx"));
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const unsigned n_descriptors = fault_n_descriptors();
        unsigned n = 0;
        for (bool is_hit = true; is_hit; n += is_hit) {
            struct gp_error err = {0};
            fault_begin(
                &(struct fault){.calls = kinds[i], .from = n, .n = 1, .error = EACCES});
            const enum gp_status status = read_once(path, &err);
            is_hit = fault_end() > 0;
            assert_int_equal(status, is_hit ? GP_IO : GP_OK);
            if (is_hit && (!strstr(err.message, tree_root) ||
                           !strstr(err.message, "Permission denied")))
                fail_msg("%s", err.message);
        }
        assert_in_range(n, 4, 16); /* each of its files */
        assert_int_equal(fault_n_descriptors(), n_descriptors);
    }
}

/* As if each piece were a part of what was asked for. */
static void reads_that_give_less_are_gone_on_with(void **state)
{
    static const atomic_bool is_ending;
    struct model_files whole = {.is_ending = &is_ending},
                       parts = {.is_ending = &is_ending};
    (void)state;
    assert_int_equal(model_files_read(&whole, tree_root, NULL), GP_OK);
    fault_begin(&(struct fault){.calls = FAULT_READ, .most_bytes = 1});
    assert_int_equal(model_files_read(&parts, tree_root, NULL), GP_OK);
    assert_true(fault_end() > 10);
    assert_memory_equal(&whole.digest, &parts.digest, sizeof whole.digest);
    model_files_finish(&whole);
    model_files_finish(&parts);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(memory_runs_out),
        TEST(files_cannot_be_read),
        TEST(reads_that_give_less_are_gone_on_with),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
