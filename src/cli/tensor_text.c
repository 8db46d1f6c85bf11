/* Elements are read through two functions: one gives exact text, the other a long double,
 * which holds every value of every type on the platforms that we build for and so orders
 * them all. */
#include "cli/tensor_text.h"

#include "base/half.h"

#include <graphpipe/message.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FEW = 16, N_TOP = 3, N_FIRST = 4, LONG_STRING = 60 };

size_t tensor_count(const struct gp_tensor *tensor)
{
    const size_t stride = gp_dtype_stride(tensor->dtype);
    return stride ? tensor->size_bytes / stride : 0;
}

static bool is_float(enum gp_dtype dtype)
{
    return dtype == GP_FLOAT16 || dtype == GP_BFLOAT16 || dtype == GP_FLOAT32 ||
           dtype == GP_FLOAT64;
}

#define AT(type) (((const type *)tensor->data)[i])

static long double value_at(const struct gp_tensor *tensor, size_t i)
{
    switch (tensor->dtype) {
    case GP_UINT8:
    case GP_BOOL:
        return AT(uint8_t);
    case GP_INT8:
        return AT(int8_t);
    case GP_UINT16:
        return AT(uint16_t);
    case GP_INT16:
        return AT(int16_t);
    case GP_UINT32:
        return AT(uint32_t);
    case GP_INT32:
        return AT(int32_t);
    case GP_UINT64:
        return AT(uint64_t);
    case GP_INT64:
        return AT(int64_t);
    case GP_FLOAT16:
        return half_from_float16(AT(uint16_t));
    case GP_BFLOAT16:
        return half_from_bfloat16(AT(uint16_t));
    case GP_FLOAT32:
        return AT(float);
    case GP_FLOAT64:
        return AT(double);
    case GP_STRING:
    case GP_NULL:
        break;
    }
    return 0;
}

/* The value after rounding to the type's precision. */
static double rounded(enum gp_dtype dtype, const char *digits)
{
    switch (dtype) {
    case GP_FLOAT16:
        return half_from_float16(half_to_float16(strtod(digits, NULL)));
    case GP_BFLOAT16:
        return half_from_bfloat16(half_to_bfloat16(strtod(digits, NULL)));
    case GP_FLOAT32:
        return strtof(digits, NULL);
    default:
        return strtod(digits, NULL);
    }
}

/* Writes the fewest digits that read back as this value, starting with the number of
 * digits that every decimal survives. */
static void write_float(struct text *text, enum gp_dtype dtype, double value)
{
    const bool is_half = dtype == GP_FLOAT16 || dtype == GP_BFLOAT16;
    int precision = dtype == GP_FLOAT64 ? 15 : dtype == GP_FLOAT32 ? 6 : 2;
    if (is_half && fabs(value) < 100000 && value == (int)value)
        precision = 5; /* all digits of a whole number, such as 65504 */
    char digits[40];
    do
        (void)snprintf(digits, sizeof digits, "%.*g", precision, value);
    while (rounded(dtype, digits) != value && ++precision <= 17);
    text_puts(text, digits);
}

static void write_integer(struct text *text, const struct gp_tensor *tensor, size_t i)
{
    if (tensor->dtype == GP_BOOL)
        text_puts(text, AT(uint8_t) ? "true" : "false");
    else if (tensor->dtype == GP_UINT64)
        text_printf(text, "%" PRIu64, AT(uint64_t));
    else
        text_printf(text, "%" PRId64, (int64_t)value_at(tensor, i));
}

void tensor_write_json(struct text *text, const struct gp_tensor *tensor, size_t i)
{
    if (tensor->dtype == GP_STRING) {
        text_json(text, AT(struct gp_string).data, AT(struct gp_string).size_bytes);
        return;
    }
    if (!is_float(tensor->dtype)) {
        write_integer(text, tensor, i);
        return;
    }
    const double value = (double)value_at(tensor, i);
    if (isnan(value))
        text_puts(text, "\"NaN\"");
    else if (isinf(value))
        text_puts(text, value < 0 ? "\"-Infinity\"" : "\"Infinity\"");
    else
        write_float(text, tensor->dtype, value);
}

/* For people: long strings are cut, NaN has no quotes. */
static void write_element(struct text *text, const struct gp_tensor *tensor, size_t i)
{
    if (tensor->dtype == GP_STRING && AT(struct gp_string).size_bytes > LONG_STRING) {
        text_json(text, AT(struct gp_string).data,
                  gp_text_cut(AT(struct gp_string).data, AT(struct gp_string).size_bytes,
                              LONG_STRING));
        text_printf(text, "... (%zu bytes)", AT(struct gp_string).size_bytes);
    } else if (is_float(tensor->dtype) && !isfinite((double)value_at(tensor, i))) {
        text_printf(text, "%g", (double)value_at(tensor, i));
    } else {
        tensor_write_json(text, tensor, i);
    }
}

/* Writes elements from *next on, in brackets for each dimension from `d` on. */
static void write_nested(struct text *text, const struct gp_tensor *tensor, uint32_t d,
                         size_t *next)
{
    if (d == tensor->rank) {
        write_element(text, tensor, (*next)++);
        return;
    }
    text_puts(text, "[");
    for (int64_t i = 0; i < tensor->shape[d]; i++) {
        if (i)
            text_puts(text, ", ");
        write_nested(text, tensor, d + 1, next);
    }
    text_puts(text, "]");
}

/* A few digits of a float, all of anything else. */
static void write_short(struct text *text, const struct gp_tensor *tensor, size_t i)
{
    if (is_float(tensor->dtype))
        text_printf(text, "%.3g", (double)value_at(tensor, i));
    else
        write_element(text, tensor, i);
}

static void write_range(struct text *text, const struct gp_tensor *tensor, size_t n)
{
    size_t least = n, greatest = n, n_nan = 0;
    for (size_t i = 0; i < n; i++) {
        const long double value = value_at(tensor, i);
        if (isnan(value)) {
            n_nan++;
            continue;
        }
        if (least == n || value < value_at(tensor, least))
            least = i;
        if (greatest == n || value > value_at(tensor, greatest))
            greatest = i;
    }
    if (least < n) {
        text_puts(text, "min ");
        write_short(text, tensor, least);
        text_puts(text, "  max ");
        write_short(text, tensor, greatest);
        text_puts(text, "  ");
    }
    if (n_nan)
        text_printf(text, "nan %zu  ", n_nan);
}

/* The greatest values and their indices: what a classifier answers. */
static void write_top(struct text *text, const struct gp_tensor *tensor, size_t n)
{
    size_t top[N_TOP];
    size_t n_top = 0;
    for (size_t i = 0; i < n; i++) {
        if (isnan(value_at(tensor, i)))
            continue;
        size_t at = n_top;
        while (at > 0 && value_at(tensor, i) > value_at(tensor, top[at - 1]))
            at--;
        if (at == N_TOP)
            continue;
        n_top += n_top < N_TOP;
        for (size_t j = n_top - 1; j > at; j--)
            top[j] = top[j - 1];
        top[at] = i;
    }
    text_puts(text, "top:");
    for (size_t i = 0; i < n_top; i++) {
        text_printf(text, "%s %zu ", i ? "," : "", top[i]);
        write_short(text, tensor, top[i]);
    }
}

static void write_first(struct text *text, const struct gp_tensor *tensor)
{
    text_puts(text, "first:");
    for (size_t i = 0; i < N_FIRST; i++) {
        text_puts(text, i ? ", " : " ");
        write_short(text, tensor, i);
    }
    text_puts(text, " ...");
}

void tensor_write_summary(struct text *text, const struct gp_tensor *tensor)
{
    const size_t n = tensor_count(tensor);
    const bool is_row = tensor->rank > 0 && tensor->shape[tensor->rank - 1] == (int64_t)n;
    if (n == 0) {
        text_puts(text, "no elements");
    } else if (n <= FEW) {
        size_t next = 0;
        write_nested(text, tensor, 0, &next);
    } else {
        if (tensor->dtype != GP_STRING && tensor->dtype != GP_BOOL)
            write_range(text, tensor, n);
        if (is_float(tensor->dtype) && is_row)
            write_top(text, tensor, n);
        else
            write_first(text, tensor);
    }
}
