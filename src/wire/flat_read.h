/* wire/flat_read.h - reads FlatBuffers that nobody has verified.
 *
 * Each step from a table to its contents checks the offset, length or vtable that it
 * follows against the message right before use, so that reading is verifying. Nothing is
 * assumed to be aligned. The caller bounds the work: it says how many elements a vector
 * may have and walks a fixed set of tables. There is no recursion, and offsets that point
 * to the same bytes twice, or to bytes of another kind, are harmless.
 *
 * An error names the place by its path in the schema, with the numbers that did not
 * fit. */
#ifndef GP_WIRE_FLAT_READ_H
#define GP_WIRE_FLAT_READ_H

#include <graphpipe/tensor.h>

#include <stdbool.h>

struct flat_message {
    const unsigned char *bytes;
    size_t size_bytes;
    struct gp_error *err; /* may be NULL */
};

/* A place in a message, for errors: root[.list[index]][.field[element]] */
struct flat_place {
    const char *root;
    const char *list;  /* NULL: a field of the root */
    const char *field; /* NULL: the table itself */
    size_t index;
    size_t element; /* FLAT_WHOLE: the whole field */
};

#define FLAT_WHOLE SIZE_MAX

struct flat_table {
    const struct flat_message *message;
    struct flat_place place;
    size_t at;
    size_t size_bytes;
    size_t vtable_at;
    size_t vtable_size_bytes;
};

struct flat_vector {
    const struct flat_message *message;
    struct flat_place place;
    size_t at; /* of the first element */
    size_t n;  /* also 0 if the vector is absent */
};

/* The message's first table; paths begin with `root`. */
enum gp_status flat_root(const struct flat_message *message, const char *root,
                         struct flat_table *table);

/* A number; keeps its value if the field is absent. */
enum gp_status flat_u8(const struct flat_table *table, unsigned slot, const char *field,
                       uint8_t *value);
enum gp_status flat_i64(const struct flat_table *table, unsigned slot, const char *field,
                        int64_t *value);

/* A table in a field; *is_present is false if the field is absent. Paths within it
 * continue those of the outer table, as if it had no name. */
enum gp_status flat_inner(const struct flat_table *table, unsigned slot,
                          const char *field, struct flat_table *inner, bool *is_present);

/* A vector of at most n_max elements of element_size_bytes. */
enum gp_status flat_vector(const struct flat_table *table, unsigned slot,
                           const char *field, size_t element_size_bytes, size_t n_max,
                           struct flat_vector *vector);

/* A string; "" if the field is absent. It need not end with a NUL. */
enum gp_status flat_string(const struct flat_table *table, unsigned slot,
                           const char *field, struct gp_string *string);

/* Elements, i < vector->n, of a vector that was read with this element size. */
enum gp_status flat_vector_table(const struct flat_vector *vector, size_t i,
                                 struct flat_table *table);
enum gp_status flat_vector_string(const struct flat_vector *vector, size_t i,
                                  struct gp_string *string);

static inline const unsigned char *flat_vector_bytes(const struct flat_vector *vector)
{
    return vector->message->bytes + vector->at;
}

/* True if the string, from flat_string or flat_vector_string, is followed by a NUL. */
bool flat_is_terminated(const struct flat_message *message,
                        const struct gp_string *string);

/* The place of a field, and of one of its elements. */
struct flat_place flat_place_of(const struct flat_table *table, const char *field);
struct flat_place flat_place_at(struct flat_place place, size_t element);

/* Sets the message's error to the path and the text, which begins with ": " or " ";
 * returns status. */
enum gp_status flat_refuse(const struct flat_message *message,
                           const struct flat_place *place, enum gp_status status,
                           const char *format, ...) GP_PRINTF(4, 5);

#endif
