/* graphpipe-onnx, graphpipe-tf, graphpipe-batcher and graphpipe-echo, as called in 2018: the same flags
 * and environment, mapped to those of today. Flags that no longer mean anything are accepted,
 * so that old invocations keep working; one that would change the answer is refused, with
 * the remedy. */
#include "cli/cli.h"
#include "cli/config.h"
#include "server/defaults.h"

#include <graphpipe/version.h>

#include <string.h>

struct legacy_values {
    struct serve_values serve; /* what today's flags set */
    const char *model;
    bool wants_version;
    bool wants_cache; /* of the batcher, which has none */
    bool disable_cuda;
    const char *profile;
    const char *value_inputs;
    const char *init_net;
    const char *predict_net;
    const char *target_url;
    const char *target_inputs;
    const char *target_outputs;
    uint32_t batch_size;
    uint32_t timeout_ms;
};

#define AT(field) OPTION_AT(legacy_values, field)
#define LISTEN(where)                                                                    \
    .name = "listen", .letter = 'l', .argument = "ADDRESS", .kind = OPTION_LIST,         \
    AT(serve.listen), .fallback = where, .help = "HOST:PORT or unix:/path"

#define VERBOSE                                                                          \
    {                                                                                    \
        .name = "verbose", .letter = 'v', .kind = OPTION_FLAG, AT(serve.is_verbose),     \
        .help = "log a line for each request"                                            \
    }
#define VERSION                                                                          \
    {                                                                                    \
        .name = "version", .letter = 'V', .kind = OPTION_FLAG, AT(wants_version),        \
        .help = "print the version"                                                      \
    }

/* graphpipe-tf has those before Caffe2's. */
static const struct option program_options[] = {
    {.name = "model",
     .letter = 'm',
     .env = "GP_MODEL",
     .argument = "PATH|URL",
     .kind = OPTION_TEXT,
     AT(model),
     .help = "model to serve"},
    {LISTEN(DEFAULT_LISTEN), .env = "GP_LISTEN"},
    {.name = "inputs",
     .letter = 'i',
     .env = "GP_INPUTS",
     .argument = "NAME,...",
     .kind = OPTION_NAMES,
     AT(serve.inputs),
     .help = "default inputs"},
    {.name = "outputs",
     .letter = 'o',
     .env = "GP_OUTPUTS",
     .argument = "NAME,...",
     .kind = OPTION_NAMES,
     AT(serve.outputs),
     .help = "default outputs"},
    {.name = "engine-count",
     .argument = "N",
     .kind = OPTION_COUNT,
     AT(serve.n_instances),
     .max = 4096,
     .help = "runs at a time"},
    {.name = "cache",
     .letter = 'c',
     .env = "GP_CACHE",
     .kind = OPTION_FLAG,
     AT(serve.is_cached),
     .help = "answer rows that were computed before without the model"},
    {CACHE_DIR_ROW, .letter = 'd', AT(serve.fetch.cache_dir)},
    VERBOSE,
    VERSION,
    {.group = "Accepted without effect",
     .name = "disable-cuda",
     .kind = OPTION_FLAG,
     AT(disable_cuda),
     .help = "models run on the processor anyway"},
    {.name = "profile",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     AT(profile),
     .help = "use a profiler such as perf"},
    {.group = "For Caffe2 models",
     .name = "init-net",
     .env = "GP_INIT_NET",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     AT(init_net),
     .help = "the net that fills the weights"},
    {.name = "predict-net",
     .env = "GP_PREDICT_NET",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     AT(predict_net),
     .help = "the net that computes"},
    {.name = "value-inputs",
     .env = "GP_VALUE_INPUTS",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     AT(value_inputs),
     .help = "types and shapes of its inputs (an ONNX model describes its own)"},
};

enum { N_TF_OPTIONS = sizeof program_options / sizeof *program_options - 3 };

static const struct option echo_options[] = {
    {LISTEN(DEFAULT_LISTEN), .env = "GP_LISTEN"}};

static const struct option batcher_options[] = {
    {.name = "target-url",
     .argument = "URL",
     .kind = OPTION_TEXT,
     AT(target_url),
     .help = "the server that is asked, http://HOST:PORT/MODEL"},
    {LISTEN("127.0.0.1:10000")},
    {.name = "batch-size",
     .argument = "ROWS",
     .kind = OPTION_COUNT,
     AT(batch_size),
     .fallback = "10",
     .min = 1,
     .max = 65536,
     .help = "the most rows of a request to that server"},
    {.name = "timeout",
     .argument = "MS",
     .kind = OPTION_COUNT,
     AT(timeout_ms),
     .fallback = "250",
     .max = 10000,
     .help = "milliseconds that a request waits for others"},
    {.name = "workers",
     .argument = "N",
     .kind = OPTION_COUNT,
     AT(serve.n_instances),
     .fallback = "1",
     .min = 1,
     .max = 4096,
     .help = "requests to that server at a time"},
    {.name = "inputs",
     .letter = 'i',
     .argument = "NAME,...",
     .kind = OPTION_TEXT,
     AT(target_inputs),
     .help = "its inputs (default: it is asked)"},
    {.name = "outputs",
     .letter = 'o',
     .argument = "NAME,...",
     .kind = OPTION_TEXT,
     AT(target_outputs),
     .help = "its outputs (default: it is asked)"},
    VERBOSE,
    VERSION,
    {.group = "Accepted without effect",
     .name = "cache",
     .letter = 'c',
     .kind = OPTION_FLAG,
     AT(wants_cache),
     .help = "that server may have a cache: graphpipe serve --cache"},
    {.name = "cache-dir",
     .letter = 'd',
     .argument = "DIR",
     .kind = OPTION_TEXT,
     AT(serve.fetch.cache_dir),
     .help = "nor a place for it"},
};
#undef VERSION
#undef VERBOSE
#undef LISTEN
#undef AT

static int serve(const char *engine, const struct options *options)
{
    struct legacy_values *values = options->values;
    struct gp_model_options model;
    struct gp_server_options server;
    struct gp_error err;
    values->serve.engine = engine;
    models_fill_settings(&values->serve, &model);
    model.path = values->model;
    if (config_fill_server(&values->serve, options->arena, &server, &err) != GP_OK)
        return cli_fail("%s", err.message);
    server.models = &model;
    server.n_models = 1;
    server.takes_any_path = 1;
    return serve_until_stopped(&server, &values->serve.fetch, NULL);
}

static int print_version(void)
{
    (void)printf("graphpipe %s\n", gp_version());
    return CLI_OK;
}

static int serve_model(const char *program, const char *engine,
                       const struct options *options)
{
    const struct legacy_values *values = options->values;
    if (values->wants_version)
        return print_version();
    if (!values->model)
        return cli_misuse("which model? Set --model PATH or GP_MODEL\n"
                          "Try: %s --help",
                          program);
    if (values->profile)
        cli_warn("--profile does nothing: use a profiler such as perf");
    return serve(engine, options);
}

static int tf_run(struct options *options)
{
    return serve_model("graphpipe-tf", "tensorflow", options);
}

/* "KEY=VALUE" among the options of the engine; true if there is no value. */
static bool pass_on(struct options *options, const char *key, const char *value)
{
    struct legacy_values *values = options->values;
    if (!value)
        return true;
    char *item = gp_arena_alloc(options->arena, strlen(key) + strlen(value) + 2);
    if (!item)
        return false;
    (void)sprintf(item, "%s=%s", key, value);
    return option_list_add(&values->serve.engine_options, options->arena, item);
}

static int serve_caffe2(struct options *options)
{
    struct legacy_values *values = options->values;
    const char *const files[] = {values->init_net, values->predict_net,
                                 values->value_inputs};
    if (!values->init_net || !values->predict_net)
        return cli_misuse("a Caffe2 model needs both --init-net and --predict-net");
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        if (files[i] && fetch_is_url(files[i]))
            return cli_fail("%s: the files of a Caffe2 model are not fetched; download "
                            "them and name the copies",
                            files[i]);
    if (!pass_on(options, "init-net", values->init_net) ||
        !pass_on(options, "value-inputs", values->value_inputs))
        return cli_fail("out of memory");
    values->model = values->predict_net;
    return serve_model("graphpipe-onnx", "caffe2", options);
}

/* A model that is named is served whatever else is, as it was in 2018. */
static int onnx_run(struct options *options)
{
    const struct legacy_values *values = options->values;
    const bool is_caffe2 = values->init_net || values->predict_net;
    if (is_caffe2 && values->model)
        cli_warn("--init-net and --predict-net do nothing: --model is served");
    return is_caffe2 && !values->model && !values->wants_version
               ? serve_caffe2(options)
               : serve_model("graphpipe-onnx", "onnx", options);
}

static int batcher_run(struct options *options)
{
    struct legacy_values *values = options->values;
    if (values->wants_version)
        return print_version();
    if (!values->target_url)
        return cli_misuse("which server? Set --target-url http://HOST:PORT\n"
                          "Try: graphpipe-batcher --help");
    if (!pass_on(options, "url", values->target_url) ||
        !pass_on(options, "inputs", values->target_inputs) ||
        !pass_on(options, "outputs", values->target_outputs))
        return cli_fail("out of memory");
    if (values->wants_cache)
        cli_warn("--cache does nothing: rows are cached by the server of the model, with "
                 "graphpipe serve --cache");
    values->serve.max_batch = values->batch_size;
    if (values->batch_size > 1)
        values->serve.max_delay_us = values->timeout_ms * 1000;
    return serve("remote", options);
}

static int echo_run(struct options *options)
{
    return serve("echo", options);
}

const struct command legacy_onnx_command = {
    .name = "graphpipe-onnx",
    .summary = "graphpipe serve, with the flags of graphpipe-onnx of 2018",
    .usage = "[OPTIONS] (--model PATH|URL | --init-net FILE --predict-net FILE)",
    .about =
        "Serves an ONNX model, a file or the http(s) URL of one, or a Caffe2 model. New "
        "set-ups\n"
        "use \"graphpipe serve\", which can do more.\n",
    .examples =
        "  graphpipe-onnx --model model.onnx --listen 0.0.0.0:9000\n"
        "  graphpipe-onnx --init-net init_net.pb --predict-net predict_net.pb \\\n"
        "      --value-inputs value_inputs.json\n",
    .options = program_options,
    .n_options = sizeof program_options / sizeof *program_options,
    .values_size = sizeof(struct legacy_values),
    .run = onnx_run,
};

const struct command legacy_tf_command = {
    .name = "graphpipe-tf",
    .summary = "graphpipe serve, with the flags of graphpipe-tf of 2018",
    .usage = "[OPTIONS] --model PATH|URL",
    .about =
        "Serves a TensorFlow model: a SavedModel's folder, or a GraphDef (.pb), which "
        "may\n"
        "be an http(s) URL. New set-ups use \"graphpipe serve\", which can do more.\n",
    .examples = "  graphpipe-tf --model saved_model/ --listen 0.0.0.0:9000\n",
    .options = program_options,
    .n_options = N_TF_OPTIONS,
    .values_size = sizeof(struct legacy_values),
    .run = tf_run,
};

const struct command legacy_echo_command = {
    .name = "graphpipe-echo",
    .summary = "graphpipe serve --engine echo, with the flag of graphpipe-echo of 2018",
    .usage = "[OPTIONS]",
    .about = "Serves an engine that returns its inputs, for trying out clients.\n",
    .examples = "  graphpipe-echo --listen 127.0.0.1:9000\n",
    .options = echo_options,
    .n_options = sizeof echo_options / sizeof *echo_options,
    .values_size = sizeof(struct legacy_values),
    .run = echo_run,
};

const struct command legacy_batcher_command = {
    .name = "graphpipe-batcher",
    .summary =
        "graphpipe serve --engine remote, with the flags of graphpipe-batcher of 2018",
    .usage = "[OPTIONS] --target-url URL",
    .about =
        "Joins requests for another server: rows that come within --timeout go there\n"
        "together, and each caller gets its own. New set-ups use \"graphpipe serve\n"
        "--engine remote\", or batch in that server itself.\n",
    .examples = "  graphpipe-batcher --target-url http://127.0.0.1:9000 --batch-size 32 "
                "--timeout 5\n",
    .options = batcher_options,
    .n_options = sizeof batcher_options / sizeof *batcher_options,
    .values_size = sizeof(struct legacy_values),
    .run = batcher_run,
};
