/* base/text.h - text that grows while it is written: JSON answers, metrics, tables.
 *
 * A failed allocation is remembered and everything after it is dropped, so that a writer
 * only checks once, at the end. */
#ifndef GP_BASE_TEXT_H
#define GP_BASE_TEXT_H

#include <graphpipe/status.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct text {
    char *data; /* terminated; NULL while nothing has been written */
    size_t size_bytes;
    size_t capacity_bytes;
    bool is_short; /* memory was short */
};

void text_finish(struct text *text);

void text_add(struct text *text, const char *bytes, size_t size_bytes);
void text_puts(struct text *text, const char *string);
void text_printf(struct text *text, const char *format, ...) GP_PRINTF(2, 3);
void text_vprintf(struct text *text, const char *format, va_list args);

/* In decimal; much faster than text_printf. */
void text_number(struct text *text, uint64_t number);

/* Text from others, on one line and with every character visible (see
 * <graphpipe/text.h>). Backslashes are doubled, so that an escape cannot be forged. */
void text_foreign(struct text *text, const char *bytes, size_t size_bytes);
void text_foreign_puts(struct text *text, const char *string);

/* The same for a line of our own that quotes such text; what was escaped in it stays as
 * it is. */
void text_show(struct text *text, const char *bytes, size_t size_bytes);

/* The bytes as a JSON string, in quotes. Invisible characters are escaped; bytes that are
 * not UTF-8 become U+FFFD. */
void text_json(struct text *text, const char *bytes, size_t size_bytes);
void text_json_puts(struct text *text, const char *string);

/* The value of a Prometheus label, in quotes. Bytes that are not UTF-8 become U+FFFD. */
void text_label(struct text *text, const char *value);

/* True when the bytes are well-formed UTF-8 (RFC 3629: shortest form, no surrogates). */
bool text_is_utf8(const char *bytes, size_t size_bytes);

#endif
