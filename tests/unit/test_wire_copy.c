/* Views of a message and what settling makes of them: each payload copied once, and only where it
 * cannot be read as it lies; and which of many names are the same.
 */
#include "test_wire_messages.h"

#include "base/names.h"
#include "wire/wire.h"

#include <stdio.h>

enum { N_FLOATS = 100 };

/* A message whose tensors all are the last one of `inputs`, at `shift` bytes from an aligned
 * address. */
struct view {
    struct gp_arena *arena;
    struct gp_request request;
    struct gp_tensor *inputs; /* the request's, to be settled */
    unsigned char *block;
    size_t size_bytes;
};

static void view_open(struct view *view, const struct gp_tensor *last, uint32_t n,
                      size_t shift)
{
    static struct gp_tensor inputs[GP_MAX_TENSORS];
    static const int64_t none[] = {0};
    struct gp_call call = {.inputs = inputs, .n_inputs = n};
    struct gp_encoding encoding;
    struct gp_error err;
    *view = (struct view){.arena = gp_arena_create()};
    for (uint32_t i = 0; i < n; i++)
        inputs[i] = gp_tensor_view(last->dtype, none, 1, "");
    inputs[n - 1] = *last;
    assert_int_equal(gp_request_encode(view->arena, &call, &encoding, &err), GP_OK);
    struct bytes message = bytes_of(&encoding);
    const size_t vector = element_of(message, infer_of(message), INFER_INPUT_TENSORS, 0);
    const size_t target = tensor_of(message, n - 1);
    for (size_t i = 0; i < n; i++)
        store(message, vector + 4 * i, (uint32_t)(target - vector - 4 * i));
    view->size_bytes = message.size;
    view->block = aligned_alloc(64, (message.size + shift + 63) / 64 * 64);
    memcpy(view->block + shift, message.data, message.size);
    free(message.data);
    assert_int_equal(wire_view_request(view->arena, view->block + shift, message.size, 0,
                                       &view->request, &err),
                     GP_OK);
    assert_int_equal(view->request.call.n_inputs, n);
    view->inputs = calloc(n, sizeof *view->inputs);
    memcpy(view->inputs, view->request.call.inputs, n * sizeof *view->inputs);
}

static void view_close(struct view *view)
{
    gp_arena_destroy(view->arena);
    free(view->block);
    free(view->inputs);
}

static bool is_in_message(const struct view *view, const struct gp_tensor *tensor)
{
    const uintptr_t at = (uintptr_t)tensor->data - (uintptr_t)view->block;
    return at < view->size_bytes + 64;
}

/* Numbers are read where they lie, or from one copy that all share. */
static void numbers(void **state)
{
    (void)state;
    float data[N_FLOATS];
    const int64_t shape[] = {N_FLOATS};
    for (int i = 0; i < N_FLOATS; i++)
        data[i] = (float)i;
    const struct gp_tensor tensor = gp_tensor_view(GP_FLOAT32, shape, 1, data);
    for (size_t shift = 0; shift < 5; shift++) {
        struct view view;
        view_open(&view, &tensor, 1000, shift);
        struct wire_copies copies = {.arena = view.arena, .payloads = view.arena};
        for (uint32_t i = 0; i < 1000; i++) {
            struct gp_tensor *input = &view.inputs[i];
            assert_true(is_in_message(&view, input));
            assert_int_equal(wire_settle(&copies, input, GP_FLOAT32, NULL), GP_OK);
            assert_int_equal((uintptr_t)input->data % 4, 0);
            assert_int_equal(is_in_message(&view, input), shift % 4 == 0);
            assert_ptr_equal(input->data, view.inputs[0].data);
            assert_memory_equal(input->data, data, sizeof data);
        }
        assert_int_equal(copies.n_made, shift % 4 != 0);
        view_close(&view);
    }
}

static void strings(void **state)
{
    (void)state;
    const struct gp_string data[] = {{"one", 3}, {"", 0}, {"t\0o", 3}};
    const int64_t shape[] = {3};
    const struct gp_tensor tensor = gp_tensor_view(GP_STRING, shape, 1, data);
    for (size_t shift = 0; shift < 2; shift++) {
        struct view view;
        view_open(&view, &tensor, 4096, shift);
        struct wire_copies copies = {.arena = view.arena, .payloads = view.arena};
        for (uint32_t i = 0; i < 4096; i++) {
            assert_int_equal(wire_settle(&copies, &view.inputs[i], GP_STRING, NULL),
                             GP_OK);
            const struct gp_string *got = view.inputs[i].data;
            assert_ptr_equal(got, view.inputs[0].data);
            for (size_t k = 0; k < 3; k++) {
                assert_int_equal(got[k].size_bytes, data[k].size_bytes);
                assert_memory_equal(got[k].data, data[k].data, data[k].size_bytes);
            }
        }
        assert_int_equal(copies.n_made, 1);
        view_close(&view);
    }
}

/* Types that stand in for others are converted, each payload once, wherever it lies. */
static void stand_ins(void **state)
{
    (void)state;
    static const unsigned char truths[] = {0, 1, 2, 255}, clean[] = {0, 1, 1, 0};
    static const float floats[] = {1.0f, -0.0f, 3.14159274f, 65536.0f};
    static const uint16_t halves[] = {0x3f80, 0x8000, 0x4049, 0x4780};
    /* two infinities, and two that are no numbers: the first by its last bit */
    static const uint32_t special[] = {0x7f800000, 0xff800000, 0x7f800001, 0xffc00000};
    static const uint16_t special_halves[] = {0x7f80, 0xff80, 0x7fc0, 0xffc0};
    /* halfway between two, down and up to the even one, and a little more */
    static const uint32_t ties[] = {0x3f808000, 0x3f818000, 0x3f808001, 0x3f807fff};
    static const uint16_t even[] = {0x3f80, 0x3f82, 0x3f81, 0x3f80};
    const int64_t shape[] = {4};
    const struct {
        struct gp_tensor from;
        enum gp_dtype to;
        const void *wanted;
        size_t size_bytes;
        bool is_copied;
    } rows[] = {
        {gp_tensor_view(GP_UINT8, shape, 1, truths), GP_BOOL, "\0\1\1\1", 4, true},
        {gp_tensor_view(GP_UINT8, shape, 1, clean), GP_BOOL, clean, 4, false},
        {gp_tensor_view(GP_FLOAT32, shape, 1, floats), GP_BFLOAT16, halves, 8, true},
        {gp_tensor_view(GP_FLOAT32, shape, 1, special), GP_BFLOAT16, special_halves, 8,
         true},
        {gp_tensor_view(GP_FLOAT32, shape, 1, ties), GP_BFLOAT16, even, 8, true},
        {gp_tensor_view(GP_BOOL, shape, 1, truths), GP_BOOL, truths, 4,
         false}, /* itself */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        for (size_t shift = 0; shift < 4; shift++) {
            struct view view;
            view_open(&view, &rows[i].from, 50, shift);
            struct wire_copies copies = {.arena = view.arena, .payloads = view.arena};
            for (uint32_t k = 0; k < 50; k++) {
                struct gp_tensor *input = &view.inputs[k];
                assert_int_equal(wire_stands_for(input->dtype, rows[i].to),
                                 input->dtype != rows[i].to);
                assert_int_equal(wire_settle(&copies, input, rows[i].to, NULL), GP_OK);
                assert_int_equal(input->dtype, rows[i].to);
                assert_int_equal(input->size_bytes, rows[i].size_bytes);
                assert_memory_equal(input->data, rows[i].wanted, rows[i].size_bytes);
                assert_ptr_equal(input->data, view.inputs[0].data);
                assert_int_equal(is_in_message(&view, input), !rows[i].is_copied);
            }
            view_close(&view);
        }
    assert_false(wire_stands_for(GP_BOOL, GP_UINT8));
    assert_false(wire_stands_for(GP_FLOAT32, GP_FLOAT64));
}

/* Each of many payloads has its copy, which is found again, however many there are. */
static void many_copies(void **state)
{
    enum { N = 40 };
    (void)state;
    _Alignas(8) unsigned char bytes[N + 8];
    struct gp_tensor tensors[2 * N];
    const int64_t shape[] = {1};
    struct gp_arena *arena = gp_arena_create();
    struct wire_copies copies = {.arena = arena, .payloads = arena};
    for (int i = 0; i < N + 8; i++)
        bytes[i] = (unsigned char)i;
    for (int i = 0; i < 2 * N; i++) {
        const unsigned char *data = bytes + i % N;
        data += (uintptr_t)data % 4 == 0; /* none is aligned, some are the same */
        tensors[i] = gp_tensor_view(GP_FLOAT32, shape, 1, data);
        assert_int_equal(wire_settle(&copies, &tensors[i], GP_FLOAT32, NULL), GP_OK);
    }
    assert_int_equal(copies.n_made, N * 3 / 4);
    for (int i = 0; i < 2 * N; i++) {
        const unsigned char *from = bytes + i % N;
        from += (uintptr_t)from % 4 == 0;
        assert_memory_equal(tensors[i].data, from, 4);
        assert_ptr_equal(tensors[i].data, tensors[i % N].data);
    }
    gp_arena_destroy(arena);
}

/* The same BFloat16 again and again, for a reader of 2018: widened once. */
static void widened_once(void **state)
{
    (void)state;
    enum { N = 4000, N_HALVES = 50000 };
    static uint16_t halves[N_HALVES];
    static struct gp_tensor outputs[N];
    const int64_t shape[] = {N_HALVES};
    struct gp_arena *arena = gp_arena_create();
    struct gp_encoding encoding;
    struct gp_error err;
    halves[N_HALVES - 1] = 0x4049;
    for (size_t i = 0; i < N; i++)
        outputs[i] = gp_tensor_view(GP_BFLOAT16, shape, 1, halves);
    assert_int_equal(
        gp_response_encode(arena, outputs, N, GP_ENCODE_2018, &encoding, &err), GP_OK);
    const unsigned char *data = encoding.parts[1].iov_base;
    assert_int_equal(encoding.parts[1].iov_len, N_HALVES * sizeof(float));
    for (size_t i = 0; i < N; i++)
        assert_ptr_equal(encoding.parts[1 + 2 * i].iov_base, data);
    const float last = 3.140625f;
    assert_memory_equal(data + (N_HALVES - 1) * sizeof last, &last, sizeof last);
    gp_arena_destroy(arena);
}

/* An engine's outputs may begin at the same address and end at others, as a slice does. */
static void slices_are_widened_apart(void **state)
{
    (void)state;
    enum { N_PART = 1500, N_ALL = 3000 };
    static const int64_t part[] = {N_PART}, all[] = {N_ALL};
    static uint16_t halves[N_ALL];
    halves[N_PART] = halves[N_ALL - 1] = 0x4049;
    const struct gp_tensor outputs[] = {gp_tensor_view(GP_BFLOAT16, part, 1, halves),
                                        gp_tensor_view(GP_BFLOAT16, all, 1, halves)};
    struct gp_arena *arena = gp_arena_create();
    struct gp_encoding encoding;
    struct gp_error err;
    assert_int_equal(
        gp_response_encode(arena, outputs, 2, GP_ENCODE_2018, &encoding, &err), GP_OK);
    const float value = 3.140625f;
    const unsigned char *data = encoding.parts[3].iov_base;
    assert_int_equal(encoding.parts[3].iov_len, N_ALL * sizeof value);
    assert_memory_equal(data + N_PART * sizeof value, &value, sizeof value);
    assert_memory_equal(data + (N_ALL - 1) * sizeof value, &value, sizeof value);
    gp_arena_destroy(arena);
}

static void names(void **state)
{
    (void)state;
    const char *const some[] = {"b", "a", "", "b", "ab", "a", "", "B", "b"};
    const uint32_t wanted[] = {0, 1, 2, 0, 4, 1, 2, 7, 0};
    struct gp_arena *arena = gp_arena_create();
    const uint32_t *first = names_find_first(arena, some, 9);
    for (size_t i = 0; i < 9; i++)
        assert_int_equal(first[i], wanted[i]);
    assert_int_equal(names_find_first(arena, some, 1)[0], 0);
    assert_null(names_find_first(arena, some, 0));
    gp_arena_destroy(arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers),     cmocka_unit_test(strings),
        cmocka_unit_test(stand_ins),   cmocka_unit_test(widened_once),
        cmocka_unit_test(names),       cmocka_unit_test(slices_are_widened_apart),
        cmocka_unit_test(many_copies),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
