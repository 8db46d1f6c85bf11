/* The header of a .npy file: "\x93NUMPY", two bytes of version, the header's length (two
 * bytes in version 1, four in 2 and 3), and a Python dictionary in text with exactly the
 * keys descr, fortran_order and shape. Only the forms that NumPy writes are accepted. */
#include "cli/npy_head.h"

#include "wire/foreign.h"

#include <string.h>

enum { MAX_HEADER_BYTES = 64 * 1024, MAGIC_BYTES = 6 };

struct npy_cursor {
    const char *at;
    const char *end;
};

static void skip_blanks(struct npy_cursor *c)
{
    while (c->at < c->end && *c->at == ' ')
        c->at++;
}

/* Skips blanks, then takes this character. */
static bool take_char(struct npy_cursor *c, char expected)
{
    skip_blanks(c);
    if (c->at == c->end || *c->at != expected)
        return false;
    c->at++;
    return true;
}

static bool take_word(struct npy_cursor *c, const char *word)
{
    const size_t size = strlen(word);
    skip_blanks(c);
    if ((size_t)(c->end - c->at) < size || memcmp(c->at, word, size) != 0)
        return false;
    c->at += size;
    return true;
}

/* 'text' or "text" without escapes, shorter than `size`. */
static bool take_string(struct npy_cursor *c, char *text, size_t size)
{
    skip_blanks(c);
    if (c->at == c->end || (*c->at != '\'' && *c->at != '"'))
        return false;
    const char quote = *c->at++;
    const size_t rest = (size_t)(c->end - c->at);
    const char *close = memchr(c->at, quote, rest);
    if (!close || (size_t)(close - c->at) >= size)
        return false;
    const size_t length = (size_t)(close - c->at);
    if (memchr(c->at, '\\', length) || memchr(c->at, '\0', length))
        return false;
    memcpy(text, c->at, length);
    text[length] = '\0';
    c->at = close + 1;
    return true;
}

/* A dimension; Python 2 wrote an L after it. */
static bool take_dimension(struct npy_cursor *c, int64_t *dimension)
{
    skip_blanks(c);
    const char *start = c->at;
    *dimension = 0;
    for (; c->at < c->end && *c->at >= '0' && *c->at <= '9'; c->at++)
        if (__builtin_mul_overflow(*dimension, INT64_C(10), dimension) ||
            __builtin_add_overflow(*dimension, (int64_t)(*c->at - '0'), dimension))
            return false;
    if (c->at == start)
        return false;
    if (c->at < c->end && *c->at == 'L')
        c->at++;
    return true;
}

/* A tuple: "()", "(3,)", "(3, 4)". */
static bool take_shape(struct npy_cursor *c, struct npy_head *head)
{
    if (!take_char(c, '('))
        return false;
    head->rank = 0;
    bool has_comma = true;
    while (!take_char(c, ')')) {
        if (!has_comma || head->rank == GP_MAX_RANK ||
            !take_dimension(c, &head->shape[head->rank]))
            return false;
        head->rank++;
        has_comma = take_char(c, ',');
    }
    return head->rank != 1 || has_comma; /* "(3)" is a number in Python */
}

static enum gp_status take_value(struct npy_cursor *c, const char *key,
                                 struct npy_head *head, struct gp_error *err)
{
    if (strcmp(key, "descr") == 0) {
        skip_blanks(c);
        if (c->at < c->end && *c->at == '[')
            return gp_error_set(err, GP_UNSUPPORTED,
                                "it holds records with fields, which no tensor can");
        if (take_string(c, head->descr, sizeof head->descr))
            return GP_OK;
        return gp_error_set(err, GP_MALFORMED,
                            "the header's descr is not a short string");
    }
    if (strcmp(key, "fortran_order") == 0) {
        head->is_fortran = take_word(c, "True");
        if (head->is_fortran || take_word(c, "False"))
            return GP_OK;
        return gp_error_set(err, GP_MALFORMED,
                            "the header's fortran_order is neither True nor False");
    }
    if (take_shape(c, head))
        return GP_OK;
    return gp_error_set(err, GP_MALFORMED,
                        "the header's shape is not a tuple of at most %u dimensions",
                        GP_MAX_RANK);
}

/* The dictionary: each of the three keys once, in any order. */
static enum gp_status take_header(struct npy_cursor *c, struct npy_head *head,
                                  struct gp_error *err)
{
    static const char *const keys[] = {"descr", "fortran_order", "shape"};
    unsigned seen = 0;
    bool is_well = take_char(c, '{');
    while (is_well && !take_char(c, '}')) {
        char key[16];
        size_t i = 0;
        is_well = take_string(c, key, sizeof key) && take_char(c, ':');
        while (is_well && i < 3 && strcmp(key, keys[i]) != 0)
            i++;
        if (!is_well || i == 3 || seen & 1u << i)
            return gp_error_set(err, GP_MALFORMED,
                                "the header must have the keys descr, fortran_order and "
                                "shape, each once");
        seen |= 1u << i;
        const enum gp_status status = take_value(c, key, head, err);
        if (status != GP_OK)
            return status;
        skip_blanks(c);
        is_well = take_char(c, ',') || (c->at < c->end && *c->at == '}');
    }
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n'))
        c->at++;
    if (!is_well || seen != 7 || c->at != c->end)
        return gp_error_set(err, GP_MALFORMED,
                            "the header is not a dictionary with the keys "
                            "descr, fortran_order and shape");
    return GP_OK;
}

static const struct {
    char kind;
    unsigned char item_bytes;
    enum gp_dtype dtype;
} numbers[] = {
    {'b', 1, GP_BOOL},   {'u', 1, GP_UINT8},   {'u', 2, GP_UINT16},  {'u', 4, GP_UINT32},
    {'u', 8, GP_UINT64}, {'i', 1, GP_INT8},    {'i', 2, GP_INT16},   {'i', 4, GP_INT32},
    {'i', 8, GP_INT64},  {'f', 2, GP_FLOAT16}, {'f', 4, GP_FLOAT32}, {'f', 8, GP_FLOAT64},
};

/* "<f4": byte order, kind, size. */
static enum gp_status read_descr(struct npy_head *head, struct gp_error *err)
{
    const char *at = head->descr;
    head->is_big_endian = *at == '>';
    if (*at && strchr("<>|=", *at))
        at++;
    head->kind = *at ? *at++ : '\0';
    size_t size = 0;
    const size_t n_digits = strspn(at, "0123456789");
    for (size_t i = 0; i < n_digits && size < GP_MAX_MESSAGE_BYTES; i++)
        size = 10 * size + (size_t)(at[i] - '0');
    /* strings of size 0 would fit into no bytes in any number, so there is no such
     * type */
    if (size && !at[n_digits] && (head->kind == 'S' || head->kind == 'U')) {
        head->dtype = GP_STRING;
        head->swap_bytes = head->kind == 'U' ? 4 : 1;
        head->item_bytes = size * head->swap_bytes;
        return GP_OK;
    }
    for (size_t i = 0; n_digits && !at[n_digits] && i < sizeof numbers / sizeof *numbers;
         i++)
        if (numbers[i].kind == head->kind && numbers[i].item_bytes == size) {
            head->dtype = numbers[i].dtype;
            head->item_bytes = head->swap_bytes = size;
            return GP_OK;
        }
    if (head->kind == 'O')
        return gp_error_set(err, GP_UNSUPPORTED,
                            "it holds Python objects, which are not read "
                            "because reading them can run code");
    return gp_error_set(err, GP_UNSUPPORTED, "no tensor type matches its dtype \"%s\"",
                        head->descr);
}

static enum gp_status refuse_foreign(const unsigned char *bytes, size_t size_bytes,
                                     struct gp_error *err)
{
    const struct foreign *foreign = foreign_find(bytes, size_bytes);
    return gp_error_set(err, GP_MALFORMED, "it is %s%snot a .npy file",
                        foreign ? foreign->kind : "", foreign ? ", " : "");
}

enum gp_status npy_head_read(const unsigned char *bytes, size_t size_bytes,
                             struct npy_head *head, size_t *used, struct gp_error *err)
{
    if (size_bytes < MAGIC_BYTES || memcmp(bytes, "\x93NUMPY", MAGIC_BYTES) != 0)
        return refuse_foreign(bytes, size_bytes, err);
    if (size_bytes < 12)
        return gp_error_set(err, GP_MALFORMED, "it ends within the header");
    const unsigned char *b = bytes + MAGIC_BYTES;
    if (b[0] < 1 || b[0] > 3)
        return gp_error_set(err, GP_UNSUPPORTED, "unknown .npy version %u.%u", b[0],
                            b[1]);
    const size_t start = b[0] == 1 ? 10 : 12;
    size_t length = (size_t)b[2] | (size_t)b[3] << 8;
    if (b[0] > 1)
        length |= (size_t)b[4] << 16 | (size_t)b[5] << 24;
    if (length > MAX_HEADER_BYTES)
        return gp_error_set(err, GP_TOO_LARGE, "its header of %zu bytes is over %d",
                            length, MAX_HEADER_BYTES);
    if (length > size_bytes - start)
        return gp_error_set(err, GP_MALFORMED, "it ends within the header");
    *used = start + length;
    const char *text = (const char *)bytes + start;
    struct npy_cursor cursor = {text, text + length};
    const enum gp_status status = take_header(&cursor, head, err);
    return status == GP_OK ? read_descr(head, err) : status;
}
