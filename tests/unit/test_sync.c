/* The served models follow the repository: what is loaded and what goes at which look, on a clock
 * that the test turns. The engine is the real echo. */
#include "model/sync.h"
#include "models_fixture.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct models_fixture *f;
static struct sync repository;
static struct log silent;
static const atomic_bool is_ending;
static struct gp_error err;

static void look_after(int64_t ms, const struct model_entry *at_once)
{
    turned_clock_add(ms * CLOCK_MS);
    assert_int_equal(sync_look(&repository, at_once, &err), GP_OK);
}

/* "m 2 1": the names and the versions that are ready. */
static void assert_serves(const char *wanted)
{
    struct text found = {0};
    for (size_t i = 0; i < f->models.n_entries; i++) {
        const struct model_entry *entry = f->models.entries[i];
        text_printf(&found, "%s%s", i ? "  " : "", entry->name);
        for (const struct model_version *v = entry->versions; v; v = v->next)
            if (v->model)
                text_printf(&found, " %d", (int)v->number);
    }
    assert_string_equal(found.size_bytes ? found.data : "", wanted);
    text_finish(&found);
}

static void close_at_once(void *context, struct model *model)
{
    (void)context;
    models_close(&f->models, model);
}

/* The repository has version 1 of m, which is served from the first look on. */
static int set_up(void **state)
{
    assert_int_equal(tree_make(state), 0);
    assert_int_equal(models_fixture_begin((void **)&f), 0);
    turned_clock_set(100 * CLOCK_S);
    f->host.log = &silent;
    f->host.is_ending = &is_ending;
    f->host.left = close_at_once;
    tree_put("/m/1/model.onnx", "one");
    const struct gp_model_options defaults = {
        .size_bytes = sizeof defaults, .engine = fixture_engine("echo"), .n_slots = 1};
    repository = (struct sync){0};
    assert_int_equal(
        sync_init(&repository, &f->models, &f->host, tree_root, &defaults, &err), GP_OK);
    assert_serves("m 1");
    return 0;
}

static int tear_down(void **state)
{
    sync_finish(&repository);
    turned_clock_end();
    assert_int_equal(models_fixture_end((void **)&f), 0);
    return tree_remove(state);
}

/* A copy may be under way: two looks must find the same, and looks in quick succession are one. */
static void test_new_version_has_to_settle(void **state)
{
    (void)state;
    tree_put("/m/2/model.onnx", "t");
    look_after(60000, NULL);
    assert_serves("m 1");
    for (int i = 0; i < 3; i++) {
        look_after(REPOSITORY_WATCH_SETTLE_MS / 4, NULL);
        assert_serves("m 1");
    }
    look_after(REPOSITORY_WATCH_SETTLE_MS, NULL);
    assert_serves("m 2");
}

static void test_version_that_grows_is_not_settled(void **state)
{
    (void)state;
    tree_put("/m/2/model.onnx", "t");
    look_after(60000, NULL);
    tree_put("/m/2/model.onnx", "two");
    look_after(60000, NULL);
    assert_serves("m 1");
    look_after(60000, NULL);
    assert_serves("m 2");
}

static void test_request_does_not_wait_until_it_settles(void **state)
{
    (void)state;
    tree_put("/m/2/model.onnx", "two");
    tree_put("/n/1/model.onnx", "one");
    look_after(60000, models_entry(&f->models, "m"));
    assert_serves("m 2  n");
    look_after(60000, NULL);
    assert_serves("m 2  n 1");
}

/* It may be about to be replaced. */
static void test_two_looks_miss_what_is_gone(void **state)
{
    (void)state;
    tree_put("/n/1/model.onnx", "one");
    look_after(60000, NULL);
    look_after(60000, NULL);
    assert_serves("m 1  n 1");
    tree_drop("/n");
    look_after(60000, NULL);
    for (int i = 0; i < 3; i++) {
        assert_serves("m 1  n 1");
        look_after(REPOSITORY_WATCH_SETTLE_MS / 4, NULL);
    }
    look_after(REPOSITORY_WATCH_SETTLE_MS, NULL);
    assert_serves("m 1");
}

static void test_repository_that_cannot_be_read_changes_nothing(void **state)
{
    (void)state;
    char away[128];
    (void)snprintf(away, sizeof away, "%s.away", tree_root);
    assert_int_equal(rename(tree_root, away), 0);
    for (int i = 0; i < 3; i++) {
        turned_clock_add(60 * CLOCK_S);
        assert_int_equal(sync_look(&repository, NULL, &err), GP_NOT_FOUND);
        assert_serves("m 1");
    }
    assert_int_equal(rename(away, tree_root), 0);
    look_after(60000, NULL);
    assert_serves("m 1");
}

#define SYNC_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYNC_TEST(test_new_version_has_to_settle),
        SYNC_TEST(test_version_that_grows_is_not_settled),
        SYNC_TEST(test_request_does_not_wait_until_it_settles),
        SYNC_TEST(test_two_looks_miss_what_is_gone),
        SYNC_TEST(test_repository_that_cannot_be_read_changes_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
