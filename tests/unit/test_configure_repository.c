/* New options where there is a repository, or was, or will be: what is opened anew, what goes, and what
 * is refused. */
#include "model/configure.h"
#include "recorded.h"
#include "sync_fixture.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

enum { MOST = 4 };

static struct gp_model_options models[MOST]; /* the listed ones */
static size_t n_models;
static bool is_refused;

static int begin(void **state)
{
    memset(models, 0, sizeof models);
    n_models = 0;
    return sync_fixture_begin(state);
}

static struct gp_model_options *list(const char *name)
{
    struct gp_model_options *model = &models[n_models++];
    *model = (struct gp_model_options){.size_bytes = sizeof *model,
                                       .name = name,
                                       .engine = following.defaults.engine,
                                       .n_slots = 1};
    return model;
}

/* The listed models, a repository and a default model, or NULL. */
static enum gp_status configure(const char *repository, const char *by_default)
{
    const struct gp_server_options options = {.models = models,
                                              .n_models = n_models,
                                              .repository = repository,
                                              .model_defaults = &following.defaults,
                                              .default_model = by_default};
    return configure_models(&following.f->models, &following.f->host, &following.sync,
                            &options, &is_refused, &following.err);
}

static void assert_takes(const char *repository, const char *by_default)
{
    if (configure(repository, by_default) != GP_OK)
        fail_msg("%s", following.err.message);
    assert_false(is_refused);
}

static void assert_turns_down(const char *repository, const char *by_default,
                              enum gp_status status, const char *words)
{
    assert_int_equal(configure(repository, by_default), status);
    assert_int_equal(following.err.status, status);
    assert_true(is_refused);
    assert_non_null(strstr(following.err.message, words));
}

static struct model_entry *entry_of(const char *name)
{
    return models_entry(&following.f->models, name);
}

/* Of its newest version; held, so that no other gets its address. */
static struct model *hold_model(const char *name)
{
    struct model *model = models_newest(entry_of(name))->model;
    assert_true(model_hold(model));
    return model;
}

/* Whether that one still serves the name; lets go of it. */
static bool still_serves(const char *name, struct model *model)
{
    const bool is_same = models_newest(entry_of(name))->model == model;
    model_drop(model);
    return is_same;
}

/* --- a repository that comes and goes --- */

static void models_of_the_repository_replace_the_listed_ones(void **state)
{
    (void)state;
    list("a");
    list("b");
    assert_takes(NULL, NULL);
    assert_serves("a 1  b 1");
    tree_put("/b/1/model.onnx", "one");
    tree_put("/b/2/model.onnx", "two");
    models[0] = models[1];
    models[0].n_newest = 2;
    n_models = 1;
    assert_takes(tree_root, NULL);
    assert_serves("b 2 1  m 1");
    assert_true(entry_of("b")->is_declared);
    assert_false(entry_of("m")->is_declared);
    n_models = 0;
    list("a");
    assert_takes(NULL, NULL);
    assert_serves("a 1");
    assert_null(following.sync.path);
    assert_string_equal(following.f->models.default_name, "a"); /* the only one */
}

static void a_model_may_leave_the_repository(void **state)
{
    (void)state;
    tree_put("/m/2/model.onnx", "two");
    tree_put("/.elsewhere", "a file");
    list("m")->n_newest = 2;
    assert_takes(tree_root, NULL);
    assert_serves("m 2 1");
    models[0].path = tree_path("/.elsewhere");
    struct model *inside = hold_model("m");
    assert_takes(tree_root, NULL);
    assert_serves("m 1");
    assert_false(still_serves("m", inside));
    struct model *outside = hold_model("m");
    assert_takes(tree_root, NULL);
    assert_true(still_serves("m", outside));
    models[0].path = NULL;
    outside = hold_model("m");
    assert_takes(tree_root, NULL);
    assert_serves("m 2 1");
    assert_false(still_serves("m", outside));
}

/* Even if the files there are the same. */
static void another_repository_is_loaded_anew(void **state)
{
    (void)state;
    tree_put("/.one/n/1/model.onnx", "one");
    tree_put("/.one/p/1/model.onnx", "one");
    list("p"); /* which the other one does not have */
    assert_takes(tree_path("/.one"), NULL);
    assert_serves("n 1  p 1");
    struct model *n = hold_model("n");
    assert_takes(tree_path("/.one"), NULL);
    assert_true(still_serves("n", n));
    n = hold_model("n");
    tree_move("/.one/n", "/.two/n");
    assert_takes(tree_path("/.two"), NULL);
    assert_false(still_serves("n", n));
    assert_serves("n 1  p");
    n = hold_model("n");
    tree_move("/.two/n", "/.one/n");
    assert_takes(tree_path("/.one"), NULL); /* and back */
    assert_false(still_serves("n", n));
    assert_serves("n 1  p 1");
}

static void other_defaults_are_for_those_that_are_not_listed(void **state)
{
    (void)state;
    tree_put("/n/1/model.onnx", "one");
    list("n");
    assert_takes(tree_root, NULL);
    struct model *m = hold_model("m"), *n = hold_model("n");
    following.defaults.n_slots = 2;
    assert_takes(tree_root, NULL);
    assert_false(still_serves("m", m));
    assert_true(still_serves("n", n));
    assert_int_equal(models_newest(entry_of("m"))->model->slots.n, 2);
    models[0].n_slots = 3;
    m = hold_model("m");
    assert_takes(tree_root, NULL);
    assert_true(still_serves("m", m));
    assert_int_equal(models_newest(entry_of("n"))->model->slots.n, 3);
    n_models = 0; /* it has the defaults then */
    assert_takes(tree_root, NULL);
    assert_int_equal(models_newest(entry_of("n"))->model->slots.n, 2);
    assert_null(entry_of("n")->options->path);
}

/* Until somebody loads it. */
static void what_is_unloaded_stays_so(void **state)
{
    (void)state;
    list("a");
    list("b");
    assert_takes(NULL, NULL);
    models_set_unloaded(&following.f->models, entry_of("a"), true);
    while (entry_of("a")->versions)
        models_retire(&following.f->models, entry_of("a"), entry_of("a")->versions);
    models[0].n_slots = 2;
    assert_takes(NULL, NULL);
    assert_serves("a  b 1");
    assert_int_equal(entry_of("a")->options->n_slots, 2);
}

/* Outside of the repository, as it does inside. */
static void a_file_that_has_changed_is_loaded(void **state)
{
    (void)state;
    tree_put("/.a", "1");
    list("a")->path = tree_path("/.a");
    assert_takes(NULL, NULL);
    struct model *a = hold_model("a");
    assert_takes(NULL, NULL);
    assert_true(still_serves("a", a));
    static const struct timespec times[][2] = {{{.tv_sec = 5}, {.tv_sec = 5}},
                                               {{.tv_sec = 9}, {.tv_sec = 9}}};
    for (int i = 0; i < 2; i++) { /* an older one first, then a younger one */
        a = hold_model("a");
        assert_int_equal(utimensat(AT_FDCWD, tree_path("/.a"), times[i], 0), 0);
        assert_takes(NULL, NULL);
        assert_false(still_serves("a", a));
    }
}

/* --- what is refused --- */

static void a_repository_has_to_be_there(void **state)
{
    (void)state;
    char away[128];
    assert_takes(tree_root, NULL);
    assert_turns_down(tree_path("/none"), NULL, GP_NOT_FOUND, "is not there");
    assert_serves("m 1");
    assert_string_equal(following.sync.path, tree_root);
    (void)snprintf(away, sizeof away, "%s.away", tree_root);
    assert_int_equal(rename(tree_root, away), 0);
    following.defaults.n_slots = 2;
    assert_takes(tree_root, NULL); /* the one that serves may be away for a while */
    assert_serves("m 1");
    assert_takes(tree_root, "m");
    assert_turns_down(tree_root, "n", GP_INVALID, "the default model is \"n\", and none");
    assert_int_equal(rename(away, tree_root), 0);
    assert_takes(tree_root, "m");
    assert_int_equal(models_newest(entry_of("m"))->model->slots.n, 2);
}

static void the_default_model_has_to_be_somewhere(void **state)
{
    (void)state;
    tree_put("/.other/n/1/model.onnx", "one");
    tree_put("/.other/o/1/model.onnx", "one");
    list("a");
    assert_turns_down(tree_root, "n", GP_INVALID, "the default model is \"n\", and none");
    assert_takes(tree_root, "a");
    assert_string_equal(following.f->models.by_default->name, "a");
    assert_takes(tree_root, "m");
    assert_string_equal(following.f->models.by_default->name, "m");
    assert_turns_down(tree_path("/.other"), "m", GP_INVALID, "the default model is");
    assert_serves("a  m 1");
    assert_takes(tree_path("/.other"), "o");
    assert_string_equal(following.f->models.by_default->name, "o");
    assert_takes(tree_path("/.other"), NULL); /* stays, where nothing else is said */
    assert_string_equal(following.f->models.by_default->name, "o");
    n_models = 0;
    list("b");
    assert_turns_down(NULL, "o", GP_INVALID, "the default model is \"o\", and none");
    assert_takes(NULL, "b");
    assert_string_equal(following.f->models.by_default->name, "b");
}

/* --- what fails --- */

static void the_first_failure_is_told(void **state)
{
    (void)state;
    list("c");
    list("b")->warm_up = "/none/b";
    list("a")->warm_up = "/none/a";
    assert_int_equal(configure(NULL, "b"), GP_INVALID);
    assert_false(is_refused);
    assert_non_null(strstr(following.err.message, "model \"b\": warm-up: cannot read"));
    assert_serves("a  b  c 1");
    assert_string_equal(following.f->models.by_default->name, "b");
}

#define TEN "1234567890"
#define CUT "n" TEN TEN TEN TEN TEN TEN "123"

static void a_long_name_leaves_room_for_why(void **state)
{
    (void)state;
    list(CUT TEN)->warm_up = "/none";
    list("b");
    assert_int_equal(configure(NULL, NULL), GP_INVALID);
    assert_non_null(strstr(following.err.message, "model \"" CUT "\": warm-up: cannot"));
}

/* The same options are not served, and not said to be, until it loads. */
static void one_that_failed_is_tried_again(void **state)
{
    (void)state;
    list("a");
    assert_takes(NULL, NULL);
    models[0].n_slots = 2;
    models[0].warm_up = tree_path("/.request");
    list("b")->warm_up = models[0].warm_up;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(configure(NULL, NULL), GP_INVALID);
        assert_false(is_refused);
        assert_non_null(strstr(following.err.message, "model \"a\": warm-up: cannot"));
        assert_serves("a 1  b");
        assert_int_equal(models_newest(entry_of("a"))->model->slots.n, 1);
    }
    recorded_put("/.request", "input0", 0, NULL);
    assert_takes(NULL, NULL);
    assert_serves("a 1  b 1");
    assert_int_equal(models_newest(entry_of("a"))->model->slots.n, 2);
    struct model *a = hold_model("a");
    assert_takes(NULL, NULL);
    assert_true(still_serves("a", a));
}

/* It has its model's name until there are several. */
static void a_lone_model_needs_no_name(void **state)
{
    (void)state;
    list("a");
    assert_takes(NULL, NULL);
    entry_of("a")->is_unnamed = true; /* as when it was opened */
    struct model *a = hold_model("a");
    models[0].name = NULL;
    assert_takes(NULL, NULL);
    assert_true(still_serves("a", a));
    assert_true(entry_of("a")->is_unnamed);
    list("b");
    assert_turns_down(NULL, NULL, GP_INVALID, "a model has no name");
    models[0].name = "a";
    assert_takes(NULL, NULL);
    assert_false(entry_of("a")->is_unnamed);
    n_models = 1;
    models[0].name = NULL;
    assert_turns_down(NULL, NULL, GP_INVALID, "a model has no name");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, sync_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(models_of_the_repository_replace_the_listed_ones),
        TEST(a_model_may_leave_the_repository),
        TEST(another_repository_is_loaded_anew),
        TEST(other_defaults_are_for_those_that_are_not_listed),
        TEST(what_is_unloaded_stays_so),
        TEST(a_file_that_has_changed_is_loaded),
        TEST(a_repository_has_to_be_there),
        TEST(the_default_model_has_to_be_somewhere),
        TEST(the_first_failure_is_told),
        TEST(a_long_name_leaves_room_for_why),
        TEST(one_that_failed_is_tried_again),
        TEST(a_lone_model_needs_no_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
