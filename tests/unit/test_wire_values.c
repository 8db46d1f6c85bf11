/* Requests whose structure is sound and whose values are not: texts, names, types and
 * shapes, and what does not go together.
 */
#include "test_wire_request.h"

static void strings(void **state)
{
    struct fixture *f = *state;
    char text[160];
    const size_t at =
        element_of(f->message, tensor_of(f->message, 1), TENSOR_STRING_VAL, 2);
    const size_t string = follow(f->message, at);
    store(f->message, string, UINT32_MAX);
    snprintf(text, sizeof text,
             "request.input_tensors[1].string_val[2]: string of 4294967295 bytes from "
             "byte %zu on "
             "lies outside of the %zu bytes",
             string + 4, f->message.size);
    assert_refused(f, GP_MALFORMED, text);
    store(f->message, at, 0x7fffffff);
    snprintf(text, sizeof text,
             "request.input_tensors[1].string_val[2]: offset 2147483647 at byte %zu lies "
             "outside "
             "of the %zu bytes",
             at, f->message.size);
    assert_refused(f, GP_MALFORMED, text);
    store(f->message, at, 0);
    snprintf(text, sizeof text,
             "request.input_tensors[1].string_val[2]: offset 0 at byte %zu", at);
    assert_refused(f, GP_MALFORMED, text);
}

static void string_count(void **state)
{
    struct fixture *f = *state;
    const size_t tensor = tensor_of(f->message, 1);
    store(f->message, follow(f->message, field_of(f->message, tensor, TENSOR_STRING_VAL)),
          3);
    assert_refused(
        f, GP_MALFORMED,
        "request.input_tensors[1].string_val holds 3 strings, but string[2,2] needs 4");
    store(f->message, follow(f->message, field_of(f->message, tensor, TENSOR_STRING_VAL)),
          4);
    store(f->message, follow(f->message, field_of(f->message, tensor, TENSOR_SHAPE)) + 4,
          1);
    assert_refused(
        f, GP_MALFORMED,
        "request.input_tensors[1].string_val holds 4 strings, but string[1,2] needs 2");
}

static void names(void **state)
{
    struct fixture *f = *state;
    const size_t infer = infer_of(f->message);
    const size_t name =
        follow(f->message, element_of(f->message, infer, INFER_INPUT_NAMES, 1));
    f->message.data[name + 4 + 2] = 0xff;
    assert_refused(f, GP_MALFORMED, "request.input_names[1] is not UTF-8");
    f->message.data[name + 4 + 2] = '\0';
    assert_refused(f, GP_MALFORMED,
                   "request.input_names[1] has a NUL at 2 of its 7 bytes");
    f->message.data[name + 4 + 2] = 'r';
    const size_t config = follow(f->message, field_of(f->message, infer, INFER_CONFIG));
    f->message.data[config + 4] = '\0';
    assert_refused(f, GP_MALFORMED, "request.config has a NUL at 0 of its 6 bytes");
}

/* A writer that puts no NUL behind its strings: they are copied. */
static void unterminated(void **state)
{
    struct fixture *f = *state;
    const size_t infer = infer_of(f->message);
    const size_t out =
        follow(f->message, element_of(f->message, infer, INFER_OUTPUT_NAMES, 0));
    const size_t config = follow(f->message, field_of(f->message, infer, INFER_CONFIG));
    f->message.data[out + 4 + 3] = 'X';
    store(f->message, config, 5);
    assert_int_equal(decode(f), GP_OK);
    assert_string_equal(f->request.call.output_names[0], "out");
    assert_string_equal(f->request.call.config, "confi");
    f->message.size = out + 4 + 3; /* the message ends with it */
    struct bytes exact = {malloc(f->message.size), f->message.size};
    assert_non_null(exact.data);
    memcpy(exact.data, f->message.data, exact.size);
    assert_int_equal(
        gp_request_decode(f->arena, exact.data, exact.size, 0, &f->request, &f->err),
        GP_OK);
    assert_string_equal(f->request.call.output_names[0], "out");
    free(exact.data);
}

static void types(void **state)
{
    struct fixture *f = *state;
    const size_t tensor = tensor_of(f->message, 0);
    const size_t type = field_of(f->message, tensor, TENSOR_TYPE);
    f->message.data[type] = 200;
    assert_refused(f, GP_MALFORMED,
                   "request.input_tensors[0].type is 200; the last known one is 14");
    f->message.data[type] = GP_NULL;
    assert_refused(f, GP_MALFORMED,
                   "request.input_tensors[0].type is null or absent; a tensor needs one");
    f->message.data[type] = GP_STRING;
    assert_refused(
        f, GP_MALFORMED,
        "request.input_tensors[0].string_val holds 0 strings, but string[3] needs 3");
    f->message.data[type] = GP_INT32;
    assert_refused(f, GP_MALFORMED,
                   "request.input_tensors[0].data holds 24 bytes, but int32[3] needs 12");
    f->message.data[type] = GP_UINT64;
    assert_int_equal(decode(f), GP_OK);
}

static void shapes(void **state)
{
    struct fixture *f = *state;
    const size_t tensor = tensor_of(f->message, 0);
    const size_t shape = follow(f->message, field_of(f->message, tensor, TENSOR_SHAPE));
    const size_t data = follow(f->message, field_of(f->message, tensor, TENSOR_DATA));
    store(f->message, shape + 8, 0x7fffffff);
    assert_refused(f, GP_MALFORMED,
                   "request.input_tensors[0].data holds 24 bytes, but "
                   "float64[9223372032559808515] needs more than 18446744073709551615");
    store(f->message, shape + 4, UINT32_MAX);
    store(f->message, shape + 8, UINT32_MAX);
    assert_refused(f, GP_MALFORMED,
                   "request.input_tensors[0].shape[0] is -1; the smallest is 0");
    store(f->message, shape + 4, 3);
    store(f->message, shape + 8, 0);
    store(f->message, shape, 33);
    assert_refused(f, GP_TOO_LARGE,
                   "request.input_tensors[0].shape has 33 elements; the limit is 32");
    store(f->message, shape, 0);
    assert_refused(f, GP_MALFORMED,
                   "request.input_tensors[0].data holds 24 bytes, but float64[] needs 8");
    store(f->message, shape, 1);
    store(f->message, data, 12);
    assert_refused(
        f, GP_MALFORMED,
        "request.input_tensors[0].data holds 12 bytes, but float64[3] needs 24");
    store(f->message, data, 0x80000000);
    char text[160];
    snprintf(text, sizeof text,
             "request.input_tensors[0].data: 2147483648 elements of 1 bytes from byte "
             "%zu on lie "
             "outside of the %zu bytes",
             data + 4, f->message.size);
    assert_refused(f, GP_MALFORMED, text);
}

/* 2^32 * 2^32 elements: the product would wrap to 0. */
static void shape_that_overflows(void **state)
{
    struct fixture *f = *state;
    const size_t tensor = tensor_of(f->message, 1);
    const size_t shape = follow(f->message, field_of(f->message, tensor, TENSOR_SHAPE));
    for (size_t i = 0; i < 2; i++) {
        store(f->message, shape + 4 + 8 * i, 0);
        store(f->message, shape + 8 + 8 * i, 1);
    }
    assert_refused(
        f, GP_MALFORMED,
        "request.input_tensors[1].shape: string[4294967296,4294967296] has more "
        "elements than can be counted");
}

static void name_counts(void **state)
{
    struct fixture *f = *state;
    const size_t infer = infer_of(f->message);
    const size_t vector =
        follow(f->message, field_of(f->message, infer, INFER_INPUT_NAMES));
    store(f->message, vector, 1);
    assert_refused(f, GP_MALFORMED, "request.input_names: 1 input names for 2 tensors");
    store(f->message, vector, 0);
    assert_int_equal(decode(f), GP_OK);
    assert_null(f->request.call.inputs[0].name);

    store(f->message, vector, 2);
    store(f->message,
          follow(f->message, field_of(f->message, infer, INFER_INPUT_TENSORS)), 1);
    assert_refused(
        f, GP_MALFORMED,
        "request.input_names: 2 input names for 1 tensors, and \"strings\" repeats "
        "none of those before it");
    store(f->message, vector + 8, load(f->message, vector + 4) - 4); /* "numbers" again */
    assert_int_equal(decode(f), GP_OK);
    assert_int_equal(f->request.call.n_inputs, 1);
    assert_string_equal(f->request.call.inputs[0].name, "numbers");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(strings, setup, teardown),
        cmocka_unit_test_setup_teardown(string_count, setup, teardown),
        cmocka_unit_test_setup_teardown(names, setup, teardown),
        cmocka_unit_test_setup_teardown(unterminated, setup, teardown),
        cmocka_unit_test_setup_teardown(types, setup, teardown),
        cmocka_unit_test_setup_teardown(shapes, setup, teardown),
        cmocka_unit_test_setup_teardown(shape_that_overflows, setup, teardown),
        cmocka_unit_test_setup_teardown(name_counts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
