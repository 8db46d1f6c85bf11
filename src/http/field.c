/* Fields looked up by name, and lists in their values. */
#include "http/parser.h"

#include <string.h>
#include <strings.h>

bool http_equals(const char *bytes, size_t size, const char *text)
{
    return strlen(text) == size && strncasecmp(bytes, text, size) == 0;
}

const char *http_field(const struct http_message *message, const char *base,
                       const char *name, size_t *size)
{
    for (uint32_t i = 0; i < message->n_fields; i++) {
        const struct http_field *field = &message->fields[i];
        if (http_equals(base + field->name.start, field->name.size, name)) {
            *size = field->value.size;
            return base + field->value.start;
        }
    }
    *size = 0;
    return NULL;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

bool http_has_token(const char *value, size_t size, const char *token)
{
    size_t at = 0;
    while (at < size) {
        const char *comma = memchr(value + at, ',', size - at);
        const size_t next = comma ? (size_t)(comma - value) : size;
        const char *semicolon = memchr(value + at, ';', next - at);
        size_t end = semicolon ? (size_t)(semicolon - value) : next;
        while (at < end && is_blank(value[at]))
            at++;
        while (end > at && is_blank(value[end - 1]))
            end--;
        if (http_equals(value + at, end - at, token))
            return true;
        at = next + 1;
    }
    return false;
}
