/* The ONNX engine: opens, describes and closes a model with ONNX Runtime, which
 * onnx_session.c starts. Options: library=PATH, the runtime to use; device=, where it
 * runs. */
#include "onnx.h"

#include "../pinned.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static const struct gp_host *host;

static void close_model(void *self)
{
    struct onnx_model *model = self;
    if (!model)
        return;
    const struct ort_api *api = &model->ort->api;
    for (uint32_t i = 0; model->slots && i < model->n_slots; i++) {
        api->ReleaseRunOptions(model->slots[i].options);
        free(model->slots[i].values);
        free(model->slots[i].input_names);
        free(model->slots[i].asked);
    }
    for (uint32_t i = 0; i < model->n_sessions; i++)
        api->ReleaseSession(model->sessions[i]);
    free(model->sessions);
    ort_unlisten(&model->listener);
    plugin_free(model->blocks);
    free(model->slots);
    free(model);
}

/* An unknown option is most likely a mistyped one. */
static enum gp_status check_options(const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    for (size_t i = 0; i < options->n_options; i++)
        if (!plugin_option(options->options[i], "library") &&
            !device_value(options->options[i]))
            return gp_error_set(err, GP_INVALID,
                                "the onnx engine has no option \"%s\"; it has "
                                "library=PATH and device=DEVICE",
                                options->options[i]);
    if (!options->model_path || !*options->model_path)
        return gp_error_set(err, GP_INVALID,
                            "the onnx engine needs a model: a .onnx file");
    return GP_OK;
}

static enum gp_status open_slots(struct onnx_model *model, struct gp_error *err)
{
    const struct ort_runtime *ort = model->ort;
    model->slots = calloc(model->n_slots, sizeof *model->slots);
    if (!model->slots)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for %u slots", model->n_slots);
    for (uint32_t i = 0; i < model->n_slots; i++) {
        struct onnx_slot *slot = &model->slots[i];
        slot->ort = ort;
        struct OrtStatus *failed = ort->api.CreateRunOptions(&slot->options);
        /* a failure of a run is in its answer, and need not be logged as well */
        if (!failed)
            failed =
                ort->api.RunOptionsSetRunLogSeverityLevel(slot->options, ORT_LOG_FATAL);
        if (failed)
            return ort_check(ort, failed, "ONNX Runtime", err);
    }
    return GP_OK;
}

/* One text of the model's metadata; "" when it has none. */
static const char *metadata_text(struct onnx_model *model,
                                 const struct OrtModelMetadata *metadata,
                                 struct OrtStatus *(*get)(const struct OrtModelMetadata *,
                                                          struct OrtAllocator *, char **))
{
    const struct ort_runtime *ort = model->ort;
    char *text = NULL;
    if (ort_check(ort, get(metadata, ort->allocator, &text), "", NULL) != GP_OK || !text)
        return "";
    const char *kept = plugin_keep_text(&model->blocks, text, NULL);
    (void)ort_check(ort, ort->api.AllocatorFree(ort->allocator, text), "", NULL);
    return kept ? kept : "";
}

/* Version and description; without a description, the names of the graph and its
 * producer. None of it is worth failing for. */
static void read_metadata(struct onnx_model *model)
{
    const struct ort_api *api = &model->ort->api;
    struct OrtModelMetadata *metadata;
    int64_t version = 0;
    char text[512];
    model->version = model->description = "";
    if (ort_check(model->ort, api->SessionGetModelMetadata(model->sessions[0], &metadata),
                  "", NULL) != GP_OK)
        return;
    /* if it is absent, the runtime returns 0 or the largest number */
    if (ort_check(model->ort, api->ModelMetadataGetVersion(metadata, &version), "",
                  NULL) == GP_OK &&
        version > 0 && version < INT64_MAX) {
        (void)snprintf(text, sizeof text, "%" PRId64, version);
        const char *kept = plugin_keep_text(&model->blocks, text, NULL);
        model->version = kept ? kept : "";
    }
    const char *description =
        metadata_text(model, metadata, api->ModelMetadataGetDescription);
    if (!*description) {
        const char *graph =
            metadata_text(model, metadata, api->ModelMetadataGetGraphName);
        const char *producer =
            metadata_text(model, metadata, api->ModelMetadataGetProducerName);
        (void)snprintf(text, sizeof text, "%.*s%s%.*s", gp_cut(graph, 240), graph,
                       *graph && *producer ? ", made by " : "", gp_cut(producer, 240),
                       producer);
        description = plugin_keep_text(&model->blocks, text, NULL);
    }
    model->description = description ? description : "";
    api->ReleaseModelMetadata(metadata);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **self,
                                 struct gp_error *err)
{
    struct device_list devices;
    enum gp_status status = check_options(options, err);
    if (status == GP_OK)
        status = device_read(&devices, options, err);
    const struct ort_runtime *ort;
    if (status == GP_OK)
        status = ort_runtime_open(host, options, &ort, err);
    if (status != GP_OK)
        return status;
    struct onnx_model *model = calloc(1, sizeof *model);
    if (!model)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model");
    model->ort = ort;
    model->devices = devices;
    model->listener = (struct ort_listener){
        .base = {options->log, options->log_context, NULL}, .is_opening = true};
    ort_listen(&model->listener);

    struct plugin_file file;
    status = onnx_file_open(&file, options->model_path, err);
    if (status == GP_OK)
        status = onnx_file_list(model, &file, options->model_path, err);
    if (status == GP_OK)
        status = onnx_session_open(model, options, err);
    if (status == GP_OK)
        status = open_slots(model, err);
    if (status == GP_OK)
        status = onnx_io_read(model, &file, err);
    plugin_unmap(&file);
    if (status != GP_OK) {
        close_model(model);
        return plugin_blame(status, options->model_path, err);
    }
    ort_opened(&model->listener);
    read_metadata(model);
    (void)snprintf(model->summary, sizeof model->summary, "%s  %u thread%s",
                   model->devices.text, model->n_threads,
                   model->n_threads == 1 ? "" : "s");
    *self = model;
    return GP_OK;
}

static enum gp_status describe_model(void *self, struct gp_description *description,
                                     struct gp_error *err)
{
    const struct onnx_model *model = self;
    (void)err;
    description->flags = GP_WRITES_OUTPUTS;
    description->n_slots = model->n_slots;
    description->n_inputs = model->n_inputs;
    description->n_outputs = model->n_outputs;
    description->n_files = model->n_files;
    description->summary = model->summary;
    description->version = model->version;
    description->description = model->description;
    description->inputs = model->inputs;
    description->outputs = model->outputs;
    description->files = model->files;
    pinned_describe(&model->devices, description);
    return GP_OK;
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    const struct ort_runtime *ort;
    const enum gp_status status = ort_runtime_open(host, options, &ort, err);
    if (status != GP_OK)
        return status;
    *version = ort->version;
    *path = ort->path;
    return GP_OK;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "onnx",
    .version = "",
    .open = open_model,
    .describe = describe_model,
    .run = onnx_run,
    .close = close_model,
    .probe = probe,
    .flags = GP_OPENS_TOGETHER,
};

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *its_host)
{
    if (its_host->abi != GP_ENGINE_ABI)
        return NULL;
    host = its_host;
    return &engine;
}
