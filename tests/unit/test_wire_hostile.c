/* Messages made to hurt: every vector cut at every length, with every bit flipped and
 * with hostile numbers everywhere, read as every kind of message; and small messages that
 * stand for large ones, by pointing at the same bytes again and again.
 *
 * A message ends where memory ends, so that reading a byte more ends the test in every build. */
#include "test_wire_messages.h"

#include <dirent.h>
#include <sys/mman.h>

static unsigned touched; /* what was read, so that reading it is not optimised away */

static void touch(const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        touched += ((const unsigned char *)bytes)[i];
}

static void touch_text(const char *text)
{
    if (text)
        touch(text, strlen(text));
}

static void touch_tensors(const struct gp_tensor *tensors, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        const struct gp_tensor *tensor = &tensors[k];
        touch_text(tensor->name);
        touch(tensor->shape, tensor->rank * sizeof *tensor->shape);
        touch(tensor->data, tensor->size_bytes);
        const struct gp_string *strings = tensor->data;
        if (tensor->dtype == GP_STRING)
            for (size_t i = 0; i < tensor->size_bytes / sizeof *strings; i++)
                touch(strings[i].data, strings[i].size_bytes);
        else
            assert_int_equal((uintptr_t)tensor->data % gp_dtype_size(tensor->dtype), 0);
    }
}

static void touch_ios(const struct gp_io *ios, uint32_t n)
{
    for (uint32_t k = 0; k < n; k++) {
        const struct gp_io *io = &ios[k];
        touch_text(io->name);
        touch_text(io->description);
        touch(io->shape, io->rank * sizeof *io->shape);
    }
}

/* Decodes as all three kinds and reads all that came; nothing but a status may come of
 * it. */
static void decode_here(struct gp_arena *arena, struct bytes message)
{
    struct gp_error err;
    struct gp_request request;
    struct gp_response response;
    struct gp_metadata metadata;
    if (!gp_request_decode(arena, message.data, message.size, 1 << 20, &request, &err)) {
        touch_tensors(request.call.inputs, request.call.n_inputs);
        for (uint32_t i = 0; i < request.call.n_outputs; i++)
            touch_text(request.call.output_names[i]);
        touch_text(request.call.config);
    }
    gp_arena_reset(arena);
    if (!gp_response_decode(arena, message.data, message.size, 1 << 20, &response,
                            &err)) {
        touch_tensors(response.outputs, response.n_outputs);
        touch_text(response.error_message);
    }
    gp_arena_reset(arena);
    if (!gp_metadata_decode(arena, message.data, message.size, &metadata, &err)) {
        touch_ios(metadata.inputs, metadata.n_inputs);
        touch_ios(metadata.outputs, metadata.n_outputs);
        touch_text(metadata.name);
        touch_text(metadata.description);
    }
    gp_arena_reset(arena);
}

enum { FENCED_BYTES = 16 * 1024, FENCE_BYTES = 64 * 1024 };

static unsigned char *fence; /* what follows the fenced bytes */

static int set_up(void **state)
{
    (void)state;
    unsigned char *data = mmap(NULL, FENCED_BYTES + FENCE_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (data == MAP_FAILED || mprotect(data + FENCED_BYTES, FENCE_BYTES, PROT_NONE) != 0)
        return -1;
    fence = data + FENCED_BYTES;
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    return munmap(fence - FENCED_BYTES, FENCED_BYTES + FENCE_BYTES);
}

/* In memory of its size, which is aligned, and before the fence, where what has to be aligned mostly
 * has to be copied. */
static void decode_all(struct gp_arena *arena, struct bytes message)
{
    assert_true(message.size <= FENCED_BYTES);
    decode_here(arena, message);
    memcpy(fence - message.size, message.data, message.size);
    decode_here(arena, (struct bytes){fence - message.size, message.size});
}

static void cut_everywhere(struct gp_arena *arena, struct bytes message)
{
    for (size_t size = 0; size < message.size; size++) {
        struct bytes cut = {malloc(size ? size : 1), size};
        assert_non_null(cut.data);
        memcpy(cut.data, message.data, size);
        decode_all(arena, cut);
        free(cut.data);
    }
}

static void flip_everywhere(struct gp_arena *arena, struct bytes message)
{
    for (size_t at = 0; at < message.size; at++)
        for (unsigned bit = 0; bit <= 8; bit++) {
            const unsigned char mask = (unsigned char)(bit == 8 ? 0xff : 1u << bit);
            message.data[at] ^= mask;
            decode_all(arena, message);
            message.data[at] ^= mask;
        }
}

static void numbers_everywhere(struct gp_arena *arena, struct bytes message)
{
    const uint32_t size = (uint32_t)message.size;
    for (size_t at = 0; at + 4 <= message.size; at += 4) {
        const uint32_t right = load(message, at);
        const uint32_t wrong[] = {0,          1,          4,          size - (uint32_t)at,
                                  size,       0x7fffffff, 0x7ffffffc, 0x80000000,
                                  0xfffffffc, UINT32_MAX, right - 1,  right + 1};
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
            store(message, at, wrong[i]);
            decode_all(arena, message);
        }
        store(message, at, right);
    }
}

static struct bytes read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    unsigned char buffer[8192];
    struct bytes bytes = {NULL, fread(buffer, 1, sizeof buffer, file)};
    fclose(file);
    assert_in_range(bytes.size, 1, sizeof buffer - 1);
    bytes.data = malloc(bytes.size);
    assert_non_null(bytes.data);
    memcpy(bytes.data, buffer, bytes.size);
    return bytes;
}

static void broken_vectors(void **state)
{
    (void)state;
    const char *source = getenv("GP_SOURCE_DIR");
    char folder[1024], path[2048];
    snprintf(folder, sizeof folder, "%s/tests/golden/vectors", source ? source : ".");
    DIR *files = opendir(folder);
    assert_non_null(files);
    struct gp_arena *arena = gp_arena_create();
    int n = 0;
    for (struct dirent *entry; (entry = readdir(files)) != NULL;) {
        const char *end = strrchr(entry->d_name, '.');
        if (!end || strcmp(end, ".bin") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        struct bytes message = read_file(path);
        cut_everywhere(arena, message);
        /* the longest ones are long by their data, and nothing in there can break */
        if (message.size < 1024) {
            flip_everywhere(arena, message);
            numbers_everywhere(arena, message);
        }
        free(message.data);
        n++;
    }
    closedir(files);
    gp_arena_destroy(arena);
    assert_in_range(n, 42, 1000);
}

static struct bytes request_of(struct gp_arena *arena, const struct gp_tensor *inputs,
                               uint32_t n_inputs)
{
    const struct gp_call call = {.inputs = inputs, .n_inputs = n_inputs};
    struct gp_encoding encoding;
    assert_int_equal(gp_request_encode(arena, &call, &encoding, NULL), GP_OK);
    return bytes_of(&encoding);
}

/* 1000 strings that all are the same megabyte. */
static void aliased_strings(void **state)
{
    (void)state;
    enum { N = 1000, LONG = 1000000 };
    struct gp_arena *arena = gp_arena_create();
    struct gp_string *strings = calloc(N, sizeof *strings);
    char *text = calloc(1, LONG);
    const int64_t shape[] = {N};
    struct gp_request request;
    struct gp_error err;
    assert_true(strings && text);
    strings[N - 1] = (struct gp_string){text, LONG};
    const struct gp_tensor input = gp_tensor_view(GP_STRING, shape, 1, strings);
    struct bytes message = request_of(arena, &input, 1);
    const size_t vector =
        element_of(message, tensor_of(message, 0), TENSOR_STRING_VAL, 0);
    const size_t target = follow(message, vector + (N - 1) * 4);
    for (size_t i = 0; i < N; i++)
        store(message, vector + 4 * i, (uint32_t)(target - vector - 4 * i));

    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 4 * LONG, &request, &err),
        GP_TOO_LARGE);
    assert_string_equal(
        err.message, "request.input_tensors[0].string_val: 1000000 bytes more than the "
                     "3016000 that came before it; the limit is 4000000");
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 1000, &request, &err),
        GP_TOO_LARGE);
    assert_string_equal(err.message,
                        "request.input_tensors[0].string_val: 16000 bytes more than "
                        "the 0 that came before it; the limit is 1000");
    /* Whatever the caller allows: eight times the message, and a MiB. */
    const size_t shape_at = element_of(message, tensor_of(message, 0), TENSOR_SHAPE, 0);
    char limit[64];
    (void)snprintf(limit, sizeof limit, "the limit is %zu",
                   8 * message.size + ((size_t)1 << 20));
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 0, &request, &err),
        GP_TOO_LARGE);
    assert_non_null(strstr(err.message, limit));
    store(message, vector - 4, 8);
    store(message, shape_at, 8);
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 0, &request, &err), GP_OK);
    assert_int_equal(
        ((const struct gp_string *)request.call.inputs[0].data)[7].size_bytes, LONG);
    free(message.data);
    free(text);
    free(strings);
    gp_arena_destroy(arena);
}

/* 4096 tensors that all are the same one. */
static void aliased_tensors(void **state)
{
    (void)state;
    struct gp_arena *arena = gp_arena_create();
    static const unsigned char data[4000];
    static struct gp_tensor inputs[GP_MAX_TENSORS];
    const int64_t empty[] = {0}, large[] = {sizeof data};
    struct gp_request request;
    struct gp_error err;
    for (size_t i = 0; i < GP_MAX_TENSORS; i++)
        inputs[i] = gp_tensor_view(GP_UINT8, empty, 1, NULL);
    inputs[GP_MAX_TENSORS - 1] = gp_tensor_view(GP_UINT8, large, 1, data);
    struct bytes message = request_of(arena, inputs, GP_MAX_TENSORS);
    const size_t vector = element_of(message, infer_of(message), INFER_INPUT_TENSORS, 0);
    const size_t target = tensor_of(message, GP_MAX_TENSORS - 1);
    for (size_t i = 0; i < GP_MAX_TENSORS; i++)
        store(message, vector + 4 * i, (uint32_t)(target - vector - 4 * i));
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 1000000, &request, &err),
        GP_TOO_LARGE);
    assert_string_equal(err.message,
                        "request.input_tensors[250].data: 4000 bytes more than the "
                        "1000000 that came before it; the limit is 1000000");
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 0, &request, &err),
        GP_TOO_LARGE); /* eight times the message, and a MiB */
    store(message, vector - 4, 400);
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 0, &request, &err), GP_OK);
    assert_int_equal(request.call.n_inputs, 400);
    free(message.data);
    gp_arena_destroy(arena);
}

/* A server's answer is bounded in the same way, and what its tensors share is copied once. */
static void aliased_outputs(void **state)
{
    (void)state;
    enum { N = 4096, N_STRINGS = 16000 };
    struct gp_arena *arena = gp_arena_create();
    static struct gp_string strings[N_STRINGS];
    static struct gp_tensor outputs[N];
    const int64_t empty[] = {0}, many[] = {N_STRINGS};
    struct gp_encoding encoding;
    struct gp_response response;
    struct gp_error err;
    for (size_t i = 0; i < N_STRINGS; i++)
        strings[i].data = "";
    for (size_t i = 0; i < N; i++)
        outputs[i] = gp_tensor_view(GP_STRING, empty, 1, strings);
    outputs[N - 1] = gp_tensor_view(GP_STRING, many, 1, strings);
    assert_int_equal(gp_response_encode(arena, outputs, N, 0, &encoding, &err), GP_OK);
    struct bytes message = bytes_of(&encoding);
    const size_t root = follow(message, 0);
    const size_t vector = element_of(message, root, RESPONSE_OUTPUT_TENSORS, 0);
    const size_t target = follow(message, vector + 4 * (N - 1));
    for (size_t i = 0; i < N; i++)
        store(message, vector + 4 * i, (uint32_t)(target - vector - 4 * i));
    assert_int_equal(
        gp_response_decode(arena, message.data, message.size, 0, &response, &err),
        GP_TOO_LARGE);
    store(message, vector - 4, 10);
    assert_int_equal(
        gp_response_decode(arena, message.data, message.size, 0, &response, &err), GP_OK);
    assert_int_equal(response.n_outputs, 10);
    assert_ptr_equal(response.outputs[0].data, response.outputs[9].data);
    free(message.data);
    gp_arena_destroy(arena);
}

/* 4096 names that all are the same 64 KiB, which would be looked through again and again.
 */
static void aliased_names(void **state)
{
    (void)state;
    struct gp_arena *arena = gp_arena_create();
    static char name[GP_MAX_NAME_BYTES + 2];
    static const char *names[GP_MAX_TENSORS];
    struct gp_call call = {.output_names = names, .n_outputs = GP_MAX_TENSORS};
    struct gp_encoding encoding;
    struct gp_request request;
    struct gp_error err;
    memset(name, 'n', GP_MAX_NAME_BYTES);
    for (size_t i = 0; i < GP_MAX_TENSORS; i++)
        names[i] = "";
    names[GP_MAX_TENSORS - 1] = name;
    assert_int_equal(gp_request_encode(arena, &call, &encoding, &err), GP_OK);
    struct bytes message = bytes_of(&encoding);
    const size_t vector = element_of(message, infer_of(message), INFER_OUTPUT_NAMES, 0);
    const size_t target = follow(message, vector + 4 * (GP_MAX_TENSORS - 1));
    for (size_t i = 0; i < GP_MAX_TENSORS; i++)
        store(message, vector + 4 * i, (uint32_t)(target - vector - 4 * i));
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 0, &request, &err),
        GP_TOO_LARGE);
    assert_string_equal(err.message,
                        "request.output_names[16]: 1114112 bytes of names; the limit "
                        "for a message is 1048576");
    store(message, target, GP_MAX_NAME_BYTES + 1);
    assert_int_equal(
        gp_request_decode(arena, message.data, message.size, 0, &request, &err),
        GP_TOO_LARGE);
    assert_string_equal(err.message,
                        "request.output_names[0] has 65537 bytes; the limit is 65536");
    free(message.data);
    gp_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_vectors),  cmocka_unit_test(aliased_strings),
        cmocka_unit_test(aliased_tensors), cmocka_unit_test(aliased_outputs),
        cmocka_unit_test(aliased_names),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
