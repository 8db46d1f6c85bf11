/* How many rows a model runs at a time: the options (--max-batch, --batch-sizes) against what it
 * describes, and a batch for each slot. */
#include "model/model.h"

#include "base/clock.h"
#include "wire/shape.h"

#include <string.h>

static enum gp_status check_sizes(const struct gp_model_options *options,
                                  struct gp_error *err)
{
    uint32_t before = 0;
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

static enum gp_status refuse_io(const struct gp_io *io, const char *kind,
                                struct gp_error *err)
{
    char shape[96];
    return gp_error_set(err, GP_INVALID,
                        "--max-batch wants every input and output to have the same rows, "
                        "but %s \"%.*s\" is %s",
                        kind, gp_cut(io->name, 64), io->name,
                        shape_format_io(io, shape, sizeof shape));
}

/* The number of rows that the model is fixed to, or -1. */
static enum gp_status find_rows(const struct model *model, int64_t *fixed,
                                struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    *fixed = -1;
    for (uint32_t i = 0; i < d->n_inputs; i++)
        if (!(d->inputs[i].flags & GP_IO_OPTIONAL) && !take_rows(&d->inputs[i], fixed))
            return refuse_io(&d->inputs[i], "input", err);
    for (uint32_t i = 0; i < d->n_outputs; i++)
        if (is_default(model, &d->outputs[i]) && !take_rows(&d->outputs[i], fixed))
            return refuse_io(&d->outputs[i], "output", err);
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
    if (d->max_batch > 0 && options->max_batch > d->max_batch)
        return gp_error_set(err, GP_INVALID,
                            "--max-batch is %u, but the model takes at most %lld rows",
                            options->max_batch, (long long)d->max_batch);
    if (find_rows(model, &fixed, err) != GP_OK)
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

void model_drop_batches(struct model *model)
{
    for (uint32_t i = 0; model->slots.all && i < model->slots.n; i++) {
        batch_destroy(model->slots.all[i].batch);
        model->slots.all[i].batch = NULL;
    }
}
