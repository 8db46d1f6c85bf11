/* The format, as far as these tables use it. A message begins with the offset of its root
 * table. An offset is a u32, counted forwards from where it is stored. A table begins
 * with an i32, the distance back to its vtable, which is a list of u16: its own size, the
 * table's size, and for each field its position in the table, or 0 if it is absent. A
 * vector or string is a u32, the number of elements, followed by the elements. Everything
 * is little-endian. */
#include "wire/flat_read.h"

#include "base/checked.h"
#include "wire/foreign.h"

#include <string.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "tensors are used as they arrive");

enum { OFFSET_BYTES = 4, VTABLE_HEAD_BYTES = 4 };

static uint32_t load_u32(const struct flat_message *message, size_t at)
{
    uint32_t value;
    memcpy(&value, message->bytes + at, sizeof value);
    return value;
}

static uint16_t load_u16(const struct flat_message *message, size_t at)
{
    uint16_t value;
    memcpy(&value, message->bytes + at, sizeof value);
    return value;
}

struct flat_place flat_place_of(const struct flat_table *table, const char *field)
{
    struct flat_place place = table->place;
    place.field = field; /* its element is FLAT_WHOLE, as that of every table */
    return place;
}

struct flat_place flat_place_at(struct flat_place place, size_t element)
{
    place.element = element;
    return place;
}

static void place_format(const struct flat_place *place, char *text, size_t text_size)
{
    char list[48] = "", field[48] = "";
    if (place->list)
        (void)snprintf(list, sizeof list, ".%s[%zu]", place->list, place->index);
    if (place->field && place->element != FLAT_WHOLE)
        (void)snprintf(field, sizeof field, ".%s[%zu]", place->field, place->element);
    else if (place->field)
        (void)snprintf(field, sizeof field, ".%s", place->field);
    (void)snprintf(text, text_size, "%s%s%s", place->root, list, field);
}

enum gp_status flat_refuse(const struct flat_message *message,
                           const struct flat_place *place, enum gp_status status,
                           const char *format, ...)
{
    if (!message->err)
        return status;
    char path[128], text[380];
    place_format(place, path, sizeof path);
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return gp_error_set(message->err, status, "%s%s", path, text);
}

/* Follows the offset stored at `at`. Its target has room for a u32. */
static enum gp_status follow(const struct flat_message *message,
                             const struct flat_place *place, size_t at, size_t *target)
{
    const uint32_t offset = load_u32(message, at);
    if (offset == 0)
        return flat_refuse(message, place, GP_MALFORMED, ": offset 0 at byte %zu", at);
    if (!checked_add(at, offset, target) || *target > message->size_bytes - OFFSET_BYTES)
        return flat_refuse(message, place, GP_MALFORMED,
                           ": offset %u at byte %zu lies outside of the %zu bytes",
                           offset, at, message->size_bytes);
    return GP_OK;
}

/* Checks table->vtable_at and reads the sizes of the vtable and the table. */
static enum gp_status read_vtable(struct flat_table *table)
{
    const struct flat_message *message = table->message;
    const size_t rest = message->size_bytes - table->vtable_at;
    const size_t size = load_u16(message, table->vtable_at);
    if (size < VTABLE_HEAD_BYTES || size % 2 || size > rest)
        return flat_refuse(message, &table->place, GP_MALFORMED,
                           ": vtable of %zu bytes at byte %zu of %zu", size,
                           table->vtable_at, message->size_bytes);
    table->vtable_size_bytes = size;
    table->size_bytes = load_u16(message, table->vtable_at + 2);
    if (table->size_bytes < OFFSET_BYTES ||
        table->size_bytes > message->size_bytes - table->at)
        return flat_refuse(message, &table->place, GP_MALFORMED,
                           ": table of %zu bytes at byte %zu of %zu", table->size_bytes,
                           table->at, message->size_bytes);
    return GP_OK;
}

/* Reads the head of the table at `at`, which has room for a u32. */
static enum gp_status open_table(const struct flat_message *message,
                                 struct flat_place place, size_t at,
                                 struct flat_table *table)
{
    const int64_t back = (int32_t)load_u32(message, at);
    const int64_t vtable_at = (int64_t)at - back;
    *table = (struct flat_table){.message = message, .place = place, .at = at};
    if (vtable_at < 0 || vtable_at > (int64_t)(message->size_bytes - VTABLE_HEAD_BYTES))
        return flat_refuse(
            message, &place, GP_MALFORMED,
            ": table at byte %zu has its vtable at byte %lld, outside of the "
            "%zu bytes",
            at, (long long)vtable_at, message->size_bytes);
    table->vtable_at = (size_t)vtable_at;
    return read_vtable(table);
}

static enum gp_status refuse_foreign(const struct flat_message *message,
                                     const struct flat_place *place,
                                     const struct foreign *foreign)
{
    const bool is_sent = strcmp(place->root, "request") == 0;
    return flat_refuse(message, place, GP_MALFORMED, ": %s, not a GraphPipe message%s%s",
                       foreign->kind, is_sent ? "; " : "",
                       is_sent ? foreign->remedy : "");
}

enum gp_status flat_root(const struct flat_message *message, const char *root,
                         struct flat_table *table)
{
    const struct flat_place place = {.root = root, .element = FLAT_WHOLE};
    const size_t size = message->size_bytes;
    if (size > GP_MAX_MESSAGE_BYTES)
        return flat_refuse(message, &place, GP_TOO_LARGE,
                           ": %zu bytes, but a message ends at %u", size,
                           GP_MAX_MESSAGE_BYTES);
    const bool is_short = size < OFFSET_BYTES + VTABLE_HEAD_BYTES;
    const uint32_t at = is_short ? 0 : load_u32(message, 0);
    const bool is_bad = at < OFFSET_BYTES || at > size - OFFSET_BYTES;
    const struct foreign *foreign = is_bad ? foreign_find(message->bytes, size) : NULL;
    if (foreign)
        return refuse_foreign(message, &place, foreign);
    if (is_short)
        return flat_refuse(message, &place, GP_MALFORMED,
                           ": %zu bytes are too few for a message", size);
    if (is_bad)
        return flat_refuse(message, &place, GP_MALFORMED,
                           ": root table offset %u lies outside of the %zu bytes", at,
                           size);
    return open_table(message, place, at, table);
}

/* The position of a field of size_bytes; 0 if it is absent. */
static enum gp_status find_field(const struct flat_table *table, unsigned slot,
                                 const struct flat_place *place, size_t size_bytes,
                                 size_t *at)
{
    const size_t entry = VTABLE_HEAD_BYTES + 2 * (size_t)slot;
    *at = 0;
    if (entry + 2 > table->vtable_size_bytes)
        return GP_OK;
    const size_t offset = load_u16(table->message, table->vtable_at + entry);
    if (offset == 0)
        return GP_OK;
    if (offset < OFFSET_BYTES || offset + size_bytes > table->size_bytes)
        return flat_refuse(table->message, place, GP_MALFORMED,
                           ": %zu bytes at %zu in a table of %zu bytes", size_bytes,
                           offset, table->size_bytes);
    *at = table->at + offset;
    return GP_OK;
}

static enum gp_status read_number(const struct flat_table *table, unsigned slot,
                                  const char *field, void *value, size_t size_bytes)
{
    const struct flat_place place = flat_place_of(table, field);
    size_t at;
    const enum gp_status status = find_field(table, slot, &place, size_bytes, &at);
    if (status == GP_OK && at)
        memcpy(value, table->message->bytes + at, size_bytes);
    return status;
}

enum gp_status flat_u8(const struct flat_table *table, unsigned slot, const char *field,
                       uint8_t *value)
{
    return read_number(table, slot, field, value, sizeof *value);
}

enum gp_status flat_i64(const struct flat_table *table, unsigned slot, const char *field,
                        int64_t *value)
{
    return read_number(table, slot, field, value, sizeof *value);
}

/* The target of the offset in a field; 0 if the field is absent. */
static enum gp_status follow_field(const struct flat_table *table, unsigned slot,
                                   const struct flat_place *place, size_t *target)
{
    size_t at;
    *target = 0;
    const enum gp_status status = find_field(table, slot, place, OFFSET_BYTES, &at);
    return status == GP_OK && at ? follow(table->message, place, at, target) : status;
}

enum gp_status flat_inner(const struct flat_table *table, unsigned slot,
                          const char *field, struct flat_table *inner, bool *is_present)
{
    const struct flat_place place = flat_place_of(table, field);
    size_t at;
    const enum gp_status status = follow_field(table, slot, &place, &at);
    *is_present = at != 0;
    return status == GP_OK && at ? open_table(table->message, table->place, at, inner)
                                 : status;
}

enum gp_status flat_vector(const struct flat_table *table, unsigned slot,
                           const char *field, size_t element_size_bytes, size_t n_max,
                           struct flat_vector *vector)
{
    const struct flat_message *message = table->message;
    const struct flat_place place = flat_place_of(table, field);
    size_t at;
    *vector = (struct flat_vector){.message = message, .place = place};
    const enum gp_status status = follow_field(table, slot, &place, &at);
    if (status != GP_OK || !at)
        return status;
    const size_t n = load_u32(message, at);
    const size_t rest = message->size_bytes - at - OFFSET_BYTES;
    if (n > n_max)
        return flat_refuse(message, &place, GP_TOO_LARGE,
                           " has %zu elements; the limit is %zu", n, n_max);
    if (n > rest / element_size_bytes)
        return flat_refuse(
            message, &place, GP_MALFORMED,
            ": %zu elements of %zu bytes from byte %zu on lie outside of the %zu "
            "bytes",
            n, element_size_bytes, at + OFFSET_BYTES, message->size_bytes);
    vector->at = at + OFFSET_BYTES;
    vector->n = n;
    return GP_OK;
}

/* The string at `at`; false if it ends outside of the message. */
static bool read_string(const struct flat_message *message, size_t at,
                        struct gp_string *string)
{
    const size_t size = load_u32(message, at);
    string->data = size ? (const char *)message->bytes + at + OFFSET_BYTES : "";
    string->size_bytes = size;
    return size <= message->size_bytes - at - OFFSET_BYTES;
}

static enum gp_status refuse_string(const struct flat_message *message,
                                    const struct flat_place *place, size_t at)
{
    return flat_refuse(
        message, place, GP_MALFORMED,
        ": string of %u bytes from byte %zu on lies outside of the %zu bytes",
        load_u32(message, at), at + OFFSET_BYTES, message->size_bytes);
}

enum gp_status flat_string(const struct flat_table *table, unsigned slot,
                           const char *field, struct gp_string *string)
{
    const struct flat_place place = flat_place_of(table, field);
    size_t at;
    *string = (struct gp_string){"", 0};
    const enum gp_status status = follow_field(table, slot, &place, &at);
    if (status != GP_OK || !at || read_string(table->message, at, string))
        return status;
    return refuse_string(table->message, &place, at);
}

enum gp_status flat_vector_table(const struct flat_vector *vector, size_t i,
                                 struct flat_table *table)
{
    const struct flat_place place = {.root = vector->place.root,
                                     .list = vector->place.field,
                                     .index = i,
                                     .element = FLAT_WHOLE};
    size_t at = 0;
    const enum gp_status status =
        follow(vector->message, &place, vector->at + OFFSET_BYTES * i, &at);
    return status == GP_OK ? open_table(vector->message, place, at, table) : status;
}

enum gp_status flat_vector_string(const struct flat_vector *vector, size_t i,
                                  struct gp_string *string)
{
    const struct flat_message *message = vector->message;
    const size_t from = vector->at + OFFSET_BYTES * i;
    const uint32_t offset = load_u32(message, from);
    /* A message may have a million strings: no place is made unless it is needed. */
    if (offset && offset <= message->size_bytes - OFFSET_BYTES - from &&
        read_string(message, from + offset, string))
        return GP_OK;
    const struct flat_place place = flat_place_at(vector->place, i);
    size_t at = 0;
    const enum gp_status status = follow(message, &place, from, &at);
    return status == GP_OK ? refuse_string(message, &place, at) : status;
}

bool flat_is_terminated(const struct flat_message *message,
                        const struct gp_string *string)
{
    if (string->size_bytes == 0)
        return true;
    const unsigned char *end = (const unsigned char *)string->data + string->size_bytes;
    return end < message->bytes + message->size_bytes && *end == '\0';
}
