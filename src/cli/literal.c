/* Reads a literal in two steps: the type and shape, then the values, which are counted
 * first so that a dimension of -1 can be resolved and memory allocated once. */
#include "cli/literal.h"

#include "base/half.h"
#include "wire/fill.h"

#include <assert.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static const char type_names[] =
    "bool, int8, int16, int32, int64, uint8, uint16, uint32, "
    "uint64, float16, bfloat16, float32, float64 or string";

static enum gp_status out_of_memory(struct gp_error *err)
{
    return gp_error_set(err, GP_NO_MEMORY, "out of memory");
}

/* The type with that name, short or long; GP_NULL if there is none. */
static enum gp_dtype find_type(const char *name, size_t size)
{
    static const struct {
        const char *name;
        enum gp_dtype dtype;
    } shorts[] = {
        {"i8", GP_INT8},     {"i16", GP_INT16},   {"i32", GP_INT32},
        {"i64", GP_INT64},   {"u8", GP_UINT8},    {"u16", GP_UINT16},
        {"u32", GP_UINT32},  {"u64", GP_UINT64},  {"f16", GP_FLOAT16},
        {"f32", GP_FLOAT32}, {"f64", GP_FLOAT64}, {"bf16", GP_BFLOAT16},
        {"str", GP_STRING},
    };
    for (size_t i = 0; i < sizeof shorts / sizeof *shorts; i++)
        if (strlen(shorts[i].name) == size && memcmp(name, shorts[i].name, size) == 0)
            return shorts[i].dtype;
#define TRY(symbol, number, text, bytes)                                                 \
    if (sizeof text - 1 == size && memcmp(name, text, size) == 0)                        \
        return symbol;
    GP_DTYPE_MAP(TRY)
#undef TRY
    return GP_NULL;
}

bool literal_is(const char *word)
{
    const size_t size = strcspn(word, "[:=");
    const char *close = word[size] == '[' ? strchr(word + size, ']') : NULL;
    if (close)
        return close[1] == ':';
    return word[size] == ':' && find_type(word, size) != GP_NULL;
}

/* "[2,-1]"; *at moves behind it. */
static enum gp_status read_shape(const char **at, int64_t *shape, uint32_t *rank,
                                 struct gp_error *err)
{
    const char *start = *at, *c = start + 1;
    bool has_any = false;
    while (*c != ']') {
        char *end;
        errno = 0;
        const long long dimension = strtoll(c, &end, 10);
        const bool is_free = dimension == -1 && !has_any;
        if (end == c || errno || (dimension < 0 && !is_free) ||
            (*end != ',' && *end != ']'))
            return gp_error_set(err, GP_INVALID,
                                "\"%.*s\" is not a shape: use sizes with commas between "
                                "them, at most one of them -1",
                                (int)strcspn(start, ":"), start);
        if (*rank == GP_MAX_RANK)
            return gp_error_set(err, GP_INVALID, "more than %u dimensions", GP_MAX_RANK);
        has_any |= is_free;
        shape[(*rank)++] = dimension;
        c = *end == ',' ? end + 1 : end;
    }
    *at = c + 1;
    return GP_OK;
}

enum gp_status literal_type(struct gp_arena *arena, const char *word,
                            struct gp_tensor *tensor, const char **values,
                            struct gp_error *err)
{
    const size_t size = strcspn(word, "[:");
    int64_t *shape = gp_arena_alloc(arena, GP_MAX_RANK * sizeof *shape);
    if (!shape)
        return out_of_memory(err);
    *tensor = (struct gp_tensor){.shape = shape, .dtype = find_type(word, size)};
    if (tensor->dtype == GP_NULL)
        return gp_error_set(err, GP_INVALID, "unknown type \"%.*s\": use %s", (int)size,
                            word, type_names);
    *values = word + size;
    if (word[size] == '[') {
        const enum gp_status status = read_shape(values, shape, &tensor->rank, err);
        if (status != GP_OK)
            return status;
    }
    ++*values; /* the colon, which literal_is has seen */
    return GP_OK;
}

/* Resolves a dimension of -1 and checks that the shape has n elements. */
static enum gp_status settle_shape(struct gp_tensor *tensor, size_t n,
                                   struct gp_error *err)
{
    int64_t *shape = (int64_t *)(uintptr_t)tensor->shape;
    int64_t known = 1;
    uint32_t open = tensor->rank;
    for (uint32_t i = 0; i < tensor->rank; i++)
        if (shape[i] == -1)
            open = i;
        else if (__builtin_mul_overflow(known, shape[i], &known))
            known = -1;
    if (open < tensor->rank && known > 0 && n % (uint64_t)known == 0)
        shape[open] = (int64_t)(n / (uint64_t)known);
    if (gp_shape_count(shape, tensor->rank) == (int64_t)n)
        return GP_OK;
    char text[160];
    (void)gp_shape_format(tensor->dtype, shape, tensor->rank, text, sizeof text);
    return gp_error_set(err, GP_INVALID, "%s does not fit %zu value%s", text, n,
                        n == 1 ? "" : "s");
}

/* The end of the value at `at`: a comma outside quotes, or the end of the word. */
static const char *value_end(const char *at)
{
    bool is_quoted = false;
    for (; *at && (is_quoted || *at != ','); at++) {
        if (*at == '\\' && is_quoted && at[1])
            at++;
        else if (*at == '"')
            is_quoted = !is_quoted;
    }
    return at;
}

static size_t count_values(const char *values)
{
    size_t n = *values != '\0';
    while (*(values = value_end(values))) {
        values++;
        n++;
    }
    return n;
}

/* What an escape in quotes stands for. */
static char escaped(char c)
{
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == '0' ? '\0' : c;
}

/* "quoted, with \" and \\" or bare. */
static enum gp_status read_string(struct gp_arena *arena, const char *at, const char *end,
                                  struct gp_string *string, struct gp_error *err)
{
    if (*at != '"') {
        *string = (struct gp_string){at, (size_t)(end - at)};
        return GP_OK;
    }
    char *text = gp_arena_alloc(arena, (size_t)(end - at));
    if (!text)
        return out_of_memory(err);
    size_t n = 0;
    const char *c = at + 1;
    for (; c < end && *c != '"'; c++) {
        const bool is_escape = *c == '\\' && c + 1 < end;
        c += is_escape;
        text[n++] = is_escape ? escaped(*c) : *c;
    }
    if (c + 1 != end)
        return gp_error_set(err, GP_INVALID,
                            "%.*s: the closing quote is missing or not last",
                            (int)(end - at), at);
    *string = (struct gp_string){text, n};
    return GP_OK;
}

/* A finite number that the type could only hold as infinity is refused. */
static bool read_float(const char *at, const char *end, enum gp_dtype dtype, void *to)
{
    char *stop;
    errno = 0;
    const double value = strtod(at, &stop);
    double stored = value;
    if (dtype == GP_FLOAT64) {
        *(double *)to = value;
    } else if (dtype == GP_FLOAT32) {
        stored = *(float *)to = strtof(at, NULL);
    } else if (dtype == GP_FLOAT16) {
        *(uint16_t *)to = half_to_float16(value);
        stored = half_from_float16(*(uint16_t *)to);
    } else {
        *(uint16_t *)to = half_to_bfloat16(value);
        stored = half_from_bfloat16(*(uint16_t *)to);
    }
    const bool is_over = isinf(stored) && (errno == ERANGE || !isinf(value));
    return stop == end && stop != at && !is_over;
}

static bool read_signed(const char *at, const char *end, size_t size, void *to)
{
    char *stop;
    errno = 0;
    const long long value = strtoll(at, &stop, 10);
    const int shift = (int)(64 - 8 * size);
    const int64_t limit = INT64_MAX >> shift;
    if (errno || stop != end || stop == at || value > limit || value < -limit - 1)
        return false;
    memcpy(to, &value, size); /* the low bytes come first */
    return true;
}

static bool read_unsigned(const char *at, const char *end, size_t size, void *to)
{
    char *stop;
    errno = 0;
    const unsigned long long value = strtoull(at, &stop, 10);
    if (errno || stop != end || stop == at || memchr(at, '-', (size_t)(end - at)) ||
        value > UINT64_MAX >> (64 - 8 * size))
        return false;
    memcpy(to, &value, size);
    return true;
}

static bool read_bool(const char *at, const char *end, void *to)
{
    const size_t size = (size_t)(end - at);
    const bool is_true =
        (size == 4 && memcmp(at, "true", 4) == 0) || (size == 1 && *at == '1');
    const bool is_false =
        (size == 5 && memcmp(at, "false", 5) == 0) || (size == 1 && *at == '0');
    *(uint8_t *)to = is_true;
    return is_true || is_false;
}

/* Parses one number of the type; false if the text is not a number or does not fit. */
static bool read_number(const char *at, const char *end, enum gp_dtype dtype, void *to)
{
    const size_t size = gp_dtype_size(dtype);
    switch (dtype) {
    case GP_BOOL:
        return read_bool(at, end, to);
    case GP_INT8:
    case GP_INT16:
    case GP_INT32:
    case GP_INT64:
        return read_signed(at, end, size, to);
    case GP_UINT8:
    case GP_UINT16:
    case GP_UINT32:
    case GP_UINT64:
        return read_unsigned(at, end, size, to);
    default:
        return read_float(at, end, dtype, to);
    }
}

/* How many elements one value stands for: all of a shape that leaves nothing open, which has to
 * fit into a message. */
static bool may_spread(const struct gp_tensor *tensor, size_t *n)
{
    const int64_t count = gp_shape_count(tensor->shape, tensor->rank);
    if (count <= 1 ||
        (uint64_t)count > GP_MAX_MESSAGE_BYTES / gp_dtype_stride(tensor->dtype))
        return false;
    *n = (size_t)count;
    return true;
}

static void spread(unsigned char *data, size_t n, size_t stride)
{
    for (size_t i = 1; i < n; i++)
        memcpy(data + i * stride, data, stride);
}

/* The words that stand for numbers of any shape. */
static bool is_word(const char *values, const struct gp_tensor *tensor, const char *word)
{
    return tensor->dtype != GP_STRING && strcmp(values, word) == 0;
}

/* The same at each call. */
static enum gp_status fill_at_random(struct gp_arena *arena, struct gp_tensor *tensor,
                                     struct gp_error *err)
{
    struct random random = {1};
    if (gp_shape_count(tensor->shape, tensor->rank) < 0 &&
        settle_shape(tensor, 1, err) != GP_OK)
        return err->status;
    return fill_tensor(tensor, &random, arena, err);
}

enum gp_status literal_values(struct gp_arena *arena, const char *values,
                              struct gp_tensor *tensor, struct gp_error *err)
{
    if (is_word(values, tensor, "random"))
        return fill_at_random(arena, tensor, err);
    if (is_word(values, tensor, "zeros"))
        values = gp_shape_count(tensor->shape, tensor->rank) ? "0" : "";
    const size_t n_said = count_values(values);
    size_t n = n_said;
    const bool is_spread = n_said == 1 && may_spread(tensor, &n);
    enum gp_status status = settle_shape(tensor, n, err);
    const size_t stride = gp_dtype_stride(tensor->dtype);
    unsigned char *data = status == GP_OK ? gp_arena_alloc(arena, n * stride) : NULL;
    if (status == GP_OK && !data)
        return out_of_memory(err);
    const char *at = values;
    for (size_t i = 0; i < n_said && status == GP_OK; i++) {
        const char *end = value_end(at);
        if (tensor->dtype == GP_STRING)
            status =
                read_string(arena, at, end, (struct gp_string *)(void *)data + i, err);
        else if (!read_number(at, end, tensor->dtype, data + i * stride))
            status = gp_error_set(err, GP_INVALID, "\"%.*s\" is not a value of type %s",
                                  (int)(end - at), at, gp_dtype_name(tensor->dtype));
        at = end + 1;
    }
    if (is_spread && status == GP_OK)
        spread(data, n, stride);
    tensor->data = data;
    tensor->size_bytes = n * stride;
    return status;
}

enum gp_status literal_bytes(struct gp_arena *arena, const void *bytes, size_t size_bytes,
                             struct gp_tensor *tensor, struct gp_error *err)
{
    if (tensor->dtype == GP_STRING) {
        const enum gp_status status = settle_shape(tensor, 1, err);
        struct gp_string *string = gp_arena_alloc(arena, sizeof *string);
        if (status != GP_OK || !string)
            return status != GP_OK ? status : out_of_memory(err);
        *string = (struct gp_string){bytes, size_bytes};
        tensor->data = string;
        tensor->size_bytes = sizeof *string;
        return GP_OK;
    }
    const size_t size = gp_dtype_size(tensor->dtype);
    assert(size > 0); /* literal_type has found the type */
    tensor->data = bytes;
    tensor->size_bytes = size_bytes;
    if (size_bytes % size == 0)
        return settle_shape(tensor, size_bytes / size, err);
    return gp_error_set(err, GP_INVALID,
                        "%zu bytes are not a whole number of %s (%zu bytes each)",
                        size_bytes, gp_dtype_name(tensor->dtype), size);
}
