/* Each message is encoded once. Small ones are copied behind their head, so that they are
 * sent as one piece; large tensors are sent in place. */
#include "cli/bench_message.h"

#include "cli/capture.h"
#include "client/roundtrip.h"
#include "http/http.h"
#include "wire/shape.h"

#include <graphpipe/client.h>

#include <string.h>

enum { HEAD_BYTES = 8192, COPIED_BYTES = 64 * 1024 };

static enum gp_status no_memory(struct gp_error *err)
{
    return gp_error_set(err, GP_NO_MEMORY, "out of memory");
}

static enum gp_status write_head(const struct bench_source *source,
                                 struct gp_arena *arena, size_t body_bytes,
                                 struct iovec *head, struct gp_error *err)
{
    struct client_address address;
    char extra[64] = "";
    head->iov_base = gp_arena_alloc(arena, HEAD_BYTES);
    if (!head->iov_base)
        return no_memory(err);
    if (client_address_init(&address, source->address, err) != GP_OK)
        return err->status;
    if (source->timeout_ms)
        (void)snprintf(extra, sizeof extra, "X-GraphPipe-Timeout-Ms: %u\r\n",
                       source->timeout_ms);
    head->iov_len =
        http_write_request(head->iov_base, HEAD_BYTES,
                           &(struct http_ask){.method = "POST",
                                              .target = address.target,
                                              .host = address.host_field,
                                              .content_type = CLIENT_MEDIA_TYPE,
                                              .accept = CLIENT_MEDIA_TYPE,
                                              .content_length = body_bytes,
                                              .extra = extra});
    client_address_finish(&address);
    return head->iov_len ? GP_OK : gp_error_set(err, GP_INVALID, "the path is too long");
}

/* Joins the parts of a small message to one. */
static bool join_parts(struct bench_message *message, struct gp_arena *arena)
{
    char *joined = gp_arena_alloc(arena, message->size_bytes), *to = joined;
    if (!joined)
        return false;
    for (size_t i = 0; i < message->n_parts; i++) {
        memcpy(to, message->parts[i].iov_base, message->parts[i].iov_len);
        to += message->parts[i].iov_len;
    }
    message->parts[0] = (struct iovec){joined, message->size_bytes};
    message->n_parts = 1;
    return true;
}

/* Puts the head in front of an encoded request. */
static enum gp_status pack(struct bench_message *message, const struct gp_encoding *body,
                           const struct bench_source *source, struct gp_arena *arena,
                           struct gp_error *err)
{
    message->n_parts = body->n_parts + 1;
    message->parts = gp_arena_alloc(arena, message->n_parts * sizeof *message->parts);
    if (!message->parts)
        return no_memory(err);
    if (write_head(source, arena, body->size_bytes, message->parts, err) != GP_OK)
        return err->status;
    memcpy(message->parts + 1, body->parts, body->n_parts * sizeof *body->parts);
    message->size_bytes = message->parts[0].iov_len + body->size_bytes;
    if (message->size_bytes <= COPIED_BYTES && !join_parts(message, arena))
        return no_memory(err);
    return GP_OK;
}

static uint64_t count_rows(const struct gp_call *call)
{
    const bool has_rows = call->n_inputs > 0 && call->inputs[0].rank > 0;
    return has_rows ? (uint64_t)call->inputs[0].shape[0] : 1;
}

/* "image float32[1,3,224,224], mask bool[1]" */
static const char *describe_call(const struct gp_call *call, struct gp_arena *arena)
{
    struct text text = {0};
    for (uint32_t i = 0; i < call->n_inputs && i < 4; i++) {
        const struct gp_tensor *input = &call->inputs[i];
        const bool has_name = input->name && *input->name;
        text_puts(&text, i ? ", " : "");
        text_foreign_puts(&text, has_name ? input->name : "");
        text_puts(&text, has_name ? " " : "");
        shape_write(&text, input->dtype, input->shape, input->rank);
    }
    text_puts(&text, call->n_inputs > 4 ? ", ..." : call->n_inputs ? "" : "no inputs");
    char *copy = text.is_short ? NULL : gp_arena_alloc(arena, text.size_bytes + 1);
    if (copy)
        memcpy(copy, text.data, text.size_bytes + 1);
    text_finish(&text);
    return copy ? copy : "";
}

static enum gp_status make_call(struct bench_message *message, const struct gp_call *call,
                                const struct bench_source *source, struct gp_arena *arena,
                                struct gp_error *err)
{
    struct gp_encoding body;
    const enum gp_status status = gp_request_encode(arena, call, &body, err);
    message->n_rows = count_rows(call);
    message->kind = GP_REQUEST_INFER;
    return status == GP_OK ? pack(message, &body, source, arena, err) : status;
}

/* A captured request is sent with a head of our own. */
static enum gp_status make_recorded(struct bench_message *message, const char *path,
                                    struct bench_source *source, struct gp_arena *arena,
                                    const char **about, struct gp_error *err)
{
    struct file *file = &source->files[source->n_files];
    struct gp_request request;
    if (file_open(file, path, GP_MAX_MESSAGE_BYTES, err) != GP_OK)
        return err->status;
    source->n_files++;
    struct capture capture = {.body = file->data, .size_bytes = file->size_bytes};
    struct gp_error why;
    enum gp_status status = capture_skip_head(arena, &capture, &why);
    if (status == GP_OK)
        status =
            gp_request_decode(arena, capture.body, capture.size_bytes, 0, &request, &why);
    if (status != GP_OK)
        return gp_error_set(err, status, "%.*s: %s", gp_cut(path, 200), path,
                            why.message);
    const bool is_call = request.kind == GP_REQUEST_INFER;
    message->kind = request.kind;
    message->n_rows = is_call ? count_rows(&request.call) : 0;
    *about = is_call ? describe_call(&request.call, arena) : "metadata";
    const struct iovec part = {(void *)(uintptr_t)capture.body, capture.size_bytes};
    const struct gp_encoding body = {&part, 1, capture.size_bytes};
    return pack(message, &body, source, arena, err);
}

static enum gp_status make_all_recorded(struct bench_message *items,
                                        struct bench_messages *messages,
                                        struct bench_source *source,
                                        struct gp_arena *arena, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    source->files = gp_arena_alloc(arena, messages->n * sizeof *source->files);
    if (!source->files)
        return no_memory(err);
    for (uint32_t i = 0; i < messages->n && status == GP_OK; i++) {
        const char *about = "";
        status = make_recorded(&items[i], source->records->items[i], source, arena,
                               &about, err);
        messages->about = i ? messages->about : about;
    }
    return status;
}

/* Asks the server for the model's description. */
static enum gp_status make_all_generated(struct bench_message *items,
                                         struct bench_messages *messages,
                                         const struct bench_source *source,
                                         struct gp_arena *arena, struct gp_error *err)
{
    const struct gp_client_options options = {.size_bytes = sizeof options,
                                              .timeout_ms = source->timeout_ms};
    const struct gp_metadata *metadata;
    struct gp_result *result = NULL;
    struct gp_client *client = gp_client_create(source->address, &options, err);
    if (!client)
        return err->status;
    enum gp_status status = gp_client_metadata(client, &metadata, &result, err);
    for (uint32_t i = 0; i < messages->n && status == GP_OK; i++) {
        struct gp_call call = {.output_names = source->output_names->items,
                               .n_outputs = (uint32_t)source->output_names->n,
                               .config = source->config};
        status = bench_generate(&call, metadata, source, source->seed + i, arena, err);
        if (status == GP_OK)
            status = make_call(&items[i], &call, source, arena, err);
        if (status == GP_OK && i == 0)
            messages->about = describe_call(&call, arena);
    }
    gp_result_destroy(result);
    gp_client_destroy(client);
    return status;
}

enum gp_status bench_messages_make(struct bench_messages *messages,
                                   struct bench_source *source, struct gp_arena *arena,
                                   struct gp_error *err)
{
    const bool is_generated = source->inputs.n == 0 && source->records->n == 0;
    messages->n = is_generated ? source->n_distinct : (uint32_t)source->records->n;
    messages->n = messages->n ? messages->n : 1;
    struct bench_message *items = gp_arena_alloc(arena, messages->n * sizeof *items);
    if (!items)
        return no_memory(err);
    messages->items = items;
    if (source->records->n)
        return make_all_recorded(items, messages, source, arena, err);
    if (is_generated)
        return make_all_generated(items, messages, source, arena, err);
    const struct gp_call call = {.inputs = source->inputs.tensors,
                                 .n_inputs = source->inputs.n,
                                 .output_names = source->output_names->items,
                                 .n_outputs = (uint32_t)source->output_names->n,
                                 .config = source->config};
    messages->about = describe_call(&call, arena);
    return make_call(items, &call, source, arena, err);
}

void bench_source_finish(struct bench_source *source)
{
    inputs_close(&source->inputs);
    for (size_t i = 0; i < source->n_files; i++)
        file_close(&source->files[i]);
}
