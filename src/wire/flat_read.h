/* wire/flat_read.h - reading FlatBuffers that nobody has verified.
 *
 * Each step from a table to what it holds checks the offset, the length or the vtable
 * that it goes by against the message, right before it is used, so that reading is
 * verifying. Nothing is assumed to be aligned. Work is bounded by the caller, who says
 * how many elements a vector may have and walks a fixed set of tables: there is no
 * recursion, and offsets that point to the same bytes twice, or to bytes of another kind,
 * are harmless.
 *
 * A refusal names the place by its path in the schema, with the numbers that did not fit.
 */
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
    const char *list;  /* NULL: the root's own field */
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
    size_t n;  /* 0 as well when the vector is absent */
};

/* The message's first table; `root` begins the paths. */
enum gp_status flat_root(const struct flat_message *message, const char *root,
                         struct flat_table *table);

/* A number; what it has when the field is absent stays. */
enum gp_status flat_u8(const struct flat_table *table, unsigned slot, const char *field,
                       uint8_t *value);
enum gp_status flat_i64(const struct flat_table *table, unsigned slot, const char *field,
                        int64_t *value);

/* A table in a field; *is_present false when the field is absent. Paths within it go on
 * from the outer table's, as if it had no name. */
enum gp_status flat_inner(const struct flat_table *table, unsigned slot,
                          const char *field, struct flat_table *inner, bool *is_present);

/* A vector of at most n_max elements of element_size_bytes. */
enum gp_status flat_vector(const struct flat_table *table, unsigned slot,
                           const char *field, size_t element_size_bytes, size_t n_max,
                           struct flat_vector *vector);

/* A string; "" when the field is absent. There need be no NUL behind it. */
enum gp_status flat_string(const struct flat_table *table, unsigned slot,
                           const char *field, struct gp_string *string);

/* Elements: i < vector->n, and the vector was read with elements of that size. */
enum gp_status flat_vector_table(const struct flat_vector *vector, size_t i,
                                 struct flat_table *table);
enum gp_status flat_vector_string(const struct flat_vector *vector, size_t i,
                                  struct gp_string *string);

static inline const unsigned char *flat_vector_bytes(const struct flat_vector *vector)
{
    return vector->message->bytes + vector->at;
}

/* True when the string, which flat_string or flat_vector_string gave, has a NUL behind
 * it. */
bool flat_is_terminated(const struct flat_message *message,
                        const struct gp_string *string);

/* The place of a field, and of an element of it. */
struct flat_place flat_place_of(const struct flat_table *table, const char *field);
struct flat_place flat_place_at(struct flat_place place, size_t element);

/* Writes "path" and the text to the message's error; returns status. The text begins with
 * ": " or " ". */
enum gp_status flat_refuse(const struct flat_message *message,
                           const struct flat_place *place, enum gp_status status,
                           const char *format, ...) GP_PRINTF(4, 5);

#endif
