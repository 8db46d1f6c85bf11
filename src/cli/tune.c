/* graphpipe tune: tries how many instances, threads and rows a run are best for a model. */
#include "cli/tune.h"

#include "base/clock.h"
#include "cli/cli.h"
#include "cli/config_edit.h"
#include "cli/model_host.h"
#include "model/row_check.h"

#include <string.h>
#include <unistd.h>

enum { MOST_CELLS = 256, MOST_ROWS = 65536 };

struct tune_values {
    struct model_flags model;
    const char *requests;
    uint32_t n_instances;
    uint32_t n_threads;
    uint32_t max_rows;
    uint32_t time_ms;
    uint32_t p99_us;
    const char *config;
    const char *name;
};

#define AT(field) OPTION_AT(tune_values, field)
static const struct option tune_options[] = {
    {.name = "time",
     .argument = "TIME",
     .kind = OPTION_DURATION,
     AT(time_ms),
     .fallback = "60s",
     .min = 100,
     .max = 86400000,
     .help = "measure for about so long"},
    {.name = "instances",
     .argument = "N",
     .kind = OPTION_COUNT,
     AT(n_instances),
     .max = 4096,
     .help = "runs at a time (default: all that divide the cores)"},
    {.name = "threads",
     .argument = "N",
     .kind = OPTION_COUNT,
     AT(n_threads),
     .max = 4096,
     .help = "threads of a run (default: as the instances leave cores)"},
    {.name = "max-batch",
     .argument = "ROWS",
     .kind = OPTION_COUNT,
     AT(max_rows),
     .fallback = "64",
     .min = 1,
     .max = MOST_ROWS,
     .help = "the most rows of a run"},
    {.name = "p99",
     .argument = "TIME",
     .kind = OPTION_SHORT_DURATION,
     AT(p99_us),
     .help = "take only what has 99 of 100 runs done in this time"},
    {.name = "requests",
     .argument = "PATH",
     .kind = OPTION_TEXT,
     AT(requests),
     .help = "a recorded request, or a folder of them, whose rows are run\n"
             "(default: rows are generated)"},
    {.name = "config",
     .argument = "FILE",
     .kind = OPTION_TEXT,
     AT(config),
     .help = "write the best into this configuration file of serve"},
    {.name = "name",
     .argument = "NAME",
     .kind = OPTION_TEXT,
     AT(name),
     .help = "there, into the table of this model (default: for all models)"},
    MODEL_FLAGS(tune_values, model),
};
#undef AT

struct tune_grid {
    struct tune_cell cells[MOST_CELLS];
    size_t n;
    size_t n_done;
    bool shows_progress;
};

/* --- what is tried --- */

struct tune_sizes {
    uint32_t rows[24];
    size_t n;
};

static void add_size(struct tune_sizes *sizes, uint32_t n_rows)
{
    sizes->rows[sizes->n++] = n_rows;
}

/* Powers of two, and the most. */
static void choose_sizes(struct tune_sizes *sizes, const struct model *model,
                         const struct row_check *check, uint32_t max_rows)
{
    const struct batch_rules *rules = &model->batch_rules;
    const int64_t limit = model->description.max_batch;
    if (rules->is_fixed) {
        add_size(sizes, (uint32_t)rules->max_rows);
        return;
    }
    if (check->verdict != ROWS_INDEPENDENT)
        max_rows = 1;
    if (limit > 0 && limit < max_rows)
        max_rows = (uint32_t)limit;
    for (uint32_t n = 1; n < max_rows; n *= 2)
        add_size(sizes, n);
    add_size(sizes, max_rows);
}

static void add_cells(struct tune_grid *grid, const struct tune_sizes *sizes,
                      uint32_t n_instances, uint32_t n_threads)
{
    for (size_t i = 0; i < sizes->n && grid->n < MOST_CELLS; i++)
        grid->cells[grid->n++] = (struct tune_cell){
            .n_instances = n_instances, .n_threads = n_threads, .n_rows = sizes->rows[i]};
}

/* All that use the cores, unless something was said. */
static void choose_cells(struct tune_grid *grid, const struct tune_values *values,
                         const struct tune_sizes *sizes, uint32_t n_cores)
{
    for (uint32_t n = 1; n <= n_cores; n++) {
        const uint32_t threads = values->n_threads ? values->n_threads : n_cores / n;
        if (n_cores % n == 0 && !values->n_instances)
            add_cells(grid, sizes, n, threads);
    }
    if (values->n_instances) {
        const uint32_t left = n_cores / values->n_instances;
        add_cells(grid, sizes, values->n_instances,
                  values->n_threads ? values->n_threads
                  : left            ? left
                                    : 1);
    }
}

/* --- measuring --- */

static void show_progress(void *context)
{
    enum { COLUMNS = 40 };
    struct tune_grid *grid = context;
    const size_t n = ++grid->n_done * COLUMNS / grid->n;
    if (!grid->shows_progress)
        return;
    (void)fprintf(stderr, "\r[%.*s%*s] %zu of %zu", (int)n,
                  "########################################", (int)(COLUMNS - n), "",
                  grid->n_done, grid->n);
    if (grid->n_done == grid->n)
        (void)fprintf(stderr, "\r\033[K");
}

static enum gp_status measure_grid(struct tune_plan *plan, struct tune_grid *grid,
                                   struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (size_t i = 0, n; i < grid->n && status == GP_OK; i += n) {
        const struct tune_cell *first = &grid->cells[i];
        for (n = 1; i + n < grid->n && first[n].n_instances == first->n_instances; n++) {
        }
        status = tune_measure(plan, &grid->cells[i], n, show_progress, grid, err);
    }
    return status;
}

static void write_best(struct text *text, const struct tune_grid *grid,
                       const struct tune_cell *best)
{
    double alone = 0; /* the best with the fewest rows */
    for (size_t i = 0; i < grid->n; i++)
        if (grid->cells[i].n_rows == grid->cells[0].n_rows &&
            grid->cells[i].rows_per_s > alone)
            alone = grid->cells[i].rows_per_s;
    text_printf(text, "best: --instances %u --threads %u", best->n_instances,
                best->n_threads);
    if (best->n_rows > 1)
        text_printf(text, " --max-batch %u", best->n_rows);
    text_printf(text, "   %.0f rows/s", best->rows_per_s);
    if (best->n_rows > grid->cells[0].n_rows)
        text_printf(text, ", %.1f times those of %u row%s a run",
                    best->rows_per_s / alone, grid->cells[0].n_rows,
                    grid->cells[0].n_rows == 1 ? "" : "s");
    text_puts(text, "\n");
}

static int write_config(const struct tune_values *values, const struct tune_cell *best)
{
    const struct config_setting settings[] = {{"instances", best->n_instances},
                                              {"threads", best->n_threads},
                                              {"max-batch", best->n_rows}};
    struct gp_error err;
    if (config_edit(values->config, values->name, settings, best->n_rows > 1 ? 3 : 2,
                    &err) != GP_OK)
        return cli_fail("%s", err.message);
    (void)printf("%s: written\n", values->config);
    return CLI_OK;
}

static int report_grid(const struct tune_values *values, const struct tune_grid *grid)
{
    const int64_t most_p99_ns = values->p99_us * (CLOCK_MS / 1000);
    const struct tune_cell *best = tune_best(grid->cells, grid->n, most_p99_ns);
    struct text text = {0};
    tune_write_table(&text, grid->cells, grid->n, best);
    if (best)
        write_best(&text, grid, best);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    if (!is_whole)
        return cli_fail("out of memory");
    if (!best)
        return cli_fail("no runs are as short as --p99 wants them");
    return values->config ? write_config(values, best) : CLI_OK;
}

/* Opens it once, for what can be known before anything is measured. */
static enum gp_status prepare_plan(struct tune_plan *plan, struct tune_sizes *sizes,
                                   uint32_t max_rows, struct gp_error *err)
{
    struct gp_model_options options = plan->options;
    struct row_check check = {.verdict = ROWS_DEPENDENT};
    options.n_slots = 1;
    options.max_batch = GP_MAX_BATCH_AUTO;
    struct model *model = model_open(plan->host, &options, 1, err);
    if (!model)
        return err->status;
    const char *why_none = model->batch_rules.why_none;
    const enum gp_status status =
        why_none ? GP_OK : row_check_model(model, plan->requests, &check, err);
    if (status == GP_OK) {
        choose_sizes(sizes, model, &check, max_rows);
        plan->open = check.open ? check.open : 1;
        plan->is_whole =
            check.verdict != ROWS_INDEPENDENT && !model->batch_rules.is_fixed;
        if (plan->is_whole)
            (void)printf("a request a run, since they may not run together: %s\n",
                         why_none ? why_none : check.why);
        if (model->batch_rules.is_fixed)
            plan->options.max_batch = (uint32_t)model->batch_rules.max_rows;
    }
    model_close(model);
    return status;
}

static int tune_model(const struct tune_values *values, const struct model_host *host,
                      const char *path)
{
    static struct tune_grid grid;
    struct tune_sizes sizes = {0};
    struct tune_plan plan = {
        .host = host,
        .requests = values->requests,
        .options = model_flags_options(&values->model, path),
    };
    struct gp_error err;
    if (prepare_plan(&plan, &sizes, values->max_rows, &err) != GP_OK)
        return cli_fail("%s", err.message);
    choose_cells(&grid, values, &sizes, host->n_cores);
    grid.shows_progress = isatty(STDERR_FILENO);
    plan.slice_ns = values->time_ms * CLOCK_MS / (int64_t)grid.n;
    if (measure_grid(&plan, &grid, &err) != GP_OK)
        return cli_fail("%s", err.message);
    return report_grid(values, &grid);
}

static int tune_run(struct options *options)
{
    static struct cli_host host;
    const struct tune_values *values = options->values;
    struct gp_error err;
    if (options_join(options, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    if (values->name && !values->config)
        return cli_misuse("--name needs --config");
    const int result = cli_host_open(&host, values->model.engine_dir, &err) == GP_OK
                           ? tune_model(values, &host.host, options->words.items[0])
                           : cli_fail("%s", err.message);
    cli_host_close(&host);
    return result;
}

const struct command tune_command = {
    .name = "tune",
    .summary = "find the best instances, threads and batch for a model",
    .usage = "[OPTIONS] MODEL",
    .about =
        "Runs a model in this process with different numbers of instances, threads and\n"
        "rows a run, and shows how many rows a second it does and how long a run takes.\n"
        "More than one row a run is tried if rows do not depend on each other, as\n"
        "graphpipe check-rows finds. The best has the most rows a second; of those\n"
        "within 5 % of it, the shortest runs.\n",
    .examples = "  graphpipe tune model.onnx\n"
                "  graphpipe tune --time 5m --instances 1 model.onnx\n"
                "  graphpipe tune model.onnx --p99 20ms --config graphpipe.json\n",
    .options = tune_options,
    .n_options = sizeof tune_options / sizeof *tune_options,
    .values_size = sizeof(struct tune_values),
    .min_words = 1,
    .max_words = 1,
    .run = tune_run,
};
