/* graphpipe check-rows: whether requests to a model may run together. The model is opened as serve
 * --max-batch auto would, and its rows are run alone and together. */
#include "cli/cli.h"

#include "base/place.h"
#include "cli/engine_flags.h"
#include "model/row_check.h"
#include "net/poller.h"
#include "server/defaults.h"

#include <unistd.h>

struct rows_values {
    const char *engine;
    const char *engine_dir;
    struct option_list engine_options;
    struct engine_flags engine_flags;
    struct option_list inputs;
    struct option_list outputs;
    const char *requests;
    bool is_isolated;
};

#define AT(field) OPTION_AT(rows_values, field)
static const struct option rows_options[] = {
    {.name = "requests",
     .argument = "PATH",
     .kind = OPTION_TEXT,
     AT(requests),
     .help = "a recorded request, or a folder of them, whose rows are run\n"
             "(default: rows are generated)"},
    {ENGINE_ROW, AT(engine)},
    {ENGINE_DIR_ROW, AT(engine_dir)},
    {ENGINE_OPTION_ROW, AT(engine_options)},
    {.name = "inputs",
     .argument = "NAME,...",
     .kind = OPTION_NAMES,
     AT(inputs),
     .help = "the inputs that requests are for, as with serve"},
    {.name = "outputs",
     .argument = "NAME,...",
     .kind = OPTION_NAMES,
     AT(outputs),
     .help = "the outputs that are compared (default: the model's)"},
    {.name = "isolate",
     .kind = OPTION_FLAG,
     AT(is_isolated),
     .help = "run the engine in a process of its own"},
    ENGINE_FLAGS(rows_values, engine_flags),
};
#undef AT

/* What a model needs around it; nothing of it listens. */
struct rows_host {
    struct model_host host;
    struct log log;
    struct poller poller;
    struct place place;
    atomic_bool is_ending;
};

static int print_check(const char *path, const struct model *model,
                       const struct row_check *check)
{
    const bool is_independent = check->verdict == ROWS_INDEPENDENT;
    struct text text = {0};
    text_puts(&text, path);
    if (is_independent)
        text_printf(
            &text, ": rows do not depend on each other: serve it with --max-batch %llu\n",
            (unsigned long long)model->batch_rules.max_rows);
    else if (check->verdict == ROWS_DEPENDENT)
        text_printf(&text, ": rows depend on each other, so do not use --max-batch: %s\n",
                    check->why);
    else
        text_printf(&text, ": cannot tell whether rows depend on each other: %s\n",
                    check->why);
    if (is_independent)
        text_printf(&text,
                    "%u rows in %u runs; largest difference %.2g of an output's largest "
                    "value\n",
                    check->n_rows, check->n_runs, check->difference);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    if (!is_whole)
        return cli_fail("out of memory");
    return is_independent ? CLI_OK : CLI_FAILED;
}

static int check_model(const struct rows_values *values, const struct model_host *host,
                       const char *path)
{
    const struct gp_model_options options = {
        .size_bytes = sizeof options,
        .path = path,
        .engine = values->engine,
        .engine_options = values->engine_options.items,
        .n_engine_options = values->engine_options.n,
        .n_slots = 1,
        .inputs = values->inputs.items,
        .outputs = values->outputs.items,
        .n_inputs = values->inputs.n,
        .n_outputs = values->outputs.n,
        .isolate = values->is_isolated,
        .max_batch = GP_MAX_BATCH_AUTO,
    };
    struct row_check check = {.verdict = ROWS_DEPENDENT};
    struct gp_error err;
    struct model *model = model_open(host, &options, 1, &err);
    if (!model)
        return cli_fail("%s", err.message);
    enum gp_status status = GP_OK;
    if (model->batch_rules.why_none)
        (void)snprintf(check.why, sizeof check.why, "%s", model->batch_rules.why_none);
    else
        status = row_check_model(model, values->requests, &check, &err);
    const int result =
        status == GP_OK ? print_check(path, model, &check) : cli_fail("%s", err.message);
    model_close(model);
    return result;
}

static int with_host(const struct rows_values *values, const char *path)
{
    static struct rows_host h;
    struct gp_error err;
    char words[PLACE_WORDS_BYTES];
    int result = CLI_FAILED;
    place_find(&h.place);
    h.host = (struct model_host){
        .pool = pool_create(place_pool_bytes(&h.place, words)),
        .log = &h.log,
        .poller = &h.poller,
        .engine_dir = values->engine_dir,
        .n_cores = h.place.n_cores,
        .max_waiting = 1,
        .hang_timeout_ms = DEFAULT_HANG_TIMEOUT_S * 1000,
        .is_ending = &h.is_ending,
    };
    if (!h.host.pool)
        return cli_fail("out of memory");
    if (log_begin(&h.log, STDERR_FILENO, GP_LOG_WARNING, GP_LOG_TEXT, &err) != GP_OK ||
        poller_init(&h.poller, &h.log, 1, &err) != GP_OK)
        result = cli_fail("%s", err.message);
    else
        result = check_model(values, &h.host, path);
    poller_finish(&h.poller);
    log_end(&h.log);
    pool_destroy(h.host.pool);
    return result;
}

static int check_rows_run(struct options *options)
{
    struct gp_error err;
    if (options_join(options, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    return with_host(options->values, options->words.items[0]);
}

const struct command check_rows_command = {
    .name = "check-rows",
    .summary = "find out whether requests to a model may run together",
    .usage = "[OPTIONS] MODEL",
    .about =
        "Runs rows of a model one by one and then together, in several orders and\n"
        "numbers, and compares the answers. If they are the same the model may be\n"
        "served with --max-batch, and the exit status is 0; it is 1 if they are not,\n"
        "or if there is no telling. A model that mixes rows only for other values than\n"
        "those that are tried is not found out: give it --requests as clients send "
        "them.\n",
    .examples = "  graphpipe check-rows model.onnx\n"
                "  graphpipe check-rows --requests recorded/ model.onnx\n",
    .options = rows_options,
    .n_options = sizeof rows_options / sizeof *rows_options,
    .values_size = sizeof(struct rows_values),
    .min_words = 1,
    .max_words = 1,
    .run = check_rows_run,
};
