/* Rows that a model is tried with: made up from its description, or taken from requests. */
#include "model/sample.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { MOST = 4 };

static struct sample sample;
static struct gp_error err;
static struct model model;

static int begin(void **state)
{
    (void)state;
    sample = (struct sample){.arena = gp_arena_create()};
    assert_non_null(sample.arena);
    return 0;
}

static int end(void **state)
{
    (void)state;
    gp_arena_destroy(sample.arena);
    return 0;
}

/* All inputs are needed but the optional ones. */
static void describe(const struct gp_io *inputs, uint32_t n)
{
    static uint32_t indexes[8];
    model = (struct model){.description = {.inputs = inputs, .n_inputs = n},
                           .default_inputs = indexes};
    for (uint32_t i = 0; i < n; i++)
        if (!(inputs[i].flags & GP_IO_OPTIONAL))
            indexes[model.n_default_inputs++] = i;
}

static void assert_shape(const struct gp_tensor *tensor, const char *wanted)
{
    char text[64];
    assert_string_equal(
        gp_shape_format(tensor->dtype, tensor->shape, tensor->rank, text, sizeof text),
        wanted);
}

/* --- made up --- */

static const int64_t dims[] = {-1, 2, -1}, matrix[] = {-1, 3};

static void inputs_are_as_they_are_described(void **state)
{
    const struct gp_io inputs[] = {
        {.name = "a", .dtype = GP_INT64, .rank = 3, .shape = dims},
        {.name = "o", .dtype = GP_INT8, .flags = GP_IO_OPTIONAL},
        {.name = "b", .rank = 2, .shape = matrix}, /* of any type */
        {.name = "c", .dtype = GP_UINT8, .rank = 7, .flags = GP_IO_ANY_RANK}};
    struct gp_tensor *tensors;
    uint32_t n;
    (void)state;
    describe(inputs, 4);
    assert_int_equal(sample_shapes(&model, sample.arena, 5, &tensors, &n, &err), GP_OK);
    assert_int_equal(n, 3);
    assert_shape(&tensors[0], "int64[5,2,5]");
    assert_int_equal(tensors[0].size_bytes, 5 * 2 * 5 * sizeof(int64_t));
    assert_shape(&tensors[1], "float32[5,3]");
    assert_shape(&tensors[2], "uint8[5]");
}

/* Of a model that takes anything, unless it says what it wants. */
static void one_vector_where_nothing_is_said(void **state)
{
    const struct gp_io scalar = {.name = "s", .dtype = GP_INT64};
    struct gp_tensor *tensors;
    uint32_t n;
    (void)state;
    describe(NULL, 0);
    model.description.flags = GP_ANY_INPUTS;
    assert_int_equal(sample_shapes(&model, sample.arena, 3, &tensors, &n, &err), GP_OK);
    assert_int_equal(n, 1);
    assert_shape(&tensors[0], "float32[3]");
    describe(&scalar, 1);
    model.description.flags = GP_ANY_INPUTS;
    assert_int_equal(sample_shapes(&model, sample.arena, 3, &tensors, &n, &err), GP_OK);
    assert_int_equal(n, 1);
    assert_shape(&tensors[0], "int64[]");
}

/* As a message is: the last byte fits. */
static void as_large_as_a_message(void **state)
{
    const int64_t most[] = {GP_MAX_MESSAGE_BYTES}, more[] = {(int64_t)most[0] + 1};
    const struct gp_io fits = {.name = "x", .dtype = GP_INT8, .rank = 1, .shape = most};
    const struct gp_io large = {.name = "x", .dtype = GP_INT8, .rank = 1, .shape = more};
    struct gp_tensor *tensors;
    uint32_t n;
    (void)state;
    describe(&fits, 1);
    assert_int_equal(sample_shapes(&model, sample.arena, 1, &tensors, &n, &err), GP_OK);
    describe(&large, 1);
    assert_int_equal(sample_shapes(&model, sample.arena, 1, &tensors, &n, &err),
                     GP_TOO_LARGE);
    assert_non_null(strstr(err.message, "], too large for a request"));
}

static void so_many_rows_are_made_up(void **state)
{
    const struct gp_io inputs[] = {
        {.name = "a", .dtype = GP_INT32, .rank = 2, .shape = matrix},
        {.name = "b", .dtype = GP_STRING, .rank = 3, .shape = dims}};
    (void)state;
    describe(inputs, 2);
    assert_int_equal(sample_generate(&sample, &model, 7, 4, &err), GP_OK);
    assert_int_equal(sample.n_rows, 4);
    assert_int_equal(sample.call.n_inputs, 2);
    assert_ptr_equal(sample.call.inputs, sample.inputs);
    assert_shape(&sample.inputs[0], "int32[4,3]");
    assert_shape(&sample.inputs[1], "string[4,2,7]");
    assert_int_equal(sample.inputs[1].size_bytes, 4 * 2 * 7 * sizeof(struct gp_string));
    const int32_t *values = sample.inputs[0].data;
    assert_memory_not_equal(values, values + 3, 3 * sizeof *values);
    assert_string_equal(sample.inputs[1].name, "");
}

/* Which has no rows: as the model describes it. */
static void or_one_request(void **state)
{
    const struct gp_io inputs[] = {
        {.name = "a", .dtype = GP_INT32, .rank = 2, .shape = matrix},
        {.name = "s", .dtype = GP_FLOAT64}};
    (void)state;
    describe(inputs, 2);
    assert_int_equal(sample_generate(&sample, &model, 6, 0, &err), GP_OK);
    assert_int_equal(sample.n_rows, 0);
    assert_shape(&sample.inputs[0], "int32[6,3]");
    assert_shape(&sample.inputs[1], "float64[]");
    assert_int_equal(sample_generate(&sample, &model, 6, 2, &err), GP_INVALID);
    assert_string_equal(err.message, "input 1 is a scalar");
}

/* --- taken from requests --- */

/* Two inputs of n rows, and two outputs that are wanted. */
struct asked {
    struct gp_call call;
    struct gp_tensor inputs[2];
    int64_t shapes[2][2];
    int32_t x[MOST][2];
    struct gp_string y[MOST];
    const char *outputs[2];
};

static void ask(struct asked *asked, int64_t n_rows, int32_t from)
{
    static const char *const words[] = {"zero", "one", "two", "three"};
    *asked = (struct asked){.outputs = {"p", "q"}, .shapes = {{n_rows, 2}, {n_rows, 1}}};
    for (int32_t i = 0; i < n_rows; i++) {
        const char *word = words[(from + i) % 4];
        asked->x[i][0] = asked->x[i][1] = from + i;
        asked->y[i] = (struct gp_string){word, (uint32_t)strlen(word)};
    }
    asked->inputs[0] = gp_tensor_view(GP_INT32, asked->shapes[0], 2, asked->x);
    asked->inputs[1] = gp_tensor_view(GP_STRING, asked->shapes[1], 2, asked->y);
    asked->inputs[0].name = "x";
    asked->inputs[1].name = "y";
    asked->call = (struct gp_call){.size_bytes = sizeof asked->call,
                                   .inputs = asked->inputs,
                                   .n_inputs = 2,
                                   .output_names = asked->outputs,
                                   .n_outputs = 2,
                                   .config = "{}"};
}

static enum gp_status add(const struct asked *asked)
{
    return sample_add(&sample, &asked->call, MOST, &err);
}

static void rows_are_added_until_there_are_enough(void **state)
{
    struct asked one, more, none;
    (void)state;
    ask(&one, 1, 0);
    ask(&more, 4, 1);
    ask(&none, 0, 0);
    assert_int_equal(add(&one), GP_OK);
    assert_int_equal(sample.n_rows, 1);
    assert_int_equal(add(&none), GP_OK);
    assert_int_equal(sample.n_rows, 1);
    assert_int_equal(add(&more), GP_OK); /* its last row has no place */
    assert_int_equal(add(&one), GP_OK);
    assert_int_equal(sample.n_rows, 4);
    assert_shape(&sample.inputs[0], "int32[4,2]");
    assert_shape(&sample.inputs[1], "string[4,1]");
    assert_int_equal(sample.inputs[0].size_bytes, 4 * 2 * sizeof(int32_t));
    assert_int_equal(sample.inputs[1].size_bytes, 4 * sizeof(struct gp_string));
    const int32_t *x = sample.inputs[0].data;
    const struct gp_string *y = sample.inputs[1].data;
    for (int i = 0; i < 4; i++)
        assert_int_equal(x[2 * i + 1], i);
    assert_string_equal(y[0].data, "zero");
    assert_string_equal(y[3].data, "three");
    assert_int_equal(one.shapes[0][0], 1); /* the request's own */
}

/* The first says what they are like. */
static void what_is_not_alike_is_refused(void **state)
{
    static const char *const others[] = {"p", "r"};
    const int64_t narrow[] = {1, 1}, flat[] = {1};
    struct asked first, other;
    (void)state;
    ask(&first, 1, 0);
    assert_int_equal(add(&first), GP_OK);
    for (int kind = 0; kind < 9; kind++) {
        ask(&other, 1, 1);
        switch (kind) {
        case 0:
            other.call.n_inputs = 1;
            break;
        case 1:
            other.call.n_outputs = 1;
            break;
        case 2:
            other.call.output_names = others;
            break;
        case 3:
            other.call.config = NULL;
            break;
        case 4:
            other.inputs[1].name = "z";
            break;
        case 5:
            other.inputs[0].dtype = GP_FLOAT32;
            break;
        case 6:
            other.inputs[0].shape = narrow;
            break;
        case 7:
            other.inputs[1].shape = flat;
            other.inputs[1].rank = 1;
            break;
        default: /* which is alike */
            assert_int_equal(add(&other), GP_OK);
            assert_int_equal(sample.n_rows, 2);
            continue;
        }
        assert_int_equal(add(&other), GP_INVALID);
        assert_string_equal(err.message, "its inputs, outputs or config are not like the "
                                         "first one's");
        assert_int_equal(sample.n_rows, 1);
    }
}

/* No name and no config are the same as empty ones. */
static void what_is_missing_is_empty(void **state)
{
    struct asked first, other;
    (void)state;
    ask(&first, 1, 0);
    first.call.config = NULL;
    first.inputs[0].name = NULL;
    ask(&other, 1, 1);
    other.call.config = "";
    other.inputs[0].name = "";
    assert_int_equal(add(&first), GP_OK);
    assert_int_equal(add(&other), GP_OK);
    assert_int_equal(add(&first), GP_OK);
    assert_int_equal(sample.n_rows, 3);
}

static void inputs_have_the_same_rows(void **state)
{
    struct asked asked;
    (void)state;
    ask(&asked, 2, 0);
    asked.shapes[1][0] = 1;
    assert_int_equal(add(&asked), GP_INVALID);
    assert_string_equal(err.message, "its inputs differ in their rows");
    ask(&asked, 1, 0);
    asked.inputs[1].rank = 0;
    assert_int_equal(add(&asked), GP_INVALID);
    assert_string_equal(err.message, "its inputs differ in their rows");
    ask(&asked, 1, 0);
    asked.call.n_inputs = 0;
    assert_int_equal(add(&asked), GP_INVALID);
    assert_string_equal(err.message, "it has no inputs");
    assert_null(sample.inputs); /* none of them is the first */
}

/* --- both --- */

static void a_call_has_the_rows_it_is_asked_for(void **state)
{
    static const uint32_t rows[] = {3, 0, 3};
    struct asked asked;
    struct gp_call call;
    (void)state;
    ask(&asked, 4, 0);
    assert_int_equal(add(&asked), GP_OK);
    assert_int_equal(sample_call(&sample, rows, 3, sample.arena, &call, &err), GP_OK);
    assert_int_equal(call.n_inputs, 2);
    assert_string_equal(call.inputs[0].name, "x");
    assert_shape(&call.inputs[0], "int32[3,2]");
    assert_shape(&call.inputs[1], "string[3,1]");
    assert_int_equal(call.inputs[0].size_bytes, 3 * 2 * sizeof(int32_t));
    assert_int_equal(call.inputs[1].size_bytes, 3 * sizeof(struct gp_string));
    const int32_t *x = call.inputs[0].data, wanted[] = {3, 3, 0, 0, 3, 3};
    const struct gp_string *y = call.inputs[1].data;
    assert_memory_equal(x, wanted, sizeof wanted);
    assert_string_equal(y[1].data, "zero");
    assert_string_equal(y[2].data, "three");
    assert_string_equal(call.output_names[1], "q");
    assert_int_equal(call.n_outputs, 2);
    assert_string_equal(call.config, "{}");
    assert_int_equal(sample.inputs[0].shape[0], 4); /* as it was */
}

/* Of a row of no bytes there may be any number. */
static void rows_may_be_empty(void **state)
{
    static const uint32_t rows[] = {1, 1};
    const int64_t shape[] = {2, 0};
    struct asked asked;
    struct gp_call call;
    (void)state;
    ask(&asked, 2, 0);
    asked.inputs[0] = gp_tensor_view(GP_INT32, shape, 2, NULL);
    assert_int_equal(add(&asked), GP_OK);
    assert_int_equal(sample_call(&sample, rows, 2, sample.arena, &call, &err), GP_OK);
    assert_shape(&call.inputs[0], "int32[2,0]");
    assert_int_equal(call.inputs[0].size_bytes, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(inputs_are_as_they_are_described),
        TEST(one_vector_where_nothing_is_said),
        TEST(as_large_as_a_message),
        TEST(so_many_rows_are_made_up),
        TEST(or_one_request),
        TEST(rows_are_added_until_there_are_enough),
        TEST(what_is_not_alike_is_refused),
        TEST(what_is_missing_is_empty),
        TEST(inputs_have_the_same_rows),
        TEST(a_call_has_the_rows_it_is_asked_for),
        TEST(rows_may_be_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
