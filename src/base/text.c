#include "base/text.h"

#include "base/mem.h"

#include <string.h>

void text_finish(struct text *text)
{
    mem_free(text->data);
    *text = (struct text){0};
}

/* Room for `more` bytes and a terminator. */
static bool grow(struct text *text, size_t more)
{
    if (text->is_short)
        return false;
    if (more < text->capacity_bytes - text->size_bytes)
        return true;
    size_t capacity = text->capacity_bytes ? text->capacity_bytes : 256;
    while (capacity - text->size_bytes <= more)
        capacity *= 2;
    char *data = mem_resize(text->data, capacity);
    text->is_short = !data;
    if (!data)
        return false;
    text->data = data;
    text->capacity_bytes = capacity;
    return true;
}

void text_add(struct text *text, const char *bytes, size_t size_bytes)
{
    if (!grow(text, size_bytes))
        return;
    if (size_bytes)
        memcpy(text->data + text->size_bytes, bytes, size_bytes);
    text->size_bytes += size_bytes;
    text->data[text->size_bytes] = '\0';
}

void text_puts(struct text *text, const char *string)
{
    text_add(text, string, strlen(string));
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list args, again;
    const size_t room = text->is_short ? 0 : text->capacity_bytes - text->size_bytes;
    va_start(args, format);
    va_copy(again, args);
    const int n =
        vsnprintf(room ? text->data + text->size_bytes : NULL, room, format, args);
    if (n >= 0 && (size_t)n < room) {
        text->size_bytes += (size_t)n;
    } else if (n >= 0 && grow(text, (size_t)n)) {
        (void)vsnprintf(text->data + text->size_bytes, (size_t)n + 1, format, again);
        text->size_bytes += (size_t)n;
    }
    va_end(again);
    va_end(args);
}

void text_number(struct text *text, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    text_add(text, digits + at, sizeof digits - at);
}

/* Bytes of the well-formed character at the start, 0 when there is none. */
static size_t utf8_length(const unsigned char *s, size_t n)
{
    if (s[0] < 0x80)
        return 1;
    const size_t length = s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : 2;
    if (s[0] < 0xc2 || s[0] > 0xf4 || n < length)
        return 0;
    for (size_t i = 1; i < length; i++)
        if ((s[i] & 0xc0) != 0x80)
            return 0;
    const bool is_long = (s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xf0 && s[1] < 0x90);
    const bool is_outside =
        (s[0] == 0xed && s[1] > 0x9f) || (s[0] == 0xf4 && s[1] > 0x8f);
    return is_long || is_outside ? 0 : length;
}

bool text_is_utf8(const char *bytes, size_t size_bytes)
{
    const unsigned char *s = (const unsigned char *)bytes;
    while (size_bytes) {
        const size_t length = utf8_length(s, size_bytes);
        if (!length)
            return false;
        s += length;
        size_bytes -= length;
    }
    return true;
}

void text_json(struct text *text, const char *bytes, size_t size_bytes)
{
    const unsigned char *s = (const unsigned char *)bytes;
    text_puts(text, "\"");
    for (size_t length; size_bytes; s += length, size_bytes -= length) {
        length = utf8_length(s, size_bytes);
        if (!length) {
            text_puts(text, "\\ufffd");
            length = 1;
        } else if (*s == '"' || *s == '\\') {
            text_printf(text, "\\%c", *s);
        } else if (*s < 0x20 || *s == 0x7f) {
            text_printf(text, "\\u%04x", *s);
        } else {
            text_add(text, (const char *)s, length);
        }
    }
    text_puts(text, "\"");
}

void text_json_puts(struct text *text, const char *string)
{
    text_json(text, string, strlen(string));
}
