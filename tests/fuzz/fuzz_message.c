/* Messages: the bytes are read as a request, as a response and as metadata. What is
 * accepted is the same where it lies misaligned; written again it is accepted and says
 * the same, and written once more it is the same bytes. */
#include "fuzz.h"

#include "base/text.h"

#include <graphpipe/message.h>

#include <stdlib.h>
#include <string.h>

enum { MAX_EXPANDED_BYTES = 1 << 16 }; /* to be reached by messages of a few KiB */

struct message {
    char kind; /* r, a(nswer), m */
    struct gp_request request;
    struct gp_response response;
    struct gp_metadata metadata;
};

static enum gp_status decode(struct gp_arena *arena, const void *bytes, size_t size,
                             struct message *message, struct gp_error *err)
{
    switch (message->kind) {
    case 'r':
        return gp_request_decode(arena, bytes, size, MAX_EXPANDED_BYTES,
                                 &message->request, err);
    case 'a':
        return gp_response_decode(arena, bytes, size, MAX_EXPANDED_BYTES,
                                  &message->response, err);
    default:
        return gp_metadata_decode(arena, bytes, size, &message->metadata, err);
    }
}

static enum gp_status encode_response(struct gp_arena *arena,
                                      const struct gp_response *response, unsigned flags,
                                      struct gp_encoding *out)
{
    struct gp_error failure;
    if (!response->error_message)
        return gp_response_encode(arena, response->outputs, response->n_outputs, flags,
                                  out, NULL);
    gp_error_set(&failure, (enum gp_status)(response->error_code & 31), "%s",
                 response->error_message);
    return gp_error_encode(arena, &failure, out, NULL);
}

static enum gp_status encode(struct gp_arena *arena, const struct message *message,
                             unsigned flags, struct gp_encoding *out)
{
    if (message->kind == 'a')
        return encode_response(arena, &message->response, flags, out);
    if (message->kind == 'm')
        return gp_metadata_encode(arena, &message->metadata, flags, out, NULL);
    if (message->request.kind == GP_REQUEST_METADATA)
        return gp_metadata_request_encode(arena, out, NULL);
    return gp_request_encode(arena, &message->request.call, out, NULL);
}

static bool same_calls(const struct gp_call *a, const struct gp_call *b)
{
    if (a->n_inputs != b->n_inputs || a->n_outputs != b->n_outputs ||
        !fuzz_same_text(a->config, b->config) ||
        !fuzz_same_tensors(a->inputs, b->inputs, a->n_inputs))
        return false;
    for (uint32_t i = 0; i < a->n_outputs; i++)
        if (!fuzz_same_text(a->output_names[i], b->output_names[i]))
            return false;
    return true;
}

/* What a model says of itself is written as it can be shown, where it is not UTF-8. */
static bool same_about(const char *before, const char *after)
{
    return fuzz_same_text(before, after) ||
           (!text_is_utf8(before, strlen(before)) && text_is_utf8(after, strlen(after)));
}

static bool same_ios(const struct gp_io *a, const struct gp_io *b, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (!fuzz_same_text(a[i].name, b[i].name) || a[i].dtype != b[i].dtype ||
            !same_about(a[i].description, b[i].description) || a[i].rank != b[i].rank)
            return false;
        for (uint32_t j = 0; j < a[i].rank; j++)
            if (a[i].shape[j] != b[i].shape[j])
                return false;
    }
    return true;
}

static bool same_metadata(const struct gp_metadata *a, const struct gp_metadata *b)
{
    return same_about(a->name, b->name) && same_about(a->version, b->version) &&
           same_about(a->server, b->server) &&
           same_about(a->description, b->description) && a->n_inputs == b->n_inputs &&
           a->n_outputs == b->n_outputs && same_ios(a->inputs, b->inputs, a->n_inputs) &&
           same_ios(a->outputs, b->outputs, a->n_outputs);
}

static bool same(const struct message *a, const struct message *b)
{
    if (a->kind == 'm')
        return same_metadata(&a->metadata, &b->metadata);
    if (a->kind == 'r')
        return a->request.kind == b->request.kind &&
               same_calls(&a->request.call, &b->request.call);
    const struct gp_response *before = &a->response, *after = &b->response;
    if (before->error_message) /* cut, and made UTF-8 */
        return after->error_message != NULL;
    return !after->error_message && before->n_outputs == after->n_outputs &&
           fuzz_same_tensors(before->outputs, after->outputs, before->n_outputs);
}

/* The one thing that can be read and not written: inputs of which only some are named. */
static bool is_half_named(const struct message *message)
{
    const struct gp_call *call = &message->request.call;
    uint32_t n_named = 0;
    for (uint32_t i = 0; message->kind == 'r' && i < call->n_inputs; i++)
        n_named += call->inputs[i].name && call->inputs[i].name[0];
    return n_named > 0 && n_named < call->n_inputs;
}

static void check_misaligned(struct gp_arena *arena, const uint8_t *bytes, size_t size,
                             const struct message *message)
{
    struct message moved = {.kind = message->kind};
    void *block;
    const unsigned char *copy = fuzz_copy(bytes, size, 1 + size % 7, &block);
    FUZZ_CHECK(decode(arena, copy, size, &moved, NULL) == GP_OK);
    FUZZ_CHECK(same(message, &moved));
    free(block);
}

/* What the writer wrote is read; the message it holds goes to *again. */
static unsigned char *rewrite(struct gp_arena *arena, const struct message *message,
                              unsigned flags, struct message *again,
                              struct gp_encoding *out)
{
    FUZZ_CHECK(encode(arena, message, flags, out) == GP_OK);
    unsigned char *joined = fuzz_join(out);
    struct gp_error err;
    again->kind = message->kind;
    /* 2018 has float32 for bfloat16: twice the bytes */
    const enum gp_status status = decode(arena, joined, out->size_bytes, again, &err);
    FUZZ_CHECK(status == GP_OK || (flags && status == GP_TOO_LARGE));
    return joined;
}

static void check(const uint8_t *bytes, size_t size, char kind)
{
    struct gp_arena *arena = gp_arena_create();
    struct message message = {.kind = kind}, again, last;
    struct gp_encoding encoding, twice;
    struct gp_error err;
    FUZZ_CHECK(arena);
    const enum gp_status status = decode(arena, bytes, size, &message, &err);
    if (status != GP_OK)
        fuzz_check_refusal(status, &err);
    if (status == GP_OK && is_half_named(&message)) {
        FUZZ_CHECK(encode(arena, &message, 0, &encoding) == GP_INVALID);
    } else if (status == GP_OK) {
        check_misaligned(arena, bytes, size, &message);
        unsigned char *first = rewrite(arena, &message, 0, &again, &encoding);
        FUZZ_CHECK(same(&message, &again));
        unsigned char *second = rewrite(arena, &again, 0, &last, &twice);
        FUZZ_CHECK(encoding.size_bytes == twice.size_bytes);
        for (size_t i = 0; i < twice.size_bytes; i++)
            FUZZ_CHECK(first[i] == second[i]);
        free(second);
        free(rewrite(arena, &message, GP_ENCODE_2018, &last, &twice));
        free(first);
    }
    gp_arena_destroy(arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    check(bytes, size, 'r');
    check(bytes, size, 'a');
    check(bytes, size, 'm');
    return 0;
}
