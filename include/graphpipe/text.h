/* graphpipe/text.h - shows text from untrusted sources.
 *
 *     const char *name = "evil\r\n\x1b[2Jname \u202e";
 *     char shown[64];
 *     gp_text_show(shown, sizeof shown, name, strlen(name));
 *     puts(shown); // evil\r\n\x1b[2Jname \u{202e}
 *     printf("%.*s...\n", gp_cut(name, 4), name);
 *
 * Names, messages and fields from models, peers and files may hold anything: bytes that
 * are not UTF-8, control sequences for terminals, marks that change the writing
 * direction. The functions here turn them into one line of UTF-8 with visible characters
 * only. Control characters and bytes that are not UTF-8 become \n, \r, \t or \x1b, other
 * invisible characters \u{202e}. Escaping text twice does not change it again.
 *
 * Everything here is inline, as in status.h.
 */
#ifndef GRAPHPIPE_TEXT_H
#define GRAPHPIPE_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Decodes the first character and returns its length in bytes; 0 if the bytes are not
 * UTF-8 (RFC 3629: shortest form, no surrogates). */
static inline size_t gp_text_next(const char *bytes, size_t size_bytes,
                                  uint32_t *character)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *s = (const unsigned char *)bytes;
    if (size_bytes == 0 || (s[0] >= 0x80 && s[0] < 0xc2) || s[0] > 0xf4)
        return 0;
    const size_t length = s[0] < 0x80 ? 1 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : 4;
    uint32_t c = length == 1 ? s[0] : s[0] & (0x7fu >> length);
    if (length > size_bytes)
        return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c < least[length] || c > 0x10ffff || (c >= 0xd800 && c <= 0xdfff))
        return 0;
    *character = c;
    return length;
}

/* 0 for controls, line and paragraph separators, noncharacters, and for Unicode's
 * Default_Ignorable_Code_Point: bidi controls, zero-width characters, fillers, tags. */
static inline int gp_text_is_visible(uint32_t character)
{
    static const uint32_t hidden[][2] = {
        {0, 0x1f},        {0x7f, 0x9f},       {0xad, 0xad},       {0x34f, 0x34f},
        {0x61c, 0x61c},   {0x115f, 0x1160},   {0x17b4, 0x17b5},   {0x180b, 0x180f},
        {0x200b, 0x200f}, {0x2028, 0x202e},   {0x2060, 0x206f},   {0x3164, 0x3164},
        {0xfdd0, 0xfdef}, {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},
        {0xfff0, 0xfffb}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff},
    };
    for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++)
        if (character <= hidden[i][1])
            return character < hidden[i][0];
    return (character & 0xfffe) != 0xfffe;
}

enum { GP_TEXT_PIECE_BYTES = 12 };

/* Writes the first character or its escape, terminated; returns how many bytes were read.
 * `size_bytes` must not be 0. */
static inline size_t gp_text_piece(char piece[GP_TEXT_PIECE_BYTES], const char *bytes,
                                   size_t size_bytes)
{
    uint32_t c = 0;
    const size_t length = gp_text_next(bytes, size_bytes, &c);
    if (length && gp_text_is_visible(c)) {
        memcpy(piece, bytes, length);
        piece[length] = '\0';
    } else if (length == 1 && (c == '\n' || c == '\r' || c == '\t')) {
        (void)snprintf(piece, GP_TEXT_PIECE_BYTES, "\\%c",
                       c == '\n'   ? 'n'
                       : c == '\r' ? 'r'
                                   : 't');
    } else if (length < 2) {
        (void)snprintf(piece, GP_TEXT_PIECE_BYTES, "\\x%02x", (unsigned char)*bytes);
    } else {
        (void)snprintf(piece, GP_TEXT_PIECE_BYTES, "\\u{%x}", (unsigned)c);
    }
    return length ? length : 1;
}

/* Escapes the bytes into `out`, terminated. Text that does not fit is cut between
 * characters or escapes and ends with "...". Returns the length. */
static inline size_t gp_text_show(char *out, size_t out_size, const char *bytes,
                                  size_t size_bytes)
{
    static const char dots[] = "...";
    size_t n = 0, n_before_dots = 0;
    char piece[GP_TEXT_PIECE_BYTES];
    if (out_size == 0)
        return 0;
    while (size_bytes) {
        const size_t length = gp_text_piece(piece, bytes, size_bytes);
        const size_t piece_size = strlen(piece);
        if (piece_size >= out_size - n) {
            n = n_before_dots;
            if (out_size >= sizeof dots) {
                memcpy(out + n, dots, sizeof dots);
                return n + sizeof dots - 1;
            }
            break;
        }
        memcpy(out + n, piece, piece_size);
        n += piece_size;
        if (n + sizeof dots <= out_size)
            n_before_dots = n;
        bytes += length;
        size_bytes -= length;
    }
    out[n] = '\0';
    return n;
}

/* How many of the bytes, at most `most_bytes`, to keep so that no character is cut. */
static inline size_t gp_text_cut(const char *bytes, size_t size_bytes, size_t most_bytes)
{
    if (size_bytes <= most_bytes)
        return size_bytes;
    for (size_t n = most_bytes; n > 0 && most_bytes - n < 4; n--)
        if (((unsigned char)bytes[n] & 0xc0) != 0x80)
            return n;
    return most_bytes; /* not UTF-8 anyway */
}

/* The same for a string and "%.*s"; printf's own "%.64s" cuts within characters. */
static inline int gp_cut(const char *string, size_t most_bytes)
{
    return (int)gp_text_cut(string, strlen(string), most_bytes);
}

/* For copying text byte by byte: true if the whole character that `byte` belongs to fits
 * after `n_bytes`. */
static inline int gp_text_has_room(char byte, size_t n_bytes, size_t room_bytes)
{
    const int is_inside = ((unsigned char)byte & 0xc0) == 0x80;
    return n_bytes + (is_inside ? 1 : 4) < room_bytes;
}

#ifdef __cplusplus
}
#endif

#endif
