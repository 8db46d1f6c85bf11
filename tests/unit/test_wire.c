/* A sound request, and the same with its structure broken in one place: tables, vtables,
 * offsets and counts. Decoding says where it is broken and by how much, in exactly these
 * words.
 */
#include "test_wire_request.h"

static void sound(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(decode(f), GP_OK);
    const struct gp_call *call = &f->request.call;
    assert_int_equal(f->request.kind, GP_REQUEST_INFER);
    assert_int_equal(call->size_bytes, sizeof *call);
    assert_string_equal(call->config, "config");
    assert_int_equal(call->n_inputs, N_INPUTS);
    assert_int_equal(call->n_outputs, 1);
    assert_string_equal(call->output_names[0], "out");
    assert_string_equal(call->inputs[0].name, "numbers");
    assert_int_equal(call->inputs[0].size_bytes, sizeof DOUBLES);
    assert_memory_equal(call->inputs[0].data, DOUBLES, sizeof DOUBLES);
    assert_string_equal(call->inputs[1].name, "strings");
    const struct gp_string *strings = gp_tensor_data(&call->inputs[1], GP_STRING, NULL);
    assert_int_equal(call->inputs[1].size_bytes, sizeof STRINGS);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(strings[i].size_bytes, STRINGS[i].size_bytes);
        assert_memory_equal(strings[i].data, STRINGS[i].data, strings[i].size_bytes);
    }
}

/* The tensor is used where it lies, unless that is misaligned for its type. */
static void views(void **state)
{
    struct fixture *f = *state;
    unsigned char *block = aligned_alloc(64, (f->message.size + 64 + 63) & ~(size_t)63);
    assert_non_null(block);
    for (size_t shift = 0; shift <= 8; shift++) {
        memcpy(block + shift, f->message.data, f->message.size);
        assert_int_equal(gp_request_decode(f->arena, block + shift, f->message.size, 0,
                                           &f->request, &f->err),
                         GP_OK);
        const unsigned char *data = f->request.call.inputs[0].data;
        const int is_view = data > block && data < block + shift + f->message.size;
        assert_int_equal(is_view, shift % 8 == 0);
        assert_int_equal((uintptr_t)data % 8, 0);
        assert_memory_equal(data, DOUBLES, sizeof DOUBLES);
        assert_int_equal(f->request.call.inputs[0].shape[0], 3);
    }
    free(block);
}

static void sizes(void **state)
{
    struct fixture *f = *state;
    const size_t size = f->message.size;
    f->message.size = 0;
    assert_refused(f, GP_MALFORMED, "request: 0 bytes are too few for a message");
    f->message.size = 7;
    assert_refused(f, GP_MALFORMED, "request: 7 bytes are too few for a message");
    f->message.size = 8; /* enough to be looked at */
    assert_refused(f, GP_MALFORMED,
                   "request: root table offset 12 lies outside of the 8 bytes");
    f->message.size = (size_t)1 << 31; /* refused before any of it is read */
    assert_refused(f, GP_TOO_LARGE,
                   "request: 2147483648 bytes, but a message ends at 2147483647");
    f->message.size = size;
}

static void root_offset(void **state)
{
    struct fixture *f = *state;
    char text[128];
    const uint32_t wrong[] = {0,    3,          (uint32_t)f->message.size - 3,
                              4096, 0x80000000, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        store(f->message, 0, wrong[i]);
        snprintf(text, sizeof text,
                 "request: root table offset %u lies outside of the %zu bytes", wrong[i],
                 f->message.size);
        assert_refused(f, GP_MALFORMED, text);
    }
}

static void vtables(void **state)
{
    struct fixture *f = *state;
    char text[128];
    const size_t root = follow(f->message, 0), vtable = vtable_of(f->message, root);
    const uint32_t right = load(f->message, root);
    store(f->message, root, (uint32_t)-100000);
    snprintf(
        text, sizeof text,
        "request: table at byte %zu has its vtable at byte %zu, outside of the %zu bytes",
        root, root + 100000, f->message.size);
    assert_refused(f, GP_MALFORMED, text);
    store(f->message, root, (uint32_t)root + 1);
    snprintf(
        text, sizeof text,
        "request: table at byte %zu has its vtable at byte -1, outside of the %zu bytes",
        root, f->message.size);
    assert_refused(f, GP_MALFORMED, text);
    store(f->message, root, right);

    const uint16_t wrong[] = {0, 2, 7, 65534};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        store16(f->message, vtable, wrong[i]);
        snprintf(text, sizeof text, "request: vtable of %u bytes at byte %zu of %zu",
                 wrong[i], vtable, f->message.size);
        assert_refused(f, GP_MALFORMED, text);
    }
}

static void tables(void **state)
{
    struct fixture *f = *state;
    char text[128];
    const size_t root = follow(f->message, 0), vtable = vtable_of(f->message, root);
    store16(f->message, vtable + 2, 60000);
    snprintf(text, sizeof text, "request: table of 60000 bytes at byte %zu of %zu", root,
             f->message.size);
    assert_refused(f, GP_MALFORMED, text);
    store16(f->message, vtable + 2, 3);
    snprintf(text, sizeof text, "request: table of 3 bytes at byte %zu of %zu", root,
             f->message.size);
    assert_refused(f, GP_MALFORMED, text);
    store16(f->message, vtable + 2, 12);
    store16(f->message, entry_of(f->message, root, REQUEST_REQ), 9);
    assert_refused(f, GP_MALFORMED, "request.req: 4 bytes at 9 in a table of 12 bytes");
    store16(f->message, entry_of(f->message, root, REQUEST_REQ), 3);
    assert_refused(f, GP_MALFORMED, "request.req: 4 bytes at 3 in a table of 12 bytes");
}

static void unions(void **state)
{
    struct fixture *f = *state;
    const size_t root = follow(f->message, 0);
    const size_t tag = field_of(f->message, root, REQUEST_REQ_TYPE);
    const char *absent =
        "request.req is absent; an InferRequest or a MetadataRequest belongs there";
    f->message.data[tag] = 7;
    assert_refused(f, GP_MALFORMED,
                   "request.req_type is 7; InferRequest is 1, MetadataRequest 2");
    f->message.data[tag] = 0;
    assert_refused(f, GP_MALFORMED, absent);
    f->message.data[tag] = REQ_INFER;
    const size_t entry = entry_of(f->message, root, REQUEST_REQ_TYPE);
    store16(f->message, entry, 0); /* it has none */
    assert_refused(f, GP_MALFORMED, absent);
    store16(f->message, entry, (uint16_t)(tag - root));
    store16(f->message, entry_of(f->message, root, REQUEST_REQ), 0);
    assert_refused(f, GP_MALFORMED, absent);
    f->message.data[tag] = REQ_METADATA; /* a tag without its table is enough */
    assert_int_equal(decode(f), GP_OK);
    assert_int_equal(f->request.kind, GP_REQUEST_METADATA);
}

static void vectors(void **state)
{
    struct fixture *f = *state;
    char text[160];
    const size_t infer = infer_of(f->message);
    const size_t names = field_of(f->message, infer, INFER_INPUT_NAMES);
    const size_t vector = follow(f->message, names);
    const uint32_t right = load(f->message, names);
    store(f->message, names, 0);
    snprintf(text, sizeof text, "request.input_names: offset 0 at byte %zu", names);
    assert_refused(f, GP_MALFORMED, text);
    store(f->message, names, 0xfffffff0);
    snprintf(text, sizeof text,
             "request.input_names: offset 4294967280 at byte %zu lies outside of the %zu "
             "bytes",
             names, f->message.size);
    assert_refused(f, GP_MALFORMED, text);
    store(f->message, names, right);
    store(f->message, vector, UINT32_MAX);
    assert_refused(f, GP_TOO_LARGE,
                   "request.input_names has 4294967295 elements; the limit is 4096");
    store(f->message, vector, 4096);
    snprintf(text, sizeof text,
             "request.input_names: 4096 elements of 4 bytes from byte %zu on lie outside "
             "of the "
             "%zu bytes",
             vector + 4, f->message.size);
    assert_refused(f, GP_MALFORMED, text);
}

/* Offsets to where tables, vectors and offsets themselves lie: whatever comes, it is a
 * status. */
static void self_references(void **state)
{
    struct fixture *f = *state;
    const size_t first =
        element_of(f->message, infer_of(f->message), INFER_INPUT_TENSORS, 0);
    for (size_t at = 4; at + 4 <= f->message.size; at += 4) {
        const uint32_t right = load(f->message, at);
        for (size_t to = at; to + 4 <= f->message.size; to += 4) {
            store(f->message, at, (uint32_t)(to - at));
            (void)decode(f);
            gp_arena_reset(f->arena);
        }
        store(f->message, at, right);
    }
    store(f->message, first, load(f->message, first + 4) + 4); /* both are the strings */
    assert_int_equal(decode(f), GP_OK);
    assert_int_equal(f->request.call.inputs[0].dtype, GP_STRING);
    assert_ptr_equal(f->request.call.inputs[0].shape[1], 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(sound, setup, teardown),
        cmocka_unit_test_setup_teardown(views, setup, teardown),
        cmocka_unit_test_setup_teardown(sizes, setup, teardown),
        cmocka_unit_test_setup_teardown(root_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(vtables, setup, teardown),
        cmocka_unit_test_setup_teardown(tables, setup, teardown),
        cmocka_unit_test_setup_teardown(unions, setup, teardown),
        cmocka_unit_test_setup_teardown(vectors, setup, teardown),
        cmocka_unit_test_setup_teardown(self_references, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
