/* A model whose engine runs in children: real ones, which the test ends. */
#include "engine/isolate_child.h"
#include "model/models.h"
#include "models_fixture.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 20000 };

static struct models_fixture *f;
static struct log silent;
static struct gp_error err;

static int begin(void **state)
{
    assert_int_equal(models_fixture_begin(state), 0);
    f = *state;
    f->host.log = &silent;
    f->host.worker = getenv("GP_BIN");
    f->host.n_cores = 2;
    f->host.hang_timeout_ms = 700;
    f->host.max_waiting = 8;
    return 0;
}

static struct model *open_isolated(const struct gp_model_options *given)
{
    struct gp_model_options options = *given;
    options.name = "m";
    options.engine = fixture_engine("telling");
    options.isolate = 1;
    struct model *model = model_open(&f->host, &options, 1, &err);
    if (!model)
        fail_msg("%s", err.message);
    return model;
}

static void each_slot_is_a_child(void **state)
{
    static const char *const texts[] = {"one=1"};
    (void)state;
    struct model *model = open_isolated(&(struct gp_model_options){.n_threads = 3});
    assert_int_equal(model->slots.n, 2); /* as many as there are cores */
    assert_ptr_equal(model->slots.isolate, model->isolate);
    assert_int_equal(f->poller.n_needed, 2);
    assert_int_equal(model->isolate->hang_ns, 700 * CLOCK_MS);
    assert_string_equal(model->engine->name, "telling");
    assert_string_equal(model->engine_version, model->engine->version);
    const struct pool_pair memory = isolate_memory(model->isolate);
    assert_non_null(memory.inputs);
    assert_ptr_equal(model->memory.inputs, memory.inputs);
    assert_ptr_equal(model->memory.outputs, memory.outputs);
    assert_non_null(strstr(model->description.summary, " 3 threads"));
    model_close(model);
    model = open_isolated(&(struct gp_model_options){.n_slots = 1,
                                                     .hang_timeout_ms = 500,
                                                     .path = "/some/file",
                                                     .engine_options = texts,
                                                     .n_engine_options = 1});
    assert_int_equal(model->slots.n, 1);
    assert_int_equal(model->isolate->hang_ns, 500 * CLOCK_MS);
    assert_non_null(strstr(model->description.summary, "/some/file 1 slots"));
    assert_non_null(strstr(model->description.summary, "one=1"));
    model_close(model);
}

/* The test is the thread that takes the news. */
static void await_restarts(struct model *model, uint64_t n)
{
    for (int i = 0; isolate_count(model->isolate).n_restarts < n ||
                    atomic_load(&model->slots.n_lost);
         i++) {
        assert_true(i < PATIENCE_MS);
        (void)still_serve(&f->poller);
        (void)usleep(1000);
    }
    assert_true(slots_are_idle(&model->slots));
}

static void a_child_that_ended_is_replaced(void **state)
{
    (void)state;
    struct model_entry *entry = fixture_add(f, "m");
    struct model_version *version = fixture_version(f, entry, 1);
    struct model *model = open_isolated(&(struct gp_model_options){.n_slots = 2});
    struct counts *counts = version->counts;
    counts_hold(counts);
    models_publish(&f->models, version, model);
    for (uint64_t n = 1; n <= 2; n++) { /* one after the other */
        assert_int_equal(kill(model->isolate->children[n - 1].pid, SIGKILL), 0);
        await_restarts(model, n);
    }
    (void)still_serve(&f->poller);
    assert_int_equal(model->n_users, 1); /* the news hold it no more */
    models_retire(&f->models, entry, version);
    assert_left(f, model);
    assert_int_equal(counters_sum(&counts->counters, COUNTS_CHILD_RESTARTS), 2);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(counters_sum(&counts->counters, COUNTS_CHILD_ENDED + i),
                         i == ISOLATE_SIGNAL ? 2 : 0);
    counts_drop(counts);
}

static struct store *give_store(void *context, struct gp_error *error)
{
    (void)error;
    return context;
}

/* It may have read other files than those that the cached rows are of. */
static void a_child_that_replaces_one_has_no_cached_rows(void **state)
{
    (void)state;
    f->host.need_store = give_store;
    f->host.store_context = f;
    struct model *model =
        open_isolated(&(struct gp_model_options){.n_slots = 1, .cache = 1});
    models_publish(&f->models, fixture_version(f, fixture_add(f, "m"), 1), model);
    assert_true(atomic_load(&model->salt) == 0);
    assert_int_equal(kill(model->isolate->children[0].pid, SIGKILL), 0);
    await_restarts(model, 1);
    assert_true(atomic_load(&model->salt) != 0);
}

/* The supervisor has seen that its first child has ended. */
static void await_lost(struct isolate *isolate)
{
    bool is_lost = false;
    for (int i = 0; !is_lost; i++) {
        assert_true(i < PATIENCE_MS);
        (void)usleep(1000);
        pthread_mutex_lock(&isolate->lock);
        is_lost = isolate->children[0].is_lost_news;
        pthread_mutex_unlock(&isolate->lock);
    }
}

/* One that ended before it was served, too. */
static void news_are_taken_once_it_is_served(void **state)
{
    (void)state;
    struct model *model = open_isolated(&(struct gp_model_options){.n_slots = 1});
    assert_int_equal(kill(model->isolate->children[0].pid, SIGKILL), 0);
    await_lost(model->isolate);
    assert_int_equal(still_serve(&f->poller), 0);
    assert_int_equal(model->n_users, 1);
    models_publish(&f->models, fixture_version(f, fixture_add(f, "m"), 1), model);
    await_restarts(model, 1);
}

static void children_look_for_engines_where_the_host_does(void **state)
{
    char folder[4096];
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/lib/graphpipe-test",
                   getenv("GP_BUILD_DIR"));
    const struct gp_model_options options = {
        .engine = "telling", .isolate = 1, .n_slots = 1};
    assert_null(model_open(&f->host, &options, 1, &err));
    f->host.engine_dir = folder;
    struct model *model = model_open(&f->host, &options, 1, &err);
    if (!model)
        fail_msg("%s", err.message);
    model_close(model);
}

/* An engine that is a Python program runs in no other way. */
static void a_script_is_isolated(void **state)
{
    static const char *const python[] = {"python=/nonexistent/python"};
    char folder[4096];
    (void)state;
    (void)snprintf(folder, sizeof folder, "%s/lib/graphpipe", getenv("GP_BUILD_DIR"));
    f->host.engine_dir = folder;
    const struct gp_model_options options = {.engine = "python",
                                             .path = "/some/model.py",
                                             .engine_options = python,
                                             .n_engine_options = 1,
                                             .n_slots = 1};
    assert_null(model_open(&f->host, &options, 1, &err));
    if (!strstr(err.message, "/nonexistent/python"))
        fail_msg("%s", err.message);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, models_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_slot_is_a_child),
        TEST(a_child_that_ended_is_replaced),
        TEST(a_child_that_replaces_one_has_no_cached_rows),
        TEST(news_are_taken_once_it_is_served),
        TEST(children_look_for_engines_where_the_host_does),
        TEST(a_script_is_isolated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
