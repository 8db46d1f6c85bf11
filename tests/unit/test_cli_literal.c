/* Tensors written on a command line, and tensors as text for people and as JSON. */
#include "cli/literal.c"
#undef AT
#include "cli/tensor_text.c"
#include "wire/shape.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct gp_arena *arena;
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    arena = gp_arena_create();
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gp_arena_destroy(arena);
    return 0;
}

static enum gp_status read_word(const char *word, struct gp_tensor *tensor)
{
    const char *rest;
    assert_true(literal_is(word));
    const enum gp_status status = literal_type(arena, word, tensor, &rest, &err);
    return status == GP_OK ? literal_values(arena, rest, tensor, &err) : status;
}

/* Reads the word and prints it as type, blank, summary. */
static void becomes(const char *word, const char *expected)
{
    struct gp_tensor tensor;
    if (read_word(word, &tensor) != GP_OK)
        fail_msg("%s: %s", word, err.message);
    struct text text = {0};
    shape_write(&text, tensor.dtype, tensor.shape, tensor.rank);
    text_puts(&text, " ");
    tensor_write_summary(&text, &tensor);
    assert_string_equal(text.data, expected);
    text_finish(&text);
}

static void refuse(const char *word, const char *message)
{
    struct gp_tensor tensor;
    assert_int_equal(read_word(word, &tensor), GP_INVALID);
    assert_string_equal(err.message, message);
}

static void test_what_is_a_literal(void **state)
{
    (void)state;
    assert_true(literal_is("float32[1]:1"));
    assert_true(literal_is("flaot32[1]:1"));
    assert_true(literal_is("bool:true"));
    assert_false(literal_is("cat.npy"));
    assert_false(literal_is("cat[1].npy"));
    assert_false(literal_is("a:b.npy"));
    assert_false(literal_is("float32[1]x]:1"));
    assert_false(literal_is("x=float32[1]:1"));
    assert_false(literal_is("x[0]=float32[1]:1"));
    assert_false(literal_is("-"));
    assert_false(literal_is(""));
}

static void test_reads_values(void **state)
{
    (void)state;
    becomes("float32[2,2]:1,2.5,-3e2,inf", "float32[2,2] [[1, 2.5], [-300, inf]]");
    becomes("float32:0.1", "float32[] 0.1");
    becomes("float32[]:1", "float32[] 1");
    becomes("float64[1]:0.1", "float64[1] [0.1]");
    becomes("float16[3]:0.1,65504,nan", "float16[3] [0.1, 65504, nan]");
    becomes("bfloat16[2]:0.1,1e30", "bfloat16[2] [0.1, 1e+30]");
    becomes("int8[2]:-128, 127", "int8[2] [-128, 127]");
    becomes("uint64[1]:18446744073709551615", "uint64[1] [18446744073709551615]");
    becomes("int64[1]:-9223372036854775808", "int64[1] [-9223372036854775808]");
    becomes("bool[4]:true,false,1,0", "bool[4] [true, false, true, false]");
    becomes("int32[2,-1]:1,2,3,4,5,6", "int32[2,3] [[1, 2, 3], [4, 5, 6]]");
    becomes("int32[0,4]:", "int32[0,4] no elements");
    becomes("int32[-1]:", "int32[0] no elements");
    becomes("string[3]:\"a, b\",c,\"\"", "string[3] [\"a, b\", \"c\", \"\"]");
    becomes("string:\"say \\\"hi\\\"\\n\\\\\"", "string[] \"say \\\"hi\\\"\\u000a\\\\\"");
    becomes("string[2]:,x", "string[2] [\"\", \"x\"]");
}

static void test_one_value_for_all(void **state)
{
    (void)state;
    becomes("f32[2,2]:1.5", "float32[2,2] [[1.5, 1.5], [1.5, 1.5]]");
    becomes("i8[3]:-128", "int8[3] [-128, -128, -128]");
    becomes("string[2]:\"a, b\"", "string[2] [\"a, b\", \"a, b\"]");
    becomes("bool[2]:zeros", "bool[2] [false, false]");
    becomes("bf16[0,3]:zeros", "bfloat16[0,3] no elements");
    becomes("u64[-1]:zeros", "uint64[1] [0]");
    becomes("f64:zeros", "float64[] 0");
    becomes("str[1]:zeros", "string[1] [\"zeros\"]");
    refuse("f32[2]:ones", "\"ones\" is not a value of type float32");
    refuse("f32[2]:1,", "\"\" is not a value of type float32");
    refuse("f32[2000000000]:0", "float32[2000000000] does not fit 1 value");
    refuse("f32[9223372036854775807,9]:zeros",
           "float32[9223372036854775807,9] does not fit 1 value");
}

static void test_random_values(void **state)
{
    (void)state;
    struct gp_tensor one, again;
    assert_int_equal(read_word("f32[2,50]:random", &one), GP_OK);
    assert_int_equal(read_word("f32[2,50]:random", &again), GP_OK);
    assert_int_equal(one.size_bytes, 400);
    assert_memory_equal(one.data, again.data, 400);
    const float *x = one.data;
    for (int i = 0; i < 100; i++)
        assert_true(x[i] >= 0 && x[i] < 1 && (i == 0 || x[i] != x[i - 1]));
    assert_int_equal(read_word("i64[-1,3]:random", &one), GP_INVALID);
    assert_int_equal(read_word("i64[-1]:random", &one), GP_OK);
    assert_int_equal(one.shape[0], 1);
    assert_int_equal(read_word("u8[0]:random", &one), GP_OK);
    assert_int_equal(one.size_bytes, 0);
    assert_int_equal(read_word("f32[2000000000]:random", &one), GP_TOO_LARGE);
}

static void test_refuses_values(void **state)
{
    (void)state;
    refuse("int8[1]:128", "\"128\" is not a value of type int8");
    refuse("int8[1]:-129", "\"-129\" is not a value of type int8");
    refuse("uint8[1]:256", "\"256\" is not a value of type uint8");
    refuse("uint32[2]:1, -1", "\" -1\" is not a value of type uint32");
    refuse("uint64[1]:18446744073709551616",
           "\"18446744073709551616\" is not a value of type uint64");
    refuse("int32[1]:1.5", "\"1.5\" is not a value of type int32");
    refuse("int32[2]:1,", "\"\" is not a value of type int32");
    refuse("float32[1]:1e39", "\"1e39\" is not a value of type float32");
    refuse("float16[1]:65520", "\"65520\" is not a value of type float16");
    refuse("float64[1]:1e999", "\"1e999\" is not a value of type float64");
    refuse("float64[1]:x", "\"x\" is not a value of type float64");
    refuse("bool[1]:yes", "\"yes\" is not a value of type bool");
    refuse("float32[2]:1,2,3", "float32[2] does not fit 3 values");
    refuse("float32[2,-1]:1,2,3", "float32[2,-1] does not fit 3 values");
    refuse("float32[0,-1]:1", "float32[0,-1] does not fit 1 value");
    refuse("float32[9223372036854775807,9]:1",
           "float32[9223372036854775807,9] does not fit 1 value");
    refuse("float32[-1,-1]:1",
           "\"[-1,-1]\" is not a shape: use sizes with commas between them, "
           "at most one of them -1");
    refuse("float32[a]:1",
           "\"[a]\" is not a shape: use sizes with commas between them, at most "
           "one of them -1");
    refuse("string[1]:\"open", "\"open: the closing quote is missing or not last");
    refuse("string[1]:\"a\"b", "\"a\"b: the closing quote is missing or not last");
    refuse("flaot32[1]:1",
           "unknown type \"flaot32\": use bool, int8, int16, int32, int64, uint8, "
           "uint16, uint32, uint64, float16, bfloat16, float32, float64 or string");
    refuse("null[1]:1",
           "unknown type \"null\": use bool, int8, int16, int32, int64, uint8, "
           "uint16, uint32, uint64, float16, bfloat16, float32, float64 or string");
}

static void test_raw_bytes(void **state)
{
    (void)state;
    struct gp_tensor tensor;
    const char *rest;
    const float values[] = {1, 2, 3};
    assert_int_equal(literal_type(arena, "float32[-1]:@x", &tensor, &rest, &err), GP_OK);
    assert_string_equal(rest, "@x");
    assert_int_equal(literal_bytes(arena, values, sizeof values, &tensor, &err), GP_OK);
    assert_int_equal(tensor.shape[0], 3);
    assert_ptr_equal(tensor.data, values);
    assert_int_equal(literal_type(arena, "float32[4]:@x", &tensor, &rest, &err), GP_OK);
    assert_int_equal(literal_bytes(arena, values, sizeof values, &tensor, &err),
                     GP_INVALID);
    assert_string_equal(err.message, "float32[4] does not fit 3 values");
    assert_int_equal(literal_bytes(arena, values, 11, &tensor, &err), GP_INVALID);
    assert_int_equal(literal_type(arena, "string[1,1]:@x", &tensor, &rest, &err), GP_OK);
    assert_int_equal(literal_bytes(arena, values, 5, &tensor, &err), GP_OK);
    assert_int_equal(((const struct gp_string *)tensor.data)->size_bytes, 5);
    assert_int_equal(literal_type(arena, "string[2]:@x", &tensor, &rest, &err), GP_OK);
    assert_int_equal(literal_bytes(arena, values, 5, &tensor, &err), GP_INVALID);
}

static void summary_is(const struct gp_tensor *tensor, const char *expected)
{
    struct text text = {0};
    tensor_write_summary(&text, tensor);
    assert_string_equal(text.data, expected);
    text_finish(&text);
}

static void test_sums_up(void **state)
{
    (void)state;
    float scores[1000];
    for (int i = 0; i < 1000; i++)
        scores[i] = (float)i * 1e-6f;
    scores[504] = 0.573f;
    scores[968] = 0.156f;
    scores[967] = 0.077f;
    scores[0] = 1.2e-7f;
    int64_t shape[] = {1, 1000};
    struct gp_tensor tensor = gp_tensor_view(GP_FLOAT32, shape, 2, scores);
    summary_is(&tensor, "min 1.2e-07  max 0.573  top: 504 0.573, 968 0.156, 967 0.077");
    shape[0] = 2;
    shape[1] = 500;
    summary_is(&tensor,
               "min 1.2e-07  max 0.573  first: 1.2e-07, 1e-06, 2e-06, 3e-06 ...");
    scores[1] = NAN;
    summary_is(&tensor,
               "min 1.2e-07  max 0.573  nan 1  first: 1.2e-07, nan, 2e-06, 3e-06 ...");
    for (int i = 0; i < 1000; i++)
        scores[i] = NAN;
    summary_is(&tensor, "nan 1000  first: nan, nan, nan, nan ...");
    int64_t big[17] = {INT64_MAX - 1, INT64_MAX, -5};
    shape[0] = 17;
    tensor = gp_tensor_view(GP_INT64, shape, 1, big);
    summary_is(&tensor, "min -5  max 9223372036854775807  first: 9223372036854775806, "
                        "9223372036854775807, -5, 0 ...");
}

static void json_is(const char *word, const char *expected)
{
    struct gp_tensor tensor;
    assert_int_equal(read_word(word, &tensor), GP_OK);
    struct text text = {0};
    for (size_t i = 0; i < tensor_count(&tensor); i++) {
        text_puts(&text, i ? "," : "");
        tensor_write_json(&text, &tensor, i);
    }
    assert_string_equal(text.data, expected);
    text_finish(&text);
}

static void test_json(void **state)
{
    (void)state;
    json_is("float32[5]:nan,inf,-inf,16777217,-0",
            "\"NaN\",\"Infinity\",\"-Infinity\",16777216,-0");
    json_is("float64[2]:0.30000000000000004,1e22", "0.30000000000000004,1e+22");
    json_is("float32[2]:0.30000001192092896,3.4028235e38", "0.3,3.4028235e+38");
    json_is("string[2]:\"\xc3\xa9\",\"\xff\"", "\"\xc3\xa9\",\"\\ufffd\"");
}

/* Whatever the bits, the digits read back as the same number. */
static void test_digits_read_back(void **state)
{
    (void)state;
    uint32_t random = 1;
    for (int i = 0; i < 20000; i++) {
        random = random * 1664525u + 1013904223u;
        float value;
        memcpy(&value, &random, sizeof value);
        if (!isfinite(value))
            continue;
        const struct gp_tensor tensor = gp_tensor_view(GP_FLOAT32, NULL, 0, &value);
        struct text text = {0};
        tensor_write_json(&text, &tensor, 0);
        assert_true(strtof(text.data, NULL) == value);
        text_finish(&text);
    }
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_a_literal), TEST(test_reads_values),
        TEST(test_one_value_for_all), TEST(test_random_values),
        TEST(test_refuses_values),    TEST(test_raw_bytes),
        TEST(test_sums_up),           TEST(test_json),
        TEST(test_digits_read_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
