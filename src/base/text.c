#include "base/text.h"

#include "base/mem.h"

#include <string.h>

void text_finish(struct text *text)
{
    mem_free(text->data);
    *text = (struct text){0};
}

/* Room for `more` bytes and a terminator. */
static bool grow_text(struct text *text, size_t more)
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
    if (!grow_text(text, size_bytes))
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

void text_vprintf(struct text *text, const char *format, va_list args)
{
    va_list again;
    const size_t room = text->is_short ? 0 : text->capacity_bytes - text->size_bytes;
    va_copy(again, args);
    const int n =
        vsnprintf(room ? text->data + text->size_bytes : NULL, room, format, args);
    if (n >= 0 && (size_t)n < room) {
        text->size_bytes += (size_t)n;
    } else if (n >= 0 && grow_text(text, (size_t)n)) {
        (void)vsnprintf(text->data + text->size_bytes, (size_t)n + 1, format, again);
        text->size_bytes += (size_t)n;
    }
    va_end(again);
}

void text_printf(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    text_vprintf(text, format, args);
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

bool text_is_utf8(const char *bytes, size_t size_bytes)
{
    uint32_t character;
    while (size_bytes) {
        const size_t length = gp_text_next(bytes, size_bytes, &character);
        if (!length)
            return false;
        bytes += length;
        size_bytes -= length;
    }
    return true;
}

/* How many bytes at the start are visible ASCII and neither of the two characters. */
static size_t plain_size(const char *bytes, size_t size_bytes, char but, char or_but)
{
    size_t n = 0;
    while (n < size_bytes && bytes[n] >= ' ' && bytes[n] < 0x7f && bytes[n] != but &&
           bytes[n] != or_but)
        n++;
    return n;
}

static void show_bytes(struct text *text, const char *bytes, size_t size_bytes,
                       bool doubles_backslash)
{
    char piece[GP_TEXT_PIECE_BYTES];
    const char but = doubles_backslash ? '\\' : 0x7f;
    for (size_t n; size_bytes; bytes += n, size_bytes -= n) {
        n = plain_size(bytes, size_bytes, but, but);
        if (n) {
            text_add(text, bytes, n);
        } else if (doubles_backslash && *bytes == '\\') {
            text_puts(text, "\\\\");
            n = 1;
        } else {
            n = gp_text_piece(piece, bytes, size_bytes);
            text_puts(text, piece);
        }
    }
}

void text_show(struct text *text, const char *bytes, size_t size_bytes)
{
    show_bytes(text, bytes, size_bytes, false);
}

void text_foreign(struct text *text, const char *bytes, size_t size_bytes)
{
    show_bytes(text, bytes, size_bytes, true);
}

void text_foreign_puts(struct text *text, const char *string)
{
    text_foreign(text, string, strlen(string));
}

/* Writes the first character as JSON; returns its length in bytes. */
static size_t json_piece(struct text *text, const char *bytes, size_t size_bytes)
{
    uint32_t c;
    const size_t length = gp_text_next(bytes, size_bytes, &c);
    if (!length)
        text_puts(text, "\\ufffd");
    else if (c == '"' || c == '\\')
        text_printf(text, "\\%c", (char)c);
    else if (gp_text_is_visible(c))
        text_add(text, bytes, length);
    else if (c < 0x10000)
        text_printf(text, "\\u%04x", c);
    else
        text_printf(text, "\\u%04x\\u%04x", 0xd7c0 + (c >> 10), 0xdc00 + (c & 0x3ff));
    return length ? length : 1;
}

void text_json(struct text *text, const char *bytes, size_t size_bytes)
{
    text_puts(text, "\"");
    for (size_t n; size_bytes; bytes += n, size_bytes -= n) {
        n = plain_size(bytes, size_bytes, '"', '\\');
        if (n)
            text_add(text, bytes, n);
        else
            n = json_piece(text, bytes, size_bytes);
    }
    text_puts(text, "\"");
}

void text_json_puts(struct text *text, const char *string)
{
    text_json(text, string, strlen(string));
}

void text_label(struct text *text, const char *value)
{
    uint32_t c;
    size_t left = strlen(value);
    text_puts(text, "\"");
    for (size_t n; left; value += n, left -= n) {
        const size_t length = gp_text_next(value, left, &c);
        n = length ? length : 1;
        if (!length)
            text_puts(text, "\xef\xbf\xbd");
        else if (c == '\n')
            text_puts(text, "\\n");
        else if (c == '"' || c == '\\')
            text_printf(text, "\\%c", (char)c);
        else
            text_add(text, value, n);
    }
    text_puts(text, "\"");
}
