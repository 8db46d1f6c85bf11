/* What a session takes and gives. Inputs come in the graph's order, followed, as optional
 * ones, by the initializers that a request may override. Only tensors can travel: an
 * input of another kind makes the model unusable and is refused; an output of another
 * kind (scikit-learn's list of maps, for one) is left out with a warning, since the
 * others are still useful. */
#include "onnx.h"

enum section { INPUT, OUTPUT, INITIALIZER };

static const char *const section_names[] = {"input", "output", "initializer"};
static const char *const kinds[] = {
    "a value of unknown kind", "a tensor",        "a sequence",       "a map",
    "an opaque value",         "a sparse tensor", "an optional value"};

/* One function of the runtime for each section. */
static struct OrtStatus *get_count(const struct onnx_model *model, enum section section,
                                   size_t *n)
{
    const struct ort_api *api = &model->ort->api;
    struct OrtStatus *(*const get[])(const struct OrtSession *, size_t *) = {
        api->SessionGetInputCount, api->SessionGetOutputCount,
        api->SessionGetOverridableInitializerCount};
    return get[section](model->sessions[0], n);
}

static struct OrtStatus *get_type(const struct onnx_model *model, enum section section,
                                  size_t i, struct OrtTypeInfo **type)
{
    const struct ort_api *api = &model->ort->api;
    struct OrtStatus *(*const get[])(const struct OrtSession *, size_t,
                                     struct OrtTypeInfo **) = {
        api->SessionGetInputTypeInfo, api->SessionGetOutputTypeInfo,
        api->SessionGetOverridableInitializerTypeInfo};
    return get[section](model->sessions[0], i, type);
}

static enum gp_status get_name(struct onnx_model *model, enum section section, size_t i,
                               const char **name, struct gp_error *err)
{
    const struct ort_api *api = &model->ort->api;
    struct OrtStatus *(*const get[])(const struct OrtSession *, size_t,
                                     struct OrtAllocator *, char **) = {
        api->SessionGetInputName, api->SessionGetOutputName,
        api->SessionGetOverridableInitializerName};
    char *text;
    enum gp_status status = ort_check(
        model->ort, get[section](model->sessions[0], i, model->ort->allocator, &text),
        "cannot read a name", err);
    if (status != GP_OK)
        return status;
    *name = plugin_keep_text(&model->blocks, text, err);
    (void)ort_check(model->ort, api->AllocatorFree(model->ort->allocator, text), "",
                    NULL);
    return *name ? GP_OK : GP_NO_MEMORY;
}

/* Type and shape. A type that GraphPipe lacks leaves io->dtype GP_NULL. */
static enum gp_status read_tensor(struct onnx_model *model,
                                  const struct plugin_file *file,
                                  const struct OrtTypeInfo *info, struct gp_io *io,
                                  int *type, struct gp_error *err)
{
    const struct ort_runtime *ort = model->ort;
    const struct OrtShapeInfo *tensor;
    size_t rank;
    enum gp_status status =
        ort_check(ort, ort->api.CastTypeInfoToTensorInfo(info, &tensor), io->name, err);
    if (status == GP_OK)
        status =
            ort_check(ort, ort->api.GetTensorElementType(tensor, type), io->name, err);
    if (status == GP_OK)
        status =
            ort_check(ort, ort->api.GetDimensionsCount(tensor, &rank), io->name, err);
    if (status != GP_OK)
        return status;
    io->dtype = ort_dtype(*type);
    if (rank > GP_MAX_RANK)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "\"%s\" has rank %zu, over the limit of %u", io->name, rank,
                            GP_MAX_RANK);
    if (rank == 0) {
        io->flags |= onnx_file_has_shape(file, io->name) ? 0 : GP_IO_ANY_RANK;
        return GP_OK;
    }
    int64_t *shape = plugin_keep(&model->blocks, rank * sizeof *shape, err);
    if (!shape)
        return GP_NO_MEMORY;
    io->shape = shape;
    io->rank = (uint32_t)rank;
    return ort_check(ort, ort->api.GetDimensions(tensor, shape, rank), io->name, err);
}

static void warn_left_out(const struct onnx_model *model, const char *name,
                          const char *kind)
{
    char line[256];
    (void)snprintf(line, sizeof line,
                   "output \"%.*s\" is left out: it is %s, not a tensor",
                   gp_cut(name, 150), name, kind);
    if (model->listener.base.log)
        model->listener.base.log(model->listener.base.log_context, GP_LOG_WARNING, line);
}

/* Reads entry i of a section into io; *is_usable is false if it has to be left out. */
static enum gp_status read_entry(struct onnx_model *model, const struct plugin_file *file,
                                 enum section section, size_t i, struct gp_io *io,
                                 bool *is_usable, struct gp_error *err)
{
    const struct ort_runtime *ort = model->ort;
    struct OrtTypeInfo *info = NULL;
    int kind = 0, type = 0;
    *io = (struct gp_io){.description = ""};
    enum gp_status status = get_name(model, section, i, &io->name, err);
    if (status == GP_OK)
        status = ort_check(ort, get_type(model, section, i, &info), io->name, err);
    if (status == GP_OK)
        status =
            ort_check(ort, ort->api.GetOnnxTypeFromTypeInfo(info, &kind), io->name, err);
    if (status == GP_OK && kind == ORT_KIND_TENSOR)
        status = read_tensor(model, file, info, io, &type, err);
    if (status == GP_OK && kind == ORT_KIND_TENSOR && section == INPUT)
        status = onnx_shape_read_input(model, info, io, err);
    if (status == GP_OK && kind == ORT_KIND_TENSOR && section == OUTPUT)
        status = onnx_shape_read_output(model, info, io, err);
    ort->api.ReleaseTypeInfo(info);
    *is_usable = status == GP_OK && kind == ORT_KIND_TENSOR && io->dtype != GP_NULL;
    if (status != GP_OK || *is_usable || section == INITIALIZER)
        return status;

    const char *what = kind >= 0 && (size_t)kind < sizeof kinds / sizeof kinds[0]
                           ? kinds[kind]
                           : kinds[0];
    if (kind == ORT_KIND_TENSOR)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s \"%s\" is of type %s, which GraphPipe does "
                            "not have",
                            section_names[section], io->name, ort_type_name(type));
    if (section == INPUT)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "input \"%s\" is %s: only tensors can be sent", io->name,
                            what);
    warn_left_out(model, io->name, what);
    return GP_OK;
}

static enum gp_status read_section(struct onnx_model *model,
                                   const struct plugin_file *file, enum section section,
                                   size_t n, struct gp_io *list, uint32_t *n_list,
                                   struct gp_error *err)
{
    for (size_t i = 0; i < n; i++) {
        bool is_usable;
        if (section == INITIALIZER && *n_list == GP_MAX_TENSORS)
            return GP_OK; /* no more is known; they are constants then */
        struct gp_io *io = &list[*n_list];
        const enum gp_status status =
            read_entry(model, file, section, i, io, &is_usable, err);
        if (status != GP_OK)
            return status;
        if (section == INITIALIZER)
            io->flags |= GP_IO_OPTIONAL;
        *n_list += is_usable;
    }
    return GP_OK;
}

enum gp_status onnx_io_read(struct onnx_model *model, const struct plugin_file *file,
                            struct gp_error *err)
{
    size_t n[3];
    enum gp_status status;
    for (int section = INPUT; section <= INITIALIZER; section++) {
        status =
            ort_check(model->ort, get_count(model, (enum section)section, &n[section]),
                      "cannot read the model's graph", err);
        if (status != GP_OK)
            return status;
        if (n[section] > GP_MAX_TENSORS && section != INITIALIZER)
            return gp_error_set(err, GP_UNSUPPORTED,
                                "the model has %zu %ss, over the limit of "
                                "%u",
                                n[section], section_names[section], GP_MAX_TENSORS);
    }
    model->inputs = plugin_keep(&model->blocks,
                                (n[INPUT] + n[INITIALIZER]) * sizeof *model->inputs, err);
    model->outputs = plugin_keep(&model->blocks, n[OUTPUT] * sizeof *model->outputs, err);
    model->shapes = plugin_keep(&model->blocks, n[OUTPUT] * sizeof *model->shapes, err);
    if (!model->inputs || !model->outputs || !model->shapes)
        return GP_NO_MEMORY;
    status =
        read_section(model, file, INPUT, n[INPUT], model->inputs, &model->n_inputs, err);
    if (status == GP_OK)
        status = read_section(model, file, INITIALIZER, n[INITIALIZER], model->inputs,
                              &model->n_inputs, err);
    if (status == GP_OK)
        status = read_section(model, file, OUTPUT, n[OUTPUT], model->outputs,
                              &model->n_outputs, err);
    if (status == GP_OK && model->n_outputs == 0)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "the model has no output that is a tensor");
    return status;
}
