/* graphpipe bench: measures how fast a server answers. This file reads the command line
 * and runs the steps; bench_loop.c makes the load. */
#include "cli/bench.h"

#include "base/clock.h"
#include "cli/bench_message.h"
#include "cli/bench_options.h"
#include "cli/cli.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

enum { OPEN_CONNECTIONS = 1000 };

#define MAX_RATE 10000000.0

/* "500/s" or "500". */
static bool read_rate(const char *word, double *rate)
{
    char *end = NULL;
    if (!word)
        return true;
    if (*word < '0' || *word > '9')
        return false;
    *rate = strtod(word, &end);
    return *rate >= 0.001 && *rate <= MAX_RATE &&
           (*end == '\0' || strcmp(end, "/s") == 0);
}

static bool was_said(const struct options *options, const char *name)
{
    return options_source(options, name) != OPTION_DEFAULT;
}

/* The error of a combination that makes no sense; NULL if there is none. */
static const char *contradiction(const struct options *options)
{
    const struct bench_values *values = options->values;
    const bool has_inputs = options->words.n > 1 || values->inputs.n;
    const bool is_shaped = was_said(options, "rows") || was_said(options, "shape") ||
                           was_said(options, "distinct");
    if (values->rate && was_said(options, "in-flight"))
        return "--rate is for an open loop, --in-flight for a closed one: give one";
    if (!values->rate && (values->is_poisson || values->connections))
        return "--poisson and --connections are for an open loop: give --rate";
    if (values->requests && was_said(options, "for"))
        return "--for and --requests both say how long: give one";
    if (values->records.n &&
        (has_inputs || is_shaped || values->outputs.n || values->config))
        return "--record sends requests as they were recorded";
    if (has_inputs && is_shaped)
        return "--rows, --shape and --distinct are for generated inputs";
    return NULL;
}

static bool settle(struct bench_settings *settings, const struct options *options)
{
    const struct bench_values *values = options->values;
    const int64_t duration_ns = values->requests ? 0 : values->for_ms * CLOCK_MS;
    *settings = (struct bench_settings){
        .address = cli_address(options->arena, options->words.items[0]),
        .n_connections = values->in_flight,
        .is_poisson = values->is_poisson,
        .shows_progress = isatty(STDERR_FILENO),
        .warm_up_ns = values->warm_up_ms * CLOCK_MS,
        .duration_ns = duration_ns,
        .n_requests = values->requests,
        .timeout_ns = values->timeout_ms * CLOCK_MS,
        .seed = values->seed,
        .server_pid = (int32_t)values->pid};
    if (!read_rate(values->rate, &settings->rate_per_s))
        return false;
    if (values->rate)
        settings->n_connections =
            values->connections ? values->connections : OPEN_CONNECTIONS;
    if (values->requests && values->requests < settings->n_connections)
        settings->n_connections = values->requests;
    return true;
}

/* A connection is a descriptor. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

static enum gp_status save_result(const char *path, const struct bench_settings *settings,
                                  const struct bench_messages *messages,
                                  const struct bench_result *result, struct gp_error *err)
{
    struct text text = {0};
    bench_write_json(&text, settings, messages, result);
    const struct iovec part = {text.data, text.size_bytes};
    const struct gp_encoding content = {&part, 1, text.size_bytes};
    const enum gp_status status = text.is_short
                                      ? gp_error_set(err, GP_NO_MEMORY, "out of memory")
                                      : file_write(path, &content, err);
    text_finish(&text);
    return status;
}

static enum gp_status measure_server(const struct bench_values *values,
                                     const struct bench_settings *settings,
                                     struct bench_source *source, struct gp_arena *arena,
                                     struct bench_result *result, struct gp_error *err)
{
    struct bench_messages messages;
    enum gp_status status = bench_messages_make(&messages, source, arena, err);
    if (status == GP_OK)
        status = bench_load(settings, &messages, result, err);
    if (status == GP_OK && values->json)
        status = save_result(values->json, settings, &messages, result, err);
    if (status != GP_OK || (values->json && strcmp(values->json, "-") == 0))
        return status;
    struct text text = {0};
    bench_write(&text, settings, &messages, result);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "out of memory");
}

static int compare_results(struct options *options)
{
    struct text text = {0};
    struct gp_error err;
    if (options->words.n != 2)
        return cli_misuse("--compare wants two saved results: A.json B.json");
    enum gp_status status = bench_compare(&text, options->arena, options->words.items[0],
                                          options->words.items[1], &err);
    if (status == GP_OK && !cli_flush(&text))
        status = gp_error_set(&err, GP_NO_MEMORY, "out of memory");
    text_finish(&text);
    return status == GP_OK ? CLI_OK : cli_fail("%s", err.message);
}

static int bench_run(struct options *options)
{
    const struct bench_values *values = options->values;
    const char *mistake = contradiction(options);
    struct bench_settings settings;
    struct gp_error err;
    if (values->is_compare)
        return compare_results(options);
    if (mistake)
        return cli_misuse("%s", mistake);
    if (!settle(&settings, options))
        return cli_misuse("--rate wants a number of requests a second such as 500/s, not "
                          "\"%s\"",
                          values->rate);
    struct bench_source source = {.address = settings.address,
                                  .timeout_ms = values->timeout_ms,
                                  .records = &values->records,
                                  .output_names = &values->outputs,
                                  .shapes = &values->shapes,
                                  .config = values->config,
                                  .n_rows = values->rows,
                                  .n_distinct = values->distinct,
                                  .seed = values->seed};
    struct bench_result *result = gp_arena_alloc(options->arena, sizeof *result);
    if (!result)
        return cli_fail("out of memory");
    *result = (struct bench_result){0};
    raise_descriptor_limit();
    enum gp_status status = inputs_open(&source.inputs, options->arena, &options->words,
                                        &values->inputs, &err);
    if (status == GP_OK)
        status = measure_server(values, &settings, &source, options->arena, result, &err);
    const bool has_measured = result->latency.n > 0 || result->total.n_answers > 0;
    bench_source_finish(&source);
    bench_result_finish(result);
    if (status != GP_OK)
        return cli_fail("%s", err.message);
    return has_measured ? CLI_OK : cli_fail("no request succeeded");
}

const struct command bench_command = {
    .name = "bench",
    .summary = "measure how fast a server answers",
    .usage = "[OPTIONS] ADDRESS [[NAME=]INPUT]...",
    .about =
        "Sends requests to the server at ADDRESS, and prints how many it answered and "
        "how\n"
        "long that took. Closed loop (--in-flight): each answer makes room for the next\n"
        "request. Open loop (--rate): requests leave on time, and latency counts from\n"
        "then, so that a server that stalls does not look better than it is. Inputs are\n"
        "given as for infer; without any they are generated from the model's "
        "description.\n",
    .examples =
        "  graphpipe bench http://127.0.0.1:9000 --in-flight 16\n"
        "  graphpipe bench http://127.0.0.1:9000 --rate 500/s --poisson --for 30s\n"
        "  graphpipe bench 127.0.0.1:9000 cat.npy --json before.json\n"
        "  graphpipe bench --compare before.json after.json\n",
    .options = bench_options,
    .n_options = BENCH_N_OPTIONS,
    .values_size = sizeof(struct bench_values),
    .min_words = 1,
    .max_words = SIZE_MAX,
    .run = bench_run,
};
