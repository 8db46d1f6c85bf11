/* Views of a message's tensors: everything is verified, nothing is copied. Numbers stay
 * in place, and the data of a string tensor are the message's offsets; wire_settle
 * (wire_copy.c) makes the tensors readable that are used. */
#include "wire/tables.h"
#include "wire/try.h"
#include "wire/wire_read.h"

#include "base/checked.h"

#include <assert.h>

static enum gp_status read_strings(struct wire_reader *reader,
                                   const struct flat_table *table,
                                   struct gp_tensor *tensor, size_t n_elements)
{
    struct flat_vector vector;
    GP_TRY(flat_vector(table, TENSOR_STRING_VAL, "string_val", 4, SIZE_MAX, &vector));
    if (vector.n != n_elements) {
        char shape[128];
        gp_shape_format(GP_STRING, tensor->shape, tensor->rank, shape, sizeof shape);
        return flat_refuse(&reader->message, &vector.place, GP_MALFORMED,
                           " holds %zu strings, but %s needs %zu", vector.n, shape,
                           n_elements);
    }
    tensor->size_bytes = vector.n * sizeof(struct gp_string);
    GP_TRY(wire_expand(reader, &vector.place, tensor->size_bytes));
    for (size_t i = 0; i < vector.n; i++) {
        struct gp_string string;
        GP_TRY(flat_vector_string(&vector, i, &string));
        GP_TRY(wire_expand(reader, &vector.place, string.size_bytes));
    }
    tensor->data = vector.n ? flat_vector_bytes(&vector) : NULL;
    return GP_OK;
}

static enum gp_status read_numbers(struct wire_reader *reader,
                                   const struct flat_table *table,
                                   struct gp_tensor *tensor, size_t n_elements)
{
    const size_t element_bytes = gp_dtype_size(tensor->dtype);
    assert(element_bytes > 0); /* strings are read elsewhere, GP_NULL has been refused */
    struct flat_vector vector;
    GP_TRY(flat_vector(table, TENSOR_DATA, "data", 1, SIZE_MAX, &vector));
    size_t size;
    const bool fits = checked_mul(n_elements, element_bytes, &size);
    if (!fits || vector.n != size) {
        char shape[128];
        gp_shape_format(tensor->dtype, tensor->shape, tensor->rank, shape, sizeof shape);
        return flat_refuse(&reader->message, &vector.place, GP_MALFORMED,
                           " holds %zu bytes, but %s needs %s%zu", vector.n, shape,
                           fits ? "" : "more than ", fits ? size : SIZE_MAX);
    }
    GP_TRY(wire_expand(reader, &vector.place, size));
    tensor->size_bytes = size;
    tensor->data = size ? flat_vector_bytes(&vector) : NULL;
    return GP_OK;
}

static enum gp_status read_tensor(struct wire_reader *reader,
                                  const struct flat_table *table,
                                  struct gp_tensor *tensor)
{
    *tensor = (struct gp_tensor){0};
    GP_TRY(wire_read_dtype(table, TENSOR_TYPE, &tensor->dtype));
    if (tensor->dtype == GP_NULL) {
        const struct flat_place place = flat_place_of(table, "type");
        return flat_refuse(&reader->message, &place, GP_MALFORMED,
                           " is null or absent; a tensor needs one");
    }
    GP_TRY(
        wire_read_shape(reader, table, TENSOR_SHAPE, 0, &tensor->shape, &tensor->rank));
    const int64_t n_elements = gp_shape_count(tensor->shape, tensor->rank);
    if (n_elements < 0 || (uint64_t)n_elements > SIZE_MAX) {
        const struct flat_place place = flat_place_of(table, "shape");
        char shape[128];
        gp_shape_format(tensor->dtype, tensor->shape, tensor->rank, shape, sizeof shape);
        return flat_refuse(&reader->message, &place, GP_MALFORMED,
                           ": %s has more elements than can be counted", shape);
    }
    return tensor->dtype == GP_STRING
               ? read_strings(reader, table, tensor, (size_t)n_elements)
               : read_numbers(reader, table, tensor, (size_t)n_elements);
}

enum gp_status wire_read_tensors(struct wire_reader *reader,
                                 const struct flat_table *table, unsigned slot,
                                 const char *field, struct gp_tensor **tensors,
                                 uint32_t *n)
{
    struct flat_vector vector;
    enum gp_status status;
    GP_TRY(flat_vector(table, slot, field, 4, GP_MAX_TENSORS, &vector));
    *n = (uint32_t)vector.n;
    *tensors = wire_array(reader, vector.n, sizeof **tensors, &status);
    for (size_t i = 0; i < vector.n && status == GP_OK; i++) {
        struct flat_table tensor;
        status = flat_vector_table(&vector, i, &tensor);
        if (status == GP_OK)
            status = read_tensor(reader, &tensor, &(*tensors)[i]);
    }
    return status;
}
