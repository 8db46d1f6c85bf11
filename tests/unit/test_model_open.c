/* What an open model is: by its engine's description, the options, and the defaults of the host. */
#include "kept_log.h"
#include "models_fixture.h"
#include "temp_tree.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct models_fixture *f;
static struct log kept;
static struct gp_error err;

static int begin(void **state)
{
    assert_int_equal(models_fixture_begin((void **)&f), 0);
    kept_log_begin(&kept);
    f->host.log = &kept;
    return tree_make(state);
}

static int end(void **state)
{
    assert_int_equal(models_fixture_end((void **)&f), 0);
    kept_log_end(&kept);
    return tree_remove(state);
}

/* Of the engine that tells what it was opened with. */
static struct gp_model_options telling(void)
{
    return (struct gp_model_options){.name = "m", .engine = fixture_engine("telling")};
}

static struct model *open_model(const struct gp_model_options *options)
{
    struct model *model = model_open(&f->host, options, 1, &err);
    if (!model)
        fail_msg("%s", err.message);
    return model;
}

static void assert_does_not_open(const struct gp_model_options *options,
                                 enum gp_status status, const char *message)
{
    assert_null(model_open(&f->host, options, 1, &err));
    assert_int_equal(err.status, status);
    assert_string_equal(err.message, message);
    assert_int_equal(f->poller.n_needed, 0);
}

/* --- what the engine gets --- */

static void options_go_to_the_engine(void **state)
{
    static const char *const texts[] = {"one=1", "two=2"};
    (void)state;
    struct gp_model_options options = telling();
    options.path = "/some/file";
    options.n_slots = 2;
    options.n_threads = 3;
    options.engine_options = texts;
    options.n_engine_options = 2;
    f->host.n_cores = 4;
    struct model *model = open_model(&options);
    assert_string_equal(model->description.summary,
                        "/some/file 2 slots 3 threads 4 cores one=1 two=2");
    assert_int_equal(model->description.size_bytes, sizeof model->description);
    assert_string_equal(model->engine->name, "telling");
    assert_string_equal(model->engine_version, "9.9"); /* the framework's */
    assert_null(model->isolate);
    model_close(model);
    model = open_model(&(struct gp_model_options){.engine = fixture_engine("slow")});
    assert_string_equal(model->engine_version, ""); /* it knows of no other */
    model_close(model);
}

static void limits_are_the_models_or_the_hosts(void **state)
{
    (void)state;
    struct gp_model_options options = telling();
    f->host.max_waiting = 7;
    struct model *model = open_model(&options);
    assert_int_equal(model->slots.max_waiting, 7);
    assert_int_equal(model->max_body_bytes, 0);
    assert_int_equal(model->timeout_ms, 0);
    assert_int_equal(model->n_users, 1);
    model_close(model);
    options.max_waiting = 5;
    options.max_body_bytes = 1000;
    options.timeout_ms = 2000;
    turned_clock_set(CLOCK_S);
    turned_clock_add_at_each_look(3 * CLOCK_MS);
    model = model_open(&f->host, &options, 12, &err);
    turned_clock_end();
    assert_int_equal(model->slots.max_waiting, 5);
    assert_int_equal(model->max_body_bytes, 1000);
    assert_int_equal(model->timeout_ms, 2000);
    assert_int_equal(model->version, 12);
    assert_int_equal(model->load_ns, 3 * CLOCK_MS);
    model_close(model);
}

/* Each slot needs a thread of those that poll, or has its own. */
static void slots_have_threads(void **state)
{
    static const char *const pinned[] = {"pinned"};
    (void)state;
    struct gp_model_options options = telling();
    options.n_slots = 3;
    struct model *model = open_model(&options);
    assert_int_equal(model->slots.n, 3);
    assert_ptr_equal(model->slots.poller, &f->poller);
    assert_int_equal(f->poller.n_needed, 3);
    assert_null(model->slots.all[0].worker);
    struct model *other = open_model(&options);
    assert_int_equal(f->poller.n_needed, 6);
    model_close(model);
    assert_int_equal(f->poller.n_needed, 3);
    model_close(other);
    options.engine = fixture_engine("slow");
    options.engine_options = pinned;
    options.n_engine_options = 1;
    model = open_model(&options);
    assert_int_equal(f->poller.n_needed, 0);
    for (int i = 0; i < 3; i++)
        assert_non_null(model->slots.all[i].worker);
    model_close(model);
}

static void an_engine_may_pin_its_memory(void **state)
{
    static const char *const pin[] = {"pin"};
    (void)state;
    struct gp_model_options options = telling();
    struct model *model = open_model(&options);
    assert_null(model->memory.inputs);
    model_close(model);
    options.engine_options = pin;
    options.n_engine_options = 1;
    model = open_model(&options);
    assert_non_null(model->memory.inputs);
    assert_non_null(model->memory.outputs);
    model_close(model);
}

/* --- defaults --- */

static void assert_defaults(const struct gp_model_options *options, const char *wanted)
{
    struct model *model = open_model(options);
    char found[200] = "";
    for (uint32_t i = 0; i < model->n_default_inputs; i++)
        (void)strcat(found, model->description.inputs[model->default_inputs[i]].name);
    (void)strcat(found, ">");
    for (uint32_t i = 0; i < model->n_default_outputs; i++)
        (void)strcat(found, model->default_outputs[i]);
    assert_string_equal(found, wanted);
    model_close(model);
}

static void default_inputs_and_outputs(void **state)
{
    static const char *const inputs[] = {"c", "b", "c", "a", "d"};
    static const char *const outputs[] = {"y", "x", "y", "z"};
    static const char *const any[] = {"any-output"};
    (void)state;
    struct gp_model_options options = telling();
    assert_defaults(&options, "ab>xy"); /* what is optional is left out */
    options.inputs = inputs;
    options.n_inputs = 2;
    options.outputs = outputs;
    options.n_outputs = 1;
    assert_defaults(&options, "cb>y");
    options.n_inputs = 4;
    options.n_outputs = 3;
    assert_defaults(&options, "cbca>yxy");
    options.n_outputs = 4;
    assert_does_not_open(&options, GP_INVALID,
                         "--outputs names \"z\", which the model does not have");
    options.engine_options = any;
    options.n_engine_options = 1;
    assert_defaults(&options, "cbca>yxyz");
    options.n_inputs = 5;
    assert_does_not_open(&options, GP_INVALID,
                         "--inputs names \"d\", which the model does not have");
}

/* --- what it says of itself --- */

static void assert_metadata(const struct gp_model_options *options, const char *wanted)
{
    char found[200];
    struct model *model = open_model(options);
    const struct gp_metadata *m = &model->metadata;
    (void)snprintf(found, sizeof found, "%s|%s|%s|%s", m->name, m->version,
                   m->description, m->server);
    assert_string_equal(found, wanted);
    assert_ptr_equal(m->inputs, model->description.inputs);
    assert_ptr_equal(m->outputs, model->description.outputs);
    assert_int_equal(m->n_inputs, model->description.n_inputs);
    assert_int_equal(m->n_outputs, model->description.n_outputs);
    model_close(model);
}

#define SERVER "|graphpipe " GP_VERSION

/* By the options, the engine's description, the path, or the engine. */
static void a_model_has_a_name(void **state)
{
    static const char *const says[] = {"name=own", "version=v3", "description=a model"};
    (void)state;
    struct gp_model_options options = telling();
    options.path = "/some/net.onnx";
    assert_metadata(&options, "m||" SERVER);
    options.name = NULL;
    assert_metadata(&options, "net||" SERVER);
    options.path = NULL;
    assert_metadata(&options, "telling||" SERVER);
    options.path = "/some/net.onnx";
    options.engine_options = says;
    options.n_engine_options = 3;
    assert_metadata(&options, "own|v3|a model" SERVER);
    options.name = "m";
    assert_metadata(&options, "m|v3|a model" SERVER);
}

static enum gp_status answer_nothing(void *self, const struct gp_call *call,
                                     struct gp_outputs *outputs, struct gp_error *e)
{
    (void)self, (void)call, (void)outputs, (void)e;
    return GP_OK;
}

static void a_function_has_the_metadata_that_is_given(void **state)
{
    static const struct gp_io in = {.name = "p", .description = "", .dtype = GP_INT8};
    static const struct gp_io out = {.name = "q", .description = "", .dtype = GP_INT8};
    static const struct gp_metadata given = {.name = "given",
                                             .version = "v1",
                                             .description = "a function",
                                             .inputs = &in,
                                             .outputs = &out,
                                             .n_inputs = 1,
                                             .n_outputs = 1};
    (void)state;
    struct gp_model_options options = {.n_slots = 0};
    f->host.n_cores = 3;
    for (int i = 0; i < 3; i++) {
        struct model *model = model_open_function(&f->host, answer_nothing, NULL,
                                                  &options, i ? &given : NULL, &err);
        const struct gp_metadata *m = &model->metadata;
        assert_string_equal(m->name, i == 0 ? "function" : i == 1 ? "given" : "m");
        assert_string_equal(m->version, i ? "v1" : "");
        assert_string_equal(m->description, i ? "a function" : "");
        assert_string_equal(m->server, "graphpipe " GP_VERSION);
        assert_int_equal(m->n_inputs, 1);
        assert_int_equal(m->n_outputs, 1);
        assert_string_equal(m->inputs->name, i ? "p" : "input0");
        assert_string_equal(m->outputs->name, i ? "q" : "output0");
        assert_int_equal(model->description.flags, i ? 0 : GP_ANY_INPUTS);
        assert_string_equal(model->description.summary, "function");
        assert_string_equal(model->engine_version, GP_VERSION);
        assert_int_equal(model->version, 1);
        assert_int_equal(model->slots.n, i == 2 ? 2 : 3); /* a slot for each core */
        model_close(model);
        options.name = i ? "m" : NULL;
        options.n_slots = i ? 2 : 0;
    }
}

/* --- what does not open --- */

static void what_cannot_be_opened_says_why(void **state)
{
    static const char *const refuse = "refuse";
    static const char *const open_fails[] = {"open=fail", "x=1"},
                             *const describe_fails[] = {"describe=fail"},
                             *const describes_none[] = {"describe=none"};
    static const struct {
        const char *const *texts;
        size_t n;
        const char *message;
    } cases[] = {
        {open_fails, 2, "the faulty engine does not open: open=fail x=1"},
        {describe_fails, 1, "the faulty engine does not describe itself"},
        {describes_none, 1, "engine faulty describes a model without slots"},
    };
    (void)state;
    struct gp_model_options options = {.engine = fixture_engine("faulty")};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        options.engine_options = cases[i].texts;
        options.n_engine_options = cases[i].n;
        assert_does_not_open(&options, GP_ENGINE, cases[i].message);
    }
    options = telling();
    options.engine_options = &refuse;
    options.n_engine_options = 1;
    assert_does_not_open(&options, GP_ENGINE, "it opens nothing"); /* nor is it closed */
    options = (struct gp_model_options){.name = "m"};
    for (int i = 0; i < 2; i++) {
        assert_does_not_open(&options, GP_INVALID,
                             "no model: name one with --model FILE, or an engine that "
                             "needs none with --engine echo");
        options.engine = "auto";
    }
    tree_put("/net.what", "no model");
    options.path = tree_path("/net.what");
    assert_null(model_open(&f->host, &options, 1, &err));
    assert_int_equal(err.status, GP_INVALID);
    assert_non_null(strstr(err.message, "/net.what is not a known kind of model"));
    options.engine = "nonesuch";
    assert_null(model_open(&f->host, &options, 1, &err));
    assert_non_null(strstr(err.message, "nonesuch"));
}

static void what_the_engine_says_is_logged(void **state)
{
    (void)state;
    struct model *model =
        open_model(&(struct gp_model_options){.engine = fixture_engine("faulty")});
    const struct gp_call call = {.size_bytes = sizeof call, .config = "hostile"};
    assert_int_equal(model->engine->run(model->handle, 0, &call, NULL, &err), GP_ENGINE);
    assert_logged(&kept, "warning: engine: *\n");
    model_close(model);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(options_go_to_the_engine),
        TEST(limits_are_the_models_or_the_hosts),
        TEST(slots_have_threads),
        TEST(an_engine_may_pin_its_memory),
        TEST(default_inputs_and_outputs),
        TEST(a_model_has_a_name),
        TEST(a_function_has_the_metadata_that_is_given),
        TEST(what_cannot_be_opened_says_why),
        TEST(what_the_engine_says_is_logged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
