/* Every message written and read, and data made up for one, with each allocation failing in turn. */
#include "fault.h"
#include "wire/fill.h"

#include <graphpipe/message.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { N_LARGE = 3000, N_MESSAGE_BYTES = 65536 };

static float large[N_LARGE];
static const int64_t LARGE[] = {N_LARGE}, THREE[] = {3}, NONE[] = {0};
static const double doubles[] = {1, 2, 3};
static const unsigned char bools[] = {0, 1, 1};
static const uint16_t halves[] = {0x3f80, 0x4000, 0x4040};
static const struct gp_string strings[] = {{"one", 3}, {"", 0}, {"three", 5}};

/* A message in one piece, at an address that suits its types, or at an odd one. */
struct message {
    unsigned char room[N_MESSAGE_BYTES + 1];
    unsigned char *bytes;
    size_t size;
};

static struct message request, names_unterminated, misaligned, response, failure,
    metadata, metadata_request;

static void flatten(struct message *message, const struct gp_encoding *encoding,
                    size_t shift)
{
    message->bytes = message->room + shift;
    message->size = 0;
    assert_true(encoding->size_bytes <= N_MESSAGE_BYTES);
    for (size_t i = 0; i < encoding->n_parts; i++) {
        memcpy(message->bytes + message->size, encoding->parts[i].iov_base,
               encoding->parts[i].iov_len);
        message->size += encoding->parts[i].iov_len;
    }
}

static enum gp_status encode_request(struct gp_arena *arena, struct gp_encoding *out,
                                     struct gp_error *err)
{
    struct gp_tensor inputs[] = {gp_tensor_view(GP_FLOAT32, LARGE, 1, large),
                                 gp_tensor_view(GP_FLOAT64, THREE, 1, doubles),
                                 gp_tensor_view(GP_STRING, THREE, 1, strings),
                                 gp_tensor_view(GP_FLOAT32, LARGE, 1, large),
                                 gp_tensor_view(GP_INT64, NONE, 1, NULL)};
    const char *outputs[] = {"first", "another-of-three"};
    inputs[0].name = "image";
    inputs[1].name = "numbers-of-three";
    inputs[2].name = "words";
    inputs[3].name = "mask";
    inputs[4].name = "empty";
    const struct gp_call call = {.inputs = inputs,
                                 .n_inputs = 5,
                                 .output_names = outputs,
                                 .n_outputs = 2,
                                 .config = "config"};
    return gp_request_encode(arena, &call, out, err);
}

static enum gp_status encode_response(struct gp_arena *arena, unsigned flags,
                                      struct gp_encoding *out, struct gp_error *err)
{
    const struct gp_tensor outputs[] = {gp_tensor_view(GP_BOOL, THREE, 1, bools),
                                        gp_tensor_view(GP_BFLOAT16, THREE, 1, halves),
                                        gp_tensor_view(GP_STRING, THREE, 1, strings),
                                        gp_tensor_view(GP_FLOAT32, LARGE, 1, large)};
    return gp_response_encode(arena, outputs, 4, flags, out, err);
}

static enum gp_status encode_metadata(struct gp_arena *arena, unsigned flags,
                                      struct gp_encoding *out, struct gp_error *err)
{
    static const struct gp_io ios[] = {
        {.name = "x",
         .description = "first",
         .shape = THREE,
         .rank = 1,
         .dtype = GP_BOOL},
        {.name = "y", .description = "", .flags = GP_IO_ANY_RANK, .dtype = GP_FLOAT32}};
    const struct gp_metadata m = {.name = "model",
                                  .version = "1",
                                  .inputs = ios,
                                  .n_inputs = 2,
                                  .outputs = ios,
                                  .n_outputs = 1};
    return gp_metadata_encode(arena, &m, flags, out, err);
}

static enum gp_status encode_failure(struct gp_arena *arena, struct gp_encoding *out,
                                     struct gp_error *err)
{
    static const struct gp_error said = {GP_INVALID, "it is no good"};
    return gp_error_encode(arena, &said, out, err);
}

/* A name whose terminator is gone has to be copied; those of 16 letters have none left in what the arena
 * gives in any case. */
static void unterminate(struct message *message, const char *name)
{
    unsigned char *at = memmem(message->bytes, message->size, name, strlen(name) + 1);
    assert_non_null(at);
    at[strlen(name)] = '!';
}

static int setup(void **state)
{
    (void)state;
    struct gp_encoding out;
    struct gp_arena *arena = gp_arena_create();
    assert_int_equal(encode_request(arena, &out, NULL), GP_OK);
    flatten(&request, &out, 0);
    flatten(&misaligned, &out, 1);
    flatten(&names_unterminated, &out, 0);
    unterminate(&names_unterminated, "numbers-of-three");
    unterminate(&names_unterminated, "another-of-three");
    assert_int_equal(encode_response(arena, 0, &out, NULL), GP_OK);
    flatten(&response, &out, 1);
    assert_int_equal(encode_metadata(arena, 0, &out, NULL), GP_OK);
    flatten(&metadata, &out, 1);
    assert_int_equal(encode_failure(arena, &out, NULL), GP_OK);
    flatten(&failure, &out, 0);
    assert_int_equal(gp_metadata_request_encode(arena, &out, NULL), GP_OK);
    flatten(&metadata_request, &out, 0);
    gp_arena_destroy(arena);
    return 0;
}

/* --- scenarios ------------------------------------------------------------------------ */

enum write {
    REQUEST,
    METADATA_REQUEST,
    RESPONSE,
    RESPONSE_2018,
    FAILURE,
    METADATA,
    METADATA_2018
};

static enum gp_status write_message(void *arg, struct gp_error *err)
{
    struct gp_encoding out = {NULL, 0, 0};
    struct gp_arena *arena = gp_arena_create();
    enum gp_status status = GP_OK;
    if (!arena)
        return gp_error_set(err, GP_NO_MEMORY, "no arena");
    switch (*(const enum write *)arg) {
    case REQUEST:
        status = encode_request(arena, &out, err);
        break;
    case METADATA_REQUEST:
        status = gp_metadata_request_encode(arena, &out, err);
        break;
    case RESPONSE:
        status = encode_response(arena, 0, &out, err);
        break;
    case RESPONSE_2018:
        status = encode_response(arena, GP_ENCODE_2018, &out, err);
        break;
    case FAILURE:
        status = encode_failure(arena, &out, err);
        break;
    case METADATA:
        status = encode_metadata(arena, 0, &out, err);
        break;
    case METADATA_2018:
        status = encode_metadata(arena, GP_ENCODE_2018, &out, err);
        break;
    }
    assert_int_equal(status == GP_OK, out.n_parts > 0);
    gp_arena_destroy(arena);
    return status;
}

static enum gp_status read_request(void *arg, struct gp_error *err)
{
    const struct message *message = arg;
    struct gp_request got;
    struct gp_arena *arena = gp_arena_create();
    if (!arena)
        return gp_error_set(err, GP_NO_MEMORY, "no arena");
    const enum gp_status status =
        gp_request_decode(arena, message->bytes, message->size, 0, &got, err);
    if (status == GP_OK && got.kind == GP_REQUEST_INFER) {
        assert_int_equal(got.call.n_inputs, 5);
        assert_string_equal(got.call.inputs[1].name, "numbers-of-three");
        assert_string_equal(got.call.output_names[1], "another-of-three");
        assert_memory_equal(got.call.inputs[1].data, doubles, sizeof doubles);
    }
    gp_arena_destroy(arena);
    return status;
}

static enum gp_status read_response(void *arg, struct gp_error *err)
{
    const struct message *message = arg;
    struct gp_response got;
    struct gp_arena *arena = gp_arena_create();
    if (!arena)
        return gp_error_set(err, GP_NO_MEMORY, "no arena");
    const enum gp_status status =
        gp_response_decode(arena, message->bytes, message->size, 0, &got, err);
    if (status == GP_OK)
        assert_true(got.error_message || got.n_outputs == 4);
    gp_arena_destroy(arena);
    return status;
}

static enum gp_status read_metadata(void *arg, struct gp_error *err)
{
    const struct message *message = arg;
    struct gp_metadata got;
    struct gp_arena *arena = gp_arena_create();
    if (!arena)
        return gp_error_set(err, GP_NO_MEMORY, "no arena");
    const enum gp_status status =
        gp_metadata_decode(arena, message->bytes, message->size, &got, err);
    if (status == GP_OK)
        assert_int_equal(got.n_inputs, 2);
    gp_arena_destroy(arena);
    return status;
}

static enum gp_status make_up(void *arg, struct gp_error *err)
{
    struct gp_tensor tensor = {
        .name = "x", .shape = THREE, .rank = 1, .dtype = *(const enum gp_dtype *)arg};
    struct random random = {1};
    struct gp_arena *arena = gp_arena_create();
    if (!arena)
        return gp_error_set(err, GP_NO_MEMORY, "no arena");
    const enum gp_status status = fill_tensor(&tensor, &random, arena, err);
    gp_arena_destroy(arena);
    return status;
}

static void writing(void **state)
{
    (void)state;
    unsigned n = 0;
    for (enum write what = REQUEST; what <= METADATA_2018; what++)
        n += fault_each_allocation(write_message, &what);
    print_message("written: %u allocations\n", n);
}

static void reading(void **state)
{
    (void)state;
    const unsigned n = fault_each_allocation(read_request, &request) +
                       fault_each_allocation(read_request, &misaligned) +
                       fault_each_allocation(read_request, &names_unterminated) +
                       fault_each_allocation(read_request, &metadata_request) +
                       fault_each_allocation(read_response, &response) +
                       fault_each_allocation(read_response, &failure) +
                       fault_each_allocation(read_metadata, &metadata);
    print_message("read: %u allocations, %u failed in all\n", n, fault_n_hits());
}

static void making_up(void **state)
{
    (void)state;
    enum gp_dtype numbers = GP_FLOAT32, words = GP_STRING;
    fault_each_allocation(make_up, &numbers);
    fault_each_allocation(make_up, &words);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(writing),
                                       cmocka_unit_test(reading),
                                       cmocka_unit_test(making_up)};
    return cmocka_run_group_tests(tests, setup, NULL);
}
