/* Writing .npy, version 1, as numpy.save does: the header is padded so that the elements
 * begin at a multiple of 64 bytes. */
#include "base/half.h"
#include "cli/npy.h"

#include "base/checked.h"
#include "base/text.h"

#include <string.h>

enum { ALIGNMENT = 64, PREFIX_BYTES = 10 };

static const char *descr_of(enum gp_dtype dtype)
{
    switch (dtype) {
    case GP_BOOL:
        return "|b1";
    case GP_UINT8:
        return "|u1";
    case GP_INT8:
        return "|i1";
    case GP_UINT16:
        return "<u2";
    case GP_INT16:
        return "<i2";
    case GP_UINT32:
        return "<u4";
    case GP_INT32:
        return "<i4";
    case GP_UINT64:
        return "<u8";
    case GP_INT64:
        return "<i8";
    case GP_FLOAT16:
        return "<f2";
    case GP_FLOAT32:
    case GP_BFLOAT16:
        return "<f4";
    case GP_FLOAT64:
        return "<f8";
    case GP_STRING:
    case GP_NULL:
        break;
    }
    return "|V1";
}

/* The prefix and the padded dictionary, in the arena. */
static void *make_head(struct gp_arena *arena, const struct gp_tensor *tensor,
                       const char *descr, size_t *size_bytes)
{
    struct text text = {0};
    text_printf(&text, "{'descr': '%s', 'fortran_order': False, 'shape': (", descr);
    for (uint32_t i = 0; i < tensor->rank; i++)
        text_printf(&text, "%s%lld", i ? ", " : "", (long long)tensor->shape[i]);
    text_puts(&text, tensor->rank == 1 ? ",), }" : "), }");
    const size_t used = PREFIX_BYTES + text.size_bytes + 1;
    const size_t total = (used + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    text_printf(&text, "%*s\n", (int)(total - used), "");
    unsigned char *head = text.is_short ? NULL : gp_arena_alloc(arena, total);
    if (head) {
        const size_t length =
            total - PREFIX_BYTES; /* rank is bounded, so 16 bits suffice */
        memcpy(head, "\x93NUMPY\x01", 8);
        head[8] = (unsigned char)(length & 0xff);
        head[9] = (unsigned char)(length >> 8);
        memcpy(head + PREFIX_BYTES, text.data, length);
    }
    *size_bytes = total;
    text_finish(&text);
    return head;
}

static enum gp_status make_file(struct gp_arena *arena, const struct gp_tensor *tensor,
                                const char *descr, const void *data, size_t size_bytes,
                                struct gp_encoding *out, struct gp_error *err)
{
    struct iovec *parts = gp_arena_alloc(arena, 2 * sizeof *parts);
    if (!parts || !data)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    parts[0].iov_base = make_head(arena, tensor, descr, &parts[0].iov_len);
    parts[1] = (struct iovec){(void *)(uintptr_t)data, size_bytes};
    if (!parts[0].iov_base)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    *out = (struct gp_encoding){parts, size_bytes ? 2 : 1, parts[0].iov_len + size_bytes};
    return GP_OK;
}

/* The character at `s`, which must be well-formed UTF-8; *s moves on. */
static uint32_t get_utf8(const unsigned char **s)
{
    const unsigned char lead = *(*s)++;
    const int n_more = lead < 0x80 ? 0 : lead < 0xe0 ? 1 : lead < 0xf0 ? 2 : 3;
    uint32_t c = n_more ? lead & (0x3fu >> n_more) : lead;
    for (int i = 0; i < n_more; i++)
        c = c << 6 | (*(*s)++ & 0x3f);
    return c;
}

static size_t count_characters(const struct gp_string *string)
{
    size_t n = 0;
    for (size_t i = 0; i < string->size_bytes; i++)
        n += (string->data[i] & 0xc0) != 0x80;
    return n;
}

static void put_string(unsigned char *to, const struct gp_string *string, bool is_unicode)
{
    if (!string->size_bytes) /* its data may be NULL */
        return;
    if (!is_unicode) {
        memcpy(to, string->data, string->size_bytes);
        return;
    }
    const unsigned char *s = (const unsigned char *)string->data;
    for (const unsigned char *end = s + string->size_bytes; s < end; to += 4) {
        const uint32_t c = get_utf8(&s);
        memcpy(to, &c, sizeof c);
    }
}

/* Items of one size, that of the longest string, padded with NULs. */
static enum gp_status encode_strings(struct gp_arena *arena,
                                     const struct gp_tensor *tensor,
                                     struct gp_encoding *out, struct gp_error *err)
{
    const struct gp_string *strings = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *strings;
    bool is_unicode = true;
    for (size_t i = 0; i < n; i++) {
        const size_t size = strings[i].size_bytes;
        if (size && strings[i].data[size - 1] == '\0')
            return gp_error_set(err, GP_UNSUPPORTED,
                                "string %zu ends in NUL, which .npy "
                                "cannot hold; use --json",
                                i);
        is_unicode = is_unicode && text_is_utf8(strings[i].data, size);
    }
    size_t longest = 1;
    for (size_t i = 0; i < n; i++) {
        const size_t size =
            is_unicode ? count_characters(&strings[i]) : strings[i].size_bytes;
        longest = size > longest ? size : longest;
    }
    const size_t item_bytes = is_unicode ? 4 * longest : longest;
    size_t total;
    if (!checked_mul(n, item_bytes, &total) || total > GP_MAX_MESSAGE_BYTES)
        return gp_error_set(err, GP_TOO_LARGE,
                            "%zu strings padded to the longest (%zu) are "
                            "over %u bytes",
                            n, longest, GP_MAX_MESSAGE_BYTES);
    unsigned char *items = gp_arena_alloc(arena, total);
    if (items)
        memset(items, 0, total);
    for (size_t i = 0; items && i < n; i++)
        put_string(items + i * item_bytes, &strings[i], is_unicode);
    char descr[32];
    (void)snprintf(descr, sizeof descr, "%s%zu", is_unicode ? "<U" : "|S", longest);
    return make_file(arena, tensor, descr, items, total, out, err);
}

static enum gp_status encode_bfloat16(struct gp_arena *arena,
                                      const struct gp_tensor *tensor,
                                      struct gp_encoding *out, struct gp_error *err)
{
    const uint16_t *from = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *from;
    float *to = gp_arena_alloc(arena, n * sizeof *to);
    for (size_t i = 0; to && i < n; i++)
        to[i] = (float)half_from_bfloat16(from[i]);
    return make_file(arena, tensor, descr_of(GP_BFLOAT16), to, n * sizeof *to, out, err);
}

enum gp_status npy_encode(struct gp_arena *arena, const struct gp_tensor *tensor,
                          struct gp_encoding *out, struct gp_error *err)
{
    if (tensor->dtype == GP_STRING)
        return encode_strings(arena, tensor, out, err);
    if (tensor->dtype == GP_BFLOAT16)
        return encode_bfloat16(arena, tensor, out, err);
    if (gp_dtype_size(tensor->dtype) == 0)
        return gp_error_set(err, GP_UNSUPPORTED, "a tensor of type %s cannot be saved",
                            gp_dtype_name(tensor->dtype));
    return make_file(arena, tensor, descr_of(tensor->dtype),
                     tensor->data ? tensor->data : "", tensor->size_bytes, out, err);
}
