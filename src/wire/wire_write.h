/* wire/wire_write.h - the state of encoding one message.
 *
 * A message is one block of memory, the structure with everything small, followed by the
 * large tensors, which are sent in place: only their positions are computed. The time
 * depends on the number of tensors and strings, not on the size of large tensors. */
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
    /* for each large tensor, where the table holds the offset of its data */
    size_t *large_fields;
    size_t tensor_vtable_at;
};

/* Checks that the tensors can be written; `what` names them in errors. */
enum gp_status wire_check_tensors(const struct gp_tensor *tensors, uint32_t n,
                                  const char *what, struct gp_error *err);

/* Checks a name; NULL is "". `i` is its index among `what`; *names_size_bytes counts the
 * bytes of all names so far. */
enum gp_status wire_check_name(const char *name, const char *what, uint32_t i,
                               size_t *names_size_bytes, struct gp_error *err);

/* Checks the inputs or outputs of a description. */
enum gp_status wire_check_ios(const struct gp_io *ios, uint32_t n, const char *what,
                              size_t *names_size_bytes, struct gp_error *err);

/* The type, and the tensors, to send to readers of 2018; the list is a new one. */
enum gp_dtype wire_dtype_of_2018(enum gp_dtype dtype);
enum gp_status wire_tensors_of_2018(struct gp_arena *arena,
                                    const struct gp_tensor **tensors, uint32_t n,
                                    struct gp_error *err);

/* A writer for a message with these tensors, which have been checked. */
enum gp_status wire_writer_init(struct wire_writer *writer, struct gp_arena *arena,
                                const struct gp_tensor *tensors, uint32_t n_tensors,
                                struct gp_error *err);

/* The vector of the writer's tensors; makes the offset at `from` point to it. */
void wire_put_tensors(struct wire_writer *writer, size_t from);

/* Calls write(writer, message) twice, to measure and to write, and lists the parts. The
 * message begins at 0, with the offset of the root. */
enum gp_status wire_finish(struct wire_writer *writer,
                           void (*write)(struct wire_writer *, const void *message),
                           const void *message, struct gp_encoding *out);

#endif
