/* New options for a table of models: what is refused, and in which order the rest happens. */
#include "model/configure.h"
#include "models_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static struct models_fixture *f;
static struct sync no_repository;
static struct log no_log;
static atomic_bool is_ending;
static char echo[4096];
static bool is_refused;
static struct gp_error err;
static char at_root[600]; /* where "/" led when a model was left */

/* Called while a model is retired. */
static void note_root(void *context, struct model *model)
{
    (void)context;
    struct gp_error why;
    struct model *found = models_find(&f->models, "/", &why);
    (void)snprintf(at_root, sizeof at_root, "%s",
                   found ? found->metadata.name : why.message);
    if (found)
        model_drop(found);
    models_close(&f->models, model);
}

static int begin(void **state)
{
    models_fixture_begin(state);
    f = *state;
    f->host.left = note_root;
    f->host.log = &no_log;
    f->host.is_ending = &is_ending;
    atomic_store(&is_ending, false);
    (void)snprintf(echo, sizeof echo, "%s", fixture_engine("echo"));
    return 0;
}

/* Models of these names (ended by NULL), with so many slots. */
static enum gp_status configure(const char *const *names, unsigned n_slots,
                                const char *by_default)
{
    struct gp_model_options models[4] = {0};
    size_t n = 0;
    for (; names[n]; n++)
        models[n] = (struct gp_model_options){.size_bytes = sizeof *models,
                                              .name = *names[n] ? names[n] : NULL,
                                              .engine = echo,
                                              .n_slots = n_slots};
    const struct gp_server_options options = {
        .models = models, .n_models = n, .default_model = by_default};
    return configure_models(&f->models, &f->host, &no_repository, &options, &is_refused,
                            &err);
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void assert_there_are(const char *const *names)
{
    size_t n = 0;
    for (; names[n]; n++)
        assert_string_equal(f->models.entries[n]->name, names[n]);
    assert_int_equal(f->models.n_entries, n);
}

static void the_root_leads_somewhere_all_the_time(void **state)
{
    (void)state;
    assert_int_equal(configure(NAMES("a"), 1, NULL), GP_OK);
    assert_int_equal(configure(NAMES("b"), 1, NULL), GP_OK);
    assert_there_are(NAMES("b"));
    assert_string_equal(at_root, "b");
    assert_int_equal(configure(NAMES("b", "c"), 1, NULL), GP_OK);
    assert_string_equal(f->models.default_name, "b"); /* stays */
    assert_int_equal(configure(NAMES("c", "d"), 1, "d"), GP_OK);
    assert_string_equal(at_root, "d");
    assert_int_equal(configure(NAMES("c", "e"), 1, NULL), GP_OK);
    assert_null(f->models.default_name); /* none of several */
}

static void one_is_opened_anew_beside_the_other(void **state)
{
    (void)state;
    assert_int_equal(configure(NAMES("a", "b"), 1, "a"), GP_OK);
    struct model *a = f->models.entries[0]->versions->model;
    assert_int_equal(configure(NAMES("a", "b"), 1, "a"), GP_OK);
    assert_ptr_equal(f->models.entries[0]->versions->model, a);
    assert_int_equal(configure(NAMES("a", "b"), 2, "a"), GP_OK);
    assert_string_equal(at_root, "a");
    assert_int_equal(f->models.entries[0]->versions->model->slots.n, 2);
    assert_int_equal(f->models.entries[1]->versions->model->slots.n, 2);
}

static void what_is_refused_changes_nothing(void **state)
{
    (void)state;
    static const struct {
        const char *names[4], *by_default, *message;
    } cases[] = {
        {{"b", "b"}, NULL, "two models are named \"b\""},
        {{"b", ""}, NULL, "a model has no name: wanted one that is part of its address"},
        {{""}, NULL, "a model has no name: wanted one that is part of its address"},
        {{"b", "a/b"}, NULL, "\"a/b\" cannot be a model's name"},
        {{"b"}, "a", "the default model is \"a\", and none is named so"},
    };
    assert_int_equal(configure(NAMES("a"), 1, NULL), GP_OK);
    struct model *a = f->models.entries[0]->versions->model;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(configure(cases[i].names, 2, cases[i].by_default), GP_INVALID);
        assert_true(is_refused);
        if (strncmp(err.message, cases[i].message, strlen(cases[i].message)) != 0)
            fail_msg("%s", err.message);
        assert_there_are(NAMES("a"));
        assert_ptr_equal(f->models.entries[0]->versions->model, a);
        assert_int_equal(f->models.entries[0]->options->n_slots, 1);
    }
    f->models.entries[0]->is_unnamed = true; /* then that is the one without a name */
    assert_int_equal(configure(NAMES(""), 2, NULL), GP_OK);
    assert_there_are(NAMES("a"));
    fixture_serve(f, fixture_add(f, "function"), 1);
    assert_int_equal(configure(NAMES("b"), 1, NULL), GP_UNSUPPORTED);
    assert_true(is_refused);
    assert_there_are(NAMES("a", "function"));
}

/* Nothing more is opened, and nothing goes either. */
static void a_server_that_ends_keeps_what_it_has(void **state)
{
    (void)state;
    assert_int_equal(configure(NAMES("a"), 1, NULL), GP_OK);
    atomic_store(&is_ending, true);
    assert_int_equal(configure(NAMES("b"), 1, NULL), GP_UNAVAILABLE);
    assert_string_equal(err.message, "model \"b\": the server is ending");
    assert_false(is_refused);
    assert_there_are(NAMES("a", "b"));
    assert_null(f->models.entries[1]->versions);
    assert_finds(f, "/", f->models.entries[0]->versions->model);
}

/* The one without a file is told, those that serve stay. */
static void one_that_does_not_load_is_told(void **state)
{
    (void)state;
    char none[] = "/nonexistent/engine.so";
    assert_int_equal(configure(NAMES("a"), 1, NULL), GP_OK);
    struct model *a = f->models.entries[0]->versions->model;
    memcpy(echo, none, sizeof none);
    assert_int_not_equal(configure(NAMES("a", "b"), 1, NULL), GP_OK);
    assert_false(is_refused);
    assert_non_null(strstr(err.message, "model \"a\": "));
    assert_finds(f, "/a", a);
    assert_int_not_equal(f->models.entries[1]->versions->error.status, GP_OK);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, models_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_root_leads_somewhere_all_the_time),
        TEST(one_is_opened_anew_beside_the_other),
        TEST(what_is_refused_changes_nothing),
        TEST(a_server_that_ends_keeps_what_it_has),
        TEST(one_that_does_not_load_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
