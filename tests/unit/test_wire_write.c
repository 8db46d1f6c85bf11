/* What is written: which parts a message has, what its writer refuses, what readers of
 * 2018 are given instead, and how shapes are printed. That the bytes are right is the
 * golden tests' part.
 */
#include "test_wire_messages.h"

static struct gp_arena *arena;
static struct gp_encoding encoding;
static struct gp_error err;

static int setup(void **state)
{
    (void)state;
    arena = gp_arena_create();
    memset(&err, 0, sizeof err);
    return arena ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    gp_arena_destroy(arena);
    return 0;
}

static void assert_response_refused(const struct gp_tensor *outputs, uint32_t n,
                                    const char *text)
{
    assert_int_equal(gp_response_encode(arena, outputs, n, 0, &encoding, &err),
                     GP_INVALID);
    assert_string_equal(err.message, text);
}

static struct gp_tensor bytes_tensor(const int64_t *shape, const void *data)
{
    return gp_tensor_view(GP_UINT8, shape, 1, data);
}

static void parts(void **state)
{
    (void)state;
    static const unsigned char data[5000];
    const int64_t small[] = {4095}, large[] = {4096}, larger[] = {4097};
    const struct gp_tensor outputs[] = {
        bytes_tensor(large, data), bytes_tensor(small, data),
        bytes_tensor(larger, data + 1), bytes_tensor(large, data)};
    assert_int_equal(gp_response_encode(arena, outputs + 1, 1, 0, &encoding, &err),
                     GP_OK);
    assert_int_equal(encoding.n_parts, 1);
    assert_int_equal(gp_response_encode(arena, outputs, 1, 0, &encoding, &err), GP_OK);
    assert_int_equal(encoding.n_parts, 2);

    assert_int_equal(gp_response_encode(arena, outputs, 4, 0, &encoding, &err), GP_OK);
    assert_int_equal(encoding.n_parts, 6);
    const struct iovec *part = encoding.parts;
    size_t at = 0;
    for (size_t i = 0; i < 6; at += part[i++].iov_len)
        assert_true(i % 2 == 0 || at % 64 == 0);
    assert_int_equal(at, encoding.size_bytes);
    assert_ptr_equal(part[1].iov_base, data); /* where it lies: nothing was copied */
    assert_ptr_equal(part[3].iov_base, data + 1);
    assert_ptr_equal(part[5].iov_base, data);
    assert_true(part[2].iov_len < 72 && part[4].iov_len < 72);
}

/* The smallest message, byte by byte: there is nothing in it that a reader does not need. */
static void every_byte(void **state)
{
    static const unsigned char wanted[] = {12, 0, 0,  0,             /* to the request */
                                           8,  0, 12, 0, 8, 0, 4, 0, /* its vtable */
                                           8,  0, 0,  0,             /* back to that */
                                           12, 0, 0,  0, /* to its metadata request */
                                           2,  0, 0,  0, /* which is the second kind */
                                           4,  0, 4,  0, /* the vtable of that */
                                           4,  0, 0,  0};
    (void)state;
    assert_int_equal(gp_metadata_request_encode(arena, &encoding, &err), GP_OK);
    struct bytes message = bytes_of(&encoding);
    assert_int_equal(message.size, sizeof wanted);
    assert_memory_equal(message.data, wanted, sizeof wanted);
    free(message.data);
}

/* Encoding reads nothing of a large tensor, so that one of 3 GB can be a pointer to a
 * byte. */
static void too_large(void **state)
{
    (void)state;
    const int64_t shape[] = {3000000000}, half[] = {2147483000};
    const struct gp_tensor outputs[] = {bytes_tensor(shape, ""), bytes_tensor(half, ""),
                                        bytes_tensor(half, "")};
    assert_response_refused(outputs, 1,
                            "the message would have 3000000128 bytes; the format ends at "
                            "2147483647");
    assert_response_refused(outputs + 1, 2,
                            "the message would have 4294966200 bytes; the format ends at "
                            "2147483647");
    assert_int_equal(gp_response_encode(arena, outputs + 1, 1, 0, &encoding, &err),
                     GP_OK);
    assert_int_equal(encoding.size_bytes, 2147483128);

    const int64_t two[] = {2};
    const struct gp_string strings[] = {{"", SIZE_MAX / 2}, {"", SIZE_MAX / 2 + 100}};
    const struct gp_tensor texts = gp_tensor_view(GP_STRING, two, 1, strings);
    assert_response_refused(
        &texts, 1,
        "the message would have 18446744073709551615 bytes; the format "
        "ends at 2147483647");
}

static void wrong_tensors(void **state)
{
    (void)state;
    static const float data[6];
    const int64_t shape[] = {2, 3}, negative[] = {2, -3}, huge[] = {INT64_MAX, 2};
    struct gp_tensor tensor = gp_tensor_view(GP_FLOAT32, shape, 2, data);
    const struct gp_tensor right = tensor;
    tensor.size_bytes = 20;
    assert_response_refused(&tensor, 1,
                            "output 0 holds 20 bytes, but float32[2,3] needs 24");
    tensor = right;
    tensor.data = NULL;
    assert_response_refused(&tensor, 1, "output 0: 24 bytes at NULL");
    tensor = right;
    tensor.dtype = GP_NULL;
    assert_response_refused(&tensor, 1, "output 0 has type 0 (null); types are 1 to 14");
    tensor.dtype = (enum gp_dtype)15;
    assert_response_refused(&tensor, 1,
                            "output 0 has type 15 (unknown); types are 1 to 14");
    tensor = gp_tensor_view(GP_FLOAT32, negative, 2, data);
    assert_response_refused(&tensor, 1,
                            "output 0: float32[2,-3] cannot be the shape of a tensor");
    tensor = gp_tensor_view(GP_FLOAT32, huge, 2, data);
    assert_response_refused(
        &tensor, 1,
        "output 0: float32[9223372036854775807,2] cannot be the shape of a tensor");
    tensor = right;
    tensor.shape = NULL;
    assert_response_refused(&tensor, 1, "output 0 has rank 2 but its shape is NULL");
    tensor.rank = 33;
    assert_response_refused(&tensor, 1, "output 0 has rank 33; the limit is 32");
    assert_response_refused(NULL, 1, "1 outputs at NULL");
    assert_response_refused(&right, 4097, "4097 outputs; the limit is 4096");
    const struct gp_string strings[] = {{NULL, 0}, {NULL, 1}};
    tensor = gp_tensor_view(GP_STRING, shape, 1, strings);
    assert_response_refused(&tensor, 1, "output 0: string 1 has 1 bytes at NULL");
}

static void wrong_requests(void **state)
{
    (void)state;
    static const float data[1];
    struct gp_tensor inputs[2] = {gp_tensor_view(GP_FLOAT32, NULL, 0, data),
                                  gp_tensor_view(GP_FLOAT32, NULL, 0, data)};
    struct gp_call call = {.inputs = inputs, .n_inputs = 2};
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_OK);
    inputs[1].name = "b";
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_INVALID);
    assert_string_equal(err.message,
                        "1 of 2 inputs have names; name all of them, or none");
    inputs[0].name = "\xff";
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_INVALID);
    assert_string_equal(err.message, "the name of input 0 is not UTF-8");
    inputs[0].name = "a";
    call.n_outputs = 1;
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_INVALID);
    assert_string_equal(err.message, "1 output names at NULL");
    call.n_outputs = 5000;
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_INVALID);
    assert_string_equal(err.message, "5000 output names; the limit is 4096");

    static char name[60001];
    static const char *names[18];
    memset(name, 'n', sizeof name - 1);
    for (size_t i = 0; i < 18; i++)
        names[i] = name;
    call = (struct gp_call){.output_names = names, .n_outputs = 17};
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_OK);
    call.n_outputs = 18;
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_INVALID);
    assert_string_equal(err.message,
                        "output name 17: 1080000 bytes of names; the limit is 1048576");
}

static struct gp_response decoded(struct bytes *message)
{
    struct gp_response response;
    *message = bytes_of(&encoding);
    assert_int_equal(
        gp_response_decode(arena, message->data, message->size, 0, &response, &err),
        GP_OK);
    return response;
}

static void types_of_2018(void **state)
{
    (void)state;
    const int64_t shape[] = {2};
    const unsigned char bools[] = {0, 1};
    const uint16_t halves[] = {0x3fc0, 0xc000};
    const struct gp_tensor outputs[] = {gp_tensor_view(GP_BOOL, shape, 1, bools),
                                        gp_tensor_view(GP_BFLOAT16, shape, 1, halves)};
    struct bytes message;
    assert_int_equal(gp_response_encode(arena, outputs, 2, 0, &encoding, &err), GP_OK);
    struct gp_response response = decoded(&message);
    assert_int_equal(response.outputs[0].dtype, GP_BOOL);
    assert_int_equal(response.outputs[1].dtype, GP_BFLOAT16);
    free(message.data);

    assert_int_equal(
        gp_response_encode(arena, outputs, 2, GP_ENCODE_2018, &encoding, &err), GP_OK);
    response = decoded(&message);
    assert_int_equal(response.outputs[0].dtype, GP_UINT8);
    assert_memory_equal(response.outputs[0].data, bools, sizeof bools);
    const float *floats = gp_tensor_data(&response.outputs[1], GP_FLOAT32, &err);
    assert_non_null(floats);
    assert_true(floats[0] == 1.5f && floats[1] == -2.0f);
    assert_int_equal(outputs[1].dtype, GP_BFLOAT16); /* the caller's list is as it was */
    free(message.data);
}

static void errors(void **state)
{
    (void)state;
    const struct {
        const char *said, *sent;
    } cases[] = {{"plain", "plain"},
                 {"größe", "größe"},
                 {"", ""},
                 {"cut in gr\xc3", "cut in gr\\xc3"},
                 {"bad \xff byte", "bad \\xff byte"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct gp_error failure;
        struct bytes message;
        failure.status =
            GP_BUSY; /* without gp_error_set, which would escape it already */
        (void)strcpy(failure.message, cases[i].said);
        assert_int_equal(gp_error_encode(arena, &failure, &encoding, &err), GP_OK);
        const struct gp_response response = decoded(&message);
        assert_int_equal(response.error_code, GP_BUSY);
        assert_int_equal(response.n_outputs, 0);
        assert_string_equal(response.error_message, cases[i].sent);
        free(message.data);
    }
}

static void metadata(void **state)
{
    (void)state;
    const int64_t shape[] = {-1, 3}, wrong[] = {-2};
    struct gp_io input = {"x", "", shape, 2, GP_BFLOAT16, GP_IO_OPTIONAL};
    struct gp_metadata said = {.name = "m",
                               .description = "two\nlines, a \\ and \x7f",
                               .inputs = &input,
                               .n_inputs = 1},
                       heard;
    assert_int_equal(gp_metadata_encode(arena, &said, GP_ENCODE_2018, &encoding, &err),
                     GP_OK);
    struct bytes message = bytes_of(&encoding);
    assert_int_equal(gp_metadata_decode(arena, message.data, message.size, &heard, &err),
                     GP_OK);
    assert_string_equal(heard.name, "m");
    assert_string_equal(heard.server, "");
    assert_string_equal(heard.description, said.description); /* it is UTF-8 */
    assert_int_equal(heard.n_outputs, 0);
    assert_string_equal(heard.inputs[0].name, "x");
    assert_int_equal(heard.inputs[0].dtype, GP_FLOAT32);
    assert_int_equal(heard.inputs[0].shape[0], -1);
    free(message.data);

    input.shape = wrong;
    input.rank = 1;
    assert_int_equal(gp_metadata_encode(arena, &said, 0, &encoding, &err), GP_INVALID);
    assert_string_equal(err.message, "input 0: dimension 0 is -2");
}

/* The name of a model may be that of a file, which may have any bytes. */
static void what_tells_of_a_model_is_escaped(void **state)
{
    (void)state;
    const struct gp_io inputs[] = {{.name = "x", .description = ""},
                                   {.name = "y", .description = "bad \xff byte"}};
    const struct gp_metadata said = {.name = "cut in gr\xc3",
                                     .version = "\xfe\n\xfe",
                                     .server = "größe",
                                     .description = "\x80",
                                     .inputs = inputs,
                                     .n_inputs = 2};
    struct gp_metadata heard;
    assert_int_equal(gp_metadata_encode(arena, &said, 0, &encoding, &err), GP_OK);
    struct bytes message = bytes_of(&encoding);
    assert_int_equal(gp_metadata_decode(arena, message.data, message.size, &heard, &err),
                     GP_OK);
    assert_string_equal(heard.name, "cut in gr\\xc3");
    assert_string_equal(heard.version, "\\xfe\\n\\xfe");
    assert_string_equal(heard.server, "größe");
    assert_string_equal(heard.description, "\\x80");
    assert_string_equal(heard.inputs[1].description, "bad \\xff byte");
    free(message.data);
}

static void names_have_a_limit(void **state)
{
    (void)state;
    static char name[GP_MAX_NAME_BYTES + 2];
    static const float data[1];
    const char *names[] = {name};
    struct gp_tensor input = gp_tensor_view(GP_FLOAT32, NULL, 0, data);
    const struct gp_io io = {.name = name};
    const struct gp_metadata metadata = {.outputs = &io, .n_outputs = 1};
    struct gp_call call = {.inputs = &input, .n_inputs = 1};
    char message[100];
    for (size_t size = GP_MAX_NAME_BYTES; size <= GP_MAX_NAME_BYTES + 1; size++) {
        memset(name, 'n', size);
        const enum gp_status wanted = size > GP_MAX_NAME_BYTES ? GP_INVALID : GP_OK;
        const char *const things[] = {"the name of input", "output name", "output"};
        for (int i = 0; i < 3; i++) {
            input.name = i == 0 ? name : NULL;
            call.output_names = names;
            call.n_outputs = i == 1;
            assert_int_equal(
                i < 2 ? gp_request_encode(arena, &call, &encoding, &err)
                      : gp_metadata_encode(arena, &metadata, 0, &encoding, &err),
                wanted);
            snprintf(message, sizeof message, "%s 0 has %zu bytes; the limit is %u",
                     things[i], size, GP_MAX_NAME_BYTES);
            if (wanted != GP_OK)
                assert_string_equal(err.message, message);
        }
    }
}

static void shape_texts(void **state)
{
    (void)state;
    const int64_t shape[] = {-1, 3, 224, 224};
    char text[24];
    assert_string_equal(gp_shape_format(GP_INT8, shape, 4, text, sizeof text),
                        "int8[-1,3,224,224]");
    assert_string_equal(gp_shape_format(GP_FLOAT32, NULL, 0, text, sizeof text),
                        "float32[]");
    assert_string_equal(gp_shape_format(GP_BFLOAT16, shape, 4, text, sizeof text),
                        "bfloat16[-1,3,224,224]");
    for (size_t size = 1; size < sizeof text; size++) {
        memset(text, 'x', sizeof text);
        gp_shape_format(GP_BFLOAT16, shape, 4, text, size);
        assert_int_equal(strlen(text), size < 23 ? size - 1 : 22);
        assert_memory_equal(text, "bfloat16[-1,3,224,224]", strlen(text));
        assert_int_equal(text[size], 'x');
    }
    assert_string_equal(gp_version(), GP_VERSION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parts, setup, teardown),
        cmocka_unit_test_setup_teardown(every_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(too_large, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_tensors, setup, teardown),
        cmocka_unit_test_setup_teardown(wrong_requests, setup, teardown),
        cmocka_unit_test_setup_teardown(types_of_2018, setup, teardown),
        cmocka_unit_test_setup_teardown(errors, setup, teardown),
        cmocka_unit_test_setup_teardown(metadata, setup, teardown),
        cmocka_unit_test_setup_teardown(what_tells_of_a_model_is_escaped, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(names_have_a_limit, setup, teardown),
        cmocka_unit_test_setup_teardown(shape_texts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
