/* The served models follow the repository: what is loaded and what goes at which look. */
#include "sync_fixture.h"

#include <stdio.h>

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
    look_after(60000, models_entry(&following.f->models, "m"));
    assert_serves("m 2  n");
    look_after(60000, NULL);
    assert_serves("m 2  n 1");
}

/* It may be about to be replaced. */
static void test_two_looks_miss_what_is_gone(void **state)
{
    (void)state;
    tree_put("/n/1/model.onnx", "one");
    look_twice();
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
        assert_int_equal(sync_look(&following.sync, NULL, &following.err), GP_NOT_FOUND);
        assert_serves("m 1");
    }
    assert_int_equal(rename(away, tree_root), 0);
    look_after(60000, NULL);
    assert_serves("m 1");
}

static void test_only_what_has_changed_is_loaded_anew(void **state)
{
    (void)state;
    const struct model_version *version =
        models_entry(&following.f->models, "m")->versions;
    struct model *model = version->model;
    assert_true(model_hold(model));
    look_twice();
    assert_ptr_equal(version->model, model);
    tree_put("/m/1/model.onnx", "another");
    look_after(60000, NULL);
    assert_ptr_equal(version->model, model);
    look_after(60000, NULL);
    assert_ptr_not_equal(version->model, model);
    model_drop(model);
    assert_serves("m 1");
}

/* --- which versions --- */

/* Of the model m, whose versions 2 to 4 are there too. */
static void follow_policy(const struct gp_model_options *policy, const char *wanted)
{
    struct gp_model_options options = following.defaults;
    options.name = "m";
    options.n_newest = policy->n_newest;
    options.versions = policy->versions;
    options.n_versions = policy->n_versions;
    struct model_entry *entry =
        models_add(&following.f->models, &options, &following.err);
    entry->is_declared = true;
    tree_put("/m/2/model.onnx", "two");
    tree_put("/m/3/model.onnx", "three");
    tree_put("/m/4/model.onnx", "four");
    assert_int_equal(sync_fixture_init(tree_root), GP_OK);
    assert_serves(wanted);
}

static void test_the_first_look_loads_all(void **state)
{
    enum { N_MORE = 40 };
    (void)state;
    following.f->host.n_cores = 2;
    for (int i = 0; i < N_MORE; i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "/n%02d/1/model.onnx", i);
        tree_put(path, "one");
    }
    assert_int_equal(sync_fixture_init(tree_root), GP_OK);
    assert_int_equal(following.f->models.n_entries, 1 + N_MORE);
    for (size_t i = 0; i <= N_MORE; i++)
        assert_int_equal(following.f->models.entries[i]->versions->state, MODEL_READY);
}

static void test_newest_versions_are_served(void **state)
{
    (void)state;
    follow_policy(&(struct gp_model_options){.n_newest = 2}, "m 4 3");
    tree_drop("/m/4");
    look_after(60000, NULL);
    assert_serves("m 4 3");
    look_after(60000, NULL);
    assert_serves("m 3 2");
    tree_put("/m/5/model.onnx", "five");
    look_twice();
    assert_serves("m 5 3");
}

static void test_named_versions_are_served(void **state)
{
    static const uint64_t versions[] = {1, 3, 9};
    (void)state;
    follow_policy(&(struct gp_model_options){.versions = versions, .n_versions = 3},
                  "m 3 1");
    const struct model_entry *entry = models_entry(&following.f->models, "m");
    assert_int_equal(entry->error.status, GP_NOT_FOUND);
    assert_non_null(strstr(entry->error.message, "not in the repository: 9;"));
    tree_put("/m/9/model.onnx", "nine");
    look_twice();
    assert_serves("m 9 3 1");
    assert_int_equal(entry->error.status, GP_OK);
}

/* The one before is served until then. */
static void test_version_goes_when_its_successor_is_ready(void **state)
{
    (void)state;
    tree_put("/m/2/a.onnx", "two");
    tree_put("/m/2/b.onnx", "two");
    look_twice();
    assert_serves("m 1");
    tree_drop("/m/2/b.onnx");
    look_after(60000, NULL);
    assert_serves("m 1");
    look_after(60000, NULL);
    assert_serves("m 2");
    assert_null(models_entry(&following.f->models, "m")->versions->next);
}

/* --- which names --- */

/* A model of that name lies at a path of its own, and the repository has nothing to say about it. */
static void test_model_outside_is_left_alone(void **state)
{
    (void)state;
    tree_put("/n/1/model.onnx", "one");
    struct gp_model_options options = following.defaults;
    options.name = "n";
    options.path = "/elsewhere";
    assert_non_null(models_add(&following.f->models, &options, &following.err));
    struct model_entry *n = models_entry(&following.f->models, "n");
    look_twice();
    assert_serves("m 1  n");
    assert_int_equal(sync_look(&following.sync, n, NULL), GP_OK);
    assert_serves("m 1  n");
    tree_drop("/n");
    look_twice();
    assert_serves("m 1  n");
}

/* By options or by a request; others leave with their folder. */
static void test_name_stays_if_somebody_asked_for_it(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b", "c"};
    for (int i = 0; i < 3; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "/%s/1/model.onnx", names[i]);
        tree_put(path, "one");
    }
    look_twice();
    assert_serves("a 1  b 1  c 1  m 1");
    models_entry(&following.f->models, "a")->is_declared = true;
    models_set_unloaded(&following.f->models, models_entry(&following.f->models, "b"),
                        true);
    for (int i = 0; i < 3; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "/%s", names[i]);
        tree_drop(path);
    }
    look_after(60000, models_entry(&following.f->models, "c"));
    look_after(60000, models_entry(&following.f->models, "c"));
    assert_serves("a  b  c  m 1");
    look_after(60000, NULL);
    assert_serves("a  b  m 1");
}

static void test_new_model_has_the_defaults(void **state)
{
    (void)state;
    tree_put("/n/1/model.onnx", "one");
    look_twice();
    const struct model_entry *n = models_entry(&following.f->models, "n");
    assert_string_equal(n->options->engine, following.defaults.engine);
    assert_int_equal(n->versions->model->slots.n, 1);
    assert_null(n->options->path);
    assert_false(n->is_declared);
}

static void test_one_that_is_unloaded_is_left_alone(void **state)
{
    (void)state;
    struct model_entry *m = models_entry(&following.f->models, "m");
    models_set_unloaded(&following.f->models, m, true);
    tree_put("/m/2/model.onnx", "two");
    look_twice();
    assert_serves("m 1");
    models_set_unloaded(&following.f->models, m, false);
    look_twice();
    assert_serves("m 2");
}

/* Nothing is begun any more. */
static void test_the_end_loads_nothing(void **state)
{
    (void)state;
    tree_put("/m/2/model.onnx", "two");
    look_after(60000, NULL);
    atomic_store(&following.is_ending, true);
    look_after(60000, NULL);
    assert_serves("m 1");
}

#define BEGUN_TEST(name)                                                                 \
    cmocka_unit_test_setup_teardown(name, sync_fixture_begin, sync_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYNC_TEST(test_new_version_has_to_settle),
        SYNC_TEST(test_version_that_grows_is_not_settled),
        SYNC_TEST(test_request_does_not_wait_until_it_settles),
        SYNC_TEST(test_two_looks_miss_what_is_gone),
        SYNC_TEST(test_repository_that_cannot_be_read_changes_nothing),
        SYNC_TEST(test_only_what_has_changed_is_loaded_anew),
        BEGUN_TEST(test_the_first_look_loads_all),
        BEGUN_TEST(test_newest_versions_are_served),
        BEGUN_TEST(test_named_versions_are_served),
        SYNC_TEST(test_version_goes_when_its_successor_is_ready),
        SYNC_TEST(test_model_outside_is_left_alone),
        SYNC_TEST(test_name_stays_if_somebody_asked_for_it),
        SYNC_TEST(test_new_model_has_the_defaults),
        SYNC_TEST(test_one_that_is_unloaded_is_left_alone),
        SYNC_TEST(test_the_end_loads_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
