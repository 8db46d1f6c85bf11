/* Models in their table: why one is not ready, and that each goes once, after the last who holds it. */
#include "models_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* --- states --- */

static void a_model_is_not_ready_yet(void **state)
{
    static const struct {
        enum model_state state;
        const char *message;
    } cases[] = {
        {MODEL_LOADING, "model \"a\" is not ready: it is loading"},
        {MODEL_FAILED, "model \"a\" is not ready: it is failed"},
        {MODEL_UNLOADED, "model \"a\" is not ready: it is unloaded"},
    };
    struct models_fixture *f = *state;
    struct model_entry *a = fixture_add(f, "a");
    assert_refuses(f, "/a", GP_UNAVAILABLE,
                   "model \"a\" is not ready: it is not loaded yet");
    struct model_version *version = fixture_version(f, a, 4);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        models_set_state(&f->models, version, cases[i].state, NULL);
        assert_refuses(f, "/a", GP_UNAVAILABLE, cases[i].message);
        assert_refuses(f, "/a/versions/4", GP_UNAVAILABLE, cases[i].message);
    }
}

static void why_a_model_failed_is_told(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error why;
    struct model_entry *a = fixture_add(f, "a");
    gp_error_set(&why, GP_INVALID, "an empty folder");
    models_set_error(&f->models, a, &why);
    assert_refuses(f, "/a", GP_UNAVAILABLE, "model \"a\" is not ready: an empty folder");
    models_set_error(&f->models, a, NULL);
    assert_refuses(f, "/a", GP_UNAVAILABLE,
                   "model \"a\" is not ready: it is not loaded yet");
    struct model_version *version = fixture_version(f, a, 4);
    gp_error_set(&why, GP_IO, "no such file");
    models_set_state(&f->models, version, MODEL_FAILED, &why);
    assert_refuses(f, "/a", GP_UNAVAILABLE, "model \"a\" is not ready: no such file");
    gp_error_set(&why, GP_IO, "%0200d", 0);
    models_set_state(&f->models, version, MODEL_FAILED, &why);
    char wanted[256]; /* as much as there is room for */
    (void)snprintf(wanted, sizeof wanted, "model \"a\" is not ready: %0180d", 0);
    assert_refuses(f, "/a", GP_UNAVAILABLE, wanted);
    models_set_state(&f->models, version, MODEL_LOADING, NULL);
    assert_refuses(f, "/a", GP_UNAVAILABLE, "model \"a\" is not ready: it is loading");
}

/* What is served stays so while its successor loads, and if that fails. */
static void one_that_is_served_stays_ready(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error why;
    struct model_entry *a = fixture_add(f, "a");
    struct model *model = fixture_serve(f, a, 4);
    struct model_version *version = a->versions;
    models_set_state(&f->models, version, MODEL_LOADING, NULL);
    assert_int_equal(version->state, MODEL_READY);
    assert_finds(f, "/a", model);
    gp_error_set(&why, GP_IO, "no such file");
    models_set_state(&f->models, version, MODEL_FAILED, &why);
    assert_int_equal(version->state, MODEL_READY);
    assert_string_equal(version->error.message, "no such file");
    assert_finds(f, "/a/versions/4", model);
    assert_true(models_are_ready(&f->models, &why));
    models_publish(&f->models, version, fixture_open(f));
    assert_int_equal(version->error.status, GP_OK);
    assert_left(f, model);
}

/* A higher one that is not ready does not take the place of a lower one that is. */
static void the_highest_that_is_ready_answers(void **state)
{
    struct models_fixture *f = *state;
    struct model_entry *a = fixture_add(f, "a");
    assert_null(models_newest(a));
    struct model_version *fifth = fixture_version(f, a, 5);
    fixture_version(f, a, 4);
    assert_ptr_equal(models_newest(a), fifth); /* to say what it is */
    struct model *third = fixture_serve(f, a, 3);
    assert_finds(f, "/a", third);
    assert_ptr_equal(models_newest(a)->model, third);
    assert_refuses(f, "/a/versions/5", GP_UNAVAILABLE,
                   "model \"a\" is not ready: it is loading");
    struct model *second = fixture_serve(f, a, 2);
    assert_finds(f, "/a", third);
    assert_finds(f, "/a/versions/2", second);
    struct model *newest = fixture_open(f);
    models_publish(&f->models, fifth, newest);
    assert_finds(f, "/a", newest);
}

static void all_are_ready_or_one_is_not(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error err;
    assert_false(models_are_ready(&f->models, &err));
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_string_equal(err.message, "there is no model");
    struct model_entry *b = fixture_add(f, "b");
    assert_false(models_are_ready(&f->models, &err));
    assert_string_equal(err.message, "model \"b\" is not ready: it is not loaded yet");
    struct model_version *version = fixture_version(f, b, 1);
    models_publish(&f->models, version, fixture_open(f));
    err = (struct gp_error){0};
    assert_true(models_are_ready(&f->models, &err));
    assert_int_equal(err.status, GP_OK);
    fixture_version(f, b, 2); /* it loads; another answers */
    assert_true(models_are_ready(&f->models, &err));
    struct model_entry *a = fixture_add(f, "a");
    gp_error_set(&err, GP_IO, "no such file");
    models_set_state(&f->models, fixture_version(f, a, 1), MODEL_FAILED, &err);
    assert_false(models_are_ready(&f->models, &err));
    assert_int_equal(err.status, GP_UNAVAILABLE);
    assert_string_equal(err.message, "model \"a\" is not ready: no such file");
    a->is_unloaded = true; /* nobody waits for it */
    assert_true(models_are_ready(&f->models, &err));
}

/* One that comes while others serve is waited for only once it could not be loaded. */
static void one_that_joins_is_not_waited_for(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error err;
    fixture_serve(f, fixture_add(f, "a"), 1);
    f->models.is_serving = true;
    struct model_entry *b = fixture_add(f, "b"), *c = fixture_add(f, "c");
    struct model_version *version = fixture_version(f, b, 1);
    models_set_state(&f->models, version, MODEL_LOADING, NULL);
    models_set_error(&f->models, c, NULL);
    assert_true(models_are_ready(&f->models, &err));
    assert_refuses(f, "/b", GP_UNAVAILABLE, "model \"b\" is not ready: it is loading");
    models_end_joining(&f->models, b);
    assert_false(models_are_ready(&f->models, &err));
    models_publish(&f->models, version, fixture_open(f));
    assert_true(models_are_ready(&f->models, &err));
    gp_error_set(&err, GP_IO, "no such version");
    models_set_error(&f->models, c, &err);
    assert_false(models_are_ready(&f->models, &err));
}

/* --- options --- */

static void options_are_replaced(void **state)
{
    struct models_fixture *f = *state;
    static const struct gp_model_alias aliases[] = {{"stable", 1}, {"canary", 2}};
    struct gp_error err;
    struct model_entry *a = fixture_add(f, "a");
    struct model *first = fixture_serve(f, a, 1), *second = fixture_serve(f, a, 2);
    for (unsigned i = 0; i < 3; i++) {
        const struct gp_model_options options = {
            .name = a->name, .aliases = &aliases[i % 2], .n_aliases = 1, .n_slots = i};
        assert_int_equal(models_set_options(&f->models, a, &options, &err), GP_OK);
        assert_int_equal(a->options->n_slots, i);
        assert_finds(f, i % 2 ? "/a/versions/canary" : "/a/versions/stable",
                     i % 2 ? second : first);
        assert_refuses(f, i % 2 ? "/a/versions/stable" : "/a/versions/canary",
                       GP_NOT_FOUND,
                       i % 2 ? "model \"a\" has no version or alias \"stable\"; there "
                               "are: 2, 1"
                             : "model \"a\" has no version or alias \"canary\"; there "
                               "are: 2, 1");
    }
    assert_string_equal(a->name, "a");
}

/* --- who holds a model, and when it goes --- */

static void whoever_finds_one_holds_it(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error err;
    struct model *model = fixture_serve(f, fixture_add(f, "a"), 1);
    assert_int_equal(model->n_users, 1); /* the table */
    assert_ptr_equal(models_find(&f->models, "/a", &err), model);
    assert_ptr_equal(models_find(&f->models, "/a/versions/1", &err), model);
    assert_true(model_hold(model));
    assert_int_equal(model->n_users, 4);
    for (unsigned n = 3; n > 0; n--) {
        model_drop(model);
        assert_int_equal(model->n_users, n);
    }
    assert_int_equal(f->n_left, 0);
}

static void one_that_is_replaced_goes_with_its_last_user(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error err;
    struct model_entry *a = fixture_add(f, "a");
    struct model *first = fixture_serve(f, a, 1);
    assert_ptr_equal(models_find(&f->models, "/a", &err), first);
    assert_ptr_equal(models_find(&f->models, "/a", &err), first);
    struct model *second = fixture_serve(f, a, 1);
    assert_finds(f, "/a", second);
    assert_true(model_hold(first)); /* by one who has it */
    model_drop(first);
    model_drop(first);
    assert_int_equal(f->n_left, 0);
    model_drop(first);
    assert_left(f, first);
    struct model *third = fixture_serve(f, a, 1); /* nobody has the second */
    assert_left(f, second);
    assert_finds(f, "/a", third);
}

static void one_that_is_retired_goes_with_its_last_user(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error err;
    struct model_entry *a = fixture_add(f, "a");
    struct model *first = fixture_serve(f, a, 1);
    struct model *second = fixture_serve(f, a, 2);
    fixture_version(f, a, 3);
    models_retire(&f->models, a, a->versions); /* has no model */
    assert_ptr_equal(models_find(&f->models, "/a", &err), second);
    models_retire(&f->models, a, a->versions);
    assert_finds(f, "/a", first);
    assert_refuses(f, "/a/versions/2", GP_NOT_FOUND,
                   "model \"a\" has no version or alias \"2\"; there are: 1");
    assert_int_equal(f->n_left, 0);
    model_drop(second);
    assert_left(f, second);
    models_retire(&f->models, a, a->versions);
    assert_left(f, first);
    assert_refuses(f, "/a", GP_UNAVAILABLE,
                   "model \"a\" is not ready: it is not loaded yet");
}

/* --- all of them --- */

struct visits {
    struct models_fixture *f;
    struct model *seen[4];
    unsigned n;
    struct model_entry *retires; /* at the first visit */
};

static void visit_model(struct model *model, void *arg)
{
    struct visits *visits = arg;
    assert_true(visits->n < 4);
    assert_true(model->n_users > 1); /* held meanwhile */
    visits->seen[visits->n++] = model;
    if (!visits->retires)
        return;
    while (visits->retires->versions)
        models_retire(&visits->f->models, visits->retires, visits->retires->versions);
    visits->retires = NULL;
}

static void visit_each(struct models_fixture *f, struct visits *visits)
{
    visits->f = f;
    visits->n = 0;
    models_each(&f->models, visit_model, visits);
}

static void those_with_a_run_are_visited(void **state)
{
    struct models_fixture *f = *state;
    struct visits visits = {.f = f};
    struct model *model = fixture_serve(f, fixture_add(f, "a"), 1);
    fixture_serve(f, fixture_add(f, "b"), 1);
    models_each_busy(&f->models, visit_model, &visits);
    assert_int_equal(visits.n, 0);
    atomic_store(&model->slots.n_taken, 1);
    models_each_busy(&f->models, visit_model, &visits);
    assert_int_equal(visits.n, 1);
    assert_ptr_equal(visits.seen[0], model);
    atomic_store(&model->slots.n_taken, 0);
}

/* Those too that are no longer served but still held; not those that nobody holds. */
static void each_that_is_open_is_visited(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error err;
    struct visits visits = {.retires = NULL};
    struct model_entry *a = fixture_add(f, "a");
    visit_each(f, &visits);
    assert_int_equal(visits.n, 0);
    struct model *first = fixture_serve(f, a, 1);
    struct model *other = fixture_serve(f, fixture_add(f, "b"), 1);
    assert_ptr_equal(models_find(&f->models, "/a", &err), first);
    struct model *second = fixture_serve(f, a, 1);
    visit_each(f, &visits);
    assert_int_equal(visits.n, 3);
    assert_ptr_equal(visits.seen[0], second);
    assert_ptr_equal(visits.seen[1], other);
    assert_ptr_equal(visits.seen[2], first);
    model_drop(first);
    visit_each(f, &visits);
    assert_int_equal(visits.n, 2);
    assert_left(f, first);
    visit_each(f, &visits);
    assert_int_equal(visits.n, 2);
    assert_int_equal(second->n_users, 1);
    assert_int_equal(other->n_users, 1);
}

/* The one that is visited, and the one after it, go meanwhile: the former when its visit is over, the
 * latter is passed by. */
static void each_while_some_are_retired(void **state)
{
    struct models_fixture *f = *state;
    struct model_entry *a = fixture_add(f, "a"), *b = fixture_add(f, "b");
    struct model *last = fixture_serve(f, b, 1);
    fixture_serve(f, a, 1);
    struct model *first = fixture_serve(f, a, 2);
    struct visits visits = {.retires = a};
    visit_each(f, &visits);
    assert_int_equal(visits.n, 2);
    assert_ptr_equal(visits.seen[0], first);
    assert_ptr_equal(visits.seen[1], last);
    assert_int_equal(f->n_left, 2);
    visit_each(f, &visits); /* those two are on the list still */
    assert_int_equal(visits.n, 1);
    assert_ptr_equal(visits.seen[0], last);
}

static void add_name(const struct model_entry *entry, void *names)
{
    (void)strcat(names, entry->name);
}

static void remove_entry(struct model_entry *entry, void *arg)
{
    struct models_fixture *f = arg;
    if (entry->name[0] != 'c')
        models_remove(&f->models, entry);
}

static void names_are_in_order(void **state)
{
    struct models_fixture *f = *state;
    char names[16] = "";
    fixture_add(f, "d");
    fixture_add(f, "b");
    fixture_add(f, "c");
    fixture_add(f, "a");
    models_list(&f->models, add_name, names);
    assert_string_equal(names, "abcd");
    models_each_entry(&f->models, remove_entry, f);
    names[0] = '\0';
    models_list(&f->models, add_name, names);
    assert_string_equal(names, "c");
}

#define TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, models_fixture_begin, models_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_model_is_not_ready_yet),
        TEST(why_a_model_failed_is_told),
        TEST(one_that_is_served_stays_ready),
        TEST(the_highest_that_is_ready_answers),
        TEST(all_are_ready_or_one_is_not),
        TEST(one_that_joins_is_not_waited_for),
        TEST(options_are_replaced),
        TEST(whoever_finds_one_holds_it),
        TEST(one_that_is_replaced_goes_with_its_last_user),
        TEST(one_that_is_retired_goes_with_its_last_user),
        TEST(each_that_is_open_is_visited),
        TEST(those_with_a_run_are_visited),
        TEST(each_while_some_are_retired),
        TEST(names_are_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
