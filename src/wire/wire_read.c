/* The values that messages consist of: texts, names, shapes and types. By pointing at the
 * same bytes again and again a message could make us do more work than its size warrants,
 * so that is counted here: bytes against max_expanded_bytes, names against a limit of
 * their own, since they are also searched. */
#include "wire/wire_read.h"
#include "wire/tables.h"
#include "wire/try.h"

#include "base/checked.h"
#include "base/text.h"

#include <string.h>

enum gp_status wire_expand(struct wire_reader *reader, const struct flat_place *place,
                           size_t size_bytes)
{
    size_t total;
    if (checked_add(reader->expanded_bytes, size_bytes, &total) &&
        total <= reader->max_expanded_bytes) {
        reader->expanded_bytes = total;
        return GP_OK;
    }
    return flat_refuse(
        &reader->message, place, GP_TOO_LARGE,
        ": %zu bytes more than the %zu that came before it; the limit is %zu", size_bytes,
        reader->expanded_bytes, reader->max_expanded_bytes);
}

void *wire_array(struct wire_reader *reader, size_t n, size_t size_bytes,
                 enum gp_status *status)
{
    size_t total;
    *status = GP_OK;
    if (n == 0)
        return NULL;
    void *array =
        checked_mul(n, size_bytes, &total) ? gp_arena_alloc(reader->arena, total) : NULL;
    if (!array) {
        *status = GP_NO_MEMORY;
        gp_error_set(reader->message.err, *status,
                     "no memory for %zu elements of %zu bytes", n, size_bytes);
    }
    return array;
}

/* The string as text: in place, or copied if it is not followed by a NUL. */
static enum gp_status take_text(struct wire_reader *reader,
                                const struct flat_place *place,
                                const struct gp_string *string, const char **text)
{
    const char *end = memchr(string->data, '\0', string->size_bytes);
    if (end)
        return flat_refuse(&reader->message, place, GP_MALFORMED,
                           " has a NUL at %zu of its %zu bytes",
                           (size_t)(end - string->data), string->size_bytes);
    *text = string->data;
    if (flat_is_terminated(&reader->message, string))
        return GP_OK;
    enum gp_status status;
    char *copy = wire_array(reader, string->size_bytes + 1, 1, &status);
    if (!copy)
        return status;
    memcpy(copy, string->data, string->size_bytes);
    copy[string->size_bytes] = '\0';
    *text = copy;
    return GP_OK;
}

static enum gp_status take_name(struct wire_reader *reader,
                                const struct flat_place *place,
                                const struct gp_string *string, const char **name)
{
    const struct flat_message *message = &reader->message;
    if (string->size_bytes > GP_MAX_NAME_BYTES)
        return flat_refuse(message, place, GP_TOO_LARGE,
                           " has %zu bytes; the limit is %u", string->size_bytes,
                           GP_MAX_NAME_BYTES);
    reader->names_size_bytes += string->size_bytes;
    if (reader->names_size_bytes > WIRE_MAX_NAMES_BYTES)
        return flat_refuse(message, place, GP_TOO_LARGE,
                           ": %zu bytes of names; the limit for a message is %u",
                           reader->names_size_bytes, WIRE_MAX_NAMES_BYTES);
    if (!text_is_utf8(string->data, string->size_bytes))
        return flat_refuse(message, place, GP_MALFORMED, " is not UTF-8");
    return take_text(reader, place, string, name);
}

enum gp_status wire_read_text(struct wire_reader *reader, const struct flat_table *table,
                              unsigned slot, const char *field, const char **text)
{
    const struct flat_place place = flat_place_of(table, field);
    struct gp_string string;
    GP_TRY(flat_string(table, slot, field, &string));
    GP_TRY(wire_expand(reader, &place, string.size_bytes));
    return take_text(reader, &place, &string, text);
}

enum gp_status wire_read_name(struct wire_reader *reader, const struct flat_table *table,
                              unsigned slot, const char *field, const char **name)
{
    const struct flat_place place = flat_place_of(table, field);
    struct gp_string string;
    GP_TRY(flat_string(table, slot, field, &string));
    return take_name(reader, &place, &string, name);
}

enum gp_status wire_read_names(struct wire_reader *reader, const struct flat_table *table,
                               unsigned slot, const char *field, const char ***names,
                               uint32_t *n)
{
    struct flat_vector vector;
    enum gp_status status;
    GP_TRY(flat_vector(table, slot, field, 4, GP_MAX_TENSORS, &vector));
    *n = (uint32_t)vector.n;
    *names = wire_array(reader, vector.n, sizeof **names, &status);
    for (size_t i = 0; i < vector.n && status == GP_OK; i++) {
        const struct flat_place place = flat_place_at(vector.place, i);
        struct gp_string string;
        status = flat_vector_string(&vector, i, &string);
        if (status == GP_OK)
            status = take_name(reader, &place, &string, &(*names)[i]);
    }
    return status;
}

enum gp_status wire_read_shape(struct wire_reader *reader, const struct flat_table *table,
                               unsigned slot, int64_t smallest, const int64_t **shape,
                               uint32_t *rank)
{
    struct flat_vector vector;
    enum gp_status status;
    GP_TRY(flat_vector(table, slot, "shape", sizeof **shape, GP_MAX_RANK, &vector));
    int64_t *copy = wire_array(reader, vector.n, sizeof *copy, &status);
    *shape = copy;
    *rank = (uint32_t)vector.n;
    if (!copy)
        return status;
    memcpy(copy, flat_vector_bytes(&vector), vector.n * sizeof *copy);
    for (size_t i = 0; i < vector.n; i++)
        if (copy[i] < smallest) {
            const struct flat_place place = flat_place_at(vector.place, i);
            return flat_refuse(&reader->message, &place, GP_MALFORMED,
                               " is %lld; the smallest is %lld", (long long)copy[i],
                               (long long)smallest);
        }
    return GP_OK;
}

enum gp_status wire_read_dtype(const struct flat_table *table, unsigned slot,
                               enum gp_dtype *dtype)
{
    uint8_t number = GP_NULL;
    GP_TRY(flat_u8(table, slot, "type", &number));
    *dtype = (enum gp_dtype)number;
    if (number <= GP_BFLOAT16)
        return GP_OK;
    const struct flat_place place = flat_place_of(table, "type");
    return flat_refuse(table->message, &place, GP_MALFORMED,
                       " is %u; the last known one is %d", number, GP_BFLOAT16);
}
