/* What is known of an output's shape before a run, so that the runtime can write it where
 * the host wants it. Sizes are fixed, or have a name ("batch") that an input's size has
 * as well. But a model may say what is not so. Hence a prediction counts only once a run
 * without it has shown it to be right, and never again when a run has shown it wrong:
 * the runtime refuses memory of another shape.
 *
 * An output that is itself an input is never predicted: the runtime would pass the input
 * on and leave the memory as it is. */
#include "onnx.h"

#include <string.h>

static const struct onnx_symbol *find_symbol(const struct onnx_model *model,
                                             const char *name)
{
    for (const struct onnx_symbol *s = model->symbols; s; s = s->next)
        if (strcmp(s->name, name) == 0)
            return s;
    return NULL;
}

static bool is_input(const struct onnx_model *model, const char *name)
{
    for (uint32_t i = 0; i < model->n_inputs; i++)
        if (strcmp(model->inputs[i].name, name) == 0)
            return true;
    return false;
}

/* The names of the sizes, "" for those without; they live as long as `info`. */
static enum gp_status read_names(const struct onnx_model *model,
                                 const struct OrtTypeInfo *info, const struct gp_io *io,
                                 const char **names, struct gp_error *err)
{
    const struct ort_runtime *ort = model->ort;
    const struct OrtShapeInfo *tensor;
    const enum gp_status status =
        ort_check(ort, ort->api.CastTypeInfoToTensorInfo(info, &tensor), io->name, err);
    if (status != GP_OK || io->rank == 0)
        return status;
    return ort_check(ort, ort->api.GetSymbolicDimensions(tensor, names, io->rank),
                     io->name, err);
}

enum gp_status onnx_shape_read_input(struct onnx_model *model,
                                     const struct OrtTypeInfo *info,
                                     const struct gp_io *io, struct gp_error *err)
{
    const char *names[GP_MAX_RANK];
    const enum gp_status status = read_names(model, info, io, names, err);
    if (status != GP_OK)
        return status;
    for (uint32_t axis = 0; axis < io->rank; axis++) {
        if (io->shape[axis] >= 0 || !*names[axis] || find_symbol(model, names[axis]))
            continue;
        struct onnx_symbol *symbol = plugin_keep(&model->blocks, sizeof *symbol, err);
        if (!symbol)
            return GP_NO_MEMORY;
        *symbol =
            (struct onnx_symbol){plugin_keep_text(&model->blocks, names[axis], err),
                                 (uint32_t)(io - model->inputs), axis, model->symbols};
        if (!symbol->name)
            return GP_NO_MEMORY;
        model->symbols = symbol;
    }
    return GP_OK;
}

enum gp_status onnx_shape_read_output(struct onnx_model *model,
                                      const struct OrtTypeInfo *info,
                                      const struct gp_io *io, struct gp_error *err)
{
    const char *names[GP_MAX_RANK];
    struct onnx_shape *shape = &model->shapes[io - model->outputs];
    const enum gp_status status = read_names(model, info, io, names, err);
    if (status != GP_OK)
        return status;
    shape->io = io;
    shape->symbols = plugin_keep(&model->blocks, io->rank * sizeof *shape->symbols, err);
    if (!shape->symbols)
        return GP_NO_MEMORY;
    bool is_known = !(io->flags & GP_IO_ANY_RANK) && io->dtype != GP_STRING &&
                    !is_input(model, io->name);
    for (uint32_t axis = 0; axis < io->rank; axis++)
        if (io->shape[axis] < 0) {
            shape->symbols[axis] = find_symbol(model, names[axis]);
            is_known = is_known && shape->symbols[axis];
        }
    atomic_store(&shape->trust, is_known ? ONNX_UNTRIED : ONNX_REFUTED);
    return GP_OK;
}

/* A host passes all inputs that are not optional in the described order, and first. */
static bool predict(const struct onnx_shape *shape, const struct gp_call *call,
                    int64_t *sizes)
{
    for (uint32_t axis = 0; axis < shape->io->rank; axis++) {
        const struct onnx_symbol *symbol = shape->symbols[axis];
        sizes[axis] = shape->io->shape[axis];
        if (!symbol)
            continue;
        if (symbol->input >= call->n_inputs ||
            symbol->axis >= call->inputs[symbol->input].rank)
            return false;
        sizes[axis] = call->inputs[symbol->input].shape[symbol->axis];
    }
    return true;
}

bool onnx_shape_predict(const struct onnx_shape *shape, const struct gp_call *call,
                        int64_t *sizes)
{
    return atomic_load(&shape->trust) == ONNX_TRUSTED && predict(shape, call, sizes);
}

void onnx_shape_learn(struct onnx_shape *shape, const struct gp_call *call,
                      const int64_t *sizes, size_t rank)
{
    int64_t predicted[GP_MAX_RANK];
    int untried = ONNX_UNTRIED;
    if (atomic_load(&shape->trust) == ONNX_REFUTED)
        return;
    if (rank == shape->io->rank && predict(shape, call, predicted) &&
        memcmp(predicted, sizes, rank * sizeof *sizes) == 0)
        atomic_compare_exchange_strong(&shape->trust, &untried, ONNX_TRUSTED);
    else
        onnx_shape_refute(shape);
}

void onnx_shape_refute(struct onnx_shape *shape)
{
    atomic_store(&shape->trust, ONNX_REFUTED);
}
