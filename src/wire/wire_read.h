/* wire/wire_read.h - the state of decoding one message, and the values that requests,
 * responses and metadata share. */
#ifndef GP_WIRE_READ_H
#define GP_WIRE_READ_H

#include "wire/flat_read.h"

#include <graphpipe/message.h>

struct wire_reader {
    struct flat_message message;
    struct gp_arena *arena;
    size_t expanded_bytes; /* of all that was read, counted as often as it is used */
    size_t max_expanded_bytes;
    size_t names_size_bytes;
};

/* Counts size_bytes more for the thing at `place`, before it is allocated or read. */
enum gp_status wire_expand(struct wire_reader *reader, const struct flat_place *place,
                           size_t size_bytes);

/* As gp_arena_alloc for n elements; NULL if n is 0 or memory is short: *status says
 * which. */
void *wire_array(struct wire_reader *reader, size_t n, size_t size_bytes,
                 enum gp_status *status);

/* A field as text: no NUL inside, a NUL at the end; "" if it is absent. */
enum gp_status wire_read_text(struct wire_reader *reader, const struct flat_table *table,
                              unsigned slot, const char *field, const char **text);

/* The same for a name: UTF-8, at most GP_MAX_NAME_BYTES. */
enum gp_status wire_read_name(struct wire_reader *reader, const struct flat_table *table,
                              unsigned slot, const char *field, const char **name);

/* A vector of names, as an array; NULL if there are none. */
enum gp_status wire_read_names(struct wire_reader *reader, const struct flat_table *table,
                               unsigned slot, const char *field, const char ***names,
                               uint32_t *n);

/* A shape whose dimensions are `smallest` or more, copied. */
enum gp_status wire_read_shape(struct wire_reader *reader, const struct flat_table *table,
                               unsigned slot, int64_t smallest, const int64_t **shape,
                               uint32_t *rank);

/* A type, one of enum gp_dtype. */
enum gp_status wire_read_dtype(const struct flat_table *table, unsigned slot,
                               enum gp_dtype *dtype);

/* A vector of tensors, as an array; NULL if there are none. */
enum gp_status wire_read_tensors(struct wire_reader *reader,
                                 const struct flat_table *table, unsigned slot,
                                 const char *field, struct gp_tensor **tensors,
                                 uint32_t *n);

#endif
