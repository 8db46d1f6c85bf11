/* wire/wire_write.h - what encoding keeps while it writes one message.
 *
 * A message is one block of memory, the structure with all that is small, and behind it
 * the large tensors, which stay where they are: only their places are computed. The time
 * it takes depends on the number of tensors and strings, not on the size of large
 * tensors.
 */
#ifndef GP_WIRE_WRITE_H
#define GP_WIRE_WRITE_H

#include "wire/flat_write.h"

#include <graphpipe/message.h>

struct wire_writer {
    struct flat_writer flat;
    struct gp_arena *arena;
    struct gp_error *err;
    const struct gp_tensor *tensors;
    uint32_t n_tensors;
    uint32_t n_large;
    size_t *large_fields; /* of each large tensor: where its table has the offset of its
                             data */
    size_t tensor_vtable_at;
};

/* Checks that the tensors can be written; `what` names them in errors. */
enum gp_status wire_check_tensors(const struct gp_tensor *tensors, uint32_t n,
                                  const char *what, struct gp_error *err);

/* Checks a name; NULL is "". `i` is its place among `what`, *names_size_bytes the bytes
 * of the names before it, to which it is added. */
enum gp_status wire_check_name(const char *name, const char *what, uint32_t i,
                               size_t *names_size_bytes, struct gp_error *err);

/* Checks what metadata says of inputs or outputs. */
enum gp_status wire_check_ios(const struct gp_io *ios, uint32_t n, const char *what,
                              size_t *names_size_bytes, struct gp_error *err);

/* The type, and the tensors, that readers of 2018 are given instead; the list is a new
 * one. */
enum gp_dtype wire_dtype_of_2018(enum gp_dtype dtype);
enum gp_status wire_tensors_of_2018(struct gp_arena *arena,
                                    const struct gp_tensor **tensors, uint32_t n,
                                    struct gp_error *err);

/* A writer for a message with these tensors, which were checked. */
enum gp_status wire_writer_init(struct wire_writer *writer, struct gp_arena *arena,
                                const struct gp_tensor *tensors, uint32_t n_tensors,
                                struct gp_error *err);

/* The vector of the writer's tensors, to which the offset at `from` points. */
void wire_put_tensors(struct wire_writer *writer, size_t from);

/* Calls write(writer, message), to measure and then to write, and lists the parts. It
 * begins at 0, where the root's offset belongs. */
enum gp_status wire_finish(struct wire_writer *writer,
                           void (*write)(struct wire_writer *, const void *message),
                           const void *message, struct gp_encoding *out);

#endif
