/* Reading .npy: the elements follow the header and end with the file. They are used in
 * place, unless they need to be reordered or converted. */
#include "cli/npy.h"

#include "base/checked.h"
#include "cli/npy_head.h"

#include <string.h>

/* Copies the elements into row-major order. */
static void gather(unsigned char *to, const unsigned char *from,
                   const struct npy_head *head, size_t n)
{
    size_t stride[GP_MAX_RANK] = {0}, index[GP_MAX_RANK] = {0};
    size_t step = head->item_bytes;
    for (uint32_t i = 0; i < head->rank; i++) {
        const uint32_t d = head->is_fortran ? i : head->rank - 1 - i;
        stride[d] = step;
        step *= (size_t)head->shape[d];
    }
    for (size_t i = 0; i < n; i++, to += head->item_bytes) {
        memcpy(to, from, head->item_bytes);
        for (uint32_t d = head->rank; d-- > 0;) {
            from += stride[d];
            if (++index[d] < (size_t)head->shape[d])
                break;
            from -= stride[d] * index[d];
            index[d] = 0;
        }
    }
}

static void swap(unsigned char *bytes, size_t size_bytes, size_t unit)
{
    for (; size_bytes; bytes += unit, size_bytes -= unit)
        for (size_t i = 0; i < unit / 2; i++) {
            const unsigned char byte = bytes[i];
            bytes[i] = bytes[unit - 1 - i];
            bytes[unit - 1 - i] = byte;
        }
}

/* The elements in row-major order and little-endian: in place, or a copy. NULL when
 * memory is short. */
static const unsigned char *arrange(struct gp_arena *arena, const struct npy_head *head,
                                    const unsigned char *bytes, size_t n,
                                    size_t size_bytes)
{
    const bool is_swapped = head->is_big_endian && head->swap_bytes > 1;
    const bool is_misaligned =
        head->dtype != GP_STRING && (uintptr_t)bytes % head->item_bytes != 0;
    if (!is_swapped && !is_misaligned && (!head->is_fortran || head->rank < 2))
        return bytes;
    unsigned char *copy = gp_arena_alloc(arena, size_bytes);
    if (!copy)
        return NULL;
    gather(copy, bytes, head, n);
    if (is_swapped)
        swap(copy, size_bytes, head->swap_bytes);
    return copy;
}

/* One character as UTF-8; 0 if it is not one. */
static size_t put_utf8(char *to, uint32_t c)
{
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
        return 0;
    const size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const unsigned char marks[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        to[i] = (char)(0x80 | (c & 0x3f));
    to[0] = (char)(marks[n] | c);
    return n;
}

/* An item of kind U as UTF-8 at `to`, which has room for 4 bytes per character. */
static bool put_unicode(char *to, const unsigned char *item, size_t item_bytes,
                        struct gp_string *string)
{
    while (item_bytes && memcmp(item + item_bytes - 4, "\0\0\0", 4) == 0)
        item_bytes -= 4;
    size_t size = 0;
    for (size_t i = 0; i < item_bytes; i += 4) {
        uint32_t c;
        memcpy(&c, item + i, sizeof c);
        const size_t n = put_utf8(to + size, c);
        if (n == 0)
            return false;
        size += n;
    }
    *string = (struct gp_string){to, size};
    return true;
}

/* An array of strings from items of fixed size that are padded with NULs. */
static enum gp_status make_strings(struct gp_arena *arena, const struct npy_head *head,
                                   const unsigned char *items, size_t n,
                                   struct gp_tensor *tensor, struct gp_error *err)
{
    const bool is_unicode = head->kind == 'U';
    struct gp_string *strings = gp_arena_alloc(arena, n * sizeof *strings);
    char *text = is_unicode ? gp_arena_alloc(arena, n * head->item_bytes) : NULL;
    if (!strings || (is_unicode && !text))
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < n; i++, items += head->item_bytes) {
        if (!is_unicode) {
            size_t size = head->item_bytes;
            while (size && !items[size - 1])
                size--;
            strings[i] = (struct gp_string){(const char *)items, size};
        } else if (!put_unicode(text, items, head->item_bytes, &strings[i])) {
            return gp_error_set(
                err, GP_MALFORMED,
                "string %zu holds a number that is not a Unicode character", i);
        } else {
            text += strings[i].size_bytes;
        }
    }
    tensor->data = strings;
    tensor->size_bytes = n * sizeof *strings;
    return GP_OK;
}

enum gp_status npy_decode(struct gp_arena *arena, const void *bytes, size_t size_bytes,
                          struct gp_tensor *tensor, struct gp_error *err)
{
    struct npy_head head = {0};
    size_t start = 0, needed;
    const enum gp_status status = npy_head_read(bytes, size_bytes, &head, &start, err);
    if (status != GP_OK)
        return status;
    const int64_t n = gp_shape_count(head.shape, head.rank);
    const size_t most = head.dtype == GP_STRING
                            ? GP_MAX_MESSAGE_BYTES / sizeof(struct gp_string)
                            : SIZE_MAX;
    if (n < 0 || (uint64_t)n > most || !checked_mul((size_t)n, head.item_bytes, &needed))
        return gp_error_set(err, GP_TOO_LARGE, "its shape has too many elements");
    char text[160];
    (void)gp_shape_format(head.dtype, head.shape, head.rank, text, sizeof text);
    if (size_bytes - start != needed)
        return gp_error_set(err, GP_MALFORMED,
                            "%zu bytes follow its header, but %s (dtype %s) has %zu",
                            size_bytes - start, text, head.descr, needed);
    const unsigned char *items =
        arrange(arena, &head, (const unsigned char *)bytes + start, (size_t)n, needed);
    int64_t *shape = gp_arena_alloc(arena, sizeof head.shape);
    if (!items || !shape)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    memcpy(shape, head.shape, sizeof head.shape);
    *tensor = (struct gp_tensor){NULL, shape, items, needed, head.dtype, head.rank};
    return head.dtype == GP_STRING
               ? make_strings(arena, &head, items, (size_t)n, tensor, err)
               : GP_OK;
}
