/* What readers of 2018 are given in place of the types that they do not know. Bool needs
 * a new type only; BFloat16 is the upper half of a Float32, so it is widened, exactly.
 */
#include "wire/try.h"
#include "wire/wire_write.h"

enum gp_dtype wire_dtype_of_2018(enum gp_dtype dtype)
{
    if (dtype == GP_BOOL)
        return GP_UINT8;
    return dtype == GP_BFLOAT16 ? GP_FLOAT32 : dtype;
}

static enum gp_status widen(struct gp_arena *arena, struct gp_tensor *tensor,
                            struct gp_error *err)
{
    const uint16_t *halves = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *halves;
    uint32_t *whole =
        n <= SIZE_MAX / sizeof *whole ? gp_arena_alloc(arena, n * sizeof *whole) : NULL;
    if (!whole)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for %zu elements as float32",
                            n);
    for (size_t i = 0; i < n; i++)
        whole[i] = (uint32_t)halves[i] << 16;
    tensor->data = whole;
    tensor->size_bytes = n * sizeof *whole;
    return GP_OK;
}

enum gp_status wire_tensors_of_2018(struct gp_arena *arena,
                                    const struct gp_tensor **tensors, uint32_t n,
                                    struct gp_error *err)
{
    struct gp_tensor *copy = gp_arena_alloc(arena, n * sizeof *copy);
    if (!copy)
        return gp_error_set(err, GP_NO_MEMORY, "no memory to list %u tensors", n);
    for (uint32_t i = 0; i < n; i++) {
        copy[i] = (*tensors)[i];
        if (copy[i].dtype == GP_BFLOAT16)
            GP_TRY(widen(arena, &copy[i], err));
        copy[i].dtype = wire_dtype_of_2018(copy[i].dtype);
    }
    *tensors = copy;
    return GP_OK;
}
