/* Has MXNet infer what a symbol does not say: types at open, shapes at open as far as that goes,
 * and all of them when inputs of new shapes come. */
#include "mxnet.h"

enum gp_status mx_query_add(struct mx_model *model, const char *name,
                            const int64_t *sizes, uint32_t rank, struct gp_error *err)
{
    struct mx_query *query = &model->query;
    uint32_t end = query->ends[query->n];
    if (rank == 0 && !model->has_numpy_shapes)
        return gp_error_set(err, GP_INVALID,
                            "\"%.*s\" has no dimensions, which this symbol of MXNet "
                            "cannot have; send one element as [1]",
                            gp_cut(name, 100), name);
    for (uint32_t i = 0; i < rank; i++) {
        if (sizes[i] > INT32_MAX)
            return gp_error_set(err, GP_TOO_LARGE,
                                "\"%.*s\" has a dimension of %lld, over MXNet's limit "
                                "of %d",
                                gp_cut(name, 100), name, (long long)sizes[i], INT32_MAX);
        query->sizes[end++] =
            sizes[i] < 0 && !model->has_numpy_shapes ? 0 : (int)sizes[i];
    }
    query->names[query->n++] = name;
    query->ends[query->n] = end;
    return GP_OK;
}

enum gp_status mx_query_infer(const struct mx_model *model, bool is_whole,
                              struct mx_shapes *arguments, struct mx_shapes *outputs,
                              struct gp_error *err)
{
    const struct mx_api *api = &model->mx->api;
    const struct mx_query *query = &model->query;
    struct mx_shapes in = {0}, out = {0}, aux;
    int is_complete = 0;
    const int failed =
        (is_whole ? api->SymbolInferShapeEx : api->SymbolInferShapePartialEx)(
            model->symbol, query->n, query->names, query->ends, query->sizes, &in.n,
            &in.ranks, &in.sizes, &out.n, &out.ranks, &out.sizes, &aux.n, &aux.ranks,
            &aux.sizes, &is_complete);
    if (mx_check(model->mx, failed, GP_INVALID, "the shapes do not fit", err) != GP_OK)
        return err->status;
    if (is_whole && !is_complete)
        return gp_error_set(err, GP_INVALID,
                            "MXNet cannot tell all shapes of the symbol by those of the "
                            "inputs");
    if (arguments)
        *arguments = in;
    if (outputs)
        *outputs = out;
    return GP_OK;
}

enum gp_status mx_keep_shape(struct mx_model *model, struct gp_io *io,
                             const int64_t *sizes, uint32_t rank, struct gp_error *err)
{
    int64_t *shape = plugin_keep(&model->kept, rank * sizeof *shape, err);
    if (!shape)
        return GP_NO_MEMORY;
    memcpy(shape, sizes, rank * sizeof *shape);
    io->shape = shape;
    io->rank = rank;
    io->flags &= ~(uint32_t)GP_IO_ANY_RANK;
    return GP_OK;
}

/* Types that are known, by name; MXNet says the rest. */
enum gp_status mx_infer_types(struct mx_model *model, const struct mx_params *params,
                              struct gp_error *err)
{
    const struct mx_api *api = &model->mx->api;
    uint32_t n = 0, n_in = 0, n_out = 0, n_aux;
    const int *in = NULL, *out = NULL, *aux;
    int is_complete;
    const char **names = calloc(model->n_arguments + 1, sizeof *names);
    int *types = calloc(model->n_arguments + 1, sizeof *types);
    for (uint32_t i = 0; names && types && i < model->n_arguments; i++) {
        const struct mx_argument *argument = &model->arguments[i];
        const bool is_input = argument->role == MX_INPUT;
        names[n] = argument->name;
        if (argument->role == MX_PARAMETER)
            types[n++] = mx_params_find(params, argument->name, false)->type;
        else if (is_input && model->inputs[argument->input].dtype)
            types[n++] = mx_type(model->inputs[argument->input].dtype);
    }
    enum gp_status status =
        !names || !types
            ? gp_error_set(err, GP_NO_MEMORY, "no memory for the symbol's types")
            : mx_check(model->mx,
                       api->SymbolInferTypePartial(model->symbol, n, names, types, &n_in,
                                                   &in, &n_out, &out, &n_aux, &aux,
                                                   &is_complete),
                       GP_INVALID, "the types of the symbol's arguments", err);
    for (uint32_t i = 0; status == GP_OK && i < model->n_arguments && i < n_in; i++)
        if (model->arguments[i].role == MX_INPUT) {
            struct gp_io *io = &model->inputs[model->arguments[i].input];
            io->dtype = io->dtype ? io->dtype : mx_dtype(in[i]);
            io->dtype = io->dtype ? io->dtype : GP_FLOAT32;
        }
    for (uint32_t i = 0; status == GP_OK && i < model->n_outputs && i < n_out; i++)
        model->outputs[i].dtype = mx_dtype(out[i]);
    free(names);
    free(types);
    return status;
}

static enum gp_status take_inferred(struct mx_model *model,
                                    const struct mx_shapes *shapes, uint32_t i,
                                    struct gp_io *io, struct gp_error *err)
{
    int64_t sizes[GP_MAX_RANK];
    const int least = model->has_numpy_shapes ? 0 : 1;
    if (i >= shapes->n || shapes->ranks[i] < least || shapes->ranks[i] > (int)GP_MAX_RANK)
        return GP_OK;
    for (int j = 0; j < shapes->ranks[i]; j++)
        sizes[j] = shapes->sizes[i][j] < least ? -1 : shapes->sizes[i][j];
    return mx_keep_shape(model, io, sizes, (uint32_t)shapes->ranks[i], err);
}

enum gp_status mx_infer_shapes(struct mx_model *model, struct gp_error *err)
{
    struct mx_shapes arguments = {0}, outputs = {0};
    enum gp_status status = GP_OK;
    bool is_whole = true;
    for (uint32_t i = 0; i < model->n_inputs && status == GP_OK; i++)
        if (model->inputs[i].flags & GP_IO_ANY_RANK)
            is_whole = false;
        else
            status = mx_query_add(model, model->inputs[i].name, model->inputs[i].shape,
                                  model->inputs[i].rank, err);
    if (status != GP_OK)
        return status;
    status = mx_query_infer(model, false, &arguments, &outputs, err);
    if (status != GP_OK)
        return is_whole ? status : GP_OK; /* some operators fail for want of a shape */
    for (uint32_t i = 0; i < model->n_arguments && status == GP_OK; i++) {
        const struct mx_argument *argument = &model->arguments[i];
        if (argument->role == MX_INPUT &&
            model->inputs[argument->input].flags & GP_IO_ANY_RANK)
            status =
                take_inferred(model, &arguments, i, &model->inputs[argument->input], err);
    }
    for (uint32_t i = 0; i < model->n_outputs && status == GP_OK; i++)
        status = take_inferred(model, &outputs, i, &model->outputs[i], err);
    return status;
}
