/* Replaces types that readers of 2018 do not know. Bool is only relabelled; BFloat16 is
 * widened.
 */
#include "wire/try.h"
#include "wire/wire.h"
#include "wire/wire_write.h"

enum gp_dtype wire_dtype_of_2018(enum gp_dtype dtype)
{
    if (dtype == GP_BOOL)
        return GP_UINT8;
    return dtype == GP_BFLOAT16 ? GP_FLOAT32 : dtype;
}

enum gp_status wire_tensors_of_2018(struct gp_arena *arena,
                                    const struct gp_tensor **tensors, uint32_t n,
                                    struct gp_error *err)
{
    struct wire_copies copies = {.arena = arena, .payloads = arena};
    struct gp_tensor *list;
    GP_TRY(wire_copy_list(arena, *tensors, n, &list, err));
    for (uint32_t i = 0; i < n; i++) {
        if (list[i].dtype == GP_BFLOAT16)
            GP_TRY(wire_settle(&copies, &list[i], GP_FLOAT32, err));
        list[i].dtype = wire_dtype_of_2018(list[i].dtype);
    }
    *tensors = list;
    return GP_OK;
}
