/* wire/flat_write.h - writes FlatBuffers from front to back.
 *
 * Offsets point forwards, so a table is written before its contents, and its offsets are
 * set once those have a place. The same code writes a message twice: first without
 * memory, to measure, then into memory of that size. So nothing grows or moves, and no
 * formula has to match what is written. */
#ifndef GP_WIRE_FLAT_WRITE_H
#define GP_WIRE_FLAT_WRITE_H

#include <stddef.h>
#include <stdint.h>

struct flat_writer {
    unsigned char *bytes; /* NULL: measuring */
    size_t at;            /* SIZE_MAX if it would be larger than that */
};

/* A table's vtable as it is written: its own size, the table's size, the position of each
 * field. */
struct flat_layout {
    uint16_t align; /* of the table: that of its largest field */
    uint16_t vtable[8];
};

/* The position of a slot's field in the table at `table`. */
static inline size_t flat_field(const struct flat_layout *layout, size_t table,
                                unsigned slot)
{
    return table + layout->vtable[2 + slot];
}

void flat_put(struct flat_writer *writer, const void *bytes, size_t size_bytes);
void flat_put_zeros(struct flat_writer *writer, size_t size_bytes);

/* Zeros up to the place from which `ahead` bytes further is a multiple of `align`, a
 * power of two. */
void flat_align(struct flat_writer *writer, size_t align, size_t ahead);

/* Stores a value in a place that has been written. */
void flat_set(struct flat_writer *writer, size_t at, const void *value,
              size_t size_bytes);

/* Makes the offset at `at` point to `target`, which lies behind it. */
void flat_link(struct flat_writer *writer, size_t at, size_t target);

/* A table with all fields 0; returns its position. Its vtable is written in front of it
 * if *vtable_at is 0, and shared by all tables that get the same vtable_at. */
size_t flat_put_table(struct flat_writer *writer, const struct flat_layout *layout,
                      size_t *vtable_at);

/* The head of a vector of n elements, aligned to `align`; makes the offset at `from`
 * point to it. The elements come next. */
void flat_put_head(struct flat_writer *writer, size_t from, size_t n, size_t align);

/* A vector of n offsets, all 0; returns the position of the first. */
size_t flat_put_offsets(struct flat_writer *writer, size_t from, size_t n);

/* A string, followed by a NUL; makes the offset at `from` point to it. */
void flat_put_string(struct flat_writer *writer, size_t from, const char *bytes,
                     size_t size_bytes);

#endif
