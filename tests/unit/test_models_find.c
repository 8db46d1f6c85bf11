/* Which model an address leads to, and what whoever asks for another is told. */
#include "models_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void a_name_is_a_whole_name(void **state)
{
    static const char *const names[] = {"resnet",    "res", "resnet50", "r",
                                        "resnet-50", "z",   "resnet.5", "A"};
    enum { N_NAMES = sizeof names / sizeof *names };
    struct models_fixture *f = *state;
    struct model *models[N_NAMES];
    char path[32];
    for (int i = 0; i < N_NAMES; i++)
        models[i] = fixture_serve(f, fixture_add(f, names[i]), 1);
    for (int i = 0; i < N_NAMES; i++) {
        (void)snprintf(path, sizeof path, "/%s", names[i]);
        assert_finds(f, path, models[i]);
        assert_ptr_equal(models_entry(&f->models, names[i])->versions->model, models[i]);
    }
    static const char *const others[] = {"re",        "resne", "resnet5",
                                         "resnet500", "a",     "zz"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        struct gp_error err;
        (void)snprintf(path, sizeof path, "/%s", others[i]);
        assert_null(models_find(&f->models, path, &err));
        assert_int_equal(err.status, GP_NOT_FOUND);
        assert_null(models_entry(&f->models, others[i]));
    }
    assert_refuses(f, "/resne", GP_NOT_FOUND,
                   "no model is named \"resne\"; there are: A, r, res, resnet, "
                   "resnet-50, resnet.5, resnet50, z");
}

static void a_name_is_taken_once(void **state)
{
    struct models_fixture *f = *state;
    const struct gp_model_options options = {.name = "a"};
    struct gp_error err;
    struct model_entry *entry = fixture_add(f, "a");
    assert_null(models_add(&f->models, &options, &err));
    assert_int_equal(err.status, GP_INVALID);
    assert_string_equal(err.message, "two models are named \"a\"");
    assert_ptr_equal(models_entry(&f->models, "a"), entry);
    models_remove(&f->models, entry);
    assert_null(models_entry(&f->models, "a"));
    assert_refuses(f, "/a", GP_NOT_FOUND, "no model is named \"a\"; there are: none");
    fixture_add(f, "a");
}

/* Its options are a copy. */
static void an_entry_has_options_of_its_own(void **state)
{
    struct models_fixture *f = *state;
    char name[] = "a", alias[] = "stable";
    struct gp_model_alias aliases[] = {{.name = alias, .version = 3}};
    struct gp_model_options options = {.name = name, .aliases = aliases, .n_aliases = 1};
    struct gp_error err;
    struct model_entry *entry = models_add(&f->models, &options, &err);
    assert_non_null(entry);
    struct model *third = fixture_serve(f, entry, 3);
    name[0] = alias[0] = 'x';
    aliases[0].version = 4;
    assert_finds(f, "/a/versions/stable", third);
}

static void without_a_name_it_is_the_default(void **state)
{
    static const char none[] = "none of the models is the one for \"/\" (default-model); "
                               "ask for /NAME of: a, b";
    static const char *const paths[] = {"/", "", "/?", "/?a=/b", "?x"};
    struct models_fixture *f = *state;
    struct gp_error err;
    assert_int_equal(models_set_default(&f->models, NULL, &err), GP_OK);
    struct model_entry *a = fixture_add(f, "a");
    struct model *model = fixture_serve(f, a, 1);
    assert_false(models_is_lone(&f->models));
    assert_int_equal(models_set_default(&f->models, NULL, &err),
                     GP_OK); /* the only one */
    assert_true(models_is_lone(&f->models));
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_finds(f, paths[i], model);
    struct model_entry *b = fixture_add(f, "b");
    struct model *other = fixture_serve(f, b, 1);
    assert_false(models_is_lone(&f->models));
    assert_finds(f, "/", model);
    assert_int_equal(models_set_default(&f->models, "b", &err), GP_OK);
    assert_finds(f, "/", other);
    assert_int_equal(models_set_default(&f->models, "c", &err), GP_INVALID);
    assert_finds(f, "/", other); /* as before */
    assert_string_equal(f->models.default_name, "b");
    assert_int_equal(models_set_default(&f->models, NULL, &err),
                     GP_OK); /* which of two? */
    assert_refuses(f, "/", GP_NOT_FOUND, none);
    assert_int_equal(models_set_default(&f->models, "c", &err), GP_INVALID);
    assert_string_equal(err.message, "the default model is \"c\", and none is named so");
    assert_int_equal(models_set_default(&f->models, "b", &err), GP_OK);
    models_retire(&f->models, b, b->versions);
    assert_left(f, other);
    models_remove(&f->models, b);
    assert_refuses(f, "/", GP_NOT_FOUND,
                   "none of the models is the one for \"/\" (default-model); "
                   "ask for /NAME of: a");
}

/* The highest that is ready, or the one that is asked for. */
static void versions_and_aliases(void **state)
{
    static const uint64_t numbers[] = {7, 12, 0, UINT64_MAX, 9, 10000000000000000000u};
    static const struct gp_model_alias aliases[] = {
        {.name = "stable", .version = 9},
        {.name = "stab", .version = 12},
        {.name = "gone", .version = 8},
        {.name = "9a", .version = 7},
    };
    static const struct gp_model_options options = {
        .name = "a", .aliases = aliases, .n_aliases = 4};
    struct models_fixture *f = *state;
    struct model *models[6];
    struct gp_error err;
    struct model_entry *a = models_add(&f->models, &options, &err);
    assert_non_null(a);
    for (int i = 0; i < 3; i++)
        models[i] = fixture_serve(f, a, numbers[i]);
    assert_finds(f, "/a", models[1]);
    for (int i = 3; i < 6; i++)
        models[i] = fixture_serve(f, a, numbers[i]);
    const struct model_version *v = a->versions;
    for (uint64_t before = v->number; (v = v->next); before = v->number)
        assert_true(v->number < before);
    assert_ptr_equal(models_version(&f->models, a, 9)->model, models[4]);
    assert_finds(f, "/a", models[3]);
    assert_finds(f, "/a?b", models[3]);
    assert_finds(f, "/a/versions/7", models[0]);
    assert_finds(f, "/a/versions/7?b/c", models[0]);
    assert_finds(f, "/a/versions/007", models[0]);
    assert_finds(f, "/a/versions/0", models[2]);
    assert_finds(f, "/a/versions/18446744073709551615", models[3]);
    assert_finds(f, "/a/versions/10000000000000000000", models[5]);
    assert_finds(f, "/a/versions/stable", models[4]);
    assert_finds(f, "/a/versions/stab?", models[1]);
    assert_finds(f, "/a/versions/9a", models[0]);
}

static void versions_that_are_not_there(void **state)
{
    static const char *const others[] = {"8",
                                         "stabl",
                                         "stable1",
                                         "gone",
                                         "-7",
                                         "+7",
                                         "7 ",
                                         "7.0",
                                         "0x7",
                                         "18446744073709551616",
                                         "18446744073709551623", /* 7, modulo 2^64 */
                                         "184467440737095516167",
                                         "100000000000000000000000000000000000000007"};
    static const struct gp_model_alias aliases[] = {{.name = "stable", .version = 9},
                                                    {.name = "gone", .version = 8}};
    static const struct gp_model_options options = {
        .name = "a", .aliases = aliases, .n_aliases = 2};
    struct models_fixture *f = *state;
    struct gp_error err;
    struct model_entry *a = models_add(&f->models, &options, &err);
    assert_non_null(a);
    assert_refuses(f, "/a/versions/1", GP_NOT_FOUND,
                   "model \"a\" has no version or alias \"1\"; there are: none");
    fixture_serve(f, a, 7);
    fixture_serve(f, a, 9);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char path[64], message[160];
        (void)snprintf(path, sizeof path, "/a/versions/%s", others[i]);
        (void)snprintf(message, sizeof message,
                       "model \"a\" has no version or alias \"%s\"; there are: 9, 7",
                       others[i]);
        assert_refuses(f, path, GP_NOT_FOUND, message);
    }
}

static void other_paths_are_nobodys(void **state)
{
    static const char *const paths[] = {
        "//",
        "//a",
        "/a/",
        "/a/b",
        "/a/versions",
        "/a/versions/",
        "/a/versions?",
        "/a/versions/?",
        "/a/versionss/1",
        "/a/versions/1/",
        "/a/versions/1/b",
        "/a/versions//1",
        "/a//versions/1",
        "//versions/1",
        "/versions/1",
        "versions/1",
    };
    struct models_fixture *f = *state;
    struct gp_error err;
    struct model *model = fixture_serve(f, fixture_add(f, "a"), 1);
    assert_int_equal(models_set_default(&f->models, "a", &err), GP_OK);
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_refuses(f, paths[i], GP_NOT_FOUND,
                       "no such path; a model is at /NAME, /NAME/versions/N or "
                       "/NAME/versions/ALIAS");
    assert_finds(f, "/a/versions/1", model);
    f->models.takes_any_path = true;
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++)
        assert_finds(f, paths[i], model);
}

#define A_60 "a12345678901234567890123456789012345678901234567890123456789"
#define B_60 "b12345678901234567890123456789012345678901234567890123456789"

/* All of them, or as many as there is room for and that there are more. */
static void a_refusal_lists_what_there_is(void **state)
{
    struct models_fixture *f = *state;
    struct gp_error err;
    struct model_entry *a = fixture_add(f, A_60);
    fixture_add(f, B_60);
    assert_refuses(f, "/x", GP_NOT_FOUND,
                   "no model is named \"x\"; there are: " A_60 ", " B_60);
    fixture_add(f, "c");
    assert_refuses(f, "/x", GP_NOT_FOUND,
                   "no model is named \"x\"; there are: " A_60 ", " B_60 ", ...");
    models_remove(&f->models, models_entry(&f->models, "c"));
    models_remove(&f->models, models_entry(&f->models, B_60));
    fixture_add(f, "b23456789012345678901234567890123456789012345678901234567"); /* 119 */
    fixture_add(f, "c");
    fixture_add(f, "d");
    assert_null(models_find(&f->models, "/x", &err));
    assert_non_null(strstr(err.message, "567, c, ..."));
    for (uint64_t i = 0; i < 6; i++) /* of 20 digits, and a comma */
        fixture_version(f, a, UINT64_MAX - i);
    assert_null(models_find(&f->models, "/" A_60 "/versions/1", &err));
    assert_non_null(strstr(err.message, ", 18446744073709551610"));
    assert_null(strstr(err.message, "..."));
    fixture_version(f, a, 2);
    assert_null(models_find(&f->models, "/" A_60 "/versions/1", &err));
    assert_non_null(strstr(err.message, ", 18446744073709551610, ..."));
}

#define TEST(name)                                                                       \
    cmocka_unit_test_setup_teardown(name, models_fixture_begin, models_fixture_end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_name_is_a_whole_name),
        TEST(a_name_is_taken_once),
        TEST(an_entry_has_options_of_its_own),
        TEST(without_a_name_it_is_the_default),
        TEST(versions_and_aliases),
        TEST(versions_that_are_not_there),
        TEST(other_paths_are_nobodys),
        TEST(a_refusal_lists_what_there_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
