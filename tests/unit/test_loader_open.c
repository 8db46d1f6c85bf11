/* Models that are opened before the loader's thread begins: one alone, a function, or those declared,
 * which are served all together or not at all. */
#include "loader_fixture.h"
#include "model/load.h"
#include "recorded.h"

#include <string.h>
#include <unistd.h>

static struct gp_model_options options_of(const char *name, const char *engine)
{
    return (struct gp_model_options){
        .name = name, .engine = fixture_engine(engine), .n_slots = 1};
}

static enum gp_status open_lone(const struct gp_model_options *options)
{
    return loader_open(&loading.loader, options, &loading.err);
}

/* Its threads are needed no more, so it is closed. */
static void assert_none_is_left(void)
{
    assert_null(loading.f->models.open);
    assert_int_equal(loading.f->poller.n_needed, 0);
}

static void a_lone_model_has_its_own_name(void **state)
{
    (void)state;
    struct gp_model_options options = options_of(NULL, "echo");
    assert_int_equal(open_lone(&options), GP_OK);
    const struct model_entry *entry = models_entry(&loading.f->models, "echo");
    assert_true(entry->is_declared);
    assert_true(entry->is_unnamed);
    assert_int_equal(entry->versions->number, 1);
    assert_int_equal(entry->versions->state, MODEL_READY);
    assert_int_equal(entry->versions->fingerprint, 0);
    assert_int_equal(entry->versions->model->version, 1);
    assert_ptr_equal(loading_find("/echo"), entry->versions->model);
}

static void a_lone_model_may_be_named(void **state)
{
    (void)state;
    tree_put("/file", "of a model");
    struct gp_model_options options = options_of("a", "echo");
    options.path = tree_path("/file");
    assert_int_equal(open_lone(&options), GP_OK);
    const struct model_entry *entry = models_entry(&loading.f->models, "a");
    assert_true(entry->is_declared);
    assert_false(entry->is_unnamed);
    assert_true(entry->versions->fingerprint != 0);
    assert_true(entry->versions->fingerprint == load_fingerprint(tree_path("/file")));
}

static void what_does_not_open_is_not_there(void **state)
{
    (void)state;
    struct gp_model_options options = options_of("a", "no such engine");
    assert_int_not_equal(open_lone(&options), GP_OK);
    options = options_of("a", "echo");
    options.warm_up = tree_path("/none");
    assert_int_equal(open_lone(&options), GP_INVALID);
    assert_error(GP_INVALID, "warm-up: cannot read \"*/none\": No such file*");
    assert_int_equal(loading.f->models.n_entries, 0);
    assert_none_is_left();
    loading_open("a", NULL);
    assert_int_equal(open_lone(&(struct gp_model_options){
                         .name = "a", .engine = fixture_engine("echo"), .n_slots = 2}),
                     GP_INVALID);
    assert_error(GP_INVALID, "two models are named \"a\"");
    assert_int_equal(loading.f->poller.n_needed, 1);
}

/* --- functions --- */

static enum gp_status count_call(void *self, const struct gp_call *call,
                                 struct gp_outputs *outputs, struct gp_error *err)
{
    unsigned *n = self;
    (void)call, (void)outputs;
    return ++*n == 3 ? gp_error_set(err, GP_ENGINE, "not a third time") : GP_OK;
}

static void a_function_is_warmed_up_and_served(void **state)
{
    (void)state;
    unsigned n_calls = 0;
    struct gp_model_options options = {.name = "f", .n_slots = 1, .warm_up = "2"};
    assert_int_equal(loader_open_function(&loading.loader, count_call, &n_calls, &options,
                                          NULL, &loading.err),
                     GP_OK);
    assert_int_equal(n_calls, 2);
    assert_non_null(loading_find("/f"));
    options.name = "g";
    assert_int_equal(loader_open_function(&loading.loader, count_call, &n_calls, &options,
                                          NULL, &loading.err),
                     GP_ENGINE);
    assert_error(GP_ENGINE, "warm-up request 1 of 2: not a third time");
    assert_null(models_entry(&loading.f->models, "g"));
    assert_int_equal(loading.f->poller.n_needed, 1);
}

/* --- declared ones --- */

static struct model_entry *declare(const struct gp_model_options *options)
{
    assert_int_equal(loader_declare(&loading.loader, options, &loading.err), GP_OK);
    struct model_entry *entry = models_entry(&loading.f->models, options->name);
    assert_true(entry->is_declared);
    assert_null(entry->versions);
    return entry;
}

static enum gp_status open_declared(bool has_repository)
{
    return loader_open_declared(&loading.loader, has_repository, &loading.err);
}

static void a_name_is_declared_once(void **state)
{
    (void)state;
    const struct gp_model_options options = options_of("a", "echo");
    declare(&options);
    assert_int_equal(loader_declare(&loading.loader, &options, &loading.err), GP_INVALID);
    assert_error(GP_INVALID, "two models are named \"a\"");
}

static void add_name(struct model *model, void *names)
{
    (void)strcat(names, model->metadata.name);
}

/* Listed by name. */
static void declared_models_are_served(void **state)
{
    static const char *const names[] = {"c", "a", "b"};
    char found[8] = "";
    (void)state;
    tree_put("/a", "of a model");
    for (int i = 0; i < 3; i++) {
        struct gp_model_options options = options_of(names[i], "echo");
        options.path = *names[i] == 'a' ? tree_path("/a") : NULL;
        declare(&options);
    }
    assert_int_equal(open_declared(false), GP_OK);
    models_each(&loading.f->models, add_name, found);
    assert_string_equal(found, "abc");
    for (size_t i = 0; i < 3; i++) {
        const struct model_version *version = loading.f->models.entries[i]->versions;
        assert_int_equal(version->number, 1);
        assert_int_equal(version->model->version, 1);
        assert_true(version->fingerprint == (i ? 0 : load_fingerprint(tree_path("/a"))));
    }
}

static void all_are_served_or_none(void **state)
{
    (void)state;
    char note[600];
    (void)snprintf(note, sizeof note, "note=%s", tree_path("/noted"));
    recorded_put("/request", "input0", 0, note);
    struct gp_model_options options = options_of("a", "echo");
    declare(&options);
    options = options_of("c", "slow"); /* is not opened any more */
    options.warm_up = tree_path("/request");
    declare(&options);
    options = options_of("b", "echo");
    options.warm_up = "x/y";
    declare(&options);
    assert_int_equal(open_declared(false), GP_INVALID);
    assert_error(GP_INVALID, "model \"b\": warm-up: cannot read \"x/y\": No such file*");
    assert_none_is_left();
    assert_null(loading_find("/a"));
    assert_int_not_equal(access(tree_path("/noted"), F_OK), 0);
}

/* They are opened at the same time, and both fail: the first by name is told. */
static void as_many_are_opened_together_as_there_are_cores(void **state)
{
    static const char *const meets[] = {"meets=2"};
    static const char *const names[] = {"b", "a"};
    (void)state;
    loading.loader.host.n_cores = 2;
    for (int i = 0; i < 2; i++) {
        struct gp_model_options options = options_of(names[i], "slow");
        options.engine_options = meets;
        options.n_engine_options = 1;
        options.warm_up = i ? "10001" : "10002";
        declare(&options);
    }
    assert_int_equal(open_declared(false), GP_INVALID);
    assert_error(GP_INVALID, "model \"a\": warm-up: at most 10000 requests, not 10001");
    assert_none_is_left();
}

/* Those without a path lie in the repository. */
static void what_lies_in_the_repository_is_left_to_it(void **state)
{
    (void)state;
    tree_put("/b", "of a model");
    struct gp_model_options options = options_of("a", "echo");
    const struct model_entry *inside = declare(&options);
    options.name = "b";
    options.path = tree_path("/b");
    const struct model_entry *outside = declare(&options);
    assert_int_equal(open_declared(true), GP_OK);
    assert_null(inside->versions);
    assert_ptr_equal(loading_find("/b"), outside->versions->model);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LOADER_TEST(a_lone_model_has_its_own_name),
        LOADER_TEST(a_lone_model_may_be_named),
        LOADER_TEST(what_does_not_open_is_not_there),
        LOADER_TEST(a_function_is_warmed_up_and_served),
        LOADER_TEST(a_name_is_declared_once),
        LOADER_TEST(declared_models_are_served),
        LOADER_TEST(all_are_served_or_none),
        LOADER_TEST(as_many_are_opened_together_as_there_are_cores),
        LOADER_TEST(what_lies_in_the_repository_is_left_to_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
