#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void fuzz_fail(const char *file, int line, const char *condition)
{
    fprintf(stderr, "%s:%d: not so: %s\n", file, line, condition);
    abort();
}

void *fuzz_memory(size_t size)
{
    void *memory = malloc(size ? size : 1);
    FUZZ_CHECK(memory);
    return memory;
}

unsigned char *fuzz_copy(const void *bytes, size_t size, size_t offset, void **block)
{
    unsigned char *memory = fuzz_memory(offset + size);
    if (size)
        memcpy(memory + offset, bytes, size);
    *block = memory;
    return memory + offset;
}

unsigned char *fuzz_join(const struct gp_encoding *encoding)
{
    unsigned char *joined = fuzz_memory(encoding->size_bytes);
    size_t at = 0;
    for (size_t i = 0; i < encoding->n_parts; i++) {
        const struct iovec *part = &encoding->parts[i];
        FUZZ_CHECK(part->iov_len <= encoding->size_bytes - at);
        if (part->iov_len)
            memcpy(joined + at, part->iov_base, part->iov_len);
        at += part->iov_len;
    }
    FUZZ_CHECK(at == encoding->size_bytes);
    return joined;
}

void fuzz_check_refusal(enum gp_status status, const struct gp_error *err)
{
    FUZZ_CHECK(status != GP_OK && status == err->status);
    FUZZ_CHECK(err->message[0] && memchr(err->message, '\0', sizeof err->message));
    for (const char *at = err->message; *at; at++)
        FUZZ_CHECK((unsigned char)*at >= ' ' && *at != 0x7f);
}

bool fuzz_same_text(const char *a, const char *b)
{
    return strcmp(a ? a : "", b ? b : "") == 0;
}

static bool same_bytes(const void *a, const void *b, size_t size)
{
    return size == 0 || memcmp(a, b, size) == 0;
}

static bool same_strings(const struct gp_string *a, const struct gp_string *b, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (a[i].size_bytes != b[i].size_bytes ||
            !same_bytes(a[i].data, b[i].data, a[i].size_bytes))
            return false;
    return true;
}

bool fuzz_same_tensors(const struct gp_tensor *a, const struct gp_tensor *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++, a++, b++) {
        if (!fuzz_same_text(a->name, b->name) || a->dtype != b->dtype ||
            a->rank != b->rank || a->size_bytes != b->size_bytes ||
            !same_bytes(a->shape, b->shape, a->rank * sizeof *a->shape))
            return false;
        if (a->dtype != GP_STRING && !same_bytes(a->data, b->data, a->size_bytes))
            return false;
        if (a->dtype == GP_STRING &&
            !same_strings(a->data, b->data, a->size_bytes / sizeof(struct gp_string)))
            return false;
    }
    return true;
}

void fuzz_send(struct gp_arena *arena, const struct gp_tensor *tensor)
{
    struct gp_encoding encoding;
    struct gp_request request;
    const struct gp_call call = {.inputs = tensor, .n_inputs = 1};
    FUZZ_CHECK(gp_request_encode(arena, &call, &encoding, NULL) == GP_OK);
    unsigned char *joined = fuzz_join(&encoding);
    FUZZ_CHECK(gp_request_decode(arena, joined, encoding.size_bytes, 0, &request, NULL) ==
               GP_OK);
    FUZZ_CHECK(request.call.n_inputs == 1);
    FUZZ_CHECK(fuzz_same_tensors(tensor, request.call.inputs, 1));
    free(joined);
}

size_t fuzz_next_piece(struct fuzz_pieces *pieces, size_t left)
{
    if (pieces->most == 0)
        return left;
    pieces->seed = pieces->seed * 1103515245 + 12345;
    const size_t piece = 1 + (pieces->seed >> 16) % pieces->most;
    return piece < left ? piece : left;
}
