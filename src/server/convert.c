#include "server/convert.h"

#include <string.h>

bool convert_can(enum gp_dtype from, enum gp_dtype to)
{
    return (from == GP_UINT8 && to == GP_BOOL) ||
           (from == GP_FLOAT32 && to == GP_BFLOAT16);
}

/* Anything but 0 is true; a bool of any other bit pattern is undefined in most
 * engines. */
static bool to_bool(struct gp_arena *arena, struct gp_tensor *tensor)
{
    const unsigned char *from = tensor->data;
    size_t i = 0;
    while (i < tensor->size_bytes && from[i] <= 1)
        i++;
    if (i == tensor->size_bytes)
        return true;
    unsigned char *to = gp_arena_alloc(arena, tensor->size_bytes);
    if (!to)
        return false;
    for (i = 0; i < tensor->size_bytes; i++)
        to[i] = from[i] != 0;
    tensor->data = to;
    return true;
}

/* Rounds to the nearest, ties to even; a NaN stays one. */
static uint16_t bfloat16_of(uint32_t bits)
{
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static bool to_bfloat16(struct gp_arena *arena, struct gp_tensor *tensor)
{
    const size_t n = tensor->size_bytes / sizeof(float);
    const unsigned char *from = tensor->data;
    uint16_t *to = gp_arena_alloc(arena, n * sizeof *to);
    if (!to)
        return false;
    for (size_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, from + i * sizeof bits, sizeof bits);
        to[i] = bfloat16_of(bits);
    }
    tensor->data = to;
    tensor->size_bytes = n * sizeof *to;
    return true;
}

bool convert_tensor(struct gp_arena *arena, struct gp_tensor *tensor, enum gp_dtype to)
{
    const bool is_done =
        to == GP_BOOL ? to_bool(arena, tensor) : to_bfloat16(arena, tensor);
    tensor->dtype = to;
    return is_done;
}
