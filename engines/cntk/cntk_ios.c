/* Finds out what a network's inputs and outputs are. CNTK names them and gives the shapes
 * of one element; the file says which inputs have rows or sequences of elements; of
 * outputs a run with zeros shows it. Sizes are turned around: CNTK's are column-major, so
 * the bytes are then the same. */
#include "cntk.h"

enum { MOST_ZEROS = 1 << 26, TYPE_FLOAT = 1, MOST_AXES = 2 };

static const char *type_name(uint32_t data_type)
{
    static const char *const names[] = {"unknown", "float32", "float64", "unknown",
                                        "float16", "int8",    "int16"};
    return data_type < sizeof names / sizeof *names ? names[data_type] : "unknown";
}

/* --- names --- */

static enum gp_status get_variables(struct ck_model *model, struct gp_error *err)
{
    const struct ck_api *api = &model->ck->api;
    struct ck_status result =
        api->GetModelArgumentsInfo(model->network, &model->inputs, &model->n_inputs);
    if (ck_check(&result, GP_ENGINE, "the inputs", err) != GP_OK)
        return err->status;
    result = api->GetModelOutputsInfo(model->network, &model->outputs, &model->n_outputs);
    if (ck_check(&result, GP_ENGINE, "the outputs", err) != GP_OK)
        return err->status;
    if (model->n_inputs > GP_MAX_TENSORS || model->n_outputs > GP_MAX_TENSORS)
        return gp_error_set(err, GP_TOO_LARGE,
                            "the network has %u inputs and %u outputs, over the limit of "
                            "%d",
                            model->n_inputs, model->n_outputs, GP_MAX_TENSORS);
    return GP_OK;
}

/* CNTK's interface knows inputs and outputs by their names alone. */
static enum gp_status check_names(const struct ck_variable *variables, uint32_t n,
                                  const char *what, struct gp_error *err)
{
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t j = 0; j < i; j++)
            if (strcmp(variables[i].name, variables[j].name) == 0)
                return gp_error_set(
                    err, GP_UNSUPPORTED,
                    "%ss %u and %u have the same name, \"%.*s\", and CNTK's interface "
                    "knows them by it; name them apart in CNTK (cntk.alias) and save the "
                    "model again",
                    what, j, i, gp_cut(variables[i].name, 80), variables[i].name);
    for (uint32_t i = 0; i < n; i++)
        if (variables[i].shape.rank > GP_MAX_RANK - MOST_AXES)
            return gp_error_set(err, GP_TOO_LARGE, "%s \"%.*s\" has %u dimensions", what,
                                gp_cut(variables[i].name, 80), variables[i].name,
                                variables[i].shape.rank);
    return GP_OK;
}

static enum gp_status name_ios(struct ck_model *model,
                               const struct ck_variable *variables, uint32_t n,
                               const char *what, struct gp_io *ios, struct gp_error *err)
{
    for (uint32_t i = 0; i < n; i++) {
        char by_place[24];
        (void)snprintf(by_place, sizeof by_place, "%s%u", what, i);
        const char *name = variables[i].name[0] ? variables[i].name : by_place;
        ios[i] = (struct gp_io){.description = "", .dtype = GP_FLOAT32};
        ios[i].name = plugin_keep_text(&model->kept, name, err);
        if (!ios[i].name)
            return GP_NO_MEMORY;
    }
    return GP_OK;
}

/* --- shapes --- */

/* Rows and steps of sequences first, then an element's sizes, the other way around. */
static enum gp_status set_shape(struct ck_model *model, const struct ck_shape *element,
                                uint32_t n_axes, struct gp_io *io, struct gp_error *err)
{
    int64_t *shape =
        plugin_keep(&model->kept, (n_axes + element->rank) * sizeof *shape, err);
    if (!shape)
        return GP_NO_MEMORY;
    for (uint32_t i = 0; i < n_axes; i++)
        shape[i] = -1;
    for (uint32_t i = 0; i < element->rank; i++) {
        const uint32_t size = element->sizes[element->rank - 1 - i];
        shape[n_axes + i] = size == CK_FREE || size == CK_INFERRED ? -1 : (int64_t)size;
    }
    io->shape = shape;
    io->rank = n_axes + element->rank;
    return GP_OK;
}

static enum gp_status describe_input(struct ck_model *model, uint32_t i,
                                     const struct ck_inputs *inputs, struct gp_error *err)
{
    const char *name = model->inputs[i].name;
    const struct ck_input *said = NULL;
    for (uint32_t j = 0; j < inputs->n; j++)
        if (strcmp(inputs->items[j].name, name) == 0)
            said = &inputs->items[j];
    if (!said || said->n_axes > MOST_AXES)
        return gp_error_set(err, GP_INVALID,
                            "the file does not say what input \"%.*s\" is",
                            gp_cut(name, 80), name);
    if (said->data_type != TYPE_FLOAT || said->is_sparse)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "input \"%.*s\" is %s%s, and CNTK's C interface runs dense "
                            "float32 only; export the model to ONNX",
                            gp_cut(name, 80), name, said->is_sparse ? "sparse " : "",
                            type_name(said->data_type));
    model->n_axes[i] = said->n_axes;
    return set_shape(model, &model->inputs[i].shape, said->n_axes, &model->ios[i], err);
}

/* --- a run with zeros --- */

/* Makes the smallest input that there is: one row of one step. It may be too small for a
 * network with free sizes; *has_choice says whether there is a larger one. */
static enum gp_status fill_zeros(struct ck_model *model, float **zeros, bool *has_choice,
                                 struct gp_error *err)
{
    size_t most = 1;
    for (uint32_t i = 0; i < model->n_inputs; i++) {
        const struct ck_shape *element = &model->inputs[i].shape;
        struct ck_shape *shape = &model->x[i].shape;
        size_t n = 1;
        *has_choice = *has_choice || model->n_axes[i] > 1;
        for (uint32_t j = 0; j < element->rank; j++) {
            const uint32_t size = element->sizes[j];
            const bool is_free = size == CK_FREE || size == CK_INFERRED;
            *has_choice = *has_choice || is_free;
            shape->sizes[j] = is_free ? 1 : size;
            n = n > MOST_ZEROS ? n : n * shape->sizes[j];
        }
        shape->sizes[element->rank] = 1;
        most = n > most ? n : most;
    }
    *zeros = most > MOST_ZEROS ? NULL : calloc(most, sizeof **zeros);
    if (!*zeros) {
        *has_choice = true;
        return gp_error_set(err, GP_TOO_LARGE, "its inputs are too large to try it");
    }
    for (uint32_t i = 0; i < model->n_inputs; i++)
        model->x[i].data = *zeros;
    return GP_OK;
}

/* What cannot be tried with zeros has outputs of any shape, or cannot run at all. */
static enum gp_status describe_outputs(struct ck_model *model, struct gp_error *err)
{
    struct ck_value *values = NULL;
    float *zeros = NULL;
    struct gp_io *ios = model->ios + model->n_inputs;
    bool has_choice = false;
    enum gp_status status = fill_zeros(model, &zeros, &has_choice, err);
    if (status == GP_OK)
        status = ck_evaluate(model, model->outputs, model->n_outputs, &values, err);
    const bool is_tried = status == GP_OK;
    status = has_choice ? GP_OK : status;
    for (uint32_t i = 0; i < model->n_outputs && status == GP_OK; i++) {
        const struct ck_shape *element = &model->outputs[i].shape;
        const uint32_t rank = is_tried ? values[i].shape.rank : 0;
        if (is_tried && rank >= element->rank && rank - element->rank <= MOST_AXES)
            status = set_shape(model, element, rank - element->rank, &ios[i], err);
        else
            ios[i].flags = GP_IO_ANY_RANK;
    }
    ck_values_free(model, values, model->n_outputs);
    free(zeros);
    return status;
}

/* --- all of it --- */

static enum gp_status make_room(struct ck_model *model, struct gp_error *err)
{
    const uint32_t n = model->n_inputs;
    union plugin_block **kept = &model->kept;
    model->ios = plugin_keep(kept, (n + model->n_outputs) * sizeof *model->ios, err);
    model->n_axes = plugin_keep(kept, n * sizeof *model->n_axes, err);
    model->x = plugin_keep(kept, n * sizeof *model->x, err);
    model->begins = plugin_keep(kept, n * sizeof *model->begins, err);
    if (!model->ios || !model->n_axes || !model->x || !model->begins)
        return GP_NO_MEMORY;
    for (uint32_t i = 0; i < n; i++) {
        struct ck_shape *shape = &model->x[i].shape;
        shape->rank = model->inputs[i].shape.rank + 1; /* steps of a sequence */
        shape->sizes = plugin_keep(kept, shape->rank * sizeof *shape->sizes, err);
        model->begins[i] = true;
        if (!shape->sizes)
            return GP_NO_MEMORY;
    }
    return GP_OK;
}

enum gp_status ck_ios_read(struct ck_model *model, const struct ck_inputs *inputs,
                           struct gp_error *err)
{
    enum gp_status status = get_variables(model, err);
    if (status == GP_OK)
        status = check_names(model->inputs, model->n_inputs, "input", err);
    if (status == GP_OK)
        status = check_names(model->outputs, model->n_outputs, "output", err);
    if (status == GP_OK)
        status = make_room(model, err);
    if (status == GP_OK)
        status =
            name_ios(model, model->inputs, model->n_inputs, "input", model->ios, err);
    if (status == GP_OK)
        status = name_ios(model, model->outputs, model->n_outputs, "output",
                          model->ios + model->n_inputs, err);
    for (uint32_t i = 0; i < model->n_inputs && status == GP_OK; i++)
        status = describe_input(model, i, inputs, err);
    return status == GP_OK ? describe_outputs(model, err) : status;
}

static void free_variables(const struct ck_model *model, struct ck_variable *variables,
                           uint32_t n)
{
    for (uint32_t i = 0; variables && i < n; i++)
        model->ck->api.CleanVariable(&variables[i]);
    if (variables)
        model->ck->api.ReleaseArray(variables);
}

void ck_ios_free(struct ck_model *model)
{
    free_variables(model, model->inputs, model->n_inputs);
    free_variables(model, model->outputs, model->n_outputs);
}
