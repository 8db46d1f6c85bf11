/* Finds out what a model's inputs and outputs are. A net names what its callers give it, weights
 * among them, and what they get, but no types and no shapes: those of inputs are said in
 * value_inputs.json, those of outputs are seen when the net runs with zeros. */
#include "caffe2.h"

enum { NET_EXTERNAL_INPUT = 7, NET_EXTERNAL_OUTPUT = 8 }; /* of caffe2.proto */

static bool is_kept(const struct gp_io *list, uint32_t n, struct pb_bytes name)
{
    for (uint32_t i = 0; i < n; i++)
        if (pb_is_text(name, list[i].name))
            return true;
    return false;
}

/* Adds an input or output to a list that has room for GP_MAX_TENSORS; its type and shape are
 * unknown. */
static enum gp_status keep_io(struct c2_model *model, const struct c2_net *net,
                              struct pb_bytes name, struct gp_io *list, uint32_t *n,
                              struct gp_error *err)
{
    if (is_kept(list, *n, name))
        return GP_OK;
    if (*n == GP_MAX_TENSORS)
        return gp_error_set(err, GP_TOO_LARGE, "%s has more than %u inputs or outputs",
                            net->path, GP_MAX_TENSORS);
    if (pb_size(name) == 0 || pb_size(name) > GP_MAX_NAME_BYTES ||
        memchr(name.at, 0, pb_size(name)))
        return gp_error_set(err, GP_INVALID,
                            "%s has an input or output whose name is empty, too long or "
                            "with a zero byte in it",
                            net->path);
    const char *kept = plugin_keep_bytes(&model->kept, name.at, pb_size(name), err);
    if (!kept)
        return GP_NO_MEMORY;
    list[(*n)++] = (struct gp_io){
        .name = kept, .description = "", .dtype = GP_NULL, .flags = GP_IO_ANY_RANK};
    return GP_OK;
}

static enum gp_status keep_shape(struct c2_model *model, struct gp_io *io,
                                 const int64_t *sizes, uint32_t rank,
                                 struct gp_error *err)
{
    io->shape = (const int64_t *)plugin_keep_bytes(&model->kept, sizes,
                                                   rank * sizeof *sizes, err);
    io->rank = rank;
    io->flags = 0;
    return io->shape ? GP_OK : GP_NO_MEMORY;
}

/* --- inputs --- */

static const struct c2_said *find_said(const struct c2_said_list *list,
                                       struct pb_bytes name)
{
    for (size_t i = 0; i < list->n; i++)
        if (pb_is_text(name, list->items[i].name))
            return &list->items[i];
    return NULL;
}

static enum gp_status keep_input(struct c2_model *model, const struct c2_net *init,
                                 const struct c2_net *predict, struct pb_bytes name,
                                 const struct c2_said_list *list, struct gp_error *err)
{
    const struct c2_said *said = find_said(list, name);
    if (!said && list->path)
        return gp_error_set(err, GP_INVALID,
                            "%s says nothing about \"%.*s\", an input of %s that %s does "
                            "not fill",
                            list->path, (int)pb_size(name) % 100, (const char *)name.at,
                            predict->path, init->path);
    const uint32_t n = model->n_inputs;
    enum gp_status status =
        keep_io(model, predict, name, model->inputs, &model->n_inputs, err);
    if (status != GP_OK || n == model->n_inputs)
        return status;
    model->inputs[n].dtype = said ? said->dtype : GP_FLOAT32;
    return said ? keep_shape(model, &model->inputs[n], said->sizes, said->rank, err)
                : GP_OK;
}

static enum gp_status check_said(const struct c2_model *model,
                                 const struct c2_net *predict,
                                 const struct c2_said_list *said, struct gp_error *err)
{
    for (size_t i = 0; i < said->n; i++) {
        const char *name = said->items[i].name;
        if (!is_kept(model->inputs, model->n_inputs, pb_view(name, strlen(name))))
            return gp_error_set(err, GP_INVALID,
                                "%s: \"%.*s\" is not in the external_input of %s",
                                said->path, gp_cut(name, 100), name, predict->path);
    }
    return GP_OK;
}

enum gp_status c2_inputs_read(struct c2_model *model, const struct c2_net *init,
                              const struct c2_net *predict,
                              const struct c2_said_list *said, struct gp_error *err)
{
    struct pb_bytes name, rest = c2_net_view(predict);
    struct c2_names filled = {NULL, 0};
    enum gp_status status = c2_net_written(init, &model->kept, &filled, err);
    model->inputs =
        plugin_keep(&model->kept, GP_MAX_TENSORS * sizeof *model->inputs, err);
    if (status != GP_OK || !model->inputs)
        return GP_NO_MEMORY;
    while (status == GP_OK && pb_next_body(&rest, NET_EXTERNAL_INPUT, &name))
        /* a filler for an input is there so that its blob exists */
        if (find_said(said, name) || !c2_names_have(&filled, name))
            status = keep_input(model, init, predict, name, said, err);
    if (status == GP_OK)
        status = check_said(model, predict, said, err);
    if (status == GP_OK && model->n_inputs == 0)
        status = gp_error_set(err, GP_INVALID,
                              "%s has no inputs: %s fills all of its external_input; a "
                              "value_inputs.json says which are inputs",
                              predict->path, init->path);
    return status;
}

/* --- outputs --- */

static bool has_known_rows(const struct gp_io *io)
{
    if (io->flags & GP_IO_ANY_RANK)
        return false;
    for (uint32_t i = 1; i < io->rank; i++)
        if (io->shape[i] < 0)
            return false;
    return true;
}

/* Sets all inputs to zeros; those without a known shape get no elements. */
static enum gp_status set_zeros(const struct c2_model *model, int64_t n_rows,
                                struct gp_error *err)
{
    for (uint32_t i = 0; i < model->n_inputs; i++) {
        const struct gp_io *io = &model->inputs[i];
        const uint32_t rank = io->flags & GP_IO_ANY_RANK ? 1 : io->rank;
        int64_t shape[GP_MAX_RANK] = {0};
        for (uint32_t j = 1; j < rank; j++)
            shape[j] = io->shape[j] < 0 ? 0 : io->shape[j];
        if (has_known_rows(io))
            shape[0] = n_rows;
        void *data = model->runtime->bridge->set_input(model->workspace, io->name,
                                                       io->dtype, shape, rank, err);
        if (!data)
            return err->status;
        memset(data, 0, gp_tensor_view(io->dtype, shape, rank, data).size_bytes);
    }
    return GP_OK;
}

static enum gp_status run_zeros(const struct c2_model *model, int64_t n_rows,
                                struct gp_error *err)
{
    const enum gp_status status = set_zeros(model, n_rows, err);
    return status == GP_OK
               ? model->runtime->bridge->run(model->workspace, model->n_cores, err)
               : status;
}

static enum gp_status see_outputs(struct c2_model *model, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < model->n_outputs && status == GP_OK; i++) {
        struct gp_io *io = &model->outputs[i];
        struct gp_tensor y;
        status = model->runtime->bridge->get_output(model->workspace, io->name, &y, err);
        if (status != GP_OK)
            return status;
        io->dtype = y.dtype;
        if (y.rank <= GP_MAX_RANK)
            status = keep_shape(model, io, y.shape, y.rank, err);
    }
    return status;
}

/* Which sizes go with the number of rows is seen with another one. */
static void free_sizes(struct c2_model *model)
{
    for (uint32_t i = 0; i < model->n_outputs; i++) {
        struct gp_io *io = &model->outputs[i];
        int64_t *sizes = (int64_t *)(uintptr_t)io->shape;
        struct gp_tensor y;
        if (model->runtime->bridge->get_output(model->workspace, io->name, &y, NULL) !=
                GP_OK ||
            y.rank != io->rank)
            io->flags = GP_IO_ANY_RANK;
        for (uint32_t j = 0; j < io->rank && !(io->flags & GP_IO_ANY_RANK); j++)
            if (sizes[j] != y.shape[j])
                sizes[j] = -1;
        if (io->flags & GP_IO_ANY_RANK)
            io->rank = 0;
    }
}

/* As it was in 2018: the first size is that of the batch. */
static void free_first_sizes(struct c2_model *model)
{
    for (uint32_t i = 0; i < model->n_outputs; i++)
        if (model->outputs[i].rank > 0)
            *(int64_t *)(uintptr_t)model->outputs[i].shape = -1;
}

static void say_unseen(const struct c2_model *model, const struct gp_error *why)
{
    char line[600];
    (void)snprintf(
        line, sizeof line,
        "Caffe2: types and shapes of the outputs are unknown, since a run with "
        "zeros fails: %s",
        why->message);
    if (model->log)
        model->log(model->log_context, GP_LOG_WARNING, line);
}

static enum gp_status try_outputs(struct c2_model *model, struct gp_error *err)
{
    struct gp_error why;
    for (uint32_t i = 0; i < model->n_inputs; i++)
        if (!has_known_rows(&model->inputs[i]))
            return GP_OK;
    if (run_zeros(model, 1, &why) != GP_OK) {
        say_unseen(model, &why);
        return GP_OK;
    }
    const enum gp_status status = see_outputs(model, err);
    if (status != GP_OK)
        return status;
    if (run_zeros(model, 2, &why) == GP_OK)
        free_sizes(model);
    else
        free_first_sizes(model);
    return GP_OK;
}

enum gp_status c2_outputs_find(struct c2_model *model, const struct c2_net *predict,
                               struct gp_error *err)
{
    struct pb_bytes name, rest = c2_net_view(predict);
    enum gp_status status = GP_OK;
    model->outputs =
        plugin_keep(&model->kept, GP_MAX_TENSORS * sizeof *model->outputs, err);
    if (!model->outputs)
        return GP_NO_MEMORY;
    while (status == GP_OK && pb_next_body(&rest, NET_EXTERNAL_OUTPUT, &name))
        status = keep_io(model, predict, name, model->outputs, &model->n_outputs, err);
    if (status == GP_OK && model->n_outputs == 0)
        status = gp_error_set(err, GP_INVALID,
                              "%s has no outputs: its external_output is empty",
                              predict->path);
    if (status == GP_OK)
        status = set_zeros(model, 1, err);
    if (status == GP_OK)
        status = model->runtime->bridge->create(model->workspace, err);
    return status == GP_OK ? try_outputs(model, err) : status;
}
