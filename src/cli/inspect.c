/* graphpipe inspect: shows what a model takes and gives. A server is asked for its
 * metadata; a file is opened and described by its engine, so that both lead to the same
 * table. */
#include "cli/cli.h"

#include "base/place.h"
#include "cli/about.h"
#include "cli/engine_flags.h"
#include "engine/engine.h"
#include "engine/isolate.h"
#include "wire/metadata_json.h"

#include <graphpipe/client.h>

#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POOL_BYTES = 1 << 20 };

struct inspect_values {
    const char *engine;
    const char *engine_dir;
    struct option_list engine_options;
    struct engine_flags engine_flags;
    uint32_t timeout_ms;
    bool as_json;
};

#define AT(field) OPTION_AT(inspect_values, field)
static const struct option inspect_options[] = {
    {.name = "json", .kind = OPTION_FLAG, AT(as_json), .help = "print a JSON object"},
    {.name = "timeout",
     .argument = "TIME",
     .kind = OPTION_DURATION,
     AT(timeout_ms),
     .fallback = "10s",
     .help = "give up on a server after this long"},
    {.group = "For files", ENGINE_ROW, AT(engine)},
    {ENGINE_DIR_ROW, AT(engine_dir)},
    {ENGINE_OPTION_ROW, AT(engine_options)},
    ENGINE_FLAGS(inspect_values, engine_flags),
};
#undef AT

static int print(const struct inspect_values *values, const struct gp_metadata *metadata)
{
    struct text text = {0};
    if (values->as_json)
        metadata_write_json(&text, metadata);
    else
        about_write(&text, metadata);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

static int inspect_server(const struct inspect_values *values, const char *address)
{
    const struct gp_client_options options = {.size_bytes = sizeof options,
                                              .timeout_ms = values->timeout_ms};
    struct gp_error err;
    struct gp_client *client = gp_client_create(address, &options, &err);
    if (!client)
        return cli_fail("%s", err.message);
    const struct gp_metadata *metadata;
    struct gp_result *result = NULL;
    const int status = gp_client_metadata(client, &metadata, &result, &err) == GP_OK
                           ? print(values, metadata)
                           : cli_fail("%s", err.message);
    gp_result_destroy(result);
    gp_client_destroy(client);
    return status;
}

/* The framework's version: some engines know it only once its library is loaded. */
static const char *version_of(const struct gp_engine *engine,
                              const struct gp_engine_options *options)
{
    const char *version = NULL, *path;
    if (engine->probe && engine->probe(options, &version, &path, NULL) == GP_OK &&
        version)
        return version;
    return engine->version ? engine->version : "";
}

static int describe_model(const struct inspect_values *values,
                          const struct gp_engine_options *options,
                          const struct gp_engine *engine, void *model)
{
    struct gp_error err;
    struct gp_description about = {.size_bytes = sizeof about};
    if (engine->describe(model, &about, &err) != GP_OK)
        return cli_fail("%s", err.message);
    char name[256], server[256];
    const char *version = version_of(engine, options);
    (void)snprintf(server, sizeof server, "%s%s%s%s%s", engine->name, *version ? " " : "",
                   version, about.summary && *about.summary ? "  " : "",
                   about.summary ? about.summary : "");
    const struct gp_metadata metadata = {
        .name = about.name && *about.name
                    ? about.name
                    : engine_model_name(options->model_path, name, sizeof name),
        .version = about.version,
        .server = server,
        .description = about.description,
        .inputs = about.inputs,
        .outputs = about.outputs,
        .n_inputs = about.n_inputs,
        .n_outputs = about.n_outputs};
    return print(values, &metadata);
}

/* In a process of its own, for an engine that only runs there; the pool is for runs,
 * which there are none of. */
static int inspect_isolated(const struct inspect_values *values, const char *name,
                            const struct gp_engine_options *options)
{
    struct gp_error err;
    struct isolate *isolate;
    struct pool *pool = pool_create(POOL_BYTES);
    const struct isolate_options isolate_options = {
        .name = name, .engine_dir = values->engine_dir, .pool = pool, .engine = options};
    int status;
    if (!pool) {
        status = cli_fail("out of memory");
    } else if (isolate_open(&isolate_options, &isolate, &err) != GP_OK) {
        status = cli_fail("%s", err.message);
    } else {
        status = describe_model(values, options, isolate_engine(isolate), isolate);
        isolate_engine(isolate)->close(isolate);
    }
    pool_destroy(pool);
    return status;
}

static int inspect_plugin(const struct inspect_values *values, const char *name,
                          const struct gp_engine_options *options)
{
    struct gp_error err;
    const struct gp_engine *engine;
    void *model;
    if (engine_load(name, values->engine_dir, &engine, &err) != GP_OK ||
        engine->open(options, &model, &err) != GP_OK)
        return cli_fail("%s", err.message);
    const int status = describe_model(values, options, engine, model);
    engine->close(model);
    return status;
}

static int inspect_file(const struct inspect_values *values, const char *path)
{
    struct gp_error err;
    bool is_isolated;
    const char *name = values->engine;
    if (!name && engine_guess(path, &name, &err) != GP_OK)
        return cli_fail("%s", err.message);
    struct place place;
    place_find(&place);
    const struct gp_engine_options options = {.size_bytes = sizeof options,
                                              .n_slots = 1,
                                              .n_cores = place.n_cores,
                                              .model_path = path,
                                              .options = values->engine_options.items,
                                              .n_options = values->engine_options.n};
    if (engine_isolates(name, values->engine_dir, &is_isolated, &err) != GP_OK)
        return cli_fail("%s", err.message);
    return (is_isolated ? inspect_isolated : inspect_plugin)(values, name, &options);
}

/* HOST:PORT, without "http://" in front. */
static bool is_host_and_port(const char *word)
{
    const char *colon = strrchr(word, ':');
    return colon && colon[1] && !colon[1 + strspn(colon + 1, "0123456789")];
}

static int inspect_run(struct options *options)
{
    const struct inspect_values *values = options->values;
    const char *word = options->words.items[0];
    struct stat info;
    struct gp_error err;
    if (options_join(options, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    const bool is_file = stat(word, &info) == 0 || values->engine;
    if (!is_file &&
        (strstr(word, "://") || strncmp(word, "unix:", 5) == 0 || is_host_and_port(word)))
        return inspect_server(values, cli_address(options->arena, word));
    return inspect_file(values, word);
}

const struct command inspect_command = {
    .name = "inspect",
    .summary = "show what a model takes and gives, of a server or a file",
    .usage = "[OPTIONS] ADDRESS|FILE",
    .about = "Prints the model's name and version, and the name, type and shape of its "
             "inputs\n"
             "and outputs (-1: any size). ADDRESS is http://HOST:PORT, HOST:PORT or\n"
             "unix:/path/of/socket; a FILE or folder is opened as \"graphpipe serve\" "
             "would.\n",
    .examples = "  graphpipe inspect http://127.0.0.1:9000\n"
                "  graphpipe inspect model.onnx\n"
                "  graphpipe inspect --json unix:/run/graphpipe.sock\n",
    .options = inspect_options,
    .n_options = sizeof inspect_options / sizeof *inspect_options,
    .values_size = sizeof(struct inspect_values),
    .min_words = 1,
    .max_words = 1,
    .run = inspect_run,
};
