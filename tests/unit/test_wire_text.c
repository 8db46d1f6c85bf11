/* What models take and give as text: in logs and tables, and as JSON. */
#include "wire/metadata_json.h"
#include "wire/shape.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static const int64_t image[] = {-1, 3, 224, 224};
static const int64_t rows[] = {-1};

static void types_and_shapes(void **state)
{
    (void)state;
    struct text text = {0};
    shape_write(&text, GP_FLOAT32, image, 4);
    text_puts(&text, " ");
    shape_write(&text, GP_NULL, rows, 1);
    text_puts(&text, " ");
    shape_write(&text, GP_BOOL, NULL, 0);
    assert_string_equal(text.data, "float32[-1,3,224,224] any[-1] bool[]");
    text_finish(&text);
}

static void inputs_in_a_line(void **state)
{
    (void)state;
    const struct gp_io ios[] = {
        {.name = "image", .dtype = GP_FLOAT32, .shape = image, .rank = 4},
        {.name = "evil\n\x1b[2J", .dtype = GP_INT8, .shape = rows, .rank = 1},
        {.name = "rest", .dtype = GP_NULL, .flags = GP_IO_ANY_RANK},
    };
    struct text text = {0};
    shape_write_ios(&text, ios, 0);
    assert_int_equal(text.size_bytes, 0);
    shape_write_ios(&text, ios, 3);
    assert_string_equal(text.data, "image float32[-1,3,224,224], "
                                   "evil\\n\\x1b[2J int8[-1], rest any[...]");
    text_finish(&text);
}

static void input_in_a_buffer(void **state)
{
    (void)state;
    const struct gp_io io = {.dtype = GP_FLOAT32, .shape = image, .rank = 4};
    const struct gp_io any_rank = {.dtype = GP_INT8, .flags = GP_IO_ANY_RANK};
    const struct gp_io any = {.dtype = GP_NULL, .shape = rows, .rank = 1};
    char buffer[32];
    assert_string_equal(shape_format_io(&io, buffer, sizeof buffer),
                        "float32[-1,3,224,224]");
    assert_string_equal(shape_format_io(&any_rank, buffer, sizeof buffer), "int8[...]");
    assert_string_equal(shape_format_io(&any, buffer, sizeof buffer), "any[-1]");
    assert_string_equal(shape_format_io(&io, buffer, 12), "float32[-1,");
}

static void metadata_as_json(void **state)
{
    (void)state;
    const struct gp_io inputs[] = {
        {.name = "a \"b\"",
         .dtype = GP_FLOAT32,
         .shape = image,
         .rank = 4,
         .description = ""},
        {.name = "mask",
         .dtype = GP_BOOL,
         .shape = rows,
         .rank = 1,
         .flags = GP_IO_OPTIONAL,
         .description = "what counts"},
    };
    const struct gp_metadata metadata = {
        .name = "m", .version = "1", .inputs = inputs, .n_inputs = 2};
    struct text text = {0};
    metadata_write_json(&text, &metadata);
    assert_string_equal(text.data,
                        "{\n"
                        "  \"name\": \"m\",\n"
                        "  \"version\": \"1\",\n"
                        "  \"server\": \"\",\n"
                        "  \"description\": \"\",\n"
                        "  \"inputs\": [\n"
                        "    {\"name\": \"a \\\"b\\\"\", \"type\": \"float32\", "
                        "\"shape\": [-1, 3, 224, 224]},\n"
                        "    {\"name\": \"mask\", \"type\": \"bool\", \"shape\": [-1], "
                        "\"optional\": true, \"description\": \"what counts\"}\n"
                        "  ],\n"
                        "  \"outputs\": [\n"
                        "  ]\n"
                        "}\n");
    text_finish(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types_and_shapes),
        cmocka_unit_test(inputs_in_a_line),
        cmocka_unit_test(input_in_a_buffer),
        cmocka_unit_test(metadata_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
