/* graphpipe infer: reads the inputs, asks once, prints or saves the answer. Inputs are
 * sent straight from their files. Answers have no names in the protocol, so outputs get
 * the names that were requested, or else those in the server's metadata, or their
 * number. */
#include "cli/cli.h"

#include "base/clock.h"
#include "cli/input.h"
#include "cli/npy.h"
#include "cli/tensor_text.h"
#include "wire/shape.h"

#include <graphpipe/client.h>

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

enum { FLUSH_BYTES = 64 * 1024 };

struct infer_values {
    struct option_list inputs;
    struct option_list outputs;
    const char *config;
    const char *save;
    const char *save_dir;
    uint32_t timeout_ms;
    bool as_json;
};

#define AT(field) OPTION_AT(infer_values, field)
static const struct option infer_options[] = {
    {INPUT_ROW, AT(inputs)},
    {OUTPUT_ROW, AT(outputs)},
    {.name = "config",
     .argument = "TEXT",
     .kind = OPTION_TEXT,
     AT(config),
     .help = "passed to the engine with the request"},
    {.name = "timeout",
     .argument = "TIME",
     .kind = OPTION_DURATION,
     AT(timeout_ms),
     .help = "give up after this long, as 500ms or 10s"},
    {.name = "save",
     .argument = "FILE.npy",
     .kind = OPTION_TEXT,
     AT(save),
     .help = "write the one output there; - is standard output"},
    {.name = "save-dir",
     .argument = "DIR",
     .kind = OPTION_TEXT,
     AT(save_dir),
     .help = "write each output to DIR/NAME.npy"},
    {.name = "json",
     .kind = OPTION_FLAG,
     AT(as_json),
     .help = "print all elements as one JSON object"},
};
#undef AT

/* One call, from the command line to its answer. */
struct session {
    const struct infer_values *values;
    struct gp_arena *arena;
    struct inputs inputs;
    struct gp_client *client;
    struct gp_result *result;
    struct gp_result *about; /* holds metadata */
    const struct gp_metadata *metadata;
    double time_ms;
};

static enum gp_status ask_model(struct session *s, const char *address,
                                struct gp_error *err)
{
    const struct gp_client_options options = {.size_bytes = sizeof options,
                                              .timeout_ms = s->values->timeout_ms};
    s->client = gp_client_create(address, &options, err);
    if (!s->client)
        return err->status;
    const struct gp_call call = {.size_bytes = sizeof call,
                                 .n_inputs = s->inputs.n,
                                 .inputs = s->inputs.tensors,
                                 .output_names = s->values->outputs.items,
                                 .n_outputs = (uint32_t)s->values->outputs.n,
                                 .config = s->values->config};
    const int64_t start = clock_now_ns();
    const enum gp_status status = gp_client_infer(s->client, &call, &s->result, err);
    s->time_ms = (double)(clock_now_ns() - start) / (double)CLOCK_MS;
    return status;
}

/* Without names on the command line the server is asked for them; if it cannot tell them
 * the answer is still worth showing. */
static void learn_names(struct session *s)
{
    if (s->values->outputs.n == 0 &&
        gp_client_metadata(s->client, &s->metadata, &s->about, NULL) != GP_OK)
        s->metadata = NULL;
}

/* In `name` or elsewhere. */
static const char *output_name(const struct session *s, uint32_t i, char *name,
                               size_t size)
{
    if (i < s->values->outputs.n)
        return s->values->outputs.items[i];
    if (s->metadata && i < s->metadata->n_outputs && s->metadata->outputs[i].name[0])
        return s->metadata->outputs[i].name;
    (void)snprintf(name, size, "output%u", i);
    return name;
}

static void write_json_output(struct text *text, const char *name,
                              const struct gp_tensor *tensor)
{
    text_puts(text, "{\"name\":");
    text_json_puts(text, name);
    text_printf(text, ",\"dtype\":\"%s\",\"shape\":[", gp_dtype_name(tensor->dtype));
    for (uint32_t i = 0; i < tensor->rank; i++)
        text_printf(text, "%s%lld", i ? "," : "", (long long)tensor->shape[i]);
    text_puts(text, "],\"data\":[");
    const size_t n = tensor_count(tensor);
    for (size_t i = 0; i < n; i++) {
        if (i)
            text_puts(text, ",");
        tensor_write_json(text, tensor, i);
        if (text->size_bytes > FLUSH_BYTES)
            (void)cli_flush(text);
    }
    text_puts(text, "]}");
}

static void write_json(struct text *text, const struct session *s)
{
    text_puts(text, "{\"outputs\":[");
    for (uint32_t i = 0; i < gp_result_count(s->result); i++) {
        char name[32];
        if (i)
            text_puts(text, ",");
        write_json_output(text, output_name(s, i, name, sizeof name),
                          gp_result_output(s->result, i));
    }
    text_printf(text, "],\"time_ms\":%.3f}\n", s->time_ms);
}

static void write_lines(struct text *text, const struct session *s)
{
    const uint32_t n = gp_result_count(s->result);
    size_t width = 0;
    char name[32];
    if (n == 0)
        text_puts(text, "no outputs\n");
    for (uint32_t i = 0; i < n; i++) {
        struct text shown = {0};
        text_foreign_puts(&shown, output_name(s, i, name, sizeof name));
        const size_t size = cli_width(shown.data, shown.size_bytes);
        width = size > width ? size : width;
        text_finish(&shown);
    }
    for (uint32_t i = 0; i < n; i++) {
        const struct gp_tensor *tensor = gp_result_output(s->result, i);
        const size_t start = text->size_bytes;
        text_foreign_puts(text, output_name(s, i, name, sizeof name));
        cli_pad(text, start, width + 2);
        shape_write(text, tensor->dtype, tensor->shape, tensor->rank);
        text_puts(text, "  ");
        tensor_write_summary(text, tensor);
        text_puts(text, "\n");
    }
}

static enum gp_status save_one(struct session *s, uint32_t i, const char *path,
                               struct gp_error *err)
{
    struct gp_encoding content;
    const enum gp_status status =
        npy_encode(s->arena, gp_result_output(s->result, i), &content, err);
    if (status == GP_OK)
        return file_write(path, &content, err);
    const struct gp_error cause = *err;
    return gp_error_set(err, status, "%.*s: %s", gp_cut(path, 200), path, cause.message);
}

/* DIR/NAME.npy, with characters replaced that do not belong in a file name; a name that
 * occurred before gets the output's number. */
static void output_path(const struct session *s, uint32_t i, char *path, size_t size)
{
    char number[32], earlier[32];
    const char *name = output_name(s, i, number, sizeof number);
    bool is_taken = false;
    for (uint32_t j = 0; j < i && !is_taken; j++)
        is_taken = strcmp(output_name(s, j, earlier, sizeof earlier), name) == 0;
    int n = snprintf(path, size, "%s/", s->values->save_dir);
    const int start = n;
    n += (int)gp_text_show(path + n, 200, name, strlen(name));
    for (char *c = path + start; *c; c++)
        if (strchr("/:\\", *c) || (*c == '.' && c == path + start))
            *c = '_';
    if (is_taken)
        n += snprintf(path + n, size - (size_t)n, "-%u", i);
    (void)snprintf(path + n, size - (size_t)n, ".npy");
}

static enum gp_status save_all(struct session *s, struct gp_error *err)
{
    const char *folder = s->values->save_dir;
    if (strlen(folder) > 3000)
        return gp_error_set(err, GP_INVALID, "the folder's name is too long");
    if (mkdir(folder, 0777) != 0 && errno != EEXIST)
        return gp_error_set(err, GP_IO, "%s: %s", folder, strerror(errno));
    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < gp_result_count(s->result) && status == GP_OK; i++) {
        char path[4096];
        output_path(s, i, path, sizeof path);
        status = save_one(s, i, path, err);
    }
    return status;
}

static enum gp_status save_outputs(struct session *s, struct gp_error *err)
{
    const uint32_t n = gp_result_count(s->result);
    if (s->values->save && n != 1)
        return gp_error_set(err, GP_INVALID,
                            "--save is for one output and %u came: choose one "
                            "with -o NAME, or use --save-dir",
                            n);
    const enum gp_status status =
        s->values->save ? save_one(s, 0, s->values->save, err) : GP_OK;
    return status == GP_OK && s->values->save_dir ? save_all(s, err) : status;
}

static enum gp_status report(struct session *s, struct gp_error *err)
{
    learn_names(s);
    const enum gp_status status = save_outputs(s, err);
    if (status != GP_OK || (s->values->save && strcmp(s->values->save, "-") == 0))
        return status;
    struct text text = {0};
    if (s->values->as_json)
        write_json(&text, s);
    else
        write_lines(&text, s);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "out of memory");
}

static int infer_run(struct options *options)
{
    struct session s = {.values = options->values, .arena = options->arena};
    struct gp_error err;
    enum gp_status status =
        inputs_open(&s.inputs, s.arena, &options->words, &s.values->inputs, &err);
    if (status == GP_OK)
        status = ask_model(&s, cli_address(s.arena, options->words.items[0]), &err);
    if (status == GP_OK)
        status = report(&s, &err);
    gp_result_destroy(s.about);
    gp_result_destroy(s.result);
    gp_client_destroy(s.client);
    inputs_close(&s.inputs);
    return status == GP_OK ? CLI_OK : cli_fail("%s", err.message);
}

const struct command infer_command = {
    .name = "infer",
    .summary = "ask a model: send tensors, print or save the answer",
    .usage = "[OPTIONS] ADDRESS [[NAME=]INPUT]...",
    .about =
        "Sends the inputs to the server at ADDRESS (http://HOST:PORT, HOST:PORT, :PORT "
        "or\n"
        "unix:/path/of/socket) and prints the answer. An INPUT is\n"
        "  FILE.npy             an array from numpy.save; - reads one from standard "
        "input\n"
        "  TYPE[SHAPE]:VALUES   written out: float32[2,2]:1,2,3,4  string[2]:\"a, b\",c\n"
        "                       or one for all: f32[1,3,224,224]:0.5, zeros or random\n"
        "  TYPE[SHAPE]:@FILE    raw little-endian bytes; string:@FILE is one string of "
        "them\n"
        "Types: bool, int8 to int64, uint8 to uint64, float16, bfloat16, float32, "
        "float64,\n"
        "string; for short i8, u8, f16, bf16, str and so on. One size in SHAPE may be "
        "-1: "
        "as\n"
        "many as there are. Nothing is converted: a model that wants another type says "
        "so.\n"
        "Inputs without names go by their order.\n",
    .examples =
        "  graphpipe infer http://127.0.0.1:9000 cat.npy\n"
        "  graphpipe infer 127.0.0.1:9000 'float32[1,4]:5.1,3.5,1.4,0.2'\n"
        "  graphpipe infer unix:/run/graphpipe.sock -i input=cat.npy -o probabilities "
        "--save out.npy\n"
        "  graphpipe infer 127.0.0.1:9000 ids=ids.npy mask=mask.npy --json\n",
    .options = infer_options,
    .n_options = sizeof infer_options / sizeof *infer_options,
    .values_size = sizeof(struct infer_values),
    .min_words = 1,
    .max_words = SIZE_MAX,
    .run = infer_run,
};
