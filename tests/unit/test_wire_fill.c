/* Made-up data: what the values of each type are, and that a seed gives the same again. */
#include "wire/fill.h"

#include "base/half.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { N = 6000 }; /* so many that none of a hundred values is missing, nor one of 256 */

static struct gp_arena *arena;

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

static struct gp_tensor fill(enum gp_dtype dtype, uint64_t seed)
{
    static const int64_t shape[] = {2, N / 2};
    struct gp_tensor tensor = {.name = "", .shape = shape, .rank = 2, .dtype = dtype};
    struct random random = {seed};
    assert_int_equal(fill_tensor(&tensor, &random, arena, NULL), GP_OK);
    assert_int_equal(tensor.size_bytes, N * gp_dtype_stride(dtype));
    return tensor;
}

/* --- values ---------------------------------------------------------------------------- */

static double real_at(const struct gp_tensor *tensor, int i)
{
    switch (tensor->dtype) {
    case GP_FLOAT16:
        return half_from_float16(((const uint16_t *)tensor->data)[i]);
    case GP_BFLOAT16:
        return half_from_bfloat16(((const uint16_t *)tensor->data)[i]);
    case GP_FLOAT32:
        return ((const float *)tensor->data)[i];
    default:
        return ((const double *)tensor->data)[i];
    }
}

static void floats_are_spread_from_0_to_1(void **state)
{
    static const enum gp_dtype dtypes[] = {GP_FLOAT16, GP_BFLOAT16, GP_FLOAT32,
                                           GP_FLOAT64};
    (void)state;
    for (size_t t = 0; t < sizeof dtypes / sizeof *dtypes; t++) {
        const struct gp_tensor tensor = fill(dtypes[t], 1);
        int n_of[10] = {0};
        for (int i = 0; i < N; i++) {
            const double value = real_at(&tensor, i);
            assert_true(value >= 0 && value <= 1);
            n_of[value < 1 ? (int)(10 * value) : 9]++;
        }
        for (int tenth = 0; tenth < 10; tenth++)
            assert_in_range(n_of[tenth], N / 10 * 8 / 10, N / 10 * 12 / 10);
    }
}

static uint64_t whole_at(const struct gp_tensor *tensor, int i)
{
    const size_t size = gp_dtype_size(tensor->dtype);
    uint64_t value = 0;
    memcpy(&value, (const char *)tensor->data + (size_t)i * size, size);
    return value;
}

/* Each of the first n_values, and no other. */
static void assert_values(enum gp_dtype dtype, unsigned n_values)
{
    const struct gp_tensor tensor = fill(dtype, 1);
    bool was_seen[256] = {false};
    for (int i = 0; i < N; i++) {
        const uint64_t value = whole_at(&tensor, i);
        assert_true(value < n_values);
        was_seen[value] = true;
    }
    for (unsigned value = 0; value < n_values; value++)
        assert_true(was_seen[value]);
}

static void integers_are_below_100(void **state)
{
    static const enum gp_dtype dtypes[] = {GP_INT16,  GP_UINT16, GP_INT32,
                                           GP_UINT32, GP_INT64,  GP_UINT64};
    (void)state;
    for (size_t t = 0; t < sizeof dtypes / sizeof *dtypes; t++)
        assert_values(dtypes[t], 100);
}

static void bytes_and_truths_are_any(void **state)
{
    (void)state;
    assert_values(GP_UINT8, 256);
    assert_values(GP_INT8, 256);
    assert_values(GP_BOOL, 2);
}

static void strings_are_of_eight_letters(void **state)
{
    (void)state;
    const struct gp_tensor tensor = fill(GP_STRING, 1);
    const struct gp_string *strings = tensor.data;
    bool was_seen[26] = {false};
    for (int i = 0; i < N; i++) {
        assert_int_equal(strings[i].size_bytes, 8);
        assert_true(i == 0 || strings[i].data == strings[i - 1].data + 8);
        for (int j = 0; j < 8; j++) {
            assert_in_range(strings[i].data[j], 'a', 'z');
            was_seen[strings[i].data[j] - 'a'] = true;
        }
    }
    for (int letter = 0; letter < 26; letter++)
        assert_true(was_seen[letter]);
    assert_memory_not_equal(strings[0].data, strings[1].data, 8);
}

static void a_seed_gives_the_same_again(void **state)
{
    (void)state;
    const struct gp_tensor first = fill(GP_FLOAT32, 1), again = fill(GP_FLOAT32, 1),
                           other = fill(GP_FLOAT32, 2);
    assert_ptr_not_equal(first.data, again.data);
    assert_memory_equal(first.data, again.data, first.size_bytes);
    assert_memory_not_equal(first.data, other.data, first.size_bytes);
}

/* --- sizes ----------------------------------------------------------------------------- */

static void a_tensor_may_be_empty_or_one_value(void **state)
{
    static const int64_t none[] = {3, 0};
    struct random random = {1};
    (void)state;
    for (int is_string = 0; is_string < 2; is_string++) {
        const enum gp_dtype dtype = is_string ? GP_STRING : GP_INT64;
        struct gp_tensor empty = {
            .name = "", .shape = none, .rank = 2, .dtype = dtype, .size_bytes = 1};
        assert_int_equal(fill_tensor(&empty, &random, arena, NULL), GP_OK);
        assert_int_equal(empty.size_bytes, 0);
        struct gp_tensor scalar = {.name = "", .dtype = dtype};
        assert_int_equal(fill_tensor(&scalar, &random, arena, NULL), GP_OK);
        assert_int_equal(scalar.size_bytes, gp_dtype_stride(dtype));
        assert_non_null(scalar.data);
    }
}

static void what_no_message_holds_is_refused(void **state)
{
    static const int64_t shapes[][2] = {{1 << 15, 1 << 16}, /* a byte more than fits */
                                        {INT64_MAX, 1},
                                        {INT64_MAX, 2},
                                        {(int64_t)1 << 61, 1},
                                        {-1, 1}};
    struct random random = {1};
    struct gp_error err;
    (void)state;
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct gp_tensor tensor = {.name = "the input",
                                   .shape = shapes[i],
                                   .rank = 2,
                                   .dtype = i ? GP_FLOAT64 : GP_UINT8};
        assert_int_equal(fill_tensor(&tensor, &random, arena, &err), GP_TOO_LARGE);
        assert_string_equal(err.message, "input \"the input\" is over 2 GiB");
        assert_null(tensor.data);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(floats_are_spread_from_0_to_1),    TEST(integers_are_below_100),
        TEST(bytes_and_truths_are_any),         TEST(strings_are_of_eight_letters),
        TEST(a_seed_gives_the_same_again),      TEST(a_tensor_may_be_empty_or_one_value),
        TEST(what_no_message_holds_is_refused),
    };
#undef TEST
    return cmocka_run_group_tests(tests, NULL, NULL);
}
