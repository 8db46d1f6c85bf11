/* The Caffe2 engine: opens, describes and closes a model of two nets, predict_net.pb and
 * init_net.pb, and a value_inputs.json. Options: init-net=, value-inputs= and library=. It asks
 * to be isolated: the project has ended, so what is wrong in it stays wrong, and its
 * libraries go with none of PyTorch's of today. */
#include "caffe2.h"

static const struct gp_host *the_host;

static const char predict_end[] = "predict_net.pb";

/* --- the files of a model --- */

struct c2_files {
    const char *predict;
    const char *init;
    const char *value_inputs; /* NULL: there is none */
};

static enum gp_status read_options(struct c2_model *model,
                                   const struct gp_engine_options *options,
                                   struct c2_files *files, struct gp_error *err)
{
    for (size_t i = 0; i < options->n_options; i++) {
        const char *option = options->options[i];
        const char *init = plugin_option(option, "init-net"),
                   *value_inputs = plugin_option(option, "value-inputs");
        const char **place = init ? &files->init : &files->value_inputs;
        if (init || value_inputs) {
            *place = plugin_keep_text(&model->kept, init ? init : value_inputs, err);
            if (!*place)
                return GP_NO_MEMORY;
        } else if (!plugin_option(option, "library")) {
            return gp_error_set(err, GP_INVALID,
                                "the caffe2 engine has no option \"%.*s\"; it has "
                                "init-net=FILE, value-inputs=FILE and library=PATH",
                                gp_cut(option, 100), option);
        }
    }
    return GP_OK;
}

/* The file beside the predict net whose name ends with `end` instead. */
static const char *keep_beside(struct c2_model *model, const char *predict,
                               const char *end, struct gp_error *err)
{
    char path[PATH_MAX];
    const size_t size = strlen(predict) - (sizeof predict_end - 1);
    (void)snprintf(path, sizeof path, "%.*s%s", (int)size, predict, end);
    return plugin_keep_text(&model->kept, path, err);
}

static bool is_predict_net(const char *path)
{
    const size_t n = strlen(path), m = sizeof predict_end - 1;
    return n >= m && strcmp(path + n - m, predict_end) == 0;
}

static enum gp_status find_init(struct c2_model *model, struct c2_files *files,
                                struct gp_error *err)
{
    if (files->init)
        return GP_OK;
    if (!is_predict_net(files->predict))
        return gp_error_set(
            err, GP_INVALID,
            "%s: the net that fills its weights is not known by the name: "
            "--engine-option init-net=FILE",
            files->predict);
    files->init = keep_beside(model, files->predict, "init_net.pb", err);
    if (!files->init)
        return GP_NO_MEMORY;
    if (access(files->init, F_OK) != 0)
        return gp_error_set(err, GP_NOT_FOUND,
                            "%s: there is no %s, which fills its weights; if that has "
                            "another name: --engine-option init-net=FILE",
                            files->predict, files->init);
    return GP_OK;
}

static enum gp_status find_value_inputs(struct c2_model *model, struct c2_files *files,
                                        struct gp_error *err)
{
    if (files->value_inputs || !is_predict_net(files->predict))
        return GP_OK;
    const char *beside = keep_beside(model, files->predict, "value_inputs.json", err);
    if (beside && access(beside, F_OK) == 0)
        files->value_inputs = beside;
    return beside ? GP_OK : GP_NO_MEMORY;
}

/* "squeezenet" for "nets/squeezenet.predict_net.pb"; NULL for "squeezenet/predict_net.pb",
 * which the host names. */
static enum gp_status name_model(struct c2_model *model, const char *predict,
                                 struct gp_error *err)
{
    const char *slash = strrchr(predict, '/');
    const char *name = slash ? slash + 1 : predict;
    size_t size = strlen(name);
    if (!is_predict_net(name) || size == sizeof predict_end - 1)
        return GP_OK;
    size -= sizeof predict_end - 1;
    while (size > 1 && strchr("._-", name[size - 1]))
        size--;
    model->name = plugin_keep_bytes(&model->kept, name, size, err);
    return model->name ? GP_OK : GP_NO_MEMORY;
}

static enum gp_status find_files(struct c2_model *model,
                                 const struct gp_engine_options *options,
                                 struct c2_files *files, struct gp_error *err)
{
    char path[PATH_MAX];
    struct stat info;
    const char *given = options->model_path;
    if (!given || !*given)
        return gp_error_set(err, GP_INVALID,
                            "the caffe2 engine needs a model: --model FOLDER, with "
                            "predict_net.pb and init_net.pb");
    const bool is_folder = stat(given, &info) == 0 && S_ISDIR(info.st_mode);
    (void)snprintf(path, sizeof path, "%s%s%s", given, is_folder ? "/" : "",
                   is_folder ? predict_end : "");
    files->predict = plugin_keep_text(&model->kept, path, err);
    if (!files->predict)
        return GP_NO_MEMORY;
    enum gp_status status = name_model(model, is_folder ? "" : path, err);
    if (status == GP_OK)
        status = read_options(model, options, files, err);
    if (status == GP_OK)
        status = find_init(model, files, err);
    if (status == GP_OK)
        status = find_value_inputs(model, files, err);
    if (status != GP_OK)
        return status;
    model->files[model->n_files++] = files->predict;
    model->files[model->n_files++] = files->init;
    if (files->value_inputs)
        model->files[model->n_files++] = files->value_inputs;
    return GP_OK;
}

/* --- open --- */

/* Gives Caffe2 copies of the nets. */
static enum gp_status open_workspace(struct c2_model *model, const struct c2_net *init,
                                     const struct c2_net *predict, struct gp_error *err)
{
    unsigned char *init_bytes = NULL, *predict_bytes = NULL;
    size_t n_init = 0, n_predict = 0;
    enum gp_status status = c2_net_copy(init, &init_bytes, &n_init, err);
    if (status == GP_OK)
        status = c2_net_copy(predict, &predict_bytes, &n_predict, err);
    if (status == GP_OK)
        status = model->runtime->bridge->open(init_bytes, n_init, predict_bytes,
                                              n_predict, &model->workspace, err);
    free(init_bytes);
    free(predict_bytes);
    return status == GP_OK ? GP_OK : plugin_blame(status, init->path, err);
}

static enum gp_status load_nets(struct c2_model *model, const struct c2_files *files,
                                struct c2_net *init, struct c2_net *predict,
                                struct gp_error *err)
{
    struct c2_said_list said = {.items = NULL};
    const struct c2_bridge *bridge = model->runtime->bridge;
    enum gp_status status = c2_net_open(files->predict, bridge, predict, err);
    if (status == GP_OK)
        status = c2_net_open(files->init, bridge, init, err);
    if (status == GP_OK && files->value_inputs)
        status = c2_said_read(files->value_inputs, &model->kept, &said, err);
    if (status == GP_OK)
        status = c2_inputs_read(model, init, predict, &said, err);
    if (status == GP_OK)
        status = open_workspace(model, init, predict, err);
    if (status == GP_OK)
        status = c2_outputs_find(model, predict, err);
    return status == GP_OK ? GP_OK : plugin_blame(status, files->predict, err);
}

static enum gp_status load_model(struct c2_model *model,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err)
{
    struct c2_files files = {.predict = ""};
    struct c2_net init = {.path = NULL}, predict = {.path = NULL};
    enum gp_status status = find_files(model, options, &files, err);
    if (status == GP_OK)
        status = load_nets(model, &files, &init, &predict, err);
    plugin_unmap(&init.file);
    plugin_unmap(&predict.file);
    return status;
}

static void close_model(void *self)
{
    struct c2_model *model = self;
    if (!model)
        return;
    if (model->workspace)
        model->runtime->bridge->close(model->workspace);
    plugin_free(model->kept);
    free(model);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **opened,
                                 struct gp_error *err)
{
    const struct c2_runtime *runtime;
    if (c2_runtime_open(the_host, options, &runtime, err) != GP_OK)
        return err->status;
    struct c2_model *model = calloc(1, sizeof *model);
    if (!model)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model");
    model->runtime = runtime;
    model->n_threads = options->n_threads;
    model->n_cores = options->n_cores ? options->n_cores : 1;
    model->log = options->log;
    model->log_context = options->log_context;
    const enum gp_status status = load_model(model, options, err);
    if (status != GP_OK) {
        close_model(model);
        return status;
    }
    *opened = model;
    return GP_OK;
}

static enum gp_status describe_model(void *self, struct gp_description *d,
                                     struct gp_error *err)
{
    struct c2_model *model = self;
    (void)err;
    plugin_say_cpu(model->summary, sizeof model->summary, model->n_threads);
    d->flags = GP_WRITES_OUTPUTS;
    d->n_slots = 1;
    d->n_inputs = model->n_inputs;
    d->n_outputs = model->n_outputs;
    d->n_files = model->n_files;
    d->summary = model->summary;
    d->version = "";
    d->description = "";
    d->inputs = model->inputs;
    d->outputs = model->outputs;
    d->files = model->files;
    d->name = model->name;
    return GP_OK;
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    const struct c2_runtime *runtime;
    const enum gp_status status = c2_runtime_open(the_host, options, &runtime, err);
    if (status == GP_OK) {
        *version = runtime->bridge->version;
        *path = runtime->path;
    }
    return status;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine,
        .abi = GP_ENGINE_ABI,
        .name = "caffe2",
        .version = "",
        .open = open_model,
        .describe = describe_model,
        .run = c2_run,
        .close = close_model,
        .probe = probe,
        .flags = GP_ISOLATED,
    };
    the_host = host;
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
