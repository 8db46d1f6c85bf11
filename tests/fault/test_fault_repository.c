/* Looking at a repository with each allocation failing, and watching one where the kernel refuses. */
#include "base/clock.h"
#include "fault.h"
#include "model/policy.h"
#include "model/repository.h"
#include "model/repository_watch.h"
#include "temp_tree.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static int64_t now_ns;

/* Versions, one without a number, problems of each kind. */
static int set_up(void **state)
{
    if (tree_make(state) != 0)
        return -1;
    tree_put("/r/a/1/model.onnx", "");
    tree_put("/r/a/1/weights/w", "");
    tree_put("/r/a/2/model.onnx/model.onnx", "");
    tree_put("/r/a/03/saved_model.pb", "");
    tree_put("/r/a/3/saved_model.pb", "");
    tree_put("/r/a/v4/model.onnx", "");
    tree_put("/r/b/model.onnx", "");
    tree_put("/r/bad name/model.onnx", "");
    tree_folder("/r/empty");
    tree_link("/r/out", "/");
    tree_link("/r/a/5", "/");
    tree_put("/r/stray.onnx", "");
    return 0;
}

static enum gp_status look_and_examine(struct gp_arena *arena, struct gp_error *err)
{
    struct catalog catalog;
    const struct model_policy all = {POLICY_NEWEST_N, .n = 9};
    enum gp_status status = repository_look(arena, tree_path("/r"), NULL, &catalog, err);
    for (size_t i = 0; i < catalog.n_models && status == GP_OK; i++) {
        struct catalog_model *model = &catalog.models[i];
        status = policy_choose(&all, model, err);
        for (size_t k = 0; k < model->n_versions && status == GP_OK; k++)
            status = repository_examine(&catalog, &model->versions[k], err);
    }
    if (status == GP_OK) {
        assert_int_equal(catalog.n_models, 2);
        assert_int_equal(catalog.models[0].n_versions, 2);
        assert_int_equal(catalog.n_problems, 7);
    }
    return status;
}

static enum gp_status look(void *arg, struct gp_error *err)
{
    (void)arg;
    struct gp_arena *arena = gp_arena_create();
    const enum gp_status status =
        arena ? look_and_examine(arena, err)
              : gp_error_set(err, GP_NO_MEMORY, "no memory for an arena");
    gp_arena_destroy(arena);
    return status;
}

static void each_allocation(void **state)
{
    (void)state;
    print_message("%u allocations failed\n", fault_each_allocation(look, NULL));
}

/* As the root of what is one model. */
static enum gp_status look_at_one(void *arg, struct gp_error *err)
{
    struct catalog catalog;
    struct gp_arena *arena = gp_arena_create();
    const enum gp_status status =
        arena ? repository_look(arena, tree_path(arg), NULL, &catalog, err)
              : gp_error_set(err, GP_NO_MEMORY, "no memory for an arena");
    gp_arena_destroy(arena);
    return status;
}

static void each_allocation_of_one_model(void **state)
{
    (void)state;
    static char versions[] = "/r/c", file[] = "/r/b";
    tree_put("/r/c/1/model.onnx", "");
    tree_put("/r/c/01/model.onnx", "");
    tree_put("/r/c/2/model.onnx", "");
    fault_each_allocation(look_at_one, versions);
    fault_each_allocation(look_at_one, file);
}

/* --- the watch ------------------------------------------------------------------------ */

static void next_look(struct repository_watch *watch)
{
    now_ns += REPOSITORY_WATCH_POLL_MS * CLOCK_MS;
    assert_int_equal(repository_watch_wait(watch, now_ns), 0);
    repository_watch_looked(watch, now_ns, true);
    assert_int_equal(repository_watch_wait(watch, now_ns), REPOSITORY_WATCH_POLL_MS);
}

/* Said once; there are looks all the same. */
static void assert_time_alone(unsigned calls, unsigned from, int error,
                              const char *message)
{
    struct gp_error err;
    struct repository_watch watch;
    const unsigned n_descriptors = fault_n_descriptors();
    repository_watch_init(&watch, tree_root, 0);
    fault_begin(&(struct fault){.calls = calls, .from = from, .n = 1, .error = error});
    next_look(&watch);
    assert_int_equal(fault_end(), 1);
    assert_int_equal(watch.fd, -1);
    assert_true(repository_watch_has_trouble(&watch, &err));
    assert_int_equal(err.status, GP_UNAVAILABLE);
    if (!strstr(err.message, message))
        fail_msg("wanted \"%s\" in \"%s\"", message, err.message);
    next_look(&watch);
    assert_false(repository_watch_has_trouble(&watch, &err));
    fault_check_descriptors(n_descriptors);
    repository_watch_finish(&watch);
}

static void refused_watches(void **state)
{
    (void)state;
    assert_time_alone(FAULT_INOTIFY_INIT, 0, EMFILE,
                      "Too many open files (raise fs.inotify.max_user_instances); it is "
                      "looked at every 5000 ms");
    assert_time_alone(FAULT_INOTIFY_INIT, 0, ENOSYS, "Function not implemented; it is");
    for (unsigned from = 0; from < 9; from++)
        assert_time_alone(FAULT_INOTIFY_ADD, from, ENOSPC,
                          "(raise fs.inotify.max_user_watches); it is looked at");
    assert_time_alone(FAULT_INOTIFY_ADD, 3, ENOMEM, "Cannot allocate memory");
}

/* Without memory there is less to watch until the next look, and nothing to be said. */
static void watch_without_memory(void **state)
{
    struct gp_error err;
    (void)state;
    unsigned from = 0, n_hit;
    do {
        struct repository_watch watch;
        repository_watch_init(&watch, tree_root, 0);
        fault_begin(&(struct fault){
            .calls = FAULT_MEMORY, .from = from++, .n = 1, .error = ENOMEM});
        next_look(&watch);
        n_hit = fault_end();
        next_look(&watch);
        assert_true(watch.fd >= 0);
        assert_false(repository_watch_has_trouble(&watch, &err));
        tree_put("/r/a/v4/model.onnx", "again");
        assert_true(repository_watch_wait(&watch, now_ns) <= REPOSITORY_WATCH_SETTLE_MS);
        repository_watch_finish(&watch);
    } while (n_hit);
    assert_true(from > 9);
}

static void interrupted(void **state)
{
    struct repository_watch watch;
    (void)state;
    repository_watch_init(&watch, tree_root, 0);
    next_look(&watch);
    tree_put("/r/a/v4/model.onnx", "again");
    fault_begin(&(struct fault){.calls = FAULT_READ, .n = 1, .error = EINTR});
    assert_int_equal(repository_watch_wait(&watch, now_ns), REPOSITORY_WATCH_SETTLE_MS);
    assert_int_equal(fault_end(), 1);
    repository_watch_finish(&watch);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tree_remove)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        TEST(each_allocation), TEST(each_allocation_of_one_model),
        TEST(refused_watches), TEST(watch_without_memory),
        TEST(interrupted),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
