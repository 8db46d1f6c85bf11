/* protobuf.h - reads the fields of a protobuf message in place. Plug-ins use it for the
 * few facts that a framework's interface does not expose, which takes less than generated
 * code for the framework's schemas. Unused fields are skipped by their length, and a
 * broken message simply ends early: the framework reads it as well and reports the
 * error. */
#ifndef GP_ENGINES_PROTOBUF_H
#define GP_ENGINES_PROTOBUF_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct pb_bytes {
    const unsigned char *at;
    const unsigned char *end;
};

struct pb_field {
    uint64_t number;
    uint64_t value;       /* of a varint, otherwise 0 */
    struct pb_bytes body; /* of a text or a message, otherwise NULL */
};

static inline struct pb_bytes pb_view(const void *data, size_t size_bytes)
{
    const unsigned char *at = data;
    return (struct pb_bytes){at, at ? at + size_bytes : at};
}

static inline size_t pb_size(struct pb_bytes bytes)
{
    return (size_t)(bytes.end - bytes.at);
}

static inline bool pb_is_text(struct pb_bytes bytes, const char *text)
{
    const size_t n = strlen(text);
    return pb_size(bytes) == n && (n == 0 || memcmp(bytes.at, text, n) == 0);
}

static inline bool pb_varint(struct pb_bytes *from, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && from->at < from->end; shift += 7) {
        const unsigned char c = *from->at++;
        *value |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80)
            return true;
    }
    return false;
}

/* The next field; *message is the rest. False at the end. */
static inline bool pb_next(struct pb_bytes *message, struct pb_field *field)
{
    enum { VARINT = 0, FIXED64 = 1, LENGTH = 2, FIXED32 = 5 };
    uint64_t tag, size;
    *field = (struct pb_field){0};
    if (!pb_varint(message, &tag))
        return false;
    field->number = tag >> 3;
    switch (tag & 7) {
    case VARINT:
        return pb_varint(message, &field->value);
    case FIXED64:
        size = 8;
        break;
    case FIXED32:
        size = 4;
        break;
    case LENGTH:
        if (!pb_varint(message, &size) || size > pb_size(*message))
            return false;
        field->body = (struct pb_bytes){message->at, message->at + size};
        break;
    default:
        return false;
    }
    if (size > pb_size(*message))
        return false;
    message->at += size;
    return true;
}

/* True if it consists of complete fields, so that it may be a message; truncated ones and
 * texts do not. */
static inline bool pb_is_whole(struct pb_bytes message)
{
    struct pb_field field;
    while (message.at != message.end)
        if (!pb_next(&message, &field) || field.number == 0)
            return false;
    return true;
}

/* The next text or message with this number. */
static inline bool pb_next_body(struct pb_bytes *message, uint64_t number,
                                struct pb_bytes *body)
{
    struct pb_field field;
    while (pb_next(message, &field))
        if (field.number == number && field.body.at) {
            *body = field.body;
            return true;
        }
    return false;
}

/* The first text or message with this number; empty if there is none. */
static inline struct pb_bytes pb_body(struct pb_bytes message, uint64_t number)
{
    struct pb_bytes body = {NULL, NULL};
    (void)pb_next_body(&message, number, &body);
    return body;
}

/* The last varint with this number, which is the one that counts; 0 if there is none. */
static inline uint64_t pb_value(struct pb_bytes message, uint64_t number)
{
    struct pb_field field;
    uint64_t value = 0;
    while (pb_next(&message, &field))
        if (field.number == number && !field.body.at)
            value = field.value;
    return value;
}

#endif
