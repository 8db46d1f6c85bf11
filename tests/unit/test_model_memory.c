/* Memory that runs out while models are opened, warmed up and followed: each allocation fails in turn,
 * which is told, and nothing is left of what was begun. And threads that cannot be made. */
#include "fault.h"
#include "loader_fixture.h"
#include "model/load.h"
#include "model/warm_up.h"
#include "recorded.h"
#include "turned_clock.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

static const char *echo;

static int begin(void **state)
{
    assert_int_equal(loader_fixture_begin(state), 0);
    echo = fixture_engine("echo");
    const struct gp_model_options options = {.engine = echo, .n_slots = 1};
    model_close(model_open(&loading.f->host, &options, 1, NULL)); /* it is loaded now */
    return 0;
}

/* --- the table --- */

static enum gp_status fill_table(void *arg, struct gp_error *err)
{
    static const struct gp_model_alias aliases[] = {{"stable", 1}};
    static const char *const texts[] = {"a"};
    static const uint64_t versions[] = {1};
    const struct gp_model_options options = {.name = "a",
                                             .path = "/a",
                                             .aliases = aliases,
                                             .n_aliases = 1,
                                             .inputs = texts,
                                             .n_inputs = 1,
                                             .versions = versions,
                                             .n_versions = 1};
    struct models models = {0};
    struct model_entry *entry;
    (void)arg;
    models_init(&models);
    enum gp_status status = GP_OK;
    entry = models_add(&models, &options, err);
    if (!entry)
        status = err->status;
    if (status == GP_OK)
        status = models_set_default(&models, "a", err);
    if (status == GP_OK)
        status = models_set_options(&models, entry, &options, err);
    for (uint64_t number = 1; number < 3 && status == GP_OK; number++)
        if (!models_version(&models, entry, number))
            status = gp_error_set(err, GP_NO_MEMORY, "no version");
    assert_int_equal(models.n_entries, entry != NULL);
    models_finish(&models);
    return status;
}

/* --- opening --- */

static enum gp_status open_one(const struct gp_model_options *options,
                               struct gp_error *err)
{
    struct model *model = model_open(&loading.f->host, options, 1, err);
    if (model)
        model_close(model);
    assert_int_equal(loading.f->poller.n_needed, 0);
    return model ? GP_OK : err->status;
}

static enum gp_status open_here(void *arg, struct gp_error *err)
{
    (void)arg;
    return open_one(&(struct gp_model_options){.name = "a", .engine = echo}, err);
}

static enum gp_status open_with_threads(void *arg, struct gp_error *err)
{
    return open_one(
        &(struct gp_model_options){.name = "a",
                                   .engine = arg,
                                   .engine_options = (const char *const[]){"pinned"},
                                   .n_engine_options = 1,
                                   .n_slots = 2},
        err);
}

static enum gp_status answer_nothing(void *self, const struct gp_call *call,
                                     struct gp_outputs *outputs, struct gp_error *err)
{
    (void)self, (void)call, (void)outputs, (void)err;
    return GP_OK;
}

static enum gp_status open_function(void *arg, struct gp_error *err)
{
    const struct gp_model_options options = {.name = "a", .n_slots = 1};
    struct model *model =
        model_open_function(&loading.f->host, answer_nothing, arg, &options, NULL, err);
    if (model)
        model_close(model);
    return model ? GP_OK : err->status;
}

/* A loader and a table of their own, for what is opened before the thread. */
static enum gp_status with_loader(bool is_lone, struct gp_error *err)
{
    struct models models = {0};
    struct loader loader = {0};
    struct gp_model_options options = {.name = "a", .engine = echo, .n_slots = 1};
    models_init(&models);
    enum gp_status status = loader_init(&loader, &models, &loading.f->host, err);
    if (status == GP_OK && is_lone)
        status = loader_open(&loader, &options, err);
    if (status == GP_OK && !is_lone)
        status = loader_declare(&loader, &options, err);
    options.name = "b";
    if (status == GP_OK && !is_lone)
        status = loader_declare(&loader, &options, err);
    if (status == GP_OK && !is_lone)
        status = loader_open_declared(&loader, false, err);
    assert_int_equal(loading.f->poller.n_needed, status != GP_OK ? 0 : is_lone ? 1 : 2);
    models_finish(&models);
    loader_finish(&loader);
    return status;
}

static enum gp_status open_lone(void *arg, struct gp_error *err)
{
    (void)arg;
    return with_loader(true, err);
}

static enum gp_status open_declared(void *arg, struct gp_error *err)
{
    (void)arg;
    return with_loader(false, err);
}

/* --- requests --- */

static bool is_not_left(const struct inference *inference)
{
    (void)inference;
    return false;
}

/* Of the model `arg`, whose inputs are a and b. */
static enum gp_status bind(void *arg, struct gp_error *err)
{
    static const int64_t one[] = {1};
    static const char *const outputs[] = {"x", "y", "x"};
    static const char byte;
    const struct gp_tensor inputs[] = {
        {.name = "b", .dtype = GP_INT8, .rank = 1, .shape = one, .data = &byte},
        {.name = "a", .dtype = GP_INT8, .rank = 1, .shape = one, .data = &byte}};
    const struct gp_request request = {
        .call = {
            .inputs = inputs, .n_inputs = 2, .output_names = outputs, .n_outputs = 3}};
    struct inference inference = {.model = arg,
                                  .arena = gp_arena_create(),
                                  .is_left = is_not_left,
                                  .request = &request};
    if (!inference.arena)
        return gp_error_set(err, GP_NO_MEMORY, "no arena");
    engine_run_init(&inference.run.engine_run, loading.f->host.pool, inference.arena);
    if (!model_bind(&inference) || !model_settle(&inference))
        *err = inference.error;
    engine_run_finish(&inference.run.engine_run);
    gp_arena_destroy(inference.arena);
    return err->status;
}

/* --- warm-ups --- */

static enum gp_status warm_up(const char *what, struct gp_error *err)
{
    const struct gp_model_options options = {.name = "a", .engine = echo, .n_slots = 2};
    struct model *model = model_open(&loading.loader.host, &options, 1, err);
    if (!model)
        return err->status;
    const enum gp_status status = warm_up_model(model, what, CLOCK_S, err);
    model_close(model);
    return status;
}

/* Blocks may be taken by one thread and given back by another. */
static void warm_up_failing(const char *what, unsigned n)
{
    unsigned from = 0, n_hit;
    assert_int_equal(warm_up(what, NULL), GP_OK); /* what the pool keeps, it has then */
    do {
        struct gp_error err = {0};
        const long n_live = fault_n_live();
        fault_begin(&(struct fault){
            .calls = FAULT_MEMORY, .from = from, .n = n, .error = ENOMEM});
        const enum gp_status status = warm_up(what, &err);
        n_hit = fault_end();
        assert_int_equal(status, n_hit ? GP_NO_MEMORY : GP_OK);
        assert_true(!n_hit || err.message[0]);
        assert_int_equal(fault_n_live(), n_live);
        from++;
    } while (n_hit);
    print_message("warm_up %s: %u allocations\n", what, from - 1);
    assert_true(from > 1);
}

#define FAILS_EACH(scenario, arg)                                                        \
    print_message(#scenario ": %u allocations\n", fault_each_allocation(scenario, arg))

static void each_is_told(void **state)
{
    char slow[4096];
    (void)state;
    (void)snprintf(slow, sizeof slow, "%s", fixture_engine("slow"));
    FAILS_EACH(fill_table, NULL);
    FAILS_EACH(open_here, NULL);
    FAILS_EACH(open_with_threads, slow);
    FAILS_EACH(open_function, NULL);
    FAILS_EACH(open_lone, NULL);
    FAILS_EACH(open_declared, NULL);
    struct model *model = model_open(
        &loading.f->host, &(struct gp_model_options){.engine = fixture_engine("telling")},
        1, NULL);
    FAILS_EACH(bind, model);
    model_close(model);
}

static void a_warm_up_fails_whole(void **state)
{
    char recorded[600];
    (void)state;
    loading.loader.host.n_cores = 2;
    recorded_put("/many/a", "input0", 1, NULL);
    recorded_put("/many/b", "input0", 1, NULL);
    (void)snprintf(recorded, sizeof recorded, "%s", tree_path("/many"));
    for (unsigned n = 0; n < 2; n++) {
        warm_up_failing("2", n);
        warm_up_failing(recorded, n);
    }
}

/* --- threads --- */

static void fail_threads(unsigned from)
{
    fault_begin(&(struct fault){
        .calls = FAULT_PTHREAD_CREATE, .from = from, .n = 1, .error = EAGAIN});
}

static void a_thread_that_is_missing_is_told(void **state)
{
    char slow[4096];
    (void)state;
    (void)snprintf(slow, sizeof slow, "%s", fixture_engine("slow"));
    for (unsigned i = 0; i < 2; i++) {
        char wanted[80];
        (void)snprintf(wanted, sizeof wanted,
                       "cannot make a thread for slot %u of 2: *; fewer --instances*", i);
        fail_threads(i);
        assert_int_equal(open_with_threads(slow, &loading.err), GP_UNAVAILABLE);
        assert_int_equal(fault_end(), 1);
        assert_error(GP_UNAVAILABLE, wanted);
    }
    loading.loader.host.n_cores = 2;
    for (unsigned i = 0; i < 2; i++) {
        fail_threads(i);
        assert_int_equal(warm_up("2", &loading.err), GP_UNAVAILABLE);
        assert_int_equal(fault_end(), 1);
        assert_error(GP_UNAVAILABLE, "warm-up: cannot make a thread: *");
    }
    fail_threads(0);
    assert_int_equal(loader_start(&loading.loader, &loading.err), GP_UNAVAILABLE);
    assert_int_equal(fault_end(), 1);
    assert_error(GP_UNAVAILABLE, "cannot make a thread to load models: *");
    assert_int_equal(loading_order(LOADER_LOAD, "a"), GP_UNAVAILABLE);
    loading_start();
}

/* From then on only time counts. */
static void what_cannot_be_watched_is_told(void **state)
{
    static const struct {
        unsigned calls;
        int error;
        const char *message;
    } cases[] = {
        {FAULT_INOTIFY_INIT, EMFILE,
         "cannot watch the repository *: *(raise fs.inotify.max_user_instances); it is "
         "looked at every 7000 ms"},
        {FAULT_INOTIFY_INIT, ENFILE,
         "cannot watch the repository *: Too many open files in system; it is*"},
        {FAULT_INOTIFY_ADD, ENOSPC, "*(raise fs.inotify.max_user_watches); it is*"},
        {FAULT_INOTIFY_ADD, ENOMEM, "*: Cannot allocate memory; it is*"},
        {FAULT_INOTIFY_ADD, EACCES, NULL}, /* a look says why */
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct repository_watch watch;
        repository_watch_init(&watch, tree_root, 7000);
        fault_begin(&(struct fault){.calls = cases[i].calls, .error = cases[i].error});
        assert_int_equal(repository_watch_wait(&watch, CLOCK_S), 0);
        assert_int_equal(fault_end(), 1);
        assert_int_equal(repository_watch_has_trouble(&watch, &loading.err),
                         cases[i].message != NULL);
        assert_int_equal(watch.has_given_up, cases[i].message != NULL);
        assert_int_equal(watch.fd < 0, cases[i].message != NULL);
        if (cases[i].message)
            assert_error(GP_UNAVAILABLE, cases[i].message);
        repository_watch_looked(&watch, CLOCK_S, true);
        assert_int_equal(repository_watch_wait(&watch, 9 * CLOCK_S), 0);
        assert_int_equal(watch.fd < 0, cases[i].message != NULL);
        assert_false(repository_watch_has_trouble(&watch, &loading.err));
        repository_watch_finish(&watch);
    }
}

static void a_loader_needs_a_descriptor(void **state)
{
    struct loader loader = {0};
    struct gp_error *err = &loading.err;
    (void)state;
    fault_begin(&(struct fault){.calls = FAULT_EVENTFD, .error = EMFILE});
    assert_int_equal(loader_init(&loader, &loading.f->models, &loading.f->host, err),
                     GP_UNAVAILABLE);
    assert_int_equal(fault_end(), 1);
    assert_error(GP_UNAVAILABLE, "cannot make a loader of models: *");
    loader_finish(&loader);
}

/* --- a repository --- */

/* All that the looks find is there, but for a load that has failed for want of memory, and says so. */
static void assert_found(struct models *models)
{
    const struct model_entry *m = models_entry(models, "m");
    assert_int_equal(models->n_entries, 1);
    assert_non_null(m->versions);
    if (!m->versions->model) {
        assert_int_equal(m->versions->state, MODEL_FAILED);
        assert_int_equal(m->versions->error.status, GP_NO_MEMORY);
    }
}

static void forget_all(struct models *models)
{
    while (models->n_entries) {
        load_retire_all(models, &loading.loader.host, models->entries[0]);
        models_remove(models, models->entries[0]);
    }
    loading.loader.host.close_left(&loading.loader);
}

/* A look that fails changes nothing, and the next ones make up for it. */
static unsigned look_failing(struct models *models, unsigned from)
{
    const struct gp_model_options defaults = {.engine = echo, .n_slots = 1};
    struct sync sync = {0};
    struct gp_error err = {0};
    fault_begin(
        &(struct fault){.calls = FAULT_MEMORY, .from = from, .n = 1, .error = ENOMEM});
    const enum gp_status status =
        sync_init(&sync, models, &loading.loader.host, tree_path("/r"), &defaults, &err);
    const unsigned n_hit = fault_end();
    if (status != GP_OK) {
        assert_int_equal(n_hit, 1);
        assert_int_equal(status, GP_NO_MEMORY);
        assert_true(err.message[0]);
    }
    for (int i = 0; i < 3 && status == GP_OK; i++) {
        turned_clock_add(60 * CLOCK_S);
        assert_int_equal(sync_look(&sync, NULL, &err), GP_OK);
    }
    if (status == GP_OK)
        assert_found(models);
    sync_finish(&sync);
    forget_all(models);
    return n_hit;
}

static void a_fingerprint_leaves_nothing(void **state)
{
    static const char *const paths[] = {"/m/saved_model.pb", "/m", "/none"};
    (void)state;
    tree_put("/m/saved_model.pb", "1");
    for (int i = 0; i < 3; i++)
        for (unsigned from = 0, n_hit = 1; n_hit; from++) {
            const long n_live = fault_n_live();
            fault_begin(
                &(struct fault){.calls = FAULT_MEMORY, .from = from, .error = ENOMEM});
            (void)load_fingerprint(tree_path(paths[i]));
            n_hit = fault_end();
            assert_int_equal(fault_n_live(), n_live);
        }
}

static void later_looks_make_up_for_it(void **state)
{
    struct models models = {0};
    unsigned from = 0;
    (void)state;
    tree_put("/r/m/1/model.onnx", "one");
    tree_put("/r/a b/1/model.onnx", "one");
    turned_clock_set(100 * CLOCK_S);
    models_init(&models);
    loading.loader.models = &models;
    (void)look_failing(&models, UINT_MAX); /* what the table keeps, it has then */
    const long n_live = fault_n_live();
    while (look_failing(&models, from)) {
        assert_int_equal(fault_n_live(), n_live);
        from++;
    }
    print_message("sync_init: %u allocations\n", from);
    assert_true(from > 0);
    loading.loader.models = &loading.f->models;
    models_finish(&models);
    turned_clock_end();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, loader_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(each_is_told),
        TEST(a_warm_up_fails_whole),
        TEST(a_thread_that_is_missing_is_told),
        TEST(what_cannot_be_watched_is_told),
        TEST(a_loader_needs_a_descriptor),
        TEST(a_fingerprint_leaves_nothing),
        TEST(later_looks_make_up_for_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
