/* What the log and the states say of a repository: each trouble once, and what is served stays. */
#include "sync_fixture.h"

#include <stdio.h>

static struct model_entry *entry_of(const char *name)
{
    return models_entry(&following.f->models, name);
}

/* After one look more: these lines. */
static void assert_next_look_says(const char *lines)
{
    look_after(60000, NULL);
    assert_logged(&following.log, lines);
}

/* --- problems --- */

static void a_problem_is_said_once(void **state)
{
    (void)state;
    tree_put("/a %d/1/model.onnx", "one");
    assert_next_look_says("error: repository: \"a %d\" cannot be a model's name*\n");
    assert_next_look_says("");
    tree_drop("/a %d");
    assert_next_look_says("");
    tree_put("/a %d/1/model.onnx", "one");
    assert_next_look_says("error: repository: \"a %d\" cannot be a model's name*\n");
}

#define FIFTY "n1234567890123456789012345678901234567890123456789"

/* Two folders, whose names have the same beginning. */
static void each_has_problems_of_its_own(void **state)
{
    (void)state;
    tree_put("/" FIFTY FIFTY FIFTY "a/1/model.onnx", "one");
    assert_next_look_says(
        "error: repository: the name n*... of a model has 151 bytes*\n");
    tree_put("/" FIFTY FIFTY FIFTY "b/1/model.onnx", "one");
    assert_next_look_says(
        "error: repository: the name n*... of a model has 151 bytes*\n");
    assert_next_look_says("");
}

static void a_problem_that_changes_is_said_again(void **state)
{
    (void)state;
    tree_folder("/n");
    assert_next_look_says("error: repository: */n holds no model: wanted numbered*\n");
    tree_put("/n/v1/model.onnx", "one");
    assert_next_look_says("error: repository: */n/v1 holds a model, but is no*\n");
    assert_next_look_says("");
}

/* The whole model has it, or one of its versions: the other versions know nothing of that. */
static void a_problem_is_a_state(void **state)
{
    (void)state;
    tree_put("/.away/model.onnx", "three");
    tree_link("/m/3", "/");
    look_twice();
    assert_int_equal(entry_of("m")->error.status, GP_OK);
    tree_drop("/m");
    tree_link("/m", "/");
    look_twice();
    assert_int_equal(entry_of("m")->error.status, GP_FORBIDDEN);
    assert_non_null(strstr(entry_of("m")->error.message, "leads out of the repository"));
    assert_serves("m 1");
}

/* It is not gone, as long as one cannot know. */
static void what_has_a_problem_stays(void **state)
{
    (void)state;
    static const char *const names[] = {"/n/1/model.onnx", "/o/1/model.onnx",
                                        "/o/2/model.onnx"};
    for (int i = 0; i < 3; i++)
        tree_put(names[i], "one");
    look_twice();
    assert_serves("m 1  n 1  o 2");
    tree_drop("/m/1");
    tree_link("/m/1", "/"); /* the version */
    tree_drop("/n");
    tree_link("/n", "/"); /* all of its versions */
    tree_drop("/o/2");
    tree_link("/o/3", "/"); /* another version */
    for (int i = 0; i < 3; i++)
        look_after(60000, NULL);
    assert_serves("m 1  n 1  o 1");
    tree_drop("/m");
    tree_drop("/n");
    look_twice();
    assert_serves("o 1");
}

static void a_version_that_cannot_be_loaded_says_so(void **state)
{
    (void)state;
    tree_put("/m/2/a.onnx", "two");
    tree_put("/m/2/b.onnx", "two");
    assert_next_look_says("error: repository: */m/2/a.onnx and */m/2/b.onnx are both*\n");
    assert_next_look_says("");
    const struct model_version *second = entry_of("m")->versions;
    assert_int_equal(second->number, 2);
    assert_int_equal(second->state, MODEL_FAILED);
    assert_non_null(strstr(second->error.message, "are both models"));
    assert_serves("m 1");
    tree_put("/m/2/c.bin", "two");
    tree_drop("/m/2/a.onnx");
    tree_drop("/m/2/b.onnx");
    tree_put("/m/2/d.bin", "two");
    assert_next_look_says("error: repository: */m/2 holds no model*\n");
}

static void what_comes_and_goes_is_said(void **state)
{
    (void)state;
    tree_put("/m/2/model.onnx", "two");
    assert_next_look_says("");
    assert_next_look_says("m version 2 is ready: loaded in 0 ms\n"
                          "m version 1 is no longer served\n");
    tree_drop("/m");
    tree_put("/n/1/model.onnx", "one");
    assert_next_look_says("");
    assert_next_look_says("n version 1 is ready: loaded in 0 ms\n"
                          "m version 2 is no longer served\n");
}

/* --- the repository itself --- */

static void trouble_with_all_of_it_is_said_once(void **state)
{
    (void)state;
    char away[128];
    (void)snprintf(away, sizeof away, "%s.away", tree_root);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(rename(tree_root, away), 0);
        for (int k = 0; k < 2; k++) {
            turned_clock_add(60 * CLOCK_S);
            assert_int_equal(sync_look(&following.sync, NULL, &following.err),
                             GP_NOT_FOUND);
            assert_logged(&following.log,
                          k ? ""
                            : "error: the repository * is not there*; what is "
                              "served stays\n");
            assert_non_null(strstr(following.err.message, "is not there"));
        }
        assert_int_equal(rename(away, tree_root), 0);
        assert_next_look_says("");
    }
    assert_int_equal(sync_look(&following.sync, NULL, NULL), GP_OK);
}

/* --- whether those that serve are ready --- */

static bool are_ready(void)
{
    return models_are_ready(&following.f->models, &following.err);
}

/* One that comes while others serve is waited for once its first load is over: well, or not. */
static void the_first_load_ends_the_joining(void **state)
{
    (void)state;
    following.f->models.is_serving = true;
    tree_put("/n/1/model.onnx", "one");
    look_after(60000, NULL);
    assert_serves("m 1  n");
    assert_true(are_ready());
    assert_true(entry_of("n")->is_joining);
    look_after(60000, NULL);
    assert_serves("m 1  n 1");
    assert_false(entry_of("n")->is_joining);
    entry_of("n")->is_declared = true;
    tree_drop("/n");
    look_twice();
    assert_serves("m 1  n");
    assert_false(are_ready());
    assert_string_equal(following.err.message,
                        "model \"n\" is not ready: it is not loaded yet");
}

static void a_first_load_that_fails_ends_it_too(void **state)
{
    (void)state;
    following.f->models.is_serving = true;
    struct gp_model_options options = following.defaults;
    options.name = "n";
    options.warm_up = "/nonexistent";
    assert_non_null(models_add(&following.f->models, &options, &following.err));
    assert_true(are_ready());
    tree_put("/n/1/model.onnx", "one");
    look_twice();
    assert_serves("m 1  n");
    assert_false(are_ready());
    assert_non_null(strstr(following.err.message, "warm-up: cannot read"));
    assert_logged(&following.log, "error: n version 1 does not load: warm-up: cannot*\n");
}

/* --- while one is loaded --- */

static unsigned n_loading;

static void note_loading(void *context)
{
    const struct model_version *newest = models_newest(entry_of(context));
    n_loading++;
    assert_int_equal(newest->state, MODEL_LOADING);
    assert_int_equal(newest->error.status, GP_OK);
}

/* What had failed before is loading, and room is made for it. */
static void a_load_is_a_state(void **state)
{
    (void)state;
    static char name[] = "n";
    tree_put("/n/1/a.onnx", "one");
    tree_put("/n/1/b.onnx", "one");
    look_twice();
    assert_int_equal(entry_of("n")->versions->state, MODEL_FAILED);
    following.f->host.close_left = note_loading;
    following.f->host.left_context = name;
    tree_drop("/n/1/b.onnx");
    look_twice();
    assert_int_equal(n_loading, 1);
    assert_serves("m 1  n 1");
    assert_int_equal(entry_of("n")->versions->state, MODEL_READY);
    assert_int_equal(entry_of("n")->versions->error.status, GP_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SYNC_TEST(a_problem_is_said_once),
        SYNC_TEST(each_has_problems_of_its_own),
        SYNC_TEST(a_problem_that_changes_is_said_again),
        SYNC_TEST(a_problem_is_a_state),
        SYNC_TEST(what_has_a_problem_stays),
        SYNC_TEST(a_version_that_cannot_be_loaded_says_so),
        SYNC_TEST(what_comes_and_goes_is_said),
        SYNC_TEST(trouble_with_all_of_it_is_said_once),
        SYNC_TEST(the_first_load_ends_the_joining),
        SYNC_TEST(a_first_load_that_fails_ends_it_too),
        SYNC_TEST(a_load_is_a_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
