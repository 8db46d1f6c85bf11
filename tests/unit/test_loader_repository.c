/* What the loader's thread does with a repository: a load does not wait until files have settled, and
 * says why it failed; looks come by themselves. The clock stands still, or is turned. */
#include "loader_fixture.h"
#include "turned_clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000 };

/* The repository has version 1 of m. */
static int begin(void **state)
{
    turned_clock_set(100 * CLOCK_S);
    assert_int_equal(loader_fixture_begin(state), 0);
    tree_put("/m/1/model.onnx", "one");
    return 0;
}

static int end(void **state)
{
    const int rc = loader_fixture_end(state);
    turned_clock_end();
    return rc;
}

static void open_repository(void)
{
    const struct gp_model_options defaults = {
        .size_bytes = sizeof defaults, .engine = fixture_engine("echo"), .n_slots = 1};
    assert_int_equal(
        loader_open_repository(&loading.loader, tree_root, &defaults, &loading.err),
        GP_OK);
    loading_start();
}

static void declare(const char *name, const uint64_t *version)
{
    const struct gp_model_options options = {.name = name,
                                             .engine = fixture_engine("echo"),
                                             .n_slots = 1,
                                             .versions = version,
                                             .n_versions = version != NULL};
    assert_int_equal(loader_declare(&loading.loader, &options, &loading.err), GP_OK);
}

static void what_is_new_is_loaded_at_once(void **state)
{
    (void)state;
    open_repository();
    tree_put("/m/2/model.onnx", "two");
    tree_put("/n/1/model.onnx", "one");
    assert_int_equal(loading_order(LOADER_LOAD, "n"), GP_OK);
    assert_non_null(loading_find("/n"));
    assert_finds_none("/m/versions/2", "model \"m\" is not ready: it is loading");
    assert_int_equal(loading_order(LOADER_LOAD, "m"), GP_OK);
    assert_non_null(loading_find("/m/versions/2"));
    assert_finds_none("/m/versions/1", "*has no version*");
}

static void what_is_there_is_loaded_anew(void **state)
{
    (void)state;
    open_repository();
    struct model *first = loading_find("/m");
    assert_true(model_hold(first));
    assert_int_equal(loading_order(LOADER_LOAD, "m"), GP_OK);
    assert_ptr_not_equal(loading_find("/m"), first);
    model_drop(first);
}

static void a_load_says_why_it_failed(void **state)
{
    static const uint64_t seven = 7;
    (void)state;
    tree_put("/named/1/model.onnx", "one");
    declare("named", &seven);
    declare("absent", NULL);
    open_repository();
    assert_int_equal(loading_order(LOADER_LOAD, "none"), GP_NOT_FOUND);
    assert_error(GP_NOT_FOUND, "no model is named \"none\"");
    assert_int_equal(loading_order(LOADER_LOAD, "absent"), GP_NOT_FOUND);
    assert_error(GP_NOT_FOUND, "model \"absent\" is not in the repository");
    assert_int_equal(loading_order(LOADER_LOAD, "named"), GP_NOT_FOUND);
    assert_error(GP_NOT_FOUND,
                 "of the model named these versions are to be served*: 7;*");
    tree_put("/m/2/a.onnx", "two");
    tree_put("/m/2/b.onnx", "two");
    assert_int_equal(loading_order(LOADER_LOAD, "m"), GP_INVALID);
    assert_error(GP_INVALID, "*/m/2/a.onnx and */m/2/b.onnx are both models*");
    assert_non_null(loading_find("/m"));
}

static void without_its_folder_nothing_is_loaded(void **state)
{
    char away[128];
    (void)state;
    open_repository();
    (void)snprintf(away, sizeof away, "%s.away", tree_root);
    assert_int_equal(rename(tree_root, away), 0);
    for (int i = 0; i < 2; i++) {
        const char *name = i ? "m" : "none";
        assert_int_equal(loading_order(LOADER_LOAD, name), GP_NOT_FOUND);
        assert_error(GP_NOT_FOUND, "the repository * is not there*");
    }
    assert_int_equal(rename(away, tree_root), 0);
    assert_non_null(loading_find("/m"));
    assert_logged(&loading.log, "m version 1 is ready*\n"
                                "error: the repository * is not there*; what is served "
                                "stays\n");
}

static void one_that_is_unloaded_stays_so(void **state)
{
    (void)state;
    open_repository();
    assert_int_equal(loading_order(LOADER_UNLOAD, "m"), GP_OK);
    tree_put("/m/2/model.onnx", "two");
    for (int i = 0; i < 3; i++) {
        turned_clock_add(60 * CLOCK_S);
        assert_int_equal(loading_order(LOADER_RELOAD, NULL), GP_OK);
        assert_finds_none("/m", "model \"m\" is not ready: it is unloaded");
    }
    tree_drop("/m/2");
    tree_put("/m/2/a.onnx", "two");
    tree_put("/m/2/b.onnx", "two");
    assert_int_equal(loading_order(LOADER_LOAD, "m"), GP_INVALID);
    assert_finds_none("/m", "model \"m\" is not ready: it is unloaded");
    tree_drop("/m/2");
    assert_int_equal(loading_order(LOADER_LOAD, "m"), GP_OK);
    assert_non_null(loading_find("/m/versions/1"));
}

/* What is outside of the repository is loaded from where it is. */
static void one_may_lie_elsewhere(void **state)
{
    (void)state;
    tree_put("/.elsewhere", "a file");
    struct model *model = loading_open("m", tree_path("/.elsewhere"));
    assert_true(model_hold(model));
    open_repository();
    assert_ptr_equal(loading_find("/m"), model);
    assert_int_equal(loading_order(LOADER_LOAD, "m"), GP_OK);
    assert_ptr_not_equal(loading_find("/m"), model);
    assert_true(models_entry(&loading.f->models, "m")->options->path != NULL);
    model_drop(model);
}

/* Whatever wakes the thread, which looks when it has done what it was told. */
static void looks_come_with_time(void **state)
{
    (void)state;
    open_repository();
    tree_put("/m/2/model.onnx", "two");
    for (int i = 0; !loading_find("/m/versions/2"); i++) {
        assert_true(i < PATIENCE_MS);
        (void)usleep(1000);
        turned_clock_add(REPOSITORY_WATCH_POLL_MS * CLOCK_MS);
        assert_int_equal(loading_order(LOADER_UNLOAD, "none"), GP_NOT_FOUND);
    }
}

static void a_reload_is_a_look(void **state)
{
    (void)state;
    open_repository();
    tree_put("/m/2/model.onnx", "two");
    for (int i = 0; i < 2; i++) {
        assert_null(loading_find("/m/versions/2"));
        assert_int_equal(loading_order(LOADER_RELOAD, NULL), GP_OK);
        turned_clock_add(REPOSITORY_WATCH_SETTLE_MS * CLOCK_MS);
    }
    assert_non_null(loading_find("/m/versions/2"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_new_is_loaded_at_once), TEST(what_is_there_is_loaded_anew),
        TEST(a_load_says_why_it_failed),     TEST(without_its_folder_nothing_is_loaded),
        TEST(one_that_is_unloaded_stays_so), TEST(one_may_lie_elsewhere),
        TEST(looks_come_with_time),          TEST(a_reload_is_a_look),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
