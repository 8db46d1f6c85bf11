/* What a model takes and gives. A tensor in OpenVINO has several names or none: shown and
 * asked for is the one that OpenVINO calls any name, the first in the alphabet; where there
 * is none, or an earlier one has it, "input0" or "output0" by position. A size with bounds
 * counts as free. */
#include "openvino.h"

#include <string.h>

bool openvino_io_is_fixed(const struct gp_io *io)
{
    bool is_fixed = !(io->flags & GP_IO_ANY_RANK);
    for (uint32_t axis = 0; axis < io->rank; axis++)
        is_fixed = is_fixed && io->shape[axis] >= 0;
    return is_fixed;
}

static bool has_name(const struct gp_io *list, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(list[i].name, name) == 0)
            return true;
    return false;
}

static enum gp_status read_name(struct ov_model *model, bool is_input, size_t i,
                                const ov_output_const_port_t *port, struct gp_io *list,
                                struct gp_error *err)
{
    char *name = NULL, made[32];
    if (model->ov->ov_port_get_any_name(port, &name) != OK)
        name = NULL;
    (void)snprintf(made, sizeof made, "%sput%zu", is_input ? "in" : "out", i);
    const bool is_usable = name && *name && !has_name(list, i, name);
    list[i].name = plugin_keep_text(&model->blocks, is_usable ? name : made, err);
    model->ov->ov_free(name);
    return list[i].name ? GP_OK : GP_NO_MEMORY;
}

static enum gp_status read_shape(struct ov_model *model,
                                 const ov_output_const_port_t *port, struct gp_io *io,
                                 struct gp_error *err)
{
    const struct ov_runtime *ov = model->ov;
    ov_partial_shape_t shape = {{0, 0}, NULL};
    enum gp_status status = ov_check(ov, ov->ov_port_get_partial_shape(port, &shape),
                                     GP_ENGINE, io->name, err);
    if (status != GP_OK)
        return status;
    const int64_t rank = shape.rank.min;
    if (rank != shape.rank.max) {
        io->flags |= GP_IO_ANY_RANK;
    } else if (rank > GP_MAX_RANK) {
        status = gp_error_set(err, GP_UNSUPPORTED,
                              "\"%s\" has rank %lld, over the limit of %u", io->name,
                              (long long)rank, GP_MAX_RANK);
    } else if (rank > 0) {
        int64_t *sizes = plugin_keep(&model->blocks, (size_t)rank * sizeof *sizes, err);
        for (int64_t i = 0; sizes && i < rank; i++)
            sizes[i] = shape.dims[i].min == shape.dims[i].max ? shape.dims[i].min : -1;
        io->shape = sizes;
        io->rank = (uint32_t)rank;
        status = sizes ? GP_OK : GP_NO_MEMORY;
    }
    ov->ov_partial_shape_free(&shape);
    return status;
}

static enum gp_status read_port(struct ov_model *model, bool is_input, size_t i,
                                const ov_output_const_port_t *port, struct gp_io *list,
                                struct gp_error *err)
{
    const struct ov_runtime *ov = model->ov;
    struct gp_io *io = &list[i];
    ov_element_type_e type = DYNAMIC;
    io->description = "";
    enum gp_status status = read_name(model, is_input, i, port, list, err);
    if (status == GP_OK)
        status = ov_check(ov, ov->ov_port_get_element_type(port, &type), GP_ENGINE,
                          io->name, err);
    if (status != GP_OK)
        return status;
    io->dtype = ov_dtype(type);
    if (io->dtype == GP_NULL)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%sput \"%s\" is of type %s, which %s; try another engine",
                            is_input ? "in" : "out", io->name, ov_type_name(type),
                            type == STRING ? "OpenVINO's C interface cannot read"
                                           : "GraphPipe does not have");
    return read_shape(model, port, io, err);
}

static enum gp_status read_section(struct ov_model *model, bool is_input, size_t n,
                                   struct gp_io **list, struct gp_error *err)
{
    const struct ov_runtime *ov = model->ov;
    if (n > GP_MAX_TENSORS)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "the model has %zu %sputs, over the limit of %u", n,
                            is_input ? "in" : "out", GP_MAX_TENSORS);
    *list = plugin_keep(&model->blocks, n * sizeof **list, err);
    enum gp_status status = *list ? GP_OK : GP_NO_MEMORY;
    for (size_t i = 0; i < n && status == GP_OK; i++) {
        ov_output_const_port_t *port = NULL;
        status = ov_check(
            ov,
            is_input ? ov->ov_model_const_input_by_index(model->graph, i, &port)
                     : ov->ov_model_const_output_by_index(model->graph, i, &port),
            GP_ENGINE, "cannot read the model's graph", err);
        if (status == GP_OK)
            status = read_port(model, is_input, i, port, *list, err);
        ov->ov_output_const_port_free(port);
    }
    return status;
}

enum gp_status openvino_io_read(struct ov_model *model, struct gp_error *err)
{
    const struct ov_runtime *ov = model->ov;
    size_t n_inputs = 0, n_outputs = 0;
    enum gp_status status =
        ov_check(ov, ov->ov_model_inputs_size(model->graph, &n_inputs), GP_ENGINE,
                 "cannot read the model's graph", err);
    if (status == GP_OK)
        status = ov_check(ov, ov->ov_model_outputs_size(model->graph, &n_outputs),
                          GP_ENGINE, "cannot read the model's graph", err);
    if (status == GP_OK)
        status = read_section(model, true, n_inputs, &model->inputs, err);
    if (status == GP_OK)
        status = read_section(model, false, n_outputs, &model->outputs, err);
    if (status == GP_OK && n_outputs == 0)
        status = gp_error_set(err, GP_UNSUPPORTED, "the model has no output");
    model->n_inputs = (uint32_t)n_inputs;
    model->n_outputs = (uint32_t)n_outputs;
    return status;
}
