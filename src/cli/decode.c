/* graphpipe decode: shows a captured message. The format does not say which of the three
 * messages its bytes are, so each is tried, unless the capture begins with an HTTP head
 * or --as says it. If none fits, the reader that got furthest knows best what is broken,
 * so its error is shown. */
#include "cli/cli.h"

#include "cli/about.h"
#include "cli/capture.h"
#include "cli/file.h"
#include "cli/tensor_text.h"
#include "wire/shape.h"

#include <graphpipe/message.h>

#include <string.h>

enum as { AS_ANY, AS_REQUEST, AS_RESPONSE, AS_METADATA };

struct decode_values {
    uint32_t as; /* enum as */
};

static const struct option decode_options[] = {
    {.name = "as",
     .argument = "any|request|response|metadata",
     .kind = OPTION_CHOICE,
     OPTION_AT(decode_values, as),
     .fallback = "any",
     .help = "the kind of message"},
};

/* Bytes of the elements, including those of strings. */
static size_t element_bytes(const struct gp_tensor *tensor)
{
    if (tensor->dtype != GP_STRING)
        return tensor->size_bytes;
    const struct gp_string *strings = tensor->data;
    size_t size = 0;
    for (size_t i = 0; i < tensor_count(tensor); i++)
        size += strings[i].size_bytes;
    return size;
}

static void write_tensors(struct text *text, const char *heading,
                          const struct gp_tensor *tensors, uint32_t n)
{
    text_printf(text, "%s%s\n", heading, n ? "" : ": none");
    for (uint32_t i = 0; i < n; i++) {
        text_printf(text, "  [%u] ", i);
        if (tensors[i].name) {
            text_foreign_puts(text, tensors[i].name);
            text_puts(text, "  ");
        }
        shape_write(text, tensors[i].dtype, tensors[i].shape, tensors[i].rank);
        text_printf(text, "  %zu bytes  ", element_bytes(&tensors[i]));
        tensor_write_summary(text, &tensors[i]);
        text_puts(text, "\n");
    }
}

static enum gp_status show_request(struct gp_arena *arena, const struct capture *capture,
                                   struct text *text, struct gp_error *err)
{
    struct gp_request request;
    const enum gp_status status =
        gp_request_decode(arena, capture->body, capture->size_bytes, 0, &request, err);
    if (status != GP_OK)
        return status;
    const struct gp_call *call = &request.call;
    text_printf(text, "%s request, %zu bytes\n",
                request.kind == GP_REQUEST_INFER ? "inference" : "metadata",
                capture->size_bytes);
    if (request.kind != GP_REQUEST_INFER)
        return GP_OK;
    if (call->config && *call->config) {
        text_puts(text, "config  ");
        text_json_puts(text, call->config);
        text_puts(text, "\n");
    }
    write_tensors(text, "inputs", call->inputs, call->n_inputs);
    text_printf(text, "requested outputs%s\n",
                call->n_outputs ? "" : ": the default ones");
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        text_printf(text, "  [%u] ", i);
        text_foreign_puts(text, call->output_names[i]);
        text_puts(text, "\n");
    }
    return GP_OK;
}

static enum gp_status show_response(struct gp_arena *arena, const struct capture *capture,
                                    struct text *text, struct gp_error *err)
{
    struct gp_response response;
    const enum gp_status status =
        gp_response_decode(arena, capture->body, capture->size_bytes, 0, &response, err);
    if (status != GP_OK)
        return status;
    text_printf(text, "inference response, %zu bytes\n", capture->size_bytes);
    if (!response.error_message) {
        write_tensors(text, "outputs", response.outputs, response.n_outputs);
        return GP_OK;
    }
    text_printf(text, "error  %lld (%s)  ", (long long)response.error_code,
                gp_status_name((enum gp_status)response.error_code));
    text_foreign_puts(text, response.error_message);
    text_puts(text, "\n");
    return GP_OK;
}

static enum gp_status show_metadata(struct gp_arena *arena, const struct capture *capture,
                                    struct text *text, struct gp_error *err)
{
    struct gp_metadata metadata;
    const enum gp_status status =
        gp_metadata_decode(arena, capture->body, capture->size_bytes, &metadata, err);
    if (status != GP_OK)
        return status;
    text_printf(text, "metadata response, %zu bytes\n", capture->size_bytes);
    about_write(text, &metadata);
    return GP_OK;
}

/* How far a reader got: the number of steps in the path at the start of its message. */
static size_t depth(const struct gp_error *err)
{
    size_t n = 0;
    for (const char *c = err->message; *c && *c != ' '; c++)
        n += *c == '.' || *c == '[';
    return n;
}

/* Tries the possible kinds, and shows the first that fits. */
static enum gp_status show_message(struct gp_arena *arena, const struct capture *capture,
                                   enum as as, struct text *text, struct gp_error *err)
{
    typedef enum gp_status show_fn(struct gp_arena *, const struct capture *,
                                   struct text *, struct gp_error *);
    static show_fn *const shows[] = {show_request, show_response, show_metadata};
    const bool may[] = {as == AS_REQUEST || (as == AS_ANY && !capture->is_response),
                        as == AS_RESPONSE || (as == AS_ANY && !capture->is_request),
                        as == AS_METADATA || (as == AS_ANY && !capture->is_request)};
    bool has_failed = false;
    for (size_t i = 0; i < 3; i++) {
        struct gp_error failure;
        if (!may[i])
            continue;
        if (shows[i](arena, capture, text, &failure) == GP_OK)
            return GP_OK;
        if (!has_failed || depth(&failure) > depth(err))
            *err = failure;
        has_failed = true;
    }
    return err->status;
}

static int decode_run(struct options *options)
{
    const struct decode_values *values = options->values;
    struct gp_error err;
    struct file file;
    if (file_open(&file, options->words.items[0], GP_MAX_MESSAGE_BYTES, &err) != GP_OK)
        return cli_fail("%s", err.message);
    struct capture capture = {.body = file.data, .size_bytes = file.size_bytes};
    struct text text = {0};
    int status = CLI_OK;
    if (capture_skip_head(options->arena, &capture, &err) != GP_OK ||
        show_message(options->arena, &capture, (enum as)values->as, &text, &err) !=
            GP_OK) {
        status = cli_broken("%s", err.message);
    } else if (!cli_flush(&text)) {
        status = cli_fail("out of memory");
    }
    text_finish(&text);
    file_close(&file);
    return status;
}

const struct command decode_command = {
    .name = "decode",
    .summary = "show a captured message, or where it is broken",
    .usage = "[OPTIONS] FILE",
    .about = "Reads the bytes of one GraphPipe message from FILE (- is standard input), "
             "with or\n"
             "without the HTTP head in front, and prints its contents. If it is\n"
             "broken, the error names the field.\n",
    .examples = "  graphpipe decode captured.bin\n"
                "  graphpipe decode --as response answer.bin\n"
                "  curl -s --data-binary @request.bin http://127.0.0.1:9000 | graphpipe "
                "decode -\n",
    .options = decode_options,
    .n_options = sizeof decode_options / sizeof *decode_options,
    .values_size = sizeof(struct decode_values),
    .min_words = 1,
    .max_words = 1,
    .run = decode_run,
};
