/* Options of models: each that differs, and whether a model is opened anew for it; and those of
 * callers that know less of them. */
#include "model/model_options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const char *const one[] = {"a=1", "b=2"}, *const same[] = {"a=1", "b=2"},
                         *const other[] = {"a=1", "b=3"};
static const uint32_t sizes[] = {1, 4}, same_sizes[] = {1, 4}, other_sizes[] = {1, 5};

static struct gp_model_options sample(void)
{
    return (struct gp_model_options){
        .size_bytes = sizeof(struct gp_model_options),
        .name = "m",
        .path = "/m",
        .engine = "echo",
        .engine_options = one,
        .n_engine_options = 2,
        .inputs = one,
        .n_inputs = 2,
        .outputs = one,
        .n_outputs = 2,
        .warm_up = "3",
        .max_batch = 8,
        .batch_sizes = sizes,
        .n_batch_sizes = 2,
    };
}

static void equal_ones_are_left_alone(void **state)
{
    (void)state;
    const struct gp_model_options a = sample();
    struct gp_model_options b = sample(), none = {0};
    char path[] = "/m";
    b.engine_options = b.inputs = b.outputs = same;
    b.path = path;
    b.batch_sizes = same_sizes;
    assert_false(model_options_need_opening(&a, &b));
    assert_false(model_options_need_opening(&none, &none));
    b = a;
    b.isolate = 1;
    struct gp_model_options c = b;
    c.isolate = 2; /* which is as true */
    b.cache = 2;
    c.cache = 1;
    assert_false(model_options_need_opening(&b, &c));
}

/* Which versions there are, and what they are called, is for the table of models. */
static void versions_and_names_open_nothing(void **state)
{
    (void)state;
    static const uint64_t versions[] = {1};
    static const struct gp_model_alias aliases[] = {{"stable", 1}};
    const struct gp_model_options a = sample();
    struct gp_model_options b = sample();
    b.name = "n";
    b.versions = versions;
    b.n_versions = 1;
    b.n_newest = 2;
    b.aliases = aliases;
    b.n_aliases = 1;
    assert_false(model_options_need_opening(&a, &b));
    assert_false(model_options_need_opening(&b, &a));
}

#define DIFFERS(field, value)                                                            \
    do {                                                                                 \
        const struct gp_model_options a = sample();                                      \
        struct gp_model_options b = sample();                                            \
        b.field = (value);                                                               \
        if (!model_options_need_opening(&a, &b) || !model_options_need_opening(&b, &a))  \
            fail_msg("%s is not compared", #field);                                      \
    } while (0)

static void all_else_does(void **state)
{
    (void)state;
    DIFFERS(path, "/n");
    DIFFERS(path, NULL);
    DIFFERS(engine, "onnx");
    DIFFERS(engine, NULL);
    DIFFERS(warm_up, "4");
    DIFFERS(warm_up, NULL);
    DIFFERS(engine_options, other);
    DIFFERS(n_engine_options, 1);
    DIFFERS(n_slots, 1);
    DIFFERS(n_threads, 1);
    DIFFERS(inputs, other);
    DIFFERS(n_inputs, 1);
    DIFFERS(n_inputs, 0);
    DIFFERS(outputs, other);
    DIFFERS(n_outputs, 1);
    DIFFERS(isolate, 1);
    DIFFERS(hang_timeout_ms, 1);
    DIFFERS(max_body_bytes, 1);
    DIFFERS(max_waiting, 1);
    DIFFERS(timeout_ms, 1);
    DIFFERS(max_batch, 9);
    DIFFERS(batch_sizes, other_sizes);
    DIFFERS(n_batch_sizes, 1);
    DIFFERS(n_batch_sizes, 0);
    DIFFERS(max_delay_us, 1);
    DIFFERS(cache, 1);
    /* A new field has to be compared, and stand in one of these tests. */
    assert_int_equal(sizeof(struct gp_model_options),
                     offsetof(struct gp_model_options, cache) + sizeof(int));
}

/* A caller of an earlier release has shorter structs, one behind the other. */
static void shorter_ones_are_taken(void **state)
{
    (void)state;
    enum { SHORT = offsetof(struct gp_model_options, warm_up) };
    _Alignas(struct gp_model_options) char given[2 * SHORT];
    for (int i = 0; i < 2; i++) {
        struct gp_model_options options = sample();
        options.size_bytes = SHORT;
        options.name = i ? "second" : "first";
        memcpy(given + (size_t)i * SHORT, &options, SHORT);
    }
    struct gp_server_options server = {.models = (const void *)given, .n_models = 2};
    assert_int_equal(model_options_count(&server), 2);
    const struct gp_model_options second = model_options_at(&server, 1);
    assert_string_equal(second.name, "second");
    assert_int_equal(second.size_bytes, sizeof second);
    assert_null(second.warm_up);
    server.model_defaults = (const void *)given;
    assert_null(model_options_defaults(&server).warm_up);
}

static void one_may_be_in_the_fields_of_the_server(void **state)
{
    (void)state;
    struct gp_model_options wanted = sample();
    struct gp_server_options server = {.model_name = "m",
                                       .model_path = "/m",
                                       .engine = "echo",
                                       .engine_options = one,
                                       .n_engine_options = 2,
                                       .inputs = one,
                                       .n_inputs = 2,
                                       .outputs = one,
                                       .n_outputs = 2,
                                       .warm_up = "3",
                                       .n_slots = 3,
                                       .n_threads = 4,
                                       .isolate = 1,
                                       .max_batch = 8,
                                       .batch_sizes = sizes,
                                       .n_batch_sizes = 2,
                                       .max_delay_us = 5,
                                       .cache = 1};
    wanted.n_slots = 3;
    wanted.n_threads = 4;
    wanted.isolate = 1;
    wanted.max_delay_us = 5;
    wanted.cache = 1;
    assert_int_equal(model_options_count(&server), 1);
    const struct gp_model_options lone = model_options_at(&server, 0);
    assert_string_equal(lone.name, "m");
    assert_int_equal(lone.size_bytes, sizeof lone);
    assert_false(model_options_need_opening(&wanted, &lone));
    server.repository = "/r";
    assert_int_equal(model_options_count(&server), 0);
    const struct gp_model_options defaults = model_options_defaults(&server);
    assert_false(model_options_need_opening(&wanted, &defaults));
    server.model_defaults = &(struct gp_model_options){.engine = "other"};
    assert_string_equal(model_options_defaults(&server).engine, "other");
}

/* Its caller may do with them what it likes. */
static void a_copy_shares_nothing(void **state)
{
    (void)state;
    char name[] = "m", path[] = "/m", engine[] = "echo", warm_up[] = "3", alias[] = "new";
    char texts[2][4] = {"a=1", "b=2"};
    const char *list[] = {texts[0], texts[1]};
    uint64_t versions[] = {7, 8};
    struct gp_model_alias aliases[] = {{alias, 7}, {alias, 8}};
    uint32_t given_sizes[] = {1, 4};
    struct gp_model_options given = sample();
    given.name = name;
    given.path = path;
    given.engine = engine;
    given.warm_up = warm_up;
    given.engine_options = given.inputs = given.outputs = list;
    given.versions = versions;
    given.n_versions = 2;
    given.aliases = aliases;
    given.n_aliases = 2;
    given.batch_sizes = given_sizes;
    struct gp_arena *arena = gp_arena_create();
    const struct gp_model_options *copy = model_options_copy(arena, &given);
    name[0] = path[1] = engine[0] = warm_up[0] = alias[0] = texts[0][0] = texts[1][2] =
        'x';
    list[0] = list[1] = "y";
    versions[1] = 9;
    given_sizes[1] = 5;
    aliases[1] = (struct gp_model_alias){"z", 10};
    const struct gp_model_options wanted = sample();
    assert_false(model_options_need_opening(&wanted, copy));
    assert_string_equal(copy->name, "m");
    assert_int_equal(copy->n_versions, 2);
    assert_int_equal(copy->versions[0] + copy->versions[1], 15);
    assert_int_equal(copy->n_aliases, 2);
    for (uint64_t i = 0; i < 2; i++) {
        assert_string_equal(copy->aliases[i].name, "new");
        assert_int_equal(copy->aliases[i].version, 7 + i);
    }
    gp_arena_destroy(arena);
}

/* A list that has no items is none, wherever it points. */
static void a_copy_of_nothing_is_nothing(void **state)
{
    (void)state;
    static const uint64_t versions[] = {7};
    static const struct gp_model_alias aliases[] = {{"new", 7}};
    const struct gp_model_options given = {.engine_options = one,
                                           .inputs = one,
                                           .outputs = one,
                                           .versions = versions,
                                           .aliases = aliases};
    struct gp_arena *arena = gp_arena_create();
    const struct gp_model_options *copy = model_options_copy(arena, &given);
    assert_null(copy->engine_options);
    assert_null(copy->inputs);
    assert_null(copy->outputs);
    assert_null(copy->versions);
    assert_null(copy->aliases);
    assert_null(copy->name);
    gp_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equal_ones_are_left_alone),
        cmocka_unit_test(versions_and_names_open_nothing),
        cmocka_unit_test(all_else_does),
        cmocka_unit_test(shorter_ones_are_taken),
        cmocka_unit_test(one_may_be_in_the_fields_of_the_server),
        cmocka_unit_test(a_copy_shares_nothing),
        cmocka_unit_test(a_copy_of_nothing_is_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
