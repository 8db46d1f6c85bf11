/* Copies the parts of a message that cannot be read in place: numbers that are misaligned
 * for their type (only from other writers: bodies are received at an aligned address, and
 * our own writers align what they send), strings, which get an array that points to them,
 * and types that stand in for others. Aliased offsets let a small message have thousands
 * of tensors over the same bytes; they share one copy. The search for it is linear: for
 * the 4096 tensors of a message it takes less time than parsing them. */
#include "wire/wire.h"

#include <assert.h>
#include <string.h>

enum { FIRST_CAPACITY = 8 };

/* Fills n elements at `to` from the payload at `from`, which may be misaligned. */
typedef void fill_fn(void *to, const unsigned char *from, size_t n);

struct wire_copy {
    const void *from;
    fill_fn *fill;
    /* elements: outputs of an engine may start at the same place and differ in length */
    size_t n;
    const void *data;
};

static uint32_t load_u32(const unsigned char *at)
{
    uint32_t value;
    memcpy(&value, at, sizeof value);
    return value;
}

static void fill_bytes(void *to, const unsigned char *from, size_t n)
{
    memcpy(to, from, n);
}

/* From the offsets of a message, which were checked when it was read. */
static void fill_strings(void *to, const unsigned char *from, size_t n)
{
    struct gp_string *strings = to;
    for (size_t i = 0; i < n; i++, from += sizeof(uint32_t)) {
        const unsigned char *string = from + load_u32(from);
        const uint32_t size = load_u32(string);
        strings[i].data = size ? (const char *)string + sizeof size : "";
        strings[i].size_bytes = size;
    }
}

/* Anything but 0 is true; in most engines a bool with any other bit pattern is undefined
 * behaviour. */
static void fill_bool(void *to, const unsigned char *from, size_t n)
{
    unsigned char *truths = to;
    for (size_t i = 0; i < n; i++)
        truths[i] = from[i] != 0;
}

/* Rounds to the nearest, ties to even; a NaN stays one. */
static uint16_t bfloat16_of(uint32_t bits)
{
    if ((bits & 0x7fffffffu) > 0x7f800000u)
        return (uint16_t)(bits >> 16 | 0x40u);
    return (uint16_t)((bits + 0x7fffu + (bits >> 16 & 1u)) >> 16);
}

static void fill_bfloat16(void *to, const unsigned char *from, size_t n)
{
    uint16_t *halves = to;
    for (size_t i = 0; i < n; i++)
        halves[i] = bfloat16_of(load_u32(from + i * sizeof(uint32_t)));
}

/* A BFloat16 is the upper half of a Float32, so it is widened exactly. */
static void fill_float32(void *to, const unsigned char *from, size_t n)
{
    uint32_t *whole = to;
    for (size_t i = 0; i < n; i++) {
        uint16_t half;
        memcpy(&half, from + i * sizeof half, sizeof half);
        whole[i] = (uint32_t)half << 16;
    }
}

static bool is_truth(const struct gp_tensor *tensor)
{
    const unsigned char *bytes = tensor->data;
    size_t i = 0;
    while (i < tensor->size_bytes && bytes[i] <= 1)
        i++;
    return i == tensor->size_bytes;
}

/* How to turn the tensor into type `to`; NULL if it can be read as it is. */
static fill_fn *fill_for(const struct gp_tensor *tensor, enum gp_dtype to)
{
    const enum gp_dtype from = tensor->dtype;
    if (tensor->size_bytes == 0)
        return NULL;
    if (from == GP_STRING)
        return fill_strings;
    if (from == GP_UINT8 && to == GP_BOOL)
        return is_truth(tensor) ? NULL : fill_bool;
    if (from == GP_FLOAT32 && to == GP_BFLOAT16)
        return fill_bfloat16;
    if (from == GP_BFLOAT16 && to == GP_FLOAT32)
        return fill_float32;
    const size_t element_bytes = gp_dtype_size(from);
    assert(element_bytes > 0); /* no tensor has type GP_NULL */
    return (uintptr_t)tensor->data % element_bytes ? fill_bytes : NULL;
}

bool wire_stands_for(enum gp_dtype from, enum gp_dtype to)
{
    return (from == GP_UINT8 && to == GP_BOOL) ||
           (from == GP_FLOAT32 && to == GP_BFLOAT16);
}

static const void *find_copy(const struct wire_copies *copies, const void *from,
                             fill_fn *fill, size_t n)
{
    for (uint32_t i = 0; i < copies->n_made; i++)
        if (copies->made[i].from == from && copies->made[i].fill == fill &&
            copies->made[i].n == n)
            return copies->made[i].data;
    return NULL;
}

/* Remembers a copy; false when memory is short. */
static bool add_copy(struct wire_copies *copies, struct wire_copy copy)
{
    if (copies->n_made == copies->capacity) {
        const uint32_t capacity =
            copies->capacity ? 2 * copies->capacity : FIRST_CAPACITY;
        struct wire_copy *made = gp_arena_alloc(copies->arena, capacity * sizeof *made);
        if (!made)
            return false;
        if (copies->n_made)
            memcpy(made, copies->made, copies->n_made * sizeof *made);
        copies->made = made;
        copies->capacity = capacity;
    }
    copies->made[copies->n_made++] = copy;
    return true;
}

/* n elements, size_bytes in all. */
static const void *copy_payload(struct wire_copies *copies, const void *from,
                                fill_fn *fill, size_t n, size_t size_bytes)
{
    const void *known = find_copy(copies, from, fill, n);
    if (known)
        return known;
    void *data = gp_arena_alloc(fill == fill_strings ? copies->arena : copies->payloads,
                                size_bytes);
    if (!data || !add_copy(copies, (struct wire_copy){from, fill, n, data}))
        return NULL;
    fill(data, from, n);
    return data;
}

enum gp_status wire_copy_list(struct gp_arena *arena, const struct gp_tensor *tensors,
                              uint32_t n, struct gp_tensor **list, struct gp_error *err)
{
    *list = gp_arena_alloc(arena, n * sizeof **list);
    if (!*list)
        return gp_error_set(err, GP_NO_MEMORY, "no memory to list %u tensors", n);
    if (n)
        memcpy(*list, tensors, n * sizeof **list);
    return GP_OK;
}

enum gp_status wire_settle(struct wire_copies *copies, struct gp_tensor *tensor,
                           enum gp_dtype to, struct gp_error *err)
{
    fill_fn *fill = fill_for(tensor, to);
    const size_t stride = gp_dtype_stride(tensor->dtype);
    assert(stride > 0);
    const size_t n = tensor->size_bytes / stride;
    const size_t size_bytes = n * gp_dtype_stride(to);
    if (fill) {
        const void *data = copy_payload(copies, tensor->data, fill,
                                        fill == fill_bytes ? size_bytes : n, size_bytes);
        if (!data)
            return gp_error_set(err, GP_NO_MEMORY,
                                "no memory for a copy of %zu bytes of a tensor",
                                size_bytes);
        tensor->data = data;
    }
    tensor->dtype = to;
    tensor->size_bytes = size_bytes;
    return GP_OK;
}
