/* The OpenVINO engine: opens, describes and closes a model. Options: library=PATH, the
 * runtime to use; precision=f32 or bf16, for computing; warm-up=1,8,32, numbers of rows
 * to run once before serving. */
#include "openvino.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct gp_host *host;

static void close_model(void *self)
{
    struct ov_model *model = self;
    if (!model)
        return;
    openvino_lanes_close(model);
    openvino_shapes_close(model);
    pthread_rwlock_destroy(&model->gate);
    model->ov->ov_model_free(model->graph);
    plugin_free(model->blocks);
    free(model);
}

struct settings {
    const char *precision;
    const char *warm_up; /* or NULL */
};

static enum gp_status read_options(const struct gp_engine_options *options,
                                   struct settings *settings, struct gp_error *err)
{
    *settings = (struct settings){.precision = "f32"};
    for (size_t i = 0; i < options->n_options; i++) {
        const char *option = options->options[i], *value;
        if ((value = plugin_option(option, "precision")) != NULL) {
            if (strcmp(value, "f32") != 0 && strcmp(value, "bf16") != 0)
                return gp_error_set(err, GP_INVALID, "%s: it can be f32 or bf16", option);
            settings->precision = strcmp(value, "f32") == 0 ? "f32" : "bf16";
        } else if ((value = plugin_option(option, "warm-up")) != NULL) {
            settings->warm_up = value;
        } else if (!plugin_option(option, "library")) {
            return gp_error_set(err, GP_INVALID,
                                "the openvino engine has no option \"%s\"; it has "
                                "precision=f32|bf16, warm-up=ROWS,... and library=PATH",
                                option);
        }
    }
    if (!options->model_path || !*options->model_path)
        return gp_error_set(
            err, GP_INVALID,
            "the openvino engine needs a model: a .xml, .onnx, .tflite or "
            ".pb file, or the folder of a SavedModel");
    return GP_OK;
}

static enum gp_status read_graph(struct ov_model *model, const char *path,
                                 struct gp_error *err)
{
    const struct ov_runtime *ov = model->ov;
    char what[256], *name = NULL;
    (void)snprintf(what, sizeof what, "cannot load the model %.*s", gp_cut(path, 200),
                   path);
    FILE *const before = plugin_mute(); /* its protobuf prints where it fails */
    const ov_status_e failed =
        ov->ov_core_read_model(ov->core, path, NULL, &model->graph);
    plugin_unmute(before);
    const enum gp_status status = ov_check(ov, failed, GP_INVALID, what, err);
    if (status != GP_OK)
        return status;
    /* without a name in the model this is that of the reader */
    if (ov->ov_model_get_friendly_name(model->graph, &name) == OK && name &&
        !strstr(name, "_Frontend_IR"))
        model->description = plugin_keep_text(&model->blocks, name, NULL);
    ov->ov_free(name);
    return GP_OK;
}

/* A stream of shared holders does not keep an exclusive one waiting. */
static void open_gate(struct ov_model *model)
{
    pthread_rwlockattr_t kind;
    pthread_rwlockattr_init(&kind);
    pthread_rwlockattr_setkind_np(&kind, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&model->gate, &kind);
    pthread_rwlockattr_destroy(&kind);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **self,
                                 struct gp_error *err)
{
    struct settings settings;
    enum gp_status status = read_options(options, &settings, err);
    const struct ov_runtime *ov;
    if (status == GP_OK)
        status = ov_runtime_open(host, options, &ov, err);
    if (status != GP_OK)
        return status;
    struct ov_model *model = calloc(1, sizeof *model);
    if (!model)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model");
    model->ov = ov;
    model->precision = settings.precision;
    model->log = options->log;
    model->log_context = options->log_context;
    open_gate(model);
    status = openvino_files_list(model, options->model_path, err);
    if (status == GP_OK)
        status = read_graph(model, options->model_path, err);
    if (status == GP_OK)
        status = openvino_io_read(model, err);
    if (status == GP_OK)
        status = openvino_lanes_open(model, options, err);
    if (status == GP_OK)
        status = openvino_shapes_open(model, err);
    if (status == GP_OK && settings.warm_up)
        status = openvino_lanes_warm_up(model, settings.warm_up, err);
    if (status != GP_OK) {
        close_model(model);
        return plugin_blame(status, options->model_path, err);
    }
    *self = model;
    return GP_OK;
}

static enum gp_status describe_model(void *self, struct gp_description *description,
                                     struct gp_error *err)
{
    const struct ov_model *model = self;
    (void)err;
    description->flags = GP_WRITES_OUTPUTS;
    description->n_slots = model->n_slots;
    description->n_inputs = model->n_inputs;
    description->n_outputs = model->n_outputs;
    description->n_files = model->n_files;
    description->summary = model->summary;
    description->version = "";
    description->description = model->description ? model->description : "";
    description->inputs = model->inputs;
    description->outputs = model->outputs;
    description->files = model->files;
    return GP_OK;
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    const struct ov_runtime *ov;
    const enum gp_status status = ov_runtime_open(host, options, &ov, err);
    if (status != GP_OK)
        return status;
    *version = ov->version;
    *path = ov->path;
    return GP_OK;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "openvino",
    .version = "",
    .open = open_model,
    .describe = describe_model,
    .run = openvino_run,
    .close = close_model,
    .probe = probe,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *its_host)
{
    if (its_host->abi != GP_ENGINE_ABI)
        return NULL;
    host = its_host;
    return &engine;
}
