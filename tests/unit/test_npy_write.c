/* .npy files that are written read back the same, and the 16-bit floats, which one of
 * them needs, are exact. */
#include "cli/npy.c"
#include "cli/npy_head.c"
#include "cli/npy_write.c"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static struct gp_arena *arena;
static struct gp_error err;

static int set_up(void **state)
{
    (void)state;
    arena = gp_arena_create();
    err = (struct gp_error){0};
    return arena ? 0 : -1;
}

static int tear_down(void **state)
{
    (void)state;
    gp_arena_destroy(arena);
    return 0;
}

static void assert_string(const struct gp_tensor *tensor, size_t i, const char *expected)
{
    const struct gp_string *string = (const struct gp_string *)tensor->data + i;
    assert_int_equal(string->size_bytes, strlen(expected));
    assert_memory_equal(string->data, expected, strlen(expected));
}

/* Writes the tensor and reads the file. */
static struct gp_tensor round_trip(const struct gp_tensor *tensor)
{
    struct gp_encoding file;
    assert_int_equal(npy_encode(arena, tensor, &file, &err), GP_OK);
    unsigned char *bytes = gp_arena_alloc(arena, file.size_bytes);
    assert_non_null(bytes);
    size_t used = 0;
    for (size_t i = 0; i < file.n_parts; i++) {
        memcpy(bytes + used, file.parts[i].iov_base, file.parts[i].iov_len);
        used += file.parts[i].iov_len;
    }
    assert_int_equal(used, file.size_bytes);
    assert_int_equal(file.parts[0].iov_len % 64, 0);
    assert_int_equal(bytes[file.parts[0].iov_len - 1], '\n');
    struct gp_tensor back;
    assert_int_equal(npy_decode(arena, bytes, used, &back, &err), GP_OK);
    assert_int_equal(back.rank, tensor->rank);
    for (uint32_t i = 0; i < back.rank; i++)
        assert_int_equal(back.shape[i], tensor->shape[i]);
    return back;
}

static void test_round_trips(void **state)
{
    (void)state;
    static const unsigned char data[6 * 8] = {1, 0, 1, 1, 0, 1, 7, 8, 9};
    const int64_t shape[] = {1, 2, 3};
    for (int dtype = GP_UINT8; dtype <= GP_BOOL; dtype++) {
        if (dtype == GP_STRING)
            continue;
        for (uint32_t rank = 0; rank <= 3; rank++) {
            const struct gp_tensor tensor =
                gp_tensor_view((enum gp_dtype)dtype, shape, rank, data);
            const struct gp_tensor back = round_trip(&tensor);
            assert_int_equal(back.dtype, dtype);
            assert_int_equal(back.size_bytes, tensor.size_bytes);
            assert_memory_equal(back.data, data, tensor.size_bytes);
        }
    }
    const int64_t none[] = {0, 5};
    const struct gp_tensor empty = gp_tensor_view(GP_FLOAT64, none, 2, NULL);
    assert_int_equal(round_trip(&empty).size_bytes, 0);
    int64_t ones[GP_MAX_RANK];
    for (uint32_t i = 0; i < GP_MAX_RANK; i++)
        ones[i] = 1;
    const struct gp_tensor deep = gp_tensor_view(GP_UINT8, ones, GP_MAX_RANK, data);
    (void)round_trip(&deep);
}

static void test_round_trips_strings(void **state)
{
    (void)state;
    const int64_t shape[] = {3};
    const struct gp_string unicode[] = {
        {"h\xc3\xa9llo", 6}, {NULL, 0}, {"\xf0\x9f\x98\x80", 4}};
    struct gp_tensor tensor = gp_tensor_view(GP_STRING, shape, 1, unicode);
    struct gp_tensor back = round_trip(&tensor);
    assert_string(&back, 0, "h\xc3\xa9llo");
    assert_string(&back, 1, "");
    assert_string(&back, 2, "\xf0\x9f\x98\x80");
    const struct gp_string bytes[] = {{"\xff\xfe", 2}, {"a", 1}, {"\xc3", 1}};
    tensor.data = bytes;
    back = round_trip(&tensor);
    assert_string(&back, 0, "\xff\xfe");
    assert_string(&back, 1, "a");
    assert_string(&back, 2, "\xc3");
    const struct gp_string nul[] = {{"a", 1}, {"b\0", 2}, {"", 0}};
    tensor.data = nul;
    struct gp_encoding file;
    assert_int_equal(npy_encode(arena, &tensor, &file, &err), GP_UNSUPPORTED);
    assert_non_null(strstr(err.message, "string 1"));
}

static void test_writes_bfloat16_as_float32(void **state)
{
    (void)state;
    const uint16_t values[] = {0x3fc0, 0xc000}; /* 1.5, -2 */
    const float expected[] = {1.5f, -2};
    const int64_t shape[] = {2};
    const struct gp_tensor tensor = gp_tensor_view(GP_BFLOAT16, shape, 1, values);
    const struct gp_tensor back = round_trip(&tensor);
    assert_int_equal(back.dtype, GP_FLOAT32);
    assert_memory_equal(back.data, expected, sizeof expected);
}

/* Every number of both 16-bit formats survives the way to double and back. */
static void test_halves_are_exact(void **state)
{
    (void)state;
    for (unsigned bits = 0; bits < 65536; bits++) {
        const double f = half_from_float16((uint16_t)bits);
        const double b = half_from_bfloat16((uint16_t)bits);
        if (isnan(f))
            assert_true(isnan(half_from_float16(half_to_float16(f))));
        else
            assert_int_equal(half_to_float16(f), bits);
        if (isnan(b))
            assert_true(isnan(half_from_bfloat16(half_to_bfloat16(b))));
        else
            assert_int_equal(half_to_bfloat16(b), bits);
    }
    assert_int_equal(half_to_float16(65519), 0x7bff); /* the largest is 65504 */
    assert_int_equal(half_to_float16(65520), 0x7c00);
    assert_int_equal(half_to_float16(1e300), 0x7c00);
    assert_int_equal(half_to_float16(1 + 1.0 / 2048), 0x3c00); /* ties go to even */
    assert_int_equal(half_to_float16(1 + 3.0 / 2048), 0x3c02);
    assert_int_equal(half_to_float16(1e-300), 0);
    assert_int_equal(half_to_float16(-5.9604644775390625e-08), 0x8001);
}

int main(void)
{
#define TEST(function) cmocka_unit_test_setup_teardown(function, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_round_trips),
        TEST(test_round_trips_strings),
        TEST(test_writes_bfloat16_as_float32),
        TEST(test_halves_are_exact),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
