/* What graphpipe tune chooses and shows, and the settings that it writes into a configuration file. */
#include "cli/cli.c"
#include "cli/config_edit.c"
#include "cli/file.c"
#include "cli/json_doc.c"
#include "cli/tune_report.c"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

int bench_format_ns(char *out, size_t size, double ns)
{
    return snprintf(out, size, "%.0f ns", ns);
}

/* --- the best --- */

static struct tune_cell cell(uint32_t n_rows, double rows_per_s, int64_t p50, int64_t p99)
{
    return (struct tune_cell){.n_instances = 1,
                              .n_threads = 2,
                              .n_rows = n_rows,
                              .rows_per_s = rows_per_s,
                              .p50_ns = p50,
                              .p99_ns = p99};
}

static void best(void **state)
{
    struct tune_cell cells[] = {cell(1, 100, 10, 12), cell(2, 190, 11, 40),
                                cell(4, 200, 20, 22), cell(8, 150, 53, 60),
                                cell(16, 0, 0, 0)};
    (void)state;
    assert_ptr_equal(tune_best(cells, 5, 0), &cells[1]); /* nearly as fast, and shorter */
    cells[1].rows_per_s = 189;
    assert_ptr_equal(tune_best(cells, 5, 0), &cells[2]);
    assert_ptr_equal(tune_best(cells, 5, 22), &cells[2]);
    assert_ptr_equal(tune_best(cells, 5, 21), &cells[0]);
    assert_null(tune_best(cells, 5, 11));
    assert_null(tune_best(cells + 4, 1, 0)); /* it was not measured */
}

static void table(void **state)
{
    struct tune_cell cells[] = {cell(1, 100, 10, 12), cell(2, 0, 0, 0),
                                cell(4, 200, 20, 22)};
    struct text text = {0};
    (void)state;
    tune_write_table(&text, cells, 3, &cells[2]);
    assert_string_equal(text.data,
                        "instances  threads  rows     rows/s        p50        p99\n"
                        "        1        2     1        100      10 ns      12 ns  "
                        "###############\n"
                        "        1        2     4        200      20 ns      22 ns  "
                        "############################## best\n");
    text_finish(&text);
}

/* --- the file --- */

static struct gp_error err;

static enum gp_status edit(const char *path, const char *name)
{
    static const struct config_setting settings[] = {{"instances", 2}, {"max-batch", 16}};
    return config_edit(path, name, settings, 2, &err);
}

static void assert_file(const char *path, const char *wanted)
{
    char text[512] = "";
    FILE *file = fopen(tree_path(path), "r");
    assert_non_null(file);
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    assert_int_equal(fclose(file), 0);
    assert_string_equal(text, wanted);
}

static void assert_edited(const char *before, const char *name, const char *after)
{
    tree_put("/config", before);
    if (edit(tree_path("/config"), name) != GP_OK)
        fail_msg("%s", err.message);
    assert_file("/config", after);
}

static void values_are_changed_in_their_places(void **state)
{
    (void)state;
    assert_edited("{\"max-batch\": \"auto\", \"threads\": 3, \"instances\":1}", NULL,
                  "{\"max-batch\": 16, \"threads\": 3, \"instances\":2}");
    assert_edited("// one\n{\n  \"instances\" /* {\" */ : // two\n    7 // three\n"
                  "  , \"max-batch\":\t8}\n",
                  NULL,
                  "// one\n{\n  \"instances\" /* {\" */ : // two\n    2 // three\n"
                  "  , \"max-batch\":\t16}\n");
    assert_edited("{\"a\\\"b\": \"}\", \"instances\": 1/**/, \"max-batch\": 1,}", NULL,
                  "{\"a\\\"b\": \"}\", \"instances\": 2/**/, \"max-batch\": 16,}");
}

static void what_is_missing_comes_first(void **state)
{
    (void)state;
    assert_edited("{}", NULL, "{\n  \"instances\": 2,\n  \"max-batch\": 16\n}");
    assert_edited(
        "/* { */ {\n  \"threads\": 3\n}\n", NULL,
        "/* { */ {\n  \"instances\": 2,\n  \"max-batch\": 16,\n  \"threads\": 3\n}\n");
    assert_edited("{\"max-batch\": 3}", NULL, "{\n  \"instances\": 2,\"max-batch\": 16}");
}

static void tables_of_models(void **state)
{
    (void)state;
    assert_edited("{}", "m",
                  "{\n  \"models\": {\"m\": {\"instances\": 2, \"max-batch\": 16}}\n}");
    assert_edited(
        "{\"models\": {\"a\": {}}}", "m",
        "{\"models\": {\n  \"m\": {\"instances\": 2, \"max-batch\": 16},\"a\": {}}}");
    assert_edited("{\"instances\": 9, \"models\": {\"a\": {\"instances\": 8}, \"m\": "
                  "{\"instances\": 1, \"path\": \"x\"}}}",
                  "m",
                  "{\"instances\": 9, \"models\": {\"a\": {\"instances\": 8}, \"m\": "
                  "{\n  \"max-batch\": 16,\"instances\": 2, \"path\": \"x\"}}}");
    assert_edited(
        "{\"models\": {\"m\": {}}}", "m",
        "{\"models\": {\"m\": {\n  \"instances\": 2,\n  \"max-batch\": 16\n}}}");
}

static void a_new_file(void **state)
{
    (void)state;
    tree_folder("/new");
    assert_int_equal(edit(tree_path("/new/config"), NULL), GP_OK);
    assert_file("/new/config", "{\n  \"instances\": 2,\n  \"max-batch\": 16\n}\n");
}

/* What a link names is changed, and keeps its mode. */
static void a_link(void **state)
{
    struct stat info;
    (void)state;
    tree_put("/far/config", "{}");
    assert_int_equal(chmod(tree_path("/far/config"), 0640), 0);
    tree_link("/config", "far/config");
    assert_int_equal(edit(tree_path("/config"), NULL), GP_OK);
    assert_int_equal(lstat(tree_path("/config"), &info), 0);
    assert_true(S_ISLNK(info.st_mode));
    assert_int_equal(stat(tree_path("/far/config"), &info), 0);
    assert_int_equal(info.st_mode & 07777, 0640);
    assert_file("/far/config", "{\n  \"instances\": 2,\n  \"max-batch\": 16\n}");
}

/* Nothing is changed then. */
static void refused(void **state)
{
    static const char *const files[][2] = {
        {"[1]", ": no table of settings"},
        {"{\n\"instances\": [1]}", ":2: \"instances\" is no number"},
        {"{\"models\": 3}", ":1: \"models\" is no table of settings"},
        {"{\"models\": {\n\"m\": null}}", ":2: \"m\" is no table of settings"},
        {"{", "no JSON"}};
    (void)state;
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        tree_put("/config", files[i][0]);
        assert_int_not_equal(edit(tree_path("/config"), i == 2 || i == 3 ? "m" : NULL),
                             GP_OK);
        if (!strstr(err.message, files[i][1]))
            fail_msg("\"%s\" is not in \"%s\"", files[i][1], err.message);
        assert_file("/config", files[i][0]);
    }
    assert_int_not_equal(edit(tree_path("/no/such/config"), NULL), GP_OK);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, tree_make, tree_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(best),
        cmocka_unit_test(table),
        TEST(values_are_changed_in_their_places),
        TEST(what_is_missing_comes_first),
        TEST(tables_of_models),
        TEST(a_new_file),
        TEST(a_link),
        TEST(refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
