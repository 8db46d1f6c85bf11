/* Finds out what a model's inputs and outputs are. An argument that the params file has no
 * array for is an input, but a label: a symbol that was made for training has one, which
 * is not read. Shapes come from what was said, from the symbol's own attributes, or from
 * what MXNet infers; a symbol of Gluon has none, and then any are accepted. */
#include "mxnet.h"

static bool is_label(const char *name)
{
    static const char end[] = "_label";
    const size_t n = strlen(name), m = sizeof end - 1;
    return n >= m && strcmp(name + n - m, end) == 0;
}

/* --- arrays --- */

static enum gp_status make_array(const struct mx_model *model,
                                 const struct mx_array *array, NDArrayHandle *made,
                                 struct gp_error *err)
{
    enum { CPU = 1 };
    const struct mx_api *api = &model->mx->api;
    enum gp_status status = mx_check(
        model->mx,
        api->NDArrayCreateEx(array->sizes, array->rank, CPU, 0, 0, array->type, made),
        GP_NO_MEMORY, array->name, err);
    if (status == GP_OK && array->n_elements)
        status = mx_check(
            model->mx, api->NDArraySyncCopyFromCPU(*made, array->data, array->n_elements),
            GP_ENGINE, array->name, err);
    return status;
}

static enum gp_status keep_names(struct mx_model *model, uint32_t n, const char **names,
                                 const char ***copies, struct gp_error *err)
{
    if (n > MX_MOST_ARGUMENTS)
        return gp_error_set(err, GP_TOO_LARGE,
                            "the symbol has %u variables, over the limit of %d", n,
                            MX_MOST_ARGUMENTS);
    *copies = plugin_keep(&model->kept, n * sizeof **copies, err);
    for (uint32_t i = 0; *copies && i < n; i++) {
        (*copies)[i] = plugin_keep_text(&model->kept, names[i], err);
        if (!(*copies)[i])
            return GP_NO_MEMORY;
    }
    return *copies ? GP_OK : GP_NO_MEMORY;
}

static bool is_named(const struct mx_said_list *list, const char *name)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i].name, name) == 0)
            return true;
    return false;
}

static enum gp_status read_arguments(struct mx_model *model,
                                     const struct mx_params *params,
                                     const struct mx_said_list *said,
                                     struct gp_error *err)
{
    uint32_t n;
    const char **names;
    enum gp_status status =
        mx_check(model->mx, model->mx->api.SymbolListArguments(model->symbol, &n, &names),
                 GP_ENGINE, "the symbol", err);
    if (status == GP_OK)
        status = keep_names(model, n, names, &names, err);
    if (status != GP_OK)
        return status;
    model->arguments = plugin_keep(&model->kept, n * sizeof *model->arguments, err);
    if (!model->arguments)
        return GP_NO_MEMORY;
    for (; model->n_arguments < n && status == GP_OK; model->n_arguments++) {
        struct mx_argument *argument = &model->arguments[model->n_arguments];
        argument->name = names[model->n_arguments];
        const struct mx_array *array = mx_params_find(params, argument->name, false);
        argument->role = array                            ? MX_PARAMETER
                         : is_named(said, argument->name) ? MX_INPUT
                         : is_label(argument->name)       ? MX_LABEL
                                                          : MX_INPUT;
        if (argument->role == MX_INPUT)
            argument->input = model->n_inputs++;
        if (!array)
            continue;
        argument->rank = array->rank;
        memcpy(argument->sizes, array->sizes, sizeof argument->sizes);
        status = make_array(model, array, &argument->array, err);
    }
    return status;
}

/* The moving averages of a BatchNorm, which no request can give. */
static enum gp_status read_auxiliaries(struct mx_model *model,
                                       const struct mx_params *params,
                                       struct gp_error *err)
{
    uint32_t n;
    const char **names;
    enum gp_status status = mx_check(
        model->mx, model->mx->api.SymbolListAuxiliaryStates(model->symbol, &n, &names),
        GP_ENGINE, "the symbol", err);
    if (status == GP_OK)
        status = keep_names(model, n, names, &names, err);
    if (status != GP_OK)
        return status;
    model->auxiliaries = plugin_keep(&model->kept, n * sizeof *model->auxiliaries, err);
    if (!model->auxiliaries)
        return GP_NO_MEMORY;
    for (; model->n_auxiliaries < n && status == GP_OK; model->n_auxiliaries++) {
        const char *name = names[model->n_auxiliaries];
        const struct mx_array *array = mx_params_find(params, name, true);
        array = array ? array : mx_params_find(params, name, false);
        if (!array)
            return gp_error_set(
                err, GP_INVALID, "%s has no array aux:%.*s, which the symbol needs",
                model->n_files > 1 ? model->files[1] : "the missing params file",
                gp_cut(name, 100), name);
        status = make_array(model, array, &model->auxiliaries[model->n_auxiliaries], err);
    }
    return status;
}

/* --- what is said, and what the symbol says --- */

/* The name of each input, or each output, for messages. */
static const char *list_ios(const struct gp_io *ios, uint32_t n, char *line, size_t size)
{
    size_t used = 0;
    line[0] = '\0';
    for (uint32_t i = 0; i < n && used < size; i++)
        used += (size_t)snprintf(line + used, size - used, "%s%.*s", i ? ", " : "",
                                 gp_cut(ios[i].name, 60), ios[i].name);
    return line;
}

/* Takes what was said of some of the ios, each by its name or else by its place. */
static enum gp_status take_said(struct mx_model *model, const struct mx_said_list *list,
                                const char *what, struct gp_io *ios, uint32_t n,
                                struct gp_error *err)
{
    char names[240];
    for (size_t i = 0; i < list->n; i++) {
        const struct mx_said *said = &list->items[i];
        size_t at = i;
        for (size_t j = 0; *said->name && j < n; j++)
            if (strcmp(ios[j].name, said->name) == 0 || j + 1 == n) {
                at = strcmp(ios[j].name, said->name) == 0 ? j : n;
                break;
            }
        if (at >= n)
            return gp_error_set(err, GP_INVALID,
                                "%s[%zu], \"%.*s\", is none of the symbol's %u %s: %s",
                                what, i, gp_cut(said->name, 60), said->name, n, what,
                                list_ios(ios, n, names, sizeof names));
        ios[at].description = said->description;
        ios[at].dtype = said->dtype ? said->dtype : ios[at].dtype;
        if (said->has_shape &&
            mx_keep_shape(model, &ios[at], said->sizes, said->rank, err) != GP_OK)
            return err->status;
    }
    return GP_OK;
}

/* "(0, 3, 224, 224)" or "[...]"; sizes that are not known are 0, -1 or None. */
static bool parse_shape(const struct mx_model *model, const char *text, int64_t *sizes,
                        uint32_t *rank)
{
    *rank = 0;
    if (*text != '(' && *text != '[')
        return false;
    for (text++;;) {
        text += strspn(text, " ,");
        if (*text == ')' || *text == ']')
            return text[1] == '\0';
        char *end = (char *)(uintptr_t)text;
        long size = -1;
        if (strncmp(text, "None", 4) == 0)
            end += 4;
        else
            size = strtol(text, &end, 10);
        if (end == text || *rank == GP_MAX_RANK || size < -1 || size > INT32_MAX)
            return false;
        sizes[(*rank)++] = size == 0 && !model->has_numpy_shapes ? -1 : size;
        text = end;
    }
}

static enum gp_status take_attribute(struct mx_model *model, struct gp_io *io,
                                     const char *key, const char *value,
                                     struct gp_error *err)
{
    int64_t sizes[GP_MAX_RANK];
    uint32_t rank;
    if (strcmp(key, "__dtype__") == 0) {
        char *end;
        const long type = strtol(value, &end, 10);
        io->dtype = end != value && *end == '\0' && type >= 0 && type < 100
                        ? mx_dtype((int)type)
                        : GP_NULL;
        return io->dtype ? GP_OK
                         : gp_error_set(err, GP_UNSUPPORTED,
                                        "input \"%.*s\" is of type %.*s, which is none "
                                        "of MXNet's",
                                        gp_cut(io->name, 100), io->name,
                                        gp_cut(value, 40), value);
    }
    if (strcmp(key, "__shape__") != 0)
        return GP_OK;
    if (!parse_shape(model, value, sizes, &rank))
        return gp_error_set(err, GP_INVALID,
                            "the attribute __shape__ of input \"%.*s\" is no shape: %.*s",
                            gp_cut(io->name, 100), io->name, gp_cut(value, 100), value);
    if (rank == 0 && !model->has_numpy_shapes)
        return GP_OK;
    return mx_keep_shape(model, io, sizes, rank, err);
}

/* What the symbol says of its inputs: pairs of "NAME$KEY" and a value. */
static enum gp_status take_attributes(struct mx_model *model, struct gp_error *err)
{
    uint32_t n;
    const char **pairs;
    enum gp_status status =
        mx_check(model->mx, model->mx->api.SymbolListAttr(model->symbol, &n, &pairs),
                 GP_ENGINE, "the symbol", err);
    for (uint32_t i = 0; status == GP_OK && i < n; i++) {
        const char *name = pairs[2 * (size_t)i], *value = pairs[2 * (size_t)i + 1];
        const char *key = strrchr(name, '$');
        for (uint32_t j = 0; key && j < model->n_inputs && status == GP_OK; j++) {
            struct gp_io *io = &model->inputs[j];
            const size_t size = (size_t)(key - name);
            if (strlen(io->name) == size && memcmp(io->name, name, size) == 0)
                status = take_attribute(model, io, key + 1, value, err);
        }
    }
    return status;
}

/* --- all of it --- */

static struct gp_io *make_ios(struct mx_model *model, uint32_t n, struct gp_error *err)
{
    struct gp_io *ios = plugin_keep(&model->kept, n * sizeof *ios, err);
    for (uint32_t i = 0; ios && i < n; i++)
        ios[i] = (struct gp_io){.name = "", .description = "", .flags = GP_IO_ANY_RANK};
    return ios;
}

static enum gp_status name_ios(struct mx_model *model, struct gp_error *err)
{
    const char **names;
    enum gp_status status = mx_check(
        model->mx,
        model->mx->api.SymbolListOutputs(model->symbol, &model->n_outputs, &names),
        GP_ENGINE, "the symbol", err);
    if (status == GP_OK)
        status = keep_names(model, model->n_outputs, names, &names, err);
    if (status != GP_OK)
        return status;
    if (model->n_inputs > GP_MAX_TENSORS || model->n_outputs > GP_MAX_TENSORS)
        return gp_error_set(err, GP_TOO_LARGE,
                            "the symbol has %u inputs and %u outputs, over the limit of "
                            "%d; is it the params file of another?",
                            model->n_inputs, model->n_outputs, GP_MAX_TENSORS);
    model->inputs = make_ios(model, model->n_inputs, err);
    model->outputs = make_ios(model, model->n_outputs, err);
    if (!model->inputs || !model->outputs)
        return GP_NO_MEMORY;
    for (uint32_t i = 0; i < model->n_arguments; i++)
        if (model->arguments[i].role == MX_INPUT)
            model->inputs[model->arguments[i].input].name = model->arguments[i].name;
    for (uint32_t i = 0; i < model->n_outputs; i++)
        model->outputs[i].name = names[i];
    return GP_OK;
}

/* With the shapes of the parameters in it. */
static enum gp_status make_query(struct mx_model *model, struct gp_error *err)
{
    struct mx_query *query = &model->query;
    const uint32_t n = model->n_arguments;
    query->names = plugin_keep(&model->kept, n * sizeof *query->names, err);
    query->ends = plugin_keep(&model->kept, (n + 1) * sizeof *query->ends, err);
    query->sizes =
        plugin_keep(&model->kept, (size_t)n * GP_MAX_RANK * sizeof *query->sizes, err);
    enum gp_status status =
        query->names && query->ends && query->sizes ? GP_OK : GP_NO_MEMORY;
    for (uint32_t i = 0; i < n && status == GP_OK; i++) {
        const struct mx_argument *argument = &model->arguments[i];
        int64_t sizes[GP_MAX_RANK];
        for (uint32_t j = 0; j < argument->rank; j++)
            sizes[j] = argument->sizes[j];
        if (argument->role == MX_PARAMETER)
            status = mx_query_add(model, argument->name, sizes, argument->rank, err);
    }
    query->n_parameters = query->n;
    return status;
}

enum gp_status mx_ios_read(struct mx_model *model, const struct mx_params *params,
                           const struct mx_said_list *inputs,
                           const struct mx_said_list *outputs, struct gp_error *err)
{
    enum gp_status status = read_arguments(model, params, inputs, err);
    if (status == GP_OK)
        status = read_auxiliaries(model, params, err);
    if (status == GP_OK)
        status = name_ios(model, err);
    if (status == GP_OK)
        status = make_query(model, err);
    if (status == GP_OK)
        status = take_attributes(model, err);
    if (status == GP_OK)
        status = take_said(model, inputs, "inputs", model->inputs, model->n_inputs, err);
    if (status == GP_OK)
        status = mx_infer_types(model, params, err);
    if (status == GP_OK)
        status = mx_infer_shapes(model, err);
    if (status == GP_OK)
        status =
            take_said(model, outputs, "outputs", model->outputs, model->n_outputs, err);
    return status;
}
