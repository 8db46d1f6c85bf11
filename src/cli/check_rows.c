/* graphpipe check-rows: whether requests to a model may run together. The model is opened as serve
 * --max-batch auto would, and its rows are run alone and together. */
#include "cli/cli.h"

#include "cli/model_host.h"
#include "model/row_check.h"

struct rows_values {
    struct model_flags model;
    const char *requests;
};

#define AT(field) OPTION_AT(rows_values, field)
static const struct option rows_options[] = {
    {.name = "requests",
     .argument = "PATH",
     .kind = OPTION_TEXT,
     AT(requests),
     .help = "a recorded request, or a folder of them, whose rows are run\n"
             "(default: rows are generated)"},
    MODEL_FLAGS(rows_values, model),
};
#undef AT

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
    struct gp_model_options options = model_flags_options(&values->model, path);
    struct row_check check = {.verdict = ROWS_DEPENDENT};
    struct gp_error err;
    options.n_slots = 1;
    options.max_batch = GP_MAX_BATCH_AUTO;
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

static int check_rows_run(struct options *options)
{
    static struct cli_host host;
    const struct rows_values *values = options->values;
    struct gp_error err;
    if (options_join(options, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    const int result = cli_host_open(&host, values->model.engine_dir, &err) == GP_OK
                           ? check_model(values, &host.host, options->words.items[0])
                           : cli_fail("%s", err.message);
    cli_host_close(&host);
    return result;
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
                "  graphpipe check-rows --engine onnx model.onnx\n"
                "  graphpipe check-rows --requests recorded/ model.onnx\n",
    .options = rows_options,
    .n_options = sizeof rows_options / sizeof *rows_options,
    .values_size = sizeof(struct rows_values),
    .min_words = 1,
    .max_words = 1,
    .run = check_rows_run,
};
