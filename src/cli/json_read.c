/* RFC 8259 by recursive descent, over a copy that is terminated by NUL, which no token
 * can contain. Files come from people, so the depth is bounded. */
#include "cli/json_read.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_DEPTH = 32 };

struct reader {
    struct gp_arena *arena;
    char *start;
    char *at;
    struct gp_error *err;
    unsigned depth;
};

static bool read_value(struct reader *reader, struct json *value);

static bool refuse(struct reader *reader, const char *what)
{
    gp_error_set(reader->err, GP_MALFORMED, "byte %zu: %s",
                 (size_t)(reader->at - reader->start), what);
    return false;
}

static void skip_blanks(struct reader *reader)
{
    reader->at += strspn(reader->at, " \t\r\n");
}

static bool take(struct reader *reader, char c)
{
    skip_blanks(reader);
    if (*reader->at != c)
        return false;
    reader->at++;
    return true;
}

static bool read_word(struct reader *reader, const char *word)
{
    if (strncmp(reader->at, word, strlen(word)) != 0)
        return refuse(reader, "no JSON value");
    reader->at += strlen(word);
    return true;
}

/* Digits, at least one. */
static bool skip_digits(const char **at)
{
    const size_t n = strspn(*at, "0123456789");
    *at += n;
    return n > 0;
}

static bool read_number(struct reader *reader, struct json *value)
{
    const char *at = reader->at + (*reader->at == '-');
    const bool is_led = *at == '0' && at[1] >= '0' && at[1] <= '9';
    bool is_good = skip_digits(&at) && !is_led;
    if (is_good && *at == '.') {
        at++;
        is_good = skip_digits(&at);
    }
    if (is_good && (*at == 'e' || *at == 'E')) {
        at += at[1] == '-' || at[1] == '+' ? 2 : 1;
        is_good = skip_digits(&at);
    }
    if (!is_good)
        return refuse(reader, "no JSON value");
    value->kind = JSON_NUMBER;
    value->number = strtod(reader->at, NULL);
    reader->at += at - reader->at;
    return true;
}

/* The four digits of \uXXXX as UTF-8; halves of pairs are refused: ours have none. */
static bool read_escaped_character(struct reader *reader, char **to)
{
    unsigned code = 0;
    for (int i = 0; i < 4; i++) {
        const char c = *reader->at;
        const char *digit = c ? strchr("0123456789abcdefABCDEF", c) : NULL;
        if (!digit)
            return refuse(reader, "\\u wants four digits");
        const unsigned index = (unsigned)(digit - "0123456789abcdefABCDEF");
        code = code * 16 + (index > 15 ? index - 6 : index);
        reader->at++;
    }
    if (code == 0 || (code >= 0xd800 && code < 0xe000))
        return refuse(reader, "a character that this reader does not take");
    if (code < 0x80) {
        *(*to)++ = (char)code;
    } else {
        if (code >= 0x800)
            *(*to)++ = (char)(0xe0 | code >> 12);
        *(*to)++ = (char)(code >= 0x800 ? 0x80 | (code >> 6 & 0x3f) : 0xc0 | code >> 6);
        *(*to)++ = (char)(0x80 | (code & 0x3f));
    }
    return true;
}

static bool read_escape(struct reader *reader, char **to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char c = *reader->at;
    const char *known = c ? strchr(from, c) : NULL;
    if (!known && c != 'u')
        return refuse(reader, "an unknown escape");
    reader->at++;
    if (c == 'u')
        return read_escaped_character(reader, to);
    *(*to)++ = into[known - from];
    return true;
}

/* In place: what is escaped is longer than what it stands for. */
static bool read_string(struct reader *reader, const char **string)
{
    if (!take(reader, '"'))
        return refuse(reader, "a string was expected");
    char *to = reader->at;
    *string = to;
    while (*reader->at != '"') {
        if ((unsigned char)*reader->at < ' ')
            return refuse(reader, "a string without an end");
        if (*reader->at != '\\')
            *to++ = *reader->at++;
        else if (reader->at++, !read_escape(reader, &to))
            return false;
    }
    reader->at++;
    *to = '\0';
    return true;
}

/* What is between brackets or braces. */
static bool read_items(struct reader *reader, struct json *value, char end)
{
    const struct json **link = &value->first;
    value->kind = end == '}' ? JSON_OBJECT : JSON_ARRAY;
    if (++reader->depth > MAX_DEPTH)
        return refuse(reader, "too deep");
    for (bool is_first = true; !is_first || !take(reader, end); is_first = false) {
        struct json *item = gp_arena_alloc(reader->arena, sizeof *item);
        if (!item)
            return gp_error_set(reader->err, GP_NO_MEMORY, "out of memory") == GP_OK;
        *item = (struct json){0};
        if (end == '}' && !read_string(reader, &item->name))
            return false;
        if (end == '}' && !take(reader, ':'))
            return refuse(reader, "a colon was expected");
        if (!read_value(reader, item))
            return false;
        *link = item;
        link = (const struct json **)(uintptr_t)&item->next;
        if (take(reader, end))
            break;
        if (!take(reader, ','))
            return refuse(reader, "a comma was expected");
    }
    reader->depth--;
    return true;
}

static bool read_value(struct reader *reader, struct json *value)
{
    if (take(reader, '{'))
        return read_items(reader, value, '}');
    if (take(reader, '['))
        return read_items(reader, value, ']');
    switch (*reader->at) {
    case '"':
        value->kind = JSON_STRING;
        return read_string(reader, &value->string);
    case 't':
    case 'f':
        value->kind = JSON_BOOL;
        value->is_true = *reader->at == 't';
        return read_word(reader, value->is_true ? "true" : "false");
    case 'n':
        return read_word(reader, "null");
    default:
        return read_number(reader, value);
    }
}

enum gp_status json_read(struct gp_arena *arena, const void *bytes, size_t size_bytes,
                         const struct json **value, struct gp_error *err)
{
    struct json *root = gp_arena_alloc(arena, sizeof *root);
    char *copy = gp_arena_alloc(arena, size_bytes + 1);
    if (!root || !copy)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    *root = (struct json){0};
    memcpy(copy, bytes, size_bytes);
    copy[size_bytes] = '\0';
    struct gp_error why = {.status = GP_MALFORMED};
    struct reader reader = {.arena = arena, .start = copy, .at = copy, .err = &why};
    bool is_good = read_value(&reader, root);
    if (is_good) {
        skip_blanks(&reader);
        if (reader.at != copy + size_bytes)
            is_good = refuse(&reader, "something follows the end");
    }
    *value = root;
    return is_good ? GP_OK : gp_error_set(err, why.status, "%s", why.message);
}

const struct json *json_member(const struct json *object, const char *name,
                               enum json_kind kind)
{
    const bool is_object = object && object->kind == JSON_OBJECT;
    for (const struct json *at = is_object ? object->first : NULL; at; at = at->next)
        if (at->kind == kind && strcmp(at->name, name) == 0)
            return at;
    return NULL;
}

double json_number(const struct json *object, const char *name, double fallback)
{
    const struct json *found = json_member(object, name, JSON_NUMBER);
    return found ? found->number : fallback;
}
