#include "model/compare.h"

#include "base/half.h"

#include <math.h>
#include <string.h>

static bool is_float(enum gp_dtype dtype)
{
    return dtype == GP_FLOAT16 || dtype == GP_BFLOAT16 || dtype == GP_FLOAT32 ||
           dtype == GP_FLOAT64;
}

static double float_at(enum gp_dtype dtype, const unsigned char *data, size_t i)
{
    uint16_t bits = 0;
    float single = 0;
    double value = 0;
    switch (dtype) {
    case GP_FLOAT32:
        memcpy(&single, data + i * sizeof single, sizeof single);
        return (double)single;
    case GP_FLOAT64:
        memcpy(&value, data + i * sizeof value, sizeof value);
        return value;
    default:
        memcpy(&bits, data + i * sizeof bits, sizeof bits);
        return dtype == GP_FLOAT16 ? half_from_float16(bits) : half_from_bfloat16(bits);
    }
}

bool compare_copy(struct gp_arena *arena, const struct gp_tensor *from,
                  struct gp_tensor *to)
{
    const size_t shape_size = from->rank * sizeof *from->shape;
    int64_t *shape = gp_arena_alloc(arena, shape_size);
    void *data = gp_arena_alloc(arena, from->size_bytes);
    if (!shape || !data)
        return false;
    if (shape_size)
        memcpy(shape, from->shape, shape_size);
    if (from->size_bytes)
        memcpy(data, from->data, from->size_bytes);
    *to = *from;
    to->shape = shape;
    to->data = data;
    if (from->dtype != GP_STRING)
        return true;
    struct gp_string *strings = data;
    for (size_t i = 0; i < from->size_bytes / sizeof *strings; i++) {
        char *bytes = gp_arena_alloc(arena, strings[i].size_bytes);
        if (!bytes)
            return false;
        if (strings[i].size_bytes)
            memcpy(bytes, strings[i].data, strings[i].size_bytes);
        strings[i].data = bytes;
    }
    return true;
}

double compare_largest(const struct gp_tensor *tensor, double least)
{
    const size_t stride = gp_dtype_stride(tensor->dtype);
    for (size_t i = 0; is_float(tensor->dtype) && i < tensor->size_bytes / stride; i++) {
        const double value = fabs(float_at(tensor->dtype, tensor->data, i));
        if (isfinite(value) && value > least)
            least = value;
    }
    return least;
}

static bool are_equal_strings(const struct gp_string *a, const struct gp_string *b,
                              size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i].size_bytes != b[i].size_bytes ||
            (a[i].size_bytes && memcmp(a[i].data, b[i].data, a[i].size_bytes) != 0))
            return false;
    return true;
}

static double compare_floats(enum gp_dtype dtype, const unsigned char *a,
                             const unsigned char *b, size_t n, double largest)
{
    double most = 0;
    for (size_t i = 0; i < n; i++) {
        const double x = float_at(dtype, a, i), y = float_at(dtype, b, i);
        if (x == y || (isnan(x) && isnan(y)))
            continue;
        const double difference = fabs(x - y);
        if (!isfinite(difference)) /* one is NaN or infinite */
            return INFINITY;
        most = difference > most ? difference : most;
    }
    return most > 0 ? most / largest : 0;
}

double compare_row(const struct gp_tensor *a, const struct gp_tensor *b, uint32_t at,
                   double largest)
{
    const size_t stride = gp_dtype_stride(a->dtype), size = a->size_bytes;
    if (a->dtype != b->dtype || a->rank != b->rank ||
        memcmp(a->shape + 1, b->shape + 1, (a->rank - 1) * sizeof *a->shape) != 0)
        return INFINITY;
    if (!size)
        return 0;
    const unsigned char *row = (const unsigned char *)b->data + at * size;
    if (is_float(a->dtype))
        return compare_floats(a->dtype, a->data, row, size / stride, largest);
    const bool is_equal =
        a->dtype == GP_STRING
            ? are_equal_strings(a->data, (const struct gp_string *)(const void *)row,
                                size / stride)
            : memcmp(a->data, row, size) == 0;
    return is_equal ? 0 : INFINITY;
}

double compare_tolerance(enum gp_dtype dtype)
{
    switch (dtype) {
    case GP_FLOAT16:
    case GP_BFLOAT16:
        return 2e-2;
    case GP_FLOAT32:
    case GP_FLOAT64:
        return 1e-3;
    default:
        return 0;
    }
}
