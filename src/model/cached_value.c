/* What is kept of a tensor: its type, its rank and its shape, then its elements, or of strings their
 * sizes and then their bytes. Machines of one byte order share a folder, since it is on a local disk. */
#include "base/checked.h"
#include "model/cached_parts.h"
#include "model/row.h"

#include <string.h>

struct value_head {
    uint32_t dtype;
    uint32_t rank;
};

static size_t head_size(uint32_t rank)
{
    return sizeof(struct value_head) + rank * sizeof(int64_t);
}

static size_t n_strings(const struct gp_tensor *tensor)
{
    return tensor->size_bytes / sizeof(struct gp_string);
}

size_t cached_value_size(const struct gp_tensor *tensor)
{
    if (tensor->dtype != GP_STRING)
        return head_size(tensor->rank) + tensor->size_bytes;
    return head_size(tensor->rank) + n_strings(tensor) * sizeof(uint64_t) +
           row_count_bytes(tensor->data, n_strings(tensor));
}

void cached_value_write(const struct gp_tensor *tensor, unsigned char *bytes)
{
    const struct value_head head = {tensor->dtype, tensor->rank};
    const struct gp_string *strings = tensor->data;
    memcpy(bytes, &head, sizeof head);
    if (tensor->rank)
        memcpy(bytes + sizeof head, tensor->shape, tensor->rank * sizeof *tensor->shape);
    bytes += head_size(tensor->rank);
    if (tensor->dtype != GP_STRING) {
        if (tensor->size_bytes)
            memcpy(bytes, tensor->data, tensor->size_bytes);
        return;
    }
    unsigned char *data = bytes + n_strings(tensor) * sizeof(uint64_t);
    for (size_t i = 0; i < n_strings(tensor); i++, bytes += sizeof(uint64_t)) {
        const uint64_t size = strings[i].size_bytes;
        memcpy(bytes, &size, sizeof size);
        if (size)
            memcpy(data, strings[i].data, size);
        data += size;
    }
}

/* The size of string i of those that were written. */
static size_t string_size(const unsigned char *sizes, size_t i)
{
    uint64_t size;
    memcpy(&size, sizes + i * sizeof size, sizeof size);
    return size;
}

static bool are_strings(const unsigned char *sizes, size_t n, size_t size_bytes)
{
    size_t sum;
    if (!checked_mul(n, sizeof(uint64_t), &sum) || sum > size_bytes)
        return false;
    for (size_t i = 0; i < n; i++)
        if (!checked_add(sum, string_size(sizes, i), &sum))
            return false;
    return sum == size_bytes;
}

bool cached_value_read(const unsigned char *bytes, size_t size_bytes, int64_t *shape,
                       struct gp_tensor *tensor)
{
    struct value_head head;
    size_t data_size;
    if (size_bytes < sizeof head)
        return false;
    memcpy(&head, bytes, sizeof head);
    const size_t stride = gp_dtype_stride((enum gp_dtype)head.dtype);
    if (!stride || head.rank > GP_MAX_RANK || size_bytes < head_size(head.rank))
        return false;
    memcpy(shape, bytes + sizeof head, head.rank * sizeof *shape);
    const int64_t n = gp_shape_count(shape, head.rank);
    if (n < 0 || !checked_mul((size_t)n, stride, &data_size))
        return false;
    const unsigned char *data = bytes + head_size(head.rank);
    const size_t left = size_bytes - head_size(head.rank);
    if (head.dtype == GP_STRING ? !are_strings(data, (size_t)n, left) : left != data_size)
        return false;
    *tensor = (struct gp_tensor){.shape = shape,
                                 .data = data,
                                 .size_bytes = data_size,
                                 .dtype = (enum gp_dtype)head.dtype,
                                 .rank = head.rank};
    return true;
}

bool cached_value_copy(const struct gp_tensor *value, struct engine_run *run, void *to,
                       struct gp_error *err)
{
    const size_t n = n_strings(value);
    const unsigned char *sizes = value->data;
    struct gp_string *strings = to;
    if (value->dtype != GP_STRING) {
        if (value->size_bytes)
            memcpy(to, value->data, value->size_bytes);
        return true;
    }
    for (size_t i = 0; i < n; i++) {
        strings[i].data = (const char *)sizes + n * sizeof(uint64_t);
        strings[i].size_bytes = string_size(sizes, i);
        if (i)
            strings[i].data = strings[i - 1].data + strings[i - 1].size_bytes;
    }
    return row_keep_strings(&run->face, strings, n, err);
}
