/* See flat_read.c for the format. While measuring, `at` may exceed the size of any
 * message, so every step is checked; sums that overflow become SIZE_MAX, which the
 * measurer refuses. In the second pass everything is known to fit in 31 bits. */
#include "wire/flat_write.h"

#include "base/checked.h"

#include <string.h>

enum { OFFSET_BYTES = 4 };

static void advance_writer(struct flat_writer *writer, size_t size_bytes)
{
    if (!checked_add(writer->at, size_bytes, &writer->at))
        writer->at = SIZE_MAX;
}

void flat_put(struct flat_writer *writer, const void *bytes, size_t size_bytes)
{
    if (writer->bytes && size_bytes)
        memcpy(writer->bytes + writer->at, bytes, size_bytes);
    advance_writer(writer, size_bytes);
}

void flat_put_zeros(struct flat_writer *writer, size_t size_bytes)
{
    if (writer->bytes)
        memset(writer->bytes + writer->at, 0, size_bytes);
    advance_writer(writer, size_bytes);
}

void flat_align(struct flat_writer *writer, size_t align, size_t ahead)
{
    flat_put_zeros(writer, (~(writer->at + ahead) + 1) & (align - 1));
}

void flat_set(struct flat_writer *writer, size_t at, const void *value, size_t size_bytes)
{
    if (writer->bytes)
        memcpy(writer->bytes + at, value, size_bytes);
}

void flat_link(struct flat_writer *writer, size_t at, size_t target)
{
    const uint32_t offset = (uint32_t)(target - at);
    flat_set(writer, at, &offset, sizeof offset);
}

size_t flat_put_table(struct flat_writer *writer, const struct flat_layout *layout,
                      size_t *vtable_at)
{
    const size_t vtable_size = layout->vtable[0];
    if (!*vtable_at) {
        flat_align(writer, layout->align, vtable_size);
        *vtable_at = writer->at;
        flat_put(writer, layout->vtable, vtable_size);
    } else {
        flat_align(writer, layout->align, 0);
    }
    const size_t table = writer->at;
    const uint32_t back = (uint32_t)(table - *vtable_at);
    flat_put_zeros(writer, layout->vtable[1]);
    flat_set(writer, table, &back, sizeof back);
    return table;
}

void flat_put_head(struct flat_writer *writer, size_t from, size_t n, size_t align)
{
    const uint32_t count = (uint32_t)n;
    flat_align(writer, align, OFFSET_BYTES);
    flat_link(writer, from, writer->at);
    flat_put(writer, &count, sizeof count);
}

size_t flat_put_offsets(struct flat_writer *writer, size_t from, size_t n)
{
    size_t size;
    flat_put_head(writer, from, n, OFFSET_BYTES);
    const size_t first = writer->at;
    flat_put_zeros(writer, checked_mul(n, OFFSET_BYTES, &size) ? size : SIZE_MAX);
    return first;
}

void flat_put_string(struct flat_writer *writer, size_t from, const char *bytes,
                     size_t size_bytes)
{
    flat_put_head(writer, from, size_bytes, OFFSET_BYTES);
    flat_put(writer, bytes, size_bytes);
    flat_put_zeros(writer, 1);
}
