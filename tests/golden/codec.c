/* What the Python tests of this folder call:
 *
 *     golden_codec decode KIND FILE...       a line for each file: the message as JSON,
 * or the error; bytes in hexadecimal golden_codec recode KIND IN OUT [2018] decodes IN
 * and encodes it again into OUT
 *
 * KIND is request, response or metadata: a message does not say which it is. With recode,
 * the tests need no way to tell C what to write: they let the official library write it
 * first.
 */
#include "base/text.h"

#include <graphpipe/message.h>

#include <stdlib.h>
#include <string.h>

struct message {
    char kind; /* the first letter of KIND */
    struct gp_request request;
    struct gp_response response;
    struct gp_metadata metadata;
};

static unsigned char *read_file(const char *path, size_t *size_bytes)
{
    FILE *file = fopen(path, "rb");
    unsigned char *bytes = NULL;
    if (file && fseek(file, 0, SEEK_END) == 0) {
        *size_bytes = (size_t)ftell(file);
        /* no larger than the message, so that reading past its end is seen */
        bytes = malloc(*size_bytes ? *size_bytes : 1);
        rewind(file);
        if (bytes && fread(bytes, 1, *size_bytes, file) != *size_bytes)
            bytes = NULL;
    }
    if (file)
        fclose(file);
    if (!bytes) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    return bytes;
}

static enum gp_status decode(struct gp_arena *arena, const void *bytes, size_t size,
                             struct message *message, struct gp_error *err)
{
    if (message->kind == 'r')
        return gp_request_decode(arena, bytes, size, 0, &message->request, err);
    if (message->kind == 'a')
        return gp_response_decode(arena, bytes, size, 0, &message->response, err);
    return gp_metadata_decode(arena, bytes, size, &message->metadata, err);
}

static enum gp_status encode(struct gp_arena *arena, const struct message *message,
                             unsigned flags, struct gp_encoding *out,
                             struct gp_error *err)
{
    if (message->kind == 'm')
        return gp_metadata_encode(arena, &message->metadata, flags, out, err);
    if (message->kind == 'r')
        return message->request.kind == GP_REQUEST_METADATA
                   ? gp_metadata_request_encode(arena, out, err)
                   : gp_request_encode(arena, &message->request.call, out, err);
    const struct gp_response *response = &message->response;
    if (!response->error_message)
        return gp_response_encode(arena, response->outputs, response->n_outputs, flags,
                                  out, err);
    struct gp_error failure;
    gp_error_set(&failure, (enum gp_status)response->error_code, "%s",
                 response->error_message);
    return gp_error_encode(arena, &failure, out, err);
}

static void put_hex(struct text *text, const void *bytes, size_t size)
{
    text_puts(text, "\"");
    for (size_t i = 0; i < size; i++)
        text_printf(text, "%02x", ((const unsigned char *)bytes)[i]);
    text_puts(text, "\"");
}

static void put_key(struct text *text, const char *key)
{
    const char last = text->size_bytes ? text->data[text->size_bytes - 1] : '{';
    text_printf(text, last == '{' || last == '[' ? "\"%s\": " : ", \"%s\": ", key);
}

static void put_string(struct text *text, const char *key, const char *value)
{
    put_key(text, key);
    text_json_puts(text, value);
}

static void put_names(struct text *text, const char *key, const char *const *names,
                      uint32_t n)
{
    put_key(text, key);
    text_puts(text, "[");
    for (uint32_t i = 0; i < n; i++) {
        text_puts(text, i ? ", " : "");
        text_json_puts(text, names[i]);
    }
    text_puts(text, "]");
}

static void put_shape(struct text *text, const int64_t *shape, uint32_t rank)
{
    put_key(text, "shape");
    text_puts(text, "[");
    for (uint32_t i = 0; i < rank; i++)
        text_printf(text, i ? ", %lld" : "%lld", (long long)shape[i]);
    text_puts(text, "]");
}

static void put_tensors(struct text *text, const char *key,
                        const struct gp_tensor *tensors, uint32_t n)
{
    put_key(text, key);
    text_puts(text, "[");
    for (uint32_t k = 0; k < n; k++) {
        const struct gp_tensor *tensor = &tensors[k];
        text_puts(text, k ? ", {" : "{");
        put_string(text, "type", gp_dtype_name(tensor->dtype));
        put_shape(text, tensor->shape, tensor->rank);
        put_key(text, tensor->dtype == GP_STRING ? "strings_hex" : "data_hex");
        const struct gp_string *strings = tensor->data;
        if (tensor->dtype == GP_STRING) {
            text_puts(text, "[");
            for (size_t i = 0; i < tensor->size_bytes / sizeof *strings; i++) {
                text_puts(text, i ? ", " : "");
                put_hex(text, strings[i].data, strings[i].size_bytes);
            }
            text_puts(text, "]");
        } else {
            put_hex(text, tensor->data, tensor->size_bytes);
        }
        text_puts(text, "}");
    }
    text_puts(text, "]");
}

static void put_request(struct text *text, const struct gp_request *request)
{
    const struct gp_call *call = &request->call;
    const int is_infer = request->kind == GP_REQUEST_INFER;
    put_string(text, "message", is_infer ? "InferRequest" : "MetadataRequest");
    if (!is_infer)
        return;
    put_string(text, "config", call->config);
    const uint32_t n_names = call->n_inputs && call->inputs[0].name ? call->n_inputs : 0;
    const char **names = malloc((n_names + 1) * sizeof *names);
    for (uint32_t i = 0; names && i < n_names; i++)
        names[i] = call->inputs[i].name;
    put_names(text, "input_names", names, n_names);
    free(names);
    put_names(text, "output_names", call->output_names, call->n_outputs);
    put_tensors(text, "input_tensors", call->inputs, call->n_inputs);
}

static void put_response(struct text *text, const struct gp_response *response)
{
    put_string(text, "message", "InferResponse");
    put_tensors(text, "output_tensors", response->outputs, response->n_outputs);
    put_key(text, "errors");
    text_puts(text, "[");
    if (response->error_message) {
        text_printf(text, "{\"code\": %lld", (long long)response->error_code);
        put_string(text, "message", response->error_message);
        text_puts(text, "}");
    }
    text_puts(text, "]");
}

static void put_ios(struct text *text, const char *key, const struct gp_io *ios,
                    uint32_t n)
{
    put_key(text, key);
    text_puts(text, "[");
    for (uint32_t k = 0; k < n; k++) {
        const struct gp_io *io = &ios[k];
        text_puts(text, k ? ", {" : "{");
        put_string(text, "name", io->name);
        put_string(text, "description", io->description);
        put_shape(text, io->shape, io->rank);
        put_string(text, "type", gp_dtype_name(io->dtype));
        text_puts(text, "}");
    }
    text_puts(text, "]");
}

static void put_metadata(struct text *text, const struct gp_metadata *metadata)
{
    put_string(text, "message", "MetadataResponse");
    put_string(text, "name", metadata->name);
    put_string(text, "version", metadata->version);
    put_string(text, "server", metadata->server);
    put_string(text, "description", metadata->description);
    put_ios(text, "inputs", metadata->inputs, metadata->n_inputs);
    put_ios(text, "outputs", metadata->outputs, metadata->n_outputs);
}

static void print(const struct message *message, enum gp_status status,
                  const struct gp_error *err)
{
    struct text text = {0};
    text_puts(&text, "{");
    if (status != GP_OK) {
        put_string(&text, "status", gp_status_name(status));
        put_string(&text, "error", err->message);
    } else if (message->kind == 'r') {
        put_request(&text, &message->request);
    } else if (message->kind == 'a') {
        put_response(&text, &message->response);
    } else {
        put_metadata(&text, &message->metadata);
    }
    text_puts(&text, "}");
    puts(text.data);
    text_finish(&text);
}

static int write_parts(const char *path, const struct gp_encoding *encoding)
{
    FILE *file = fopen(path, "wb");
    if (!file)
        return 2;
    for (size_t i = 0; i < encoding->n_parts; i++)
        fwrite(encoding->parts[i].iov_base, 1, encoding->parts[i].iov_len, file);
    return fclose(file) ? 2 : 0;
}

int main(int argc, char **argv)
{
    struct message message = {.kind = argc > 3 ? argv[2][0] : 0};
    struct gp_arena *arena = gp_arena_create();
    struct gp_error err = {0};
    if (!arena || argc < 4)
        return 2;
    if (strcmp(argv[2], "response") == 0)
        message.kind = 'a'; /* for answer; the r is the request's */
    int result = 0;
    const int is_recode = strcmp(argv[1], "recode") == 0;
    for (int i = 3; i < (is_recode ? 4 : argc); i++) {
        size_t size;
        unsigned char *bytes = read_file(argv[i], &size);
        enum gp_status status = decode(arena, bytes, size, &message, &err);
        if (!is_recode || status != GP_OK) {
            print(&message, status, &err);
        } else {
            struct gp_encoding encoding;
            const unsigned flags = argc > 5 ? GP_ENCODE_2018 : 0;
            status = encode(arena, &message, flags, &encoding, &err);
            if (status == GP_OK)
                result = write_parts(argv[4], &encoding);
            else
                print(&message, status, &err);
        }
        free(bytes);
        gp_arena_reset(arena);
    }
    gp_arena_destroy(arena);
    return result;
}
