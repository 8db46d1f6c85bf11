#include "model/row.h"

#include <string.h>

size_t row_size(const struct gp_tensor *tensor)
{
    return (size_t)gp_shape_count(tensor->shape + 1, tensor->rank - 1) *
           gp_dtype_stride(tensor->dtype);
}

size_t row_count_bytes(const struct gp_string *strings, size_t n)
{
    size_t size = 0;
    for (size_t i = 0; i < n; i++)
        size += strings[i].size_bytes;
    return size;
}

char *row_move_strings(struct gp_string *strings, size_t n, char *bytes)
{
    for (size_t i = 0; i < n; i++) {
        if (strings[i].size_bytes)
            memcpy(bytes, strings[i].data, strings[i].size_bytes);
        strings[i].data = bytes;
        bytes += strings[i].size_bytes;
    }
    return bytes;
}

bool row_keep_strings(struct gp_outputs *outputs, struct gp_string *strings, size_t n,
                      struct gp_error *err)
{
    char *bytes = gp_outputs_memory(outputs, row_count_bytes(strings, n), err);
    if (bytes)
        row_move_strings(strings, n, bytes);
    return bytes;
}
