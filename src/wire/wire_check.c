/* Checks what a caller wants written. A bad tensor is a bug of the caller or of an
 * engine; it gets named here instead of ending up in a message that nobody can read.
 */
#include "wire/tables.h"
#include "wire/try.h"
#include "wire/wire_write.h"

#include "base/checked.h"
#include "base/text.h"

#include <string.h>

static enum gp_status check_count(uint32_t n, const void *array, const char *what,
                                  struct gp_error *err)
{
    if (n > GP_MAX_TENSORS)
        return gp_error_set(err, GP_INVALID, "%u %ss; the limit is %u", n, what,
                            GP_MAX_TENSORS);
    if (n && !array)
        return gp_error_set(err, GP_INVALID, "%u %ss at NULL", n, what);
    return GP_OK;
}

static enum gp_status check_type_and_rank(enum gp_dtype dtype, enum gp_dtype smallest,
                                          const int64_t *shape, uint32_t rank,
                                          const char *what, uint32_t i,
                                          struct gp_error *err)
{
    if ((int)dtype < (int)smallest || (int)dtype > GP_BFLOAT16)
        return gp_error_set(err, GP_INVALID, "%s %u has type %d (%s); types are %d to %d",
                            what, i, (int)dtype, gp_dtype_name(dtype), (int)smallest,
                            GP_BFLOAT16);
    if (rank > GP_MAX_RANK)
        return gp_error_set(err, GP_INVALID, "%s %u has rank %u; the limit is %u", what,
                            i, rank, GP_MAX_RANK);
    if (rank && !shape)
        return gp_error_set(err, GP_INVALID, "%s %u has rank %u but its shape is NULL",
                            what, i, rank);
    return GP_OK;
}

static enum gp_status check_strings(const struct gp_tensor *tensor, const char *what,
                                    uint32_t i, struct gp_error *err)
{
    const struct gp_string *strings = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *strings;
    for (size_t j = 0; j < n; j++)
        if (strings[j].size_bytes && !strings[j].data)
            return gp_error_set(err, GP_INVALID,
                                "%s %u: string %zu has %zu bytes at NULL", what, i, j,
                                strings[j].size_bytes);
    return GP_OK;
}

static enum gp_status check_tensor(const struct gp_tensor *tensor, const char *what,
                                   uint32_t i, struct gp_error *err)
{
    GP_TRY(check_type_and_rank(tensor->dtype, GP_UINT8, tensor->shape, tensor->rank, what,
                               i, err));
    const int64_t n = gp_shape_count(tensor->shape, tensor->rank);
    char shape[128];
    size_t size = 0;
    if (n < 0 || (uint64_t)n > SIZE_MAX ||
        !checked_mul((size_t)n, gp_dtype_stride(tensor->dtype), &size))
        return gp_error_set(err, GP_INVALID, "%s %u: %s cannot be the shape of a tensor",
                            what, i,
                            gp_shape_format(tensor->dtype, tensor->shape, tensor->rank,
                                            shape, sizeof shape));
    if (size != tensor->size_bytes)
        return gp_error_set(err, GP_INVALID, "%s %u holds %zu bytes, but %s needs %zu",
                            what, i, tensor->size_bytes,
                            gp_shape_format(tensor->dtype, tensor->shape, tensor->rank,
                                            shape, sizeof shape),
                            size);
    if (size && !tensor->data)
        return gp_error_set(err, GP_INVALID, "%s %u: %zu bytes at NULL", what, i, size);
    return tensor->dtype == GP_STRING ? check_strings(tensor, what, i, err) : GP_OK;
}

enum gp_status wire_check_tensors(const struct gp_tensor *tensors, uint32_t n,
                                  const char *what, struct gp_error *err)
{
    GP_TRY(check_count(n, tensors, what, err));
    for (uint32_t i = 0; i < n; i++)
        GP_TRY(check_tensor(&tensors[i], what, i, err));
    return GP_OK;
}

enum gp_status wire_check_name(const char *name, const char *what, uint32_t i,
                               size_t *names_size_bytes, struct gp_error *err)
{
    const size_t size = name ? strlen(name) : 0;
    if (size > GP_MAX_NAME_BYTES)
        return gp_error_set(err, GP_INVALID, "%s %u has %zu bytes; the limit is %u", what,
                            i, size, GP_MAX_NAME_BYTES);
    if (size && !text_is_utf8(name, size))
        return gp_error_set(err, GP_INVALID, "%s %u is not UTF-8", what, i);
    *names_size_bytes += size;
    if (*names_size_bytes > WIRE_MAX_NAMES_BYTES)
        return gp_error_set(err, GP_INVALID, "%s %u: %zu bytes of names; the limit is %u",
                            what, i, *names_size_bytes, WIRE_MAX_NAMES_BYTES);
    return GP_OK;
}

enum gp_status wire_check_ios(const struct gp_io *ios, uint32_t n, const char *what,
                              size_t *names_size_bytes, struct gp_error *err)
{
    GP_TRY(check_count(n, ios, what, err));
    for (uint32_t i = 0; i < n; i++) {
        GP_TRY(check_type_and_rank(ios[i].dtype, GP_NULL, ios[i].shape, ios[i].rank, what,
                                   i, err));
        GP_TRY(wire_check_name(ios[i].name, what, i, names_size_bytes, err));
        for (uint32_t j = 0; j < ios[i].rank; j++)
            if (ios[i].shape[j] < -1)
                return gp_error_set(err, GP_INVALID, "%s %u: dimension %u is %lld", what,
                                    i, j, (long long)ios[i].shape[j]);
    }
    return GP_OK;
}
