/* How far a row is from another, for each type. */
#include "model/compare.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

enum { WIDTH = 2 };

static const int64_t one[] = {1, WIDTH}, three[] = {3, WIDTH};

/* Between the row and row 1 of the three. */
static double compare(enum gp_dtype dtype, const void *row, const void *rows,
                      double largest)
{
    const struct gp_tensor a = gp_tensor_view(dtype, one, 2, row);
    const struct gp_tensor b = gp_tensor_view(dtype, three, 2, rows);
    return compare_row(&a, &b, 1, largest);
}

static void floats(void **state)
{
    const float row[] = {1, -2}, rows[] = {9, 9, 1, -1.5f, 9, 9};
    const double wide[] = {1, -2}, wides[] = {9, 9, 1, -1.5, 9, 9};
    const uint16_t half[] = {0x3c00, 0xc000}, halves[] = {0, 0, 0x3c00, 0xbe00, 0, 0};
    const uint16_t brain[] = {0x3f80, 0xc000}, brains[] = {0, 0, 0x3f80, 0xbfc0, 0, 0};
    (void)state;
    assert_true(compare(GP_FLOAT32, row, rows, 2) == 0.25);
    assert_true(compare(GP_FLOAT64, wide, wides, 4) == 0.125);
    assert_true(compare(GP_FLOAT16, half, halves, 2) == 0.25);
    assert_true(compare(GP_BFLOAT16, brain, brains, 2) == 0.25);
}

static void what_is_no_number(void **state)
{
    const float nan_[] = {NAN, INFINITY}, same[] = {0, 0, NAN, INFINITY, 0, 0};
    const float minus[] = {0, 0, NAN, -INFINITY, 0, 0}, number[] = {0, 0, 1, INFINITY};
    const float zero[] = {0, -0.0f}, other[] = {0, 0, -0.0f, 0, 0, 0};
    (void)state;
    assert_true(compare(GP_FLOAT32, nan_, same, 1) == 0);
    assert_true(isinf(compare(GP_FLOAT32, nan_, minus, 1)));
    assert_true(isinf(compare(GP_FLOAT32, nan_, number, 1)));
    assert_true(compare(GP_FLOAT32, zero, other, 0) == 0);
}

static void others_are_equal_or_not(void **state)
{
    const int64_t row[] = {5, 6}, same[] = {0, 0, 5, 6, 0, 0},
                  near[] = {0, 0, 5, 7, 0, 0};
    const struct gp_string a[] = {{"ab", 2}, {"", 0}};
    const struct gp_string b[] = {{"", 0}, {"", 0}, {"abc", 2}, {NULL, 0}};
    const struct gp_string c[] = {{"", 0}, {"", 0}, {"abc", 3}, {NULL, 0}};
    const struct gp_string d[] = {{"", 0}, {"", 0}, {"ac", 2}, {NULL, 0}};
    (void)state;
    assert_true(compare(GP_INT64, row, same, 0) == 0);
    assert_true(isinf(compare(GP_INT64, row, near, 0)));
    assert_true(compare(GP_STRING, a, b, 0) == 0);
    assert_true(isinf(compare(GP_STRING, a, c, 0)));
    assert_true(isinf(compare(GP_STRING, a, d, 0)));
}

static void shapes_and_types(void **state)
{
    const float values[6] = {0};
    const int64_t narrow[] = {3, 1}, flat[] = {3}, empty[] = {1, 0}, empties[] = {3, 0};
    const struct gp_tensor a = gp_tensor_view(GP_FLOAT32, one, 2, values);
    const struct gp_tensor b = gp_tensor_view(GP_FLOAT32, narrow, 2, values);
    const struct gp_tensor c = gp_tensor_view(GP_INT32, three, 2, values);
    const struct gp_tensor d = gp_tensor_view(GP_FLOAT32, flat, 1, values);
    const struct gp_tensor e = gp_tensor_view(GP_FLOAT32, empty, 2, NULL);
    const struct gp_tensor f = gp_tensor_view(GP_FLOAT32, empties, 2, NULL);
    (void)state;
    assert_true(isinf(compare_row(&a, &b, 1, 1)));
    assert_true(isinf(compare_row(&a, &c, 1, 1)));
    assert_true(isinf(compare_row(&a, &d, 1, 1)));
    assert_true(compare_row(&e, &f, 2, 1) == 0);
}

static void largest(void **state)
{
    const float values[] = {1, -3, INFINITY, NAN};
    const int64_t shape[] = {4};
    const struct gp_tensor floats_ = gp_tensor_view(GP_FLOAT32, shape, 1, values);
    const struct gp_tensor ints = gp_tensor_view(GP_INT32, shape, 1, values);
    (void)state;
    assert_true(compare_largest(&floats_, 0) == 3);
    assert_true(compare_largest(&floats_, 4) == 4);
    assert_true(compare_largest(&ints, 0) == 0);
}

/* They outlive what they are copied from. */
static void copies(void **state)
{
    struct gp_arena *arena = gp_arena_create();
    char text[] = "ab";
    float values[] = {1, 2};
    struct gp_string strings[] = {{text, 2}, {NULL, 0}};
    int64_t shape[] = {1, WIDTH};
    struct gp_tensor a, b;
    const struct gp_tensor numbers = gp_tensor_view(GP_FLOAT32, shape, 2, values);
    const struct gp_tensor texts = gp_tensor_view(GP_STRING, shape, 2, strings);
    (void)state;
    assert_true(compare_copy(arena, &numbers, &a));
    assert_true(compare_copy(arena, &texts, &b));
    shape[0] = 7;
    values[1] = 7;
    text[0] = 'x';
    strings[1].size_bytes = 7;
    assert_int_equal(a.shape[0], 1);
    assert_true(((const float *)a.data)[1] == 2);
    const struct gp_string *copied = b.data;
    assert_int_equal(copied[0].size_bytes, 2);
    assert_memory_equal(copied[0].data, "ab", 2);
    assert_int_equal(copied[1].size_bytes, 0);
    gp_arena_destroy(arena);
}

static void tolerances(void **state)
{
    (void)state;
    assert_true(compare_tolerance(GP_FLOAT16) == 2e-2);
    assert_true(compare_tolerance(GP_BFLOAT16) == 2e-2);
    assert_true(compare_tolerance(GP_FLOAT32) == 1e-3);
    assert_true(compare_tolerance(GP_FLOAT64) == 1e-3);
    assert_true(compare_tolerance(GP_INT8) == 0);
    assert_true(compare_tolerance(GP_STRING) == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(floats),
        cmocka_unit_test(what_is_no_number),
        cmocka_unit_test(others_are_equal_or_not),
        cmocka_unit_test(shapes_and_types),
        cmocka_unit_test(largest),
        cmocka_unit_test(copies),
        cmocka_unit_test(tolerances),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
