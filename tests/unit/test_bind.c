/* Which of a request's tensors becomes which input of the engine, which outputs it is asked for, and
 * what is refused with which words. Nothing runs. */
#include "fake_model.h"
#include "still_poller.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 8 };

static struct poller poller;
static struct fake_model fake;
static struct fake_inference asking;
static struct gp_request request;
static struct gp_tensor tensors[MOST];
static const char *outputs[MOST];

/* "a" is a matrix of float32, "b" three int64, "c" of any shape and may be left out. */
static const struct gp_io inputs_there[] = {
    {.name = "a", .dtype = GP_FLOAT32, .rank = 2, .shape = (const int64_t[]){-1, 2}},
    {.name = "b", .dtype = GP_INT64, .rank = 1, .shape = (const int64_t[]){3}},
    {.name = "c", .dtype = GP_UINT8, .flags = GP_IO_ANY_RANK | GP_IO_OPTIONAL}};
static const struct gp_io outputs_there[] = {
    {.name = "x", .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK},
    {.name = "y", .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK},
    {.name = "z", .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK}};

static void set_up(uint32_t flags)
{
    static const uint32_t default_inputs[] = {0, 1};
    static const char *const default_outputs[] = {"y", "x"};
    still_begin(&poller);
    fake_model_begin(&fake, &poller, 1, 1);
    fake.model.description = (struct gp_description){.flags = flags,
                                                     .n_inputs = 3,
                                                     .inputs = inputs_there,
                                                     .n_outputs = 3,
                                                     .outputs = outputs_there};
    fake.model.default_inputs = default_inputs;
    fake.model.n_default_inputs = 2;
    fake.model.default_outputs = default_outputs;
    fake.model.n_default_outputs = 2;
    fake_inference_begin(&asking, &fake);
    asking.inference.request = &request;
    request = (struct gp_request){.call = {.inputs = tensors, .output_names = outputs}};
}

static void tear_down(void)
{
    fake_inference_end(&asking);
    fake_model_end(&fake);
    still_end(&poller);
}

static void renew(void)
{
    request.call.n_inputs = request.call.n_outputs = 0;
    request.call.config = NULL;
    fake_inference_renew(&asking, 0);
}

/* One that fits the input: a matrix of so many rows, or a vector. */
static void give(const char *name, enum gp_dtype dtype, uint32_t rank, int64_t rows,
                 int64_t columns)
{
    static int64_t shapes[MOST][2];
    const uint32_t n = request.call.n_inputs++;
    shapes[n][0] = rows;
    shapes[n][1] = columns;
    tensors[n] = (struct gp_tensor){
        .name = name, .dtype = dtype, .rank = rank, .shape = shapes[n]};
}

static void give_a(const char *name)
{
    give(name, GP_FLOAT32, 2, 4, 2);
}

static void give_b(const char *name)
{
    give(name, GP_INT64, 1, 3, 0);
}

static void want(const char *name)
{
    outputs[request.call.n_outputs++] = name;
}

/* "a float32[4,2], b int64[3] -> y x": what the engine is called with, and behind ":" which of its
 * outputs each wanted one is. */
static void assert_binds(const char *wanted)
{
    struct inference *inference = &asking.inference;
    const struct gp_call *call = &inference->run.engine_run.call;
    struct text found = {0};
    if (!model_bind(inference))
        fail_msg("%s", inference->error.message);
    assert_int_equal(inference->error.status, GP_OK);
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        char shape[64];
        const struct gp_tensor *t = &call->inputs[i];
        text_printf(&found, "%s%s %s", i ? ", " : "", t->name,
                    gp_shape_format(inference->wanted[i], t->shape, t->rank, shape,
                                    sizeof shape));
    }
    text_puts(&found, " ->");
    for (uint32_t i = 0; i < call->n_outputs; i++)
        text_printf(&found, " %s", call->output_names[i]);
    for (uint32_t i = 0; inference->output_order && i < inference->n_wanted; i++)
        text_printf(&found, "%s%u", i ? " " : ": ", inference->output_order[i]);
    assert_string_equal(found.data, wanted);
    text_finish(&found);
    renew();
}

static void assert_refuses(const char *message)
{
    assert_false(model_bind(&asking.inference));
    assert_int_equal(asking.inference.error.status, GP_INVALID);
    assert_string_equal(asking.inference.error.message, message);
    renew();
}

#define HAS "a float32[-1,2], b int64[3], c uint8[...]"

static void names_may_come_in_any_order(void **state)
{
    (void)state;
    set_up(0);
    give_a("a");
    give_b("b");
    assert_binds("a float32[4,2], b int64[3] -> y x: 0 1");
    give("c", GP_UINT8, 1, 9, 0);
    give_b("b");
    give_a("a");
    assert_binds("a float32[4,2], b int64[3], c uint8[9] -> y x: 0 1");
    tear_down();
}

static void without_names_they_are_the_defaults(void **state)
{
    (void)state;
    set_up(0);
    give_a("");
    give_b("");
    assert_binds("a float32[4,2], b int64[3] -> y x: 0 1");
    give_a(NULL);
    give_b(NULL);
    assert_binds("a float32[4,2], b int64[3] -> y x: 0 1");
    give_a("");
    assert_refuses("1 tensor came without names; the model has 2 default inputs: " HAS);
    for (int i = 0; i < 3; i++)
        give_b("");
    assert_refuses("3 tensors came without names; the model has 2 default inputs: " HAS);
    assert_refuses("0 tensors came without names; the model has 2 default inputs: " HAS);
    fake.model.n_default_inputs = 1;
    give_a("");
    give_b("");
    assert_refuses("2 tensors came without names; the model has 1 default input: " HAS);
    tear_down();
}

static void what_does_not_fit_is_refused(void **state)
{
    (void)state;
    set_up(0);
    give_a("a");
    assert_refuses("input \"b\" is missing; the model wants: " HAS);
    give_a("a");
    give_b("b");
    give_b("d");
    assert_refuses("no input is named \"d\"; the model has: " HAS);
    request.call.config = "d=1"; /* for an engine that takes no others for it */
    give_a("a");
    give_b("b");
    give_b("d");
    assert_refuses("no input is named \"d\"; the model has: " HAS);
    request.call.config = NULL;
    give_a("a");
    give_b("b");
    give_a("a");
    assert_refuses("input \"a\" came twice");
    give("a", GP_FLOAT64, 2, 4, 2);
    give_b("b");
    assert_refuses("input \"a\" is float64[4,2]; the model wants float32[-1,2]");
    give("a", GP_FLOAT32, 2, 4, 3);
    give_b("b");
    assert_refuses("input \"a\" is float32[4,3]; the model wants float32[-1,2]");
    give("a", GP_FLOAT32, 1, 2, 0);
    give_b("b");
    assert_refuses("input \"a\" is float32[2]; the model wants float32[-1,2]");
    tear_down();
}

static void outputs_are_asked_for_once(void **state)
{
    (void)state;
    set_up(0);
    give_a("a");
    give_b("b");
    want("z");
    want("x");
    want("z");
    want("x");
    assert_binds("a float32[4,2], b int64[3] -> z x: 0 1 0 1");
    give_a("a");
    give_b("b");
    want("x");
    want("w");
    assert_refuses(
        "no output is named \"w\"; the model has: x float32[...], y float32[...], z "
        "float32[...]");
    tear_down();
    set_up(GP_ANY_OUTPUT);
    give_a("a");
    give_b("b");
    want("w");
    assert_binds("a float32[4,2], b int64[3] -> w: 0");
    fake.model.n_default_outputs = 0; /* the engine chooses */
    give_a("a");
    give_b("b");
    assert_binds("a float32[4,2], b int64[3] ->");
    assert_null(asking.inference.output_order); /* all that it gives are answered */
    tear_down();
}

static void engines_may_take_what_is_not_described(void **state)
{
    (void)state;
    set_up(GP_ANY_INPUTS);
    give("p", GP_INT8, 2, 1, 1);
    want("q");
    assert_binds("p int8[1,1] -> q");
    tear_down();
    set_up(GP_OPEN_INPUTS);
    give_a("a");
    give("p", GP_INT8, 2, 1, 1);
    want("x");
    assert_binds("a float32[4,2], p int8[1,1] -> x: 0");
    give("", GP_INT8, 2, 1,
         1); /* without names there is nothing that the engine may know */
    assert_refuses("1 tensor came without names; the model has 2 default inputs: " HAS);
    request.call.config = "signature=other";
    give("p", GP_INT8, 2, 1, 1);
    assert_binds("p int8[1,1] ->");
    tear_down();
}

/* As many as there may be here; nothing of one is taken for another. */
static void each_keeps_its_type(void **state)
{
    (void)state;
    set_up(GP_OPEN_INPUTS);
    static const enum gp_dtype types[MOST] = {GP_INT8,  GP_INT16, GP_INT32,   GP_INT64,
                                              GP_UINT8, GP_BOOL,  GP_FLOAT32, GP_FLOAT64};
    static const char *const names[MOST] = {"p", "q", "r", "s", "t", "u", "v", "w"};
    for (int i = 0; i < MOST; i++)
        give(names[i], types[i], 1, i, 0);
    for (int i = 0; i < MOST; i++)
        want(i % 2 ? "x" : "z");
    assert_binds("p int8[0], q int16[1], r int32[2], s int64[3], t uint8[4], u bool[5], "
                 "v float32[6], w float64[7] -> z x: 0 1 0 1 0 1 0 1");
    tear_down();
}

static void rows_are_those_of_the_first(void **state)
{
    static const int64_t none = 0;
    (void)state;
    set_up(GP_ANY_INPUTS);
    give_a("a");
    give_b("b");
    assert_true(model_bind(&asking.inference));
    assert_int_equal(asking.inference.n_rows, 4);
    renew();
    assert_true(model_bind(&asking.inference));
    assert_int_equal(asking.inference.n_rows, 1);
    tensors[0] = (struct gp_tensor){.name = "a", .dtype = GP_UINT8, .shape = &none};
    request.call.n_inputs = 1; /* a scalar */
    assert_true(model_bind(&asking.inference));
    assert_int_equal(asking.inference.n_rows, 1);
    tear_down();
}

#define TEN "1234567890"
#define CUT "n" TEN TEN TEN TEN TEN TEN "123"
#define LONG CUT "4567890"

/* So that there is room for what was wanted. */
/* By a model that knows one number of rows only, which requests are cut to. */
static void rows_are_as_many_in_each_where_it_matters(void **state)
{
    (void)state;
    set_up(0);
    fake.model.batch_rules.is_fixed = true;
    renew();
    give("a", GP_FLOAT32, 2, 3, 2);
    give_b("b");
    assert_binds("a float32[3,2], b int64[3] -> y x: 0 1");
    renew();
    give_a("a");
    give_b("b");
    assert_refuses(
        "the inputs have different numbers of rows; the model wants as many in each");
    renew();
    give("a", GP_FLOAT32, 2, 3, 2);
    give_b("b");
    give("c", GP_UINT8, 0, 0, 0);
    assert_refuses(
        "the inputs have different numbers of rows; the model wants as many in each");
    fake.model.batch_rules.is_fixed = false;
    renew();
    give_a("a");
    give_b("b");
    assert_binds("a float32[4,2], b int64[3] -> y x: 0 1");
    tear_down();
}

static void long_names_are_cut(void **state)
{
    static const int64_t shape[] = {-1, 2};
    static const struct gp_io input = {
        .name = LONG, .dtype = GP_FLOAT32, .rank = 2, .shape = shape};
    (void)state;
    set_up(0);
    fake.model.description.inputs = fake.model.description.outputs = &input;
    fake.model.description.n_inputs = fake.model.description.n_outputs = 1;
    give_a(LONG "x");
    assert_refuses("no input is named \"" CUT "\"; the model has: " CUT " float32[-1,2]");
    give_a(LONG);
    give_a(LONG);
    assert_refuses("input \"" CUT "\" came twice");
    give_b(LONG);
    assert_refuses("input \"" CUT "\" is int64[3]; the model wants float32[-1,2]");
    give_a(LONG);
    want(LONG "x");
    assert_refuses("no output is named \"" CUT "\"; the model has: " CUT
                   " float32[-1,2]");
    tear_down();
    set_up(0);
    static const struct gp_io two[] = {
        {.name = "a", .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK},
        {.name = LONG, .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK}};
    fake.model.description.inputs = two;
    fake.model.description.n_inputs = 2;
    give_a("a");
    assert_refuses("input \"" CUT "\" is missing; the model wants: a float32[...], " CUT
                   " float32[...]");
    tear_down();
}

/* As many as there is room for, and that there are more. */
static void long_lists_are_cut(void **state)
{
    static const struct gp_io many[] = {
        {.name = CUT, .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK},
        {.name = CUT "b", .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK},
        {.name = CUT "c", .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK},
        {.name = CUT "d", .dtype = GP_FLOAT32, .flags = GP_IO_ANY_RANK}};
    (void)state;
    set_up(0);
    fake.model.description.inputs = many;
    fake.model.description.n_inputs = 4;
    give_a("x");
    assert_refuses("no input is named \"x\"; the model has: " CUT " float32[...], " CUT
                   " float32[...], " CUT " float32[...], ...");
    tear_down();
}

static void deadline_and_config_go_to_the_engine(void **state)
{
    const struct gp_call *call = &asking.inference.run.engine_run.call;
    (void)state;
    set_up(GP_ANY_INPUTS);
    asking.inference.deadline_ns = 77;
    assert_true(model_bind(&asking.inference));
    assert_int_equal(call->deadline_ns, 77);
    assert_string_equal(call->config, "");
    request.call.config = "k=v";
    assert_true(model_bind(&asking.inference));
    assert_string_equal(call->config, "k=v");
    tear_down();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_may_come_in_any_order),
        cmocka_unit_test(without_names_they_are_the_defaults),
        cmocka_unit_test(what_does_not_fit_is_refused),
        cmocka_unit_test(outputs_are_asked_for_once),
        cmocka_unit_test(engines_may_take_what_is_not_described),
        cmocka_unit_test(each_keeps_its_type),
        cmocka_unit_test(rows_are_those_of_the_first),
        cmocka_unit_test(rows_are_as_many_in_each_where_it_matters),
        cmocka_unit_test(long_names_are_cut),
        cmocka_unit_test(long_lists_are_cut),
        cmocka_unit_test(deadline_and_config_go_to_the_engine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
