/* The two passes over a message, its tensors, and the list of its parts:
 *
 *     structure, ending in the first large tensor's length | its bytes | padding and the
 * next one's length | its bytes | ...
 *
 * Data begins at multiples of 64 bytes, so that a receiver with aligned memory can use it
 * in place, with any vector instruction.
 */
#include "wire/wire_write.h"

#include "wire/tables.h"
#include "wire/try.h"

#include "base/checked.h"

#include <string.h>

enum { LARGE_BYTES = 4096, DATA_ALIGN = 64, LENGTH_BYTES = 4, GAP_BYTES = 72 };

static const struct flat_layout TENSOR = {4, {12, 20, 16, 4, 8, 12}};

static bool is_large(const struct gp_tensor *tensor)
{
    return tensor->dtype != GP_STRING && tensor->size_bytes >= LARGE_BYTES;
}

enum gp_status wire_writer_init(struct wire_writer *writer, struct gp_arena *arena,
                                const struct gp_tensor *tensors, uint32_t n_tensors,
                                struct gp_error *err)
{
    *writer = (struct wire_writer){
        .arena = arena, .err = err, .tensors = tensors, .n_tensors = n_tensors};
    if (n_tensors) {
        writer->large_fields =
            gp_arena_alloc(arena, n_tensors * sizeof *writer->large_fields);
        if (!writer->large_fields)
            return gp_error_set(err, GP_NO_MEMORY, "no memory to list %u tensors",
                                n_tensors);
    }
    return GP_OK;
}

static void put_data(struct wire_writer *writer, const struct gp_tensor *tensor,
                     size_t field)
{
    struct flat_writer *flat = &writer->flat;
    if (is_large(tensor)) {
        writer->large_fields[writer->n_large++] = field;
        return;
    }
    const size_t size = tensor->dtype == GP_STRING ? 0 : tensor->size_bytes;
    flat_put_head(flat, field, size, size ? DATA_ALIGN : LENGTH_BYTES);
    flat_put(flat, tensor->data, size);
}

static void put_strings(struct flat_writer *flat, const struct gp_tensor *tensor,
                        size_t field)
{
    const struct gp_string *strings = tensor->data;
    const size_t n =
        tensor->dtype == GP_STRING ? tensor->size_bytes / sizeof *strings : 0;
    const size_t offsets = flat_put_offsets(flat, field, n);
    for (size_t i = 0; i < n; i++)
        flat_put_string(flat, offsets + LENGTH_BYTES * i, strings[i].data,
                        strings[i].size_bytes);
}

static void put_tensor(struct wire_writer *writer, const struct gp_tensor *tensor,
                       size_t from)
{
    struct flat_writer *flat = &writer->flat;
    const uint8_t type = (uint8_t)tensor->dtype;
    const size_t table = flat_put_table(flat, &TENSOR, &writer->tensor_vtable_at);
    flat_link(flat, from, table);
    flat_set(flat, flat_field(&TENSOR, table, TENSOR_TYPE), &type, sizeof type);
    flat_put_head(flat, flat_field(&TENSOR, table, TENSOR_SHAPE), tensor->rank, 8);
    flat_put(flat, tensor->shape, tensor->rank * sizeof *tensor->shape);
    put_data(writer, tensor, flat_field(&TENSOR, table, TENSOR_DATA));
    put_strings(flat, tensor, flat_field(&TENSOR, table, TENSOR_STRING_VAL));
}

void wire_put_tensors(struct wire_writer *writer, size_t from)
{
    const size_t offsets = flat_put_offsets(&writer->flat, from, writer->n_tensors);
    for (size_t i = 0; i < writer->n_tensors; i++)
        put_tensor(writer, &writer->tensors[i], offsets + LENGTH_BYTES * i);
}

/* The bytes between `at` and the data of the next large tensor: padding, then its
 * length. */
static size_t gap_size(size_t at)
{
    return ((~(at + LENGTH_BYTES) + 1) & (DATA_ALIGN - 1)) + LENGTH_BYTES;
}

/* Where a message ends that has these tensors after a structure of `at` bytes; SIZE_MAX
 * on overflow. */
static size_t end_of(const struct wire_writer *writer, size_t at)
{
    for (uint32_t i = 0; i < writer->n_tensors; i++) {
        const struct gp_tensor *tensor = &writer->tensors[i];
        if (is_large(tensor) && (!checked_add(at, gap_size(at), &at) ||
                                 !checked_add(at, tensor->size_bytes, &at)))
            return SIZE_MAX;
    }
    return at;
}

/* Lists the parts. The block of the structure has room for the gaps after it. */
static void lay_parts(struct wire_writer *writer, struct iovec *parts,
                      struct gp_encoding *out)
{
    struct flat_writer *flat = &writer->flat;
    unsigned char *gap_bytes = flat->bytes + flat->at;
    size_t at = flat->at, n_large = 0;
    struct iovec *part = parts;
    *part = (struct iovec){flat->bytes, flat->at};
    for (uint32_t i = 0; i < writer->n_tensors; i++) {
        const struct gp_tensor *tensor = &writer->tensors[i];
        if (!is_large(tensor))
            continue;
        const uint32_t length = (uint32_t)tensor->size_bytes;
        const size_t gap = gap_size(at);
        memset(gap_bytes, 0, gap);
        memcpy(gap_bytes + gap - LENGTH_BYTES, &length, sizeof length);
        if (n_large == 0)
            part->iov_len += gap; /* it follows the structure directly */
        else
            *++part = (struct iovec){gap_bytes, gap};
        gap_bytes += gap;
        flat_link(flat, writer->large_fields[n_large++], at + gap - LENGTH_BYTES);
        *++part = (struct iovec){(void *)(uintptr_t)tensor->data, tensor->size_bytes};
        at += gap + tensor->size_bytes;
    }
    *out = (struct gp_encoding){parts, (size_t)(part - parts) + 1, at};
}

enum gp_status wire_finish(struct wire_writer *writer,
                           void (*write)(struct wire_writer *, const void *message),
                           const void *message, struct gp_encoding *out)
{
    struct flat_writer *flat = &writer->flat;
    write(writer, message);
    const size_t size = end_of(writer, flat->at);
    if (size > GP_MAX_MESSAGE_BYTES)
        return gp_error_set(writer->err, GP_INVALID,
                            "the message would have %zu bytes; the format ends at %u",
                            size, GP_MAX_MESSAGE_BYTES);
    flat->bytes =
        gp_arena_alloc(writer->arena, flat->at + (size_t)writer->n_large * GAP_BYTES);
    struct iovec *parts =
        gp_arena_alloc(writer->arena, (2 * (size_t)writer->n_large + 1) * sizeof *parts);
    if (!flat->bytes || !parts)
        return gp_error_set(writer->err, GP_NO_MEMORY,
                            "no memory for a message of %zu bytes", size);
    flat->at = 0;
    writer->n_large = 0;
    writer->tensor_vtable_at = 0;
    write(writer, message);
    lay_parts(writer, parts, out);
    return GP_OK;
}
