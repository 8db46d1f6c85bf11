#include "wire/fill.h"

#include "base/checked.h"
#include "base/half.h"

#include <string.h>

enum { LARGEST_INTEGER = 99, LETTERS = 8 };

static void fill_one(void *to, enum gp_dtype dtype, struct random *random)
{
    const double real = random_uniform(random);
    const uint64_t bits = random_bits(random);
    const uint64_t small = bits % (LARGEST_INTEGER + 1);
    switch (dtype) {
    case GP_FLOAT16:
        *(uint16_t *)to = half_to_float16(real);
        break;
    case GP_BFLOAT16:
        *(uint16_t *)to = half_to_bfloat16(real);
        break;
    case GP_FLOAT32:
        *(float *)to = (float)real;
        break;
    case GP_FLOAT64:
        *(double *)to = real;
        break;
    case GP_BOOL:
        *(uint8_t *)to = bits & 1;
        break;
    case GP_UINT8:
    case GP_INT8:
        *(uint8_t *)to = (uint8_t)bits;
        break;
    default: /* little-endian integers */
        memset(to, 0, gp_dtype_size(dtype));
        *(uint8_t *)to = (uint8_t)small;
        break;
    }
}

static bool fill_strings(struct gp_string *strings, size_t n, struct random *random,
                         struct gp_arena *arena)
{
    char *letters = gp_arena_alloc(arena, n * LETTERS);
    for (size_t i = 0; letters && i < n; i++, letters += LETTERS) {
        strings[i] = (struct gp_string){letters, LETTERS};
        for (size_t j = 0; j < LETTERS; j++)
            letters[j] = (char)('a' + random_bits(random) % 26);
    }
    return letters;
}

enum gp_status fill_tensor(struct gp_tensor *tensor, struct random *random,
                           struct gp_arena *arena, struct gp_error *err)
{
    const bool is_string = tensor->dtype == GP_STRING;
    const size_t stride = gp_dtype_stride(tensor->dtype);
    const int64_t n = gp_shape_count(tensor->shape, tensor->rank);
    const char *name = tensor->name ? tensor->name : "";
    if (n < 0 || !checked_mul((size_t)n, stride, &tensor->size_bytes) ||
        tensor->size_bytes > GP_MAX_MESSAGE_BYTES)
        return gp_error_set(err, GP_TOO_LARGE, "input \"%.*s\" is over 2 GiB",
                            gp_cut(name, 100), name);
    char *data = gp_arena_alloc(arena, tensor->size_bytes);
    if (!data)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    tensor->data = data;
    if (is_string &&
        !fill_strings((struct gp_string *)(void *)data, (size_t)n, random, arena))
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (size_t i = 0; !is_string && i < (size_t)n; i++)
        fill_one(data + i * stride, tensor->dtype, random);
    return GP_OK;
}
