/* A repository that is followed from now on, or no more, or with other defaults; and how long until the
 * next look. */
#include "sync_fixture.h"

#include <poll.h>

enum { PATIENCE_MS = 20000 };

static enum gp_status move_to(const char *path)
{
    return sync_move(&following.sync, &following.f->models, &following.f->host, path,
                     &following.defaults, &following.err);
}

/* --- when --- */

static void without_one_there_is_no_look(void **state)
{
    (void)state;
    assert_int_equal(sync_wait_ms(&following.sync), -1);
    assert_int_equal(sync_look(&following.sync, NULL, &following.err), GP_OK);
    assert_int_equal(move_to(NULL), GP_OK);
    assert_int_equal(sync_wait_ms(&following.sync), -1);
    assert_false(following.f->models.has_repository);
}

/* News from the moment on when it is followed are heard; the folders are watched before the look. */
static void news_bring_the_next_look_forward(void **state)
{
    (void)state;
    assert_int_equal(sync_fixture_init(tree_root), GP_OK);
    assert_true(following.f->models.has_repository);
    assert_int_equal(sync_wait_ms(&following.sync), REPOSITORY_WATCH_POLL_MS);
    tree_put("/m/2/model.onnx", "two");
    struct pollfd news = {.fd = following.sync.watch.fd, .events = POLLIN};
    assert_int_equal(poll(&news, 1, PATIENCE_MS), 1);
    assert_int_equal(sync_wait_ms(&following.sync), REPOSITORY_WATCH_SETTLE_MS);
    turned_clock_add(REPOSITORY_WATCH_SETTLE_MS * CLOCK_MS);
    assert_int_equal(sync_wait_ms(&following.sync), 0);
    look_after(0, NULL); /* which finds what has to settle */
    assert_int_equal(sync_wait_ms(&following.sync), REPOSITORY_WATCH_SETTLE_MS);
    look_after(REPOSITORY_WATCH_SETTLE_MS, NULL);
    assert_serves("m 2");
    assert_int_equal(sync_wait_ms(&following.sync), REPOSITORY_WATCH_POLL_MS);
    tree_put("/m/3/a.onnx", "three");
    tree_put("/m/3/b.onnx", "three");
    look_after(60000, NULL); /* someone may be at it */
    assert_int_equal(sync_wait_ms(&following.sync), REPOSITORY_WATCH_SETTLE_MS);
}

static void what_cannot_be_watched_is_said_once(void **state)
{
    (void)state;
    assert_int_equal(sync_fixture_init(tree_root), GP_OK);
    assert_logged(&following.log, "m version 1 is ready*\n");
    gp_error_set(&following.sync.watch.trouble, GP_UNAVAILABLE, "%s",
                 "cannot watch 100%d");
    assert_int_equal(sync_wait_ms(&following.sync), REPOSITORY_WATCH_POLL_MS);
    assert_logged(&following.log, "warning: cannot watch 100%d\n");
    (void)sync_wait_ms(&following.sync);
    assert_logged(&following.log, "");
}

/* --- another --- */

static void the_first_look_has_to_succeed(void **state)
{
    (void)state;
    assert_int_equal(sync_fixture_init(tree_path("/none")), GP_NOT_FOUND);
    assert_non_null(strstr(following.err.message, "is not there"));
    assert_false(following.f->models.has_repository);
    assert_serves("");
}

/* Then it is the same one, and what it serves stays, until its options differ. */
static void only_the_defaults_may_be_others(void **state)
{
    (void)state;
    assert_int_equal(sync_fixture_init(tree_root), GP_OK);
    const struct model *model = models_entry(&following.f->models, "m")->versions->model;
    following.defaults.n_slots = 2;
    tree_put("/n/1/model.onnx", "one");
    assert_int_equal(move_to(tree_path("")), GP_OK);
    assert_serves("m 1");
    look_twice();
    assert_serves("m 1  n 1");
    assert_ptr_equal(models_entry(&following.f->models, "m")->versions->model, model);
    const struct model_entry *n = models_entry(&following.f->models, "n");
    assert_int_equal(n->versions->model->slots.n, 2);
}

static void another_is_looked_at_at_once(void **state)
{
    (void)state;
    tree_put("/other/n/1/model.onnx", "one");
    tree_put("/.one/m/1/model.onnx", "one");
    assert_int_equal(sync_fixture_init(tree_path("/.one")), GP_OK);
    assert_serves("m 1");
    assert_int_equal(move_to(tree_path("/none")), GP_NOT_FOUND);
    assert_string_equal(following.sync.path, tree_path("/.one"));
    assert_true(following.f->models.has_repository);
    assert_int_equal(move_to(tree_path("/other")), GP_OK);
    assert_serves("m 1  n 1"); /* what has gone, two looks must miss */
    assert_string_equal(following.sync.path, tree_path("/other"));
    assert_true(following.f->models.has_repository);
    look_twice();
    assert_serves("n 1");
    assert_int_equal(move_to(NULL), GP_OK);
    assert_false(following.f->models.has_repository);
    assert_null(following.sync.path);
    assert_int_equal(sync_wait_ms(&following.sync), -1);
    tree_put("/other/o/1/model.onnx", "one");
    look_twice();
    assert_serves("n 1");
}

#define TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, sync_fixture_begin, sync_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(without_one_there_is_no_look),        TEST(news_bring_the_next_look_forward),
        TEST(what_cannot_be_watched_is_said_once), TEST(the_first_look_has_to_succeed),
        TEST(only_the_defaults_may_be_others),     TEST(another_is_looked_at_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
