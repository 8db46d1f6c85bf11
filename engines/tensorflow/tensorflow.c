/* The TensorFlow engine: opens, describes and closes a SavedModel's folder, or a GraphDef
 * in a .pb file. One session serves all slots. Options: library=PATH, the TensorFlow to
 * use; signature=NAME, of a SavedModel; device=, where it runs. */
#include "model.h"

#include "../pinned.h"

#include <stdlib.h>
#include <string.h>

static const struct gp_host *host;

static void close_model(void *self)
{
    struct tf_model *model = self;
    if (!model)
        return;
    const struct tf_api *api = &model->tf->api;
    for (uint32_t i = 0; model->slots && i < model->n_slots; i++) {
        if (model->slots[i].status)
            api->DeleteStatus(model->slots[i].status);
        free(model->slots[i].places);
        free(model->slots[i].values);
    }
    if (model->session) {
        api->CloseSession(model->session, model->status);
        api->DeleteSession(model->session, model->status);
    }
    if (model->graph)
        api->DeleteGraph(model->graph);
    if (model->status)
        api->DeleteStatus(model->status);
    tf_unlisten(&model->listener);
    plugin_free(model->blocks);
    free(model->slots);
    free(model);
}

/* The signature that the options ask for, or NULL. */
static const char *asked_signature(const struct gp_engine_options *options)
{
    const char *name = NULL;
    for (size_t i = 0; i < options->n_options && !name; i++)
        name = plugin_option(options->options[i], "signature");
    return name;
}

/* An unknown option is most likely a mistyped one. */
static enum gp_status check_options(const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    for (size_t i = 0; i < options->n_options; i++)
        if (!plugin_option(options->options[i], "library") &&
            !plugin_option(options->options[i], "signature") &&
            !device_value(options->options[i]))
            return gp_error_set(err, GP_INVALID,
                                "the tensorflow engine has no option \"%s\"; it has "
                                "library=PATH, signature=NAME and device=DEVICE",
                                options->options[i]);
    if (!options->model_path || !*options->model_path)
        return gp_error_set(err, GP_INVALID,
                            "the tensorflow engine needs a model: a SavedModel's folder "
                            "or a .pb file");
    return GP_OK;
}

/* The requested signature, or serving_default, or the only one. */
static enum gp_status choose(struct tf_model *model, const char *name,
                             struct gp_error *err)
{
    if (model->n_signatures == 0) {
        const enum gp_status status = tf_signature_make(model, err);
        if (status != GP_OK)
            return status;
    }
    if (!name)
        name = model->n_signatures == 1 ? model->signatures->name : "serving_default";
    struct gp_error why;
    model->chosen = tf_signature_find(model, name, &why);
    if (!model->chosen)
        return gp_error_set(err, why.status, "%s%s", why.message,
                            model->is_saved_model ? "; --signature NAME chooses" : "");
    if (*name)
        (void)snprintf(model->description, sizeof model->description, "signature %.*s",
                       gp_cut(name, 80), name);
    return GP_OK;
}

static enum gp_status open_slots(struct tf_model *model, struct gp_error *err)
{
    model->slots = calloc(model->n_slots, sizeof *model->slots);
    if (!model->slots)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for %u slots", model->n_slots);
    for (uint32_t i = 0; i < model->n_slots; i++)
        model->slots[i].status = model->tf->api.NewStatus();
    return GP_OK;
}

/* Checks the requirements of a GPU that are known before there is a session. */
static enum gp_status check_devices(const struct tf_model *model, struct gp_error *err)
{
    const struct tf_runtime *tf = model->tf;
    if (device_n_used(&model->devices, model->n_slots) > 1)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "TensorFlow uses one device in a process: for several add "
                            "--isolate, which gives each slot a process of its own");
    if (model->devices.n && tf->has_cuda && !tf->has_cuda())
        return gp_error_set(err, GP_UNSUPPORTED,
                            "this TensorFlow (%s) was built without CUDA; pip install "
                            "tensorflow and --engine-option library=PATH",
                            tf->path);
    return GP_OK;
}

/* TensorFlow would silently use the CPU. */
static enum gp_status check_gpu(struct tf_model *model, struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    TF_DeviceList *list = api->SessionListDevices(model->session, model->status);
    enum gp_status status =
        tf_check(model->tf, model->status, "TensorFlow's devices", err);
    bool has_gpu = false;
    for (int i = 0; status == GP_OK && i < api->DeviceListCount(list); i++) {
        const char *type = api->DeviceListType(list, i, model->status);
        has_gpu = has_gpu || (type && strcmp(type, "GPU") == 0);
    }
    api->DeleteDeviceList(list);
    if (status == GP_OK && !has_gpu)
        status = gp_error_set(err, GP_UNSUPPORTED,
                              "TensorFlow (%s) finds no GPU cuda:%d: no driver, no such "
                              "device, or no CUDA libraries; TF_CPP_MIN_LOG_LEVEL=0 has "
                              "it say which",
                              model->tf->path, model->devices.numbers[0]);
    return status;
}

/* On failure open_model closes what is open. */
static enum gp_status fill(struct tf_model *model,
                           const struct gp_engine_options *options, struct gp_error *err)
{
    const uint32_t n_cores = options->n_cores ? options->n_cores : 1;
    model->n_threads = options->n_threads ? options->n_threads : n_cores;
    model->n_slots = device_n_slots(&model->devices, options);
    model->status = model->tf->api.NewStatus();
    model->graph = model->tf->api.NewGraph();
    enum gp_status status = check_devices(model, err);
    if (status == GP_OK)
        status = tf_graph_open(model, options->model_path, n_cores, err);
    if (status == GP_OK && model->devices.n)
        status = check_gpu(model, err);
    if (status == GP_OK)
        status = choose(model, asked_signature(options), err);
    if (status == GP_OK)
        status = open_slots(model, err);
    if (status != GP_OK)
        return status;
    tf_run_warm_up(model);
    (void)snprintf(model->summary, sizeof model->summary, "%s  %u thread%s",
                   model->devices.text, model->n_threads,
                   model->n_threads == 1 ? "" : "s");
    return GP_OK;
}

static enum gp_status open_model(const struct gp_engine_options *options, void **self,
                                 struct gp_error *err)
{
    struct gp_error mine;
    struct device_list devices;
    enum gp_status status = check_options(options, err);
    if (status == GP_OK)
        status = device_read(&devices, options, err);
    const struct tf_runtime *tf;
    if (status == GP_OK)
        status = tf_runtime_open(host, options, &tf, err);
    if (status != GP_OK)
        return status;
    struct tf_model *model = calloc(1, sizeof *model);
    if (!model)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model");
    model->tf = tf;
    model->devices = devices;
    model->listener = (struct plugin_listener){options->log, options->log_context, NULL};
    tf_listen(&model->listener);
    FILE *const before = tf->is_quiet ? plugin_mute() : stderr;
    status = fill(model, options, &mine);
    plugin_unmute(before);
    if (status != GP_OK) {
        close_model(model);
        plugin_blame(status, options->model_path, &mine);
        return gp_error_set(err, status, "%s", mine.message);
    }
    *self = model;
    return GP_OK;
}

static enum gp_status describe_model(void *self, struct gp_description *description,
                                     struct gp_error *err)
{
    const struct tf_model *model = self;
    (void)err;
    description->flags = GP_ANY_OUTPUT | GP_OPEN_INPUTS | GP_WRITES_OUTPUTS;
    description->n_slots = model->n_slots;
    description->n_inputs = model->chosen->inputs.n;
    description->n_outputs = model->chosen->outputs.n;
    description->n_files = model->n_files;
    description->summary = model->summary;
    description->version = "";
    description->description = model->description;
    description->inputs = model->chosen->inputs.ios;
    description->outputs = model->chosen->outputs.ios;
    description->files = model->files;
    pinned_describe(&model->devices, description);
    return GP_OK;
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    const struct tf_runtime *tf;
    const enum gp_status status = tf_runtime_open(host, options, &tf, err);
    if (status != GP_OK)
        return status;
    *version = tf->version;
    *path = tf->path;
    return GP_OK;
}

static const struct gp_engine engine = {
    .size_bytes = sizeof engine,
    .abi = GP_ENGINE_ABI,
    .name = "tensorflow",
    .version = "",
    .open = open_model,
    .describe = describe_model,
    .run = tf_run,
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
