/* wire/flat_write.h - writing FlatBuffers from front to back.
 *
 * Offsets point forwards, so a table is written before what it holds, and its offsets are
 * set when that has found its place. A message is written twice by the same code: once
 * without memory, which measures, and once into memory of that size; so nothing grows or
 * moves, and no formula has to agree with what is written.
 */
#ifndef GP_WIRE_FLAT_WRITE_H
#define GP_WIRE_FLAT_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct flat_writer {
    unsigned char *bytes; /* NULL: measuring */
    size_t at;            /* SIZE_MAX when it is more than that */
};

/* A table's vtable as it is written: its own bytes, the table's bytes, where each field
 * is. */
struct flat_layout {
    uint16_t align; /* of the table: its largest field's */
    uint16_t vtable[8];
};

/* Where the field of a slot lies, in the table at `table`. */
static inline size_t flat_field(const struct flat_layout *layout, size_t table,
                                unsigned slot)
{
    return table + layout->vtable[2 + slot];
}

void flat_put(struct flat_writer *writer, const void *bytes, size_t size_bytes);
void flat_put_zeros(struct flat_writer *writer, size_t size_bytes);

/* Zeros up to where, `ahead` bytes further on, is a multiple of `align`, a power of two.
 */
void flat_align(struct flat_writer *writer, size_t align, size_t ahead);

/* Stores a value at a place that has been written. */
void flat_set(struct flat_writer *writer, size_t at, const void *value,
              size_t size_bytes);

/* Sets the offset at `at` so that it points to `target`, which lies behind it. */
void flat_link(struct flat_writer *writer, size_t at, size_t target);

/* A table with all fields 0; returns where it is. Its vtable is written in front of it
 * when *vtable_at is 0, and shared by all the tables that are given the same vtable_at.
 */
size_t flat_put_table(struct flat_writer *writer, const struct flat_layout *layout,
                      size_t *vtable_at);

/* The head of a vector of n elements, aligned to `align`, which the offset at `from` then
 * points to; the elements are put next. */
void flat_put_head(struct flat_writer *writer, size_t from, size_t n, size_t align);

/* A vector of n offsets, all 0; returns where the first one is. */
size_t flat_put_offsets(struct flat_writer *writer, size_t from, size_t n);

/* A string, with a NUL behind it, which the offset at `from` then points to. */
void flat_put_string(struct flat_writer *writer, size_t from, const char *bytes,
                     size_t size_bytes);

#endif
