/* How many rows a model runs at a time: the options (--max-batch, --batch-sizes) against what it
 * describes, and a batch for each slot; and whether its cache is one of rows. */
#include "model/model.h"

#include "base/clock.h"
#include "model/row_check.h"
#include "wire/shape.h"

#include <string.h>

/* --max-batch auto, for a model that says nothing of how many it takes. */
enum { AUTO_ROWS = 32 };

static enum gp_status check_sizes(const struct gp_model_options *options,
                                  struct gp_error *err)
{
    uint32_t before = 0;
    if (options->n_batch_sizes && options->max_batch == GP_MAX_BATCH_AUTO)
        return gp_error_set(err, GP_INVALID, "--batch-sizes needs a --max-batch in rows");
    if (options->n_batch_sizes && !options->max_batch)
        return gp_error_set(err, GP_INVALID, "--batch-sizes needs --max-batch");
    if (options->max_delay_us && options->max_batch < 2)
        return gp_error_set(err, GP_INVALID, "--max-delay needs a --max-batch above 1");
    for (size_t i = 0; i < options->n_batch_sizes; i++) {
        const uint32_t size = options->batch_sizes[i];
        if (size <= before || size > options->max_batch)
            return gp_error_set(
                err, GP_INVALID,
                "--batch-sizes has to ascend up to --max-batch, which is %u; %u does not",
                options->max_batch, size);
        before = size;
    }
    return GP_OK;
}

static bool is_default(const struct model *model, const struct gp_io *output)
{
    for (uint32_t i = 0; i < model->n_default_outputs; i++)
        if (strcmp(model->default_outputs[i], output->name) == 0)
            return true;
    return false;
}

/* Takes the rows of one input or output into *fixed (-1: any number); false if it has none, or others
 * than those before it. */
static bool take_rows(const struct gp_io *io, int64_t *fixed)
{
    if (io->flags & GP_IO_ANY_RANK)
        return true;
    if (!io->rank || (io->shape[0] >= 0 && *fixed >= 0 && io->shape[0] != *fixed))
        return false;
    if (io->shape[0] >= 0)
        *fixed = io->shape[0];
    return true;
}

static enum gp_status refuse_io(const struct gp_io *io, const char *kind, const char *who,
                                struct gp_error *err)
{
    char shape[96];
    return gp_error_set(err, GP_INVALID,
                        "%s wants every input and output to have the same rows, "
                        "but %s \"%.*s\" is %s",
                        who, kind, gp_cut(io->name, 64), io->name,
                        shape_format_io(io, shape, sizeof shape));
}

/* The number of rows that the model is fixed to, or -1. `who` wants them. */
static enum gp_status find_rows(const struct model *model, const char *who,
                                int64_t *fixed, struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    *fixed = -1;
    for (uint32_t i = 0; i < d->n_inputs; i++)
        if (!(d->inputs[i].flags & GP_IO_OPTIONAL) && !take_rows(&d->inputs[i], fixed))
            return refuse_io(&d->inputs[i], "input", who, err);
    for (uint32_t i = 0; i < d->n_outputs; i++)
        if (is_default(model, &d->outputs[i]) && !take_rows(&d->outputs[i], fixed))
            return refuse_io(&d->outputs[i], "output", who, err);
    return GP_OK;
}

/* Requests may have any number of rows, whatever a run must have. NULL if memory is short. */
static const struct gp_io *free_rows(struct gp_arena *arena, const struct gp_io *ios,
                                     uint32_t n, int64_t fixed)
{
    struct gp_io *copies = gp_arena_alloc(arena, n * sizeof *copies);
    for (uint32_t i = 0; copies && i < n; i++) {
        copies[i] = ios[i];
        if (!ios[i].rank || ios[i].shape[0] != fixed)
            continue;
        int64_t *shape = gp_arena_alloc(arena, ios[i].rank * sizeof *shape);
        if (!shape)
            return NULL;
        memcpy(shape, ios[i].shape, ios[i].rank * sizeof *shape);
        shape[0] = -1;
        copies[i].shape = shape;
    }
    return copies;
}

/* A model that is fixed to some rows gets as many in each run. */
static enum gp_status take_fixed(struct model *model, int64_t fixed, struct gp_error *err)
{
    struct gp_description *d = &model->description;
    struct batch_rules *rules = &model->batch_rules;
    if ((uint64_t)fixed != rules->max_rows)
        return gp_error_set(
            err, GP_INVALID,
            "--max-batch is %llu, but the model runs %lld rows at a time, "
            "neither more nor fewer",
            (unsigned long long)rules->max_rows, (long long)fixed);
    uint32_t *size = gp_arena_alloc(model->arena, sizeof *size);
    rules->fixed_inputs = d->inputs;
    rules->fixed_outputs = d->outputs;
    d->inputs = free_rows(model->arena, d->inputs, d->n_inputs, fixed);
    d->outputs = free_rows(model->arena, d->outputs, d->n_outputs, fixed);
    if (!size || !d->inputs || !d->outputs)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the model's shapes");
    *size = (uint32_t)fixed;
    rules->sizes = size;
    rules->n_sizes = 1;
    rules->is_fixed = true;
    return GP_OK;
}

/* --max-batch auto, before anything was run. */
static enum gp_status set_auto_rows(struct model *model, struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    struct batch_rules *rules = &model->batch_rules;
    const bool has_most = d->max_batch > 0 && d->max_batch < AUTO_ROWS;
    int64_t fixed;
    struct gp_error why;
    rules->is_auto = true;
    enum gp_status status = find_rows(model, "--max-batch", &fixed, &why);
    if (status == GP_OK && fixed == 0)
        status = gp_error_set(&why, GP_INVALID, "the model takes no rows at all");
    if (status != GP_OK) {
        char *words = gp_arena_alloc(model->arena, sizeof why.message);
        if (!words)
            return gp_error_set(err, GP_NO_MEMORY, "no memory for a message");
        rules->why_none = memcpy(words, why.message, sizeof why.message);
        return GP_OK;
    }
    rules->max_rows = fixed > 0  ? (uint64_t)fixed
                      : has_most ? (uint64_t)d->max_batch
                                 : AUTO_ROWS;
    return fixed >= 0 ? take_fixed(model, fixed, err) : GP_OK;
}

enum gp_status model_set_rows(struct model *model, const struct gp_model_options *options,
                              struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    struct batch_rules *rules = &model->batch_rules;
    const size_t size = options->n_batch_sizes * sizeof *rules->sizes;
    int64_t fixed;
    if (check_sizes(options, err) != GP_OK)
        return err->status;
    if (!options->max_batch)
        return GP_OK;
    if (options->max_batch == GP_MAX_BATCH_AUTO)
        return set_auto_rows(model, err);
    if (d->max_batch > 0 && options->max_batch > d->max_batch)
        return gp_error_set(err, GP_INVALID,
                            "--max-batch is %u, but the model takes at most %lld rows",
                            options->max_batch, (long long)d->max_batch);
    if (find_rows(model, "--max-batch", &fixed, err) != GP_OK)
        return err->status;
    rules->max_rows = options->max_batch;
    if (fixed >= 0)
        return take_fixed(model, fixed, err);
    uint32_t *sizes = gp_arena_alloc(model->arena, size);
    if (!sizes)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the sizes of batches");
    if (size)
        memcpy(sizes, options->batch_sizes, size);
    rules->sizes = sizes;
    rules->n_sizes = options->n_batch_sizes;
    return GP_OK;
}

enum gp_status model_make_batches(struct model *model,
                                  const struct gp_model_options *options,
                                  struct gp_error *err)
{
    struct batch_rules *rules = &model->batch_rules;
    if (!rules->max_rows)
        return GP_OK;
    rules->engine = model->engine;
    rules->handle = model->handle;
    rules->pool = model->host->pool;
    rules->memory = model->memory;
    rules->writes_outputs = model->description.flags & GP_WRITES_OUTPUTS;
    rules->is_isolated = model->isolate;
    model->slots.queue.max_rows = rules->max_rows;
    for (uint32_t i = 0; i < model->slots.n; i++) {
        model->slots.all[i].batch = batch_create(rules);
        if (!model->slots.all[i].batch)
            return gp_error_set(err, GP_NO_MEMORY, "no memory for the batch of a slot");
    }
    return slots_delay(&model->slots, options->max_delay_us * (CLOCK_MS / 1000), err);
}

/* Each request runs as it is. */
static void stop_batches(struct model *model)
{
    struct gp_description *d = &model->description;
    struct batch_rules *rules = &model->batch_rules;
    if (rules->is_fixed) {
        model->metadata.inputs = d->inputs = rules->fixed_inputs;
        model->metadata.outputs = d->outputs = rules->fixed_outputs;
    }
    rules->max_rows = 0;
    rules->n_sizes = 0;
    rules->is_fixed = false;
    model->slots.queue.max_delay_ns = 0;
    slots_stop_joining(&model->slots);
}

/* With --max-batch auto. */
static void settle_batches(struct model *model, const struct row_check *check)
{
    struct log *log = model->host->log;
    const char *name = model->metadata.name;
    if (check->verdict == ROWS_INDEPENDENT) {
        log_line(log, GP_LOG_INFO,
                 "%s: --max-batch auto: %u rows in %u runs do not depend on each other "
                 "(largest difference %.2g), so up to %llu run together",
                 name, check->n_rows, check->n_runs, check->difference,
                 (unsigned long long)model->batch_rules.max_rows);
        return;
    }
    stop_batches(model);
    if (check->verdict == ROWS_DEPENDENT)
        log_line(log, GP_LOG_INFO, "%s: --max-batch auto: requests run one at a time: %s",
                 name, check->why);
    else
        log_line(log, GP_LOG_WARNING,
                 "%s: --max-batch auto: requests run one at a time, since it is unknown "
                 "whether rows depend on each other: %s; `graphpipe check-rows` takes "
                 "recorded requests, and so does --warm-up",
                 name, check->why);
}

/* Its description says too little to generate rows by. */
static bool takes_any_rank(const struct model *model)
{
    for (uint32_t i = 0; i < model->n_default_inputs; i++)
        if (model->description.inputs[model->default_inputs[i]].flags & GP_IO_ANY_RANK)
            return true;
    return false;
}

/* Of a model that runs each request as it is. False if it is clear before any run that it is a cache of
 * whole requests. */
static bool may_cache_rows(const struct model *model, struct row_check *check)
{
    struct gp_error err = {0};
    int64_t fixed = -1;
    (void)find_rows(model, "a cache of rows", &fixed, &err);
    if (fixed >= 0 && err.status == GP_OK)
        gp_error_set(&err, GP_INVALID,
                     "it runs %lld rows at a time, neither more nor fewer",
                     (long long)fixed);
    (void)snprintf(check->why, sizeof check->why, "%s", err.message);
    return err.status == GP_OK;
}

/* Whether rows have to be run to know. */
static bool wants_check(const struct model *model, bool is_recorded,
                        struct row_check *check)
{
    const struct batch_rules *rules = &model->batch_rules;
    if (rules->why_none)
        (void)snprintf(check->why, sizeof check->why, "%s", rules->why_none);
    else if (rules->max_rows >= 2)
        return rules->is_auto || is_recorded || !takes_any_rank(model);
    else
        return !rules->max_rows && model->store && may_cache_rows(model, check);
    return false;
}

/* Rows that run one at a time, or may run together as the options say, are independent. */
static void settle_cache(struct model *model, bool is_declared,
                         const struct row_check *check)
{
    struct log *log = model->host->log;
    const char *name = model->metadata.name;
    const bool is_by_row = is_declared || check->verdict == ROWS_INDEPENDENT;
    atomic_store(&model->caches_rows, is_by_row);
    if (model->batch_rules.max_rows == 1)
        log_line(log, GP_LOG_INFO, "%s: cached by row: each runs by itself", name);
    else if (is_declared)
        log_line(log, GP_LOG_INFO, "%s: cached by row, as --max-batch says", name);
    else if (is_by_row)
        log_line(log, GP_LOG_INFO,
                 "%s: cached by row: %u rows in %u runs do not depend on each other "
                 "(largest difference %.2g)",
                 name, check->n_rows, check->n_runs, check->difference);
    else
        log_line(log, GP_LOG_INFO, "%s: whole requests are cached, not rows: %s%s", name,
                 check->verdict == ROWS_UNKNOWN
                     ? "it is unknown whether they depend on each other: "
                     : "",
                 check->why);
}

void model_check_rows(struct model *model, const char *warm_up)
{
    const struct batch_rules *rules = &model->batch_rules;
    const bool is_declared = rules->max_rows == 1 || (rules->max_rows && !rules->is_auto);
    const bool is_recorded = warm_up && warm_up[strspn(warm_up, "0123456789")];
    struct row_check check = {.verdict = ROWS_DEPENDENT};
    struct gp_error err;
    const bool is_checked = wants_check(model, is_recorded, &check);
    if (is_checked &&
        row_check_model(model, is_recorded ? warm_up : NULL, &check, &err) != GP_OK)
        (void)snprintf(check.why, sizeof check.why, "%s", err.message);
    if (rules->is_auto && !is_declared)
        settle_batches(model, &check);
    else if (is_checked && is_declared && check.verdict == ROWS_DEPENDENT)
        log_line(model->host->log, GP_LOG_WARNING,
                 "%s: --max-batch is for models whose rows do not depend on each other, "
                 "but here they do: %s",
                 model->metadata.name, check.why);
    if (model->store)
        settle_cache(model, is_declared, &check);
}

void model_drop_batches(struct model *model)
{
    for (uint32_t i = 0; model->slots.all && i < model->slots.n; i++) {
        batch_destroy(model->slots.all[i].batch);
        model->slots.all[i].batch = NULL;
    }
}
