/* The MXNet engine: opens, describes and closes a model that MXNet or Gluon exported, a
 * symbol ("net-symbol.json") and its parameters ("net-0000.params"). Options: params=,
 * inputs=, outputs= (JSON lists) and library=. It asks to be isolated: the project has
 * ended, so what is wrong in it stays wrong. */
#include "mxnet.h"

#include <dirent.h>

static const struct gp_host *the_host;

static const char symbol_end[] = "-symbol.json", params_end[] = ".params";

static bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);
    return n > m && strcmp(text + n - m, end) == 0;
}

/* --- the files of a model --- */

/* "nets/net" for "nets/net-symbol.json", and for another name what is before its dot. */
static const char *find_prefix(struct mx_model *model, const char *path,
                               struct gp_error *err)
{
    const char *slash = strrchr(path, '/'), *dot = strrchr(path, '.');
    size_t size = strlen(path);
    if (ends_with(path, symbol_end))
        size -= sizeof symbol_end - 1;
    else if (dot && (!slash || dot > slash + 1))
        size = (size_t)(dot - path);
    return plugin_keep_bytes(&model->kept, path, size, err);
}

/* True for "NAME-DIGITS.params". */
static bool is_params_of(const char *file, const char *name)
{
    const size_t n = strlen(name);
    if (strncmp(file, name, n) != 0 || file[n] != '-')
        return false;
    const size_t digits = strspn(file + n + 1, "0123456789");
    return digits > 0 && strcmp(file + n + 1 + digits, params_end) == 0;
}

/* The params file beside the symbol: that of the last epoch, or the one without a number;
 * *path is NULL if there is none. */
static enum gp_status find_params(struct mx_model *model, const char *prefix,
                                  const char **path, struct gp_error *err)
{
    const char *slash = strrchr(prefix, '/');
    const char *name = slash ? slash + 1 : prefix;
    char folder[PATH_MAX] = ".", best[NAME_MAX + 1] = "", found[PATH_MAX];
    if (slash)
        (void)snprintf(folder, sizeof folder, "%.*s", (int)(slash - prefix + 1), prefix);
    DIR *dir = opendir(folder);
    for (struct dirent *entry = dir ? readdir(dir) : NULL; entry; entry = readdir(dir))
        if (is_params_of(entry->d_name, name) && strverscmp(entry->d_name, best) > 0)
            memcpy(best, entry->d_name, strlen(entry->d_name) + 1);
    if (dir)
        closedir(dir);
    *path = NULL;
    if (best[0])
        (void)snprintf(found, sizeof found, "%.*s%s", (int)(name - prefix), prefix, best);
    else
        (void)snprintf(found, sizeof found, "%s%s", prefix, params_end);
    if (!best[0] && access(found, F_OK) != 0)
        return GP_OK;
    *path = plugin_keep_text(&model->kept, found, err);
    return *path ? GP_OK : GP_NO_MEMORY;
}

static enum gp_status read_beside(struct mx_model *model, const char *prefix,
                                  struct mx_said_list *inputs,
                                  struct mx_said_list *outputs, struct gp_error *err)
{
    char path[PATH_MAX];
    struct plugin_file file;
    if (snprintf(path, sizeof path, "%s.json", prefix) >= (int)sizeof path ||
        access(path, F_OK) != 0 || strcmp(path, model->files[0]) == 0)
        return GP_OK;
    enum gp_status status =
        plugin_map(path, "it should be a JSON file about the model", &file, err);
    if (status == GP_OK)
        status = mx_said_read((const char *)file.bytes, file.size_bytes, path,
                              &model->kept, inputs, outputs, err);
    plugin_unmap(&file);
    const char *kept = plugin_keep_text(&model->kept, path, err);
    if (status != GP_OK || !kept)
        return err->status;
    model->files[model->n_files++] = kept;
    return GP_OK;
}

/* --- open --- */

struct mx_wishes {
    struct mx_said_list inputs;
    struct mx_said_list outputs;
    const char *params;
};

static enum gp_status read_options(struct mx_model *model,
                                   const struct gp_engine_options *options,
                                   struct mx_wishes *wishes, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < options->n_options && status == GP_OK; i++) {
        const char *option = options->options[i];
        const char *inputs = plugin_option(option, "inputs"),
                   *outputs = plugin_option(option, "outputs"),
                   *params = plugin_option(option, "params");
        if (inputs)
            status =
                mx_said_read_list(inputs, "inputs", &model->kept, &wishes->inputs, err);
        else if (outputs)
            status = mx_said_read_list(outputs, "outputs", &model->kept, &wishes->outputs,
                                       err);
        else if (params)
            wishes->params = plugin_keep_text(&model->kept, params, err);
        else if (!plugin_option(option, "library"))
            return gp_error_set(err, GP_INVALID,
                                "the mxnet engine has no option \"%.*s\"; it has "
                                "params=FILE, inputs=LIST, outputs=LIST and library=PATH",
                                gp_cut(option, 100), option);
        if (status == GP_OK && params && !wishes->params)
            status = GP_NO_MEMORY;
    }
    return status;
}

static enum gp_status read_symbol(struct mx_model *model, struct gp_error *err)
{
    struct plugin_file file;
    enum gp_status status = plugin_map(
        model->files[0], "the mxnet engine needs a -symbol.json file", &file, err);
    if (status == GP_OK)
        status = mx_symbol_read(model, &file, err);
    plugin_unmap(&file);
    return status;
}

static enum gp_status read_model(struct mx_model *model, const struct mx_wishes *wishes,
                                 struct gp_error *err)
{
    struct mx_params params = {0};
    enum gp_status status = GP_OK;
    if (wishes->params)
        status = mx_params_open(wishes->params, &model->kept, &params, err);
    if (status == GP_OK)
        status = mx_ios_read(model, &params, &wishes->inputs, &wishes->outputs, err);
    mx_params_close(&params);
    return status == GP_OK ? GP_OK : plugin_blame(status, model->files[0], err);
}

static enum gp_status load_model(struct mx_model *model,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err)
{
    struct mx_wishes wishes = {.params = NULL};
    const char *path = options->model_path;
    if (!path)
        return gp_error_set(err, GP_INVALID,
                            "the mxnet engine needs a model: --model NAME-symbol.json");
    const char *prefix = find_prefix(model, path, err);
    model->files[model->n_files++] = plugin_keep_text(&model->kept, path, err);
    if (!prefix || !model->files[0])
        return GP_NO_MEMORY;
    const char *slash = strrchr(prefix, '/');
    model->name = slash ? slash + 1 : prefix;
    enum gp_status status = read_options(model, options, &wishes, err);
    if (status == GP_OK && !wishes.params)
        status = find_params(model, prefix, &wishes.params, err);
    if (status == GP_OK && wishes.params)
        model->files[model->n_files++] = wishes.params;
    struct mx_wishes beside = {.params = NULL};
    if (status == GP_OK)
        status = read_beside(model, prefix, &beside.inputs, &beside.outputs, err);
    wishes.inputs = wishes.inputs.is_said ? wishes.inputs : beside.inputs;
    wishes.outputs = wishes.outputs.is_said ? wishes.outputs : beside.outputs;
    if (status == GP_OK)
        status = read_symbol(model, err);
    return status == GP_OK ? read_model(model, &wishes, err) : status;
}

static void close_model(void *self)
{
    struct mx_model *model = self;
    if (!model)
        return;
    mx_executors_free(model);
    for (uint32_t i = 0; i < model->n_arguments; i++)
        if (model->arguments[i].array)
            (void)model->mx->api.NDArrayFree(model->arguments[i].array);
    for (uint32_t i = 0; i < model->n_auxiliaries; i++)
        if (model->auxiliaries[i])
            (void)model->mx->api.NDArrayFree(model->auxiliaries[i]);
    if (model->symbol)
        (void)model->mx->api.SymbolFree(model->symbol);
    plugin_free(model->kept);
    free(model);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **opened,
                                 struct gp_error *err)
{
    const struct mx_runtime *mx;
    if (mx_runtime_open(the_host, options, &mx, err) != GP_OK)
        return err->status;
    struct mx_model *model = calloc(1, sizeof *model);
    if (!model)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model");
    model->mx = mx;
    model->n_threads = options->n_threads;
    model->n_cores = options->n_cores ? options->n_cores : 1;
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
    struct mx_model *model = self;
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
    const struct mx_runtime *mx;
    const enum gp_status status = mx_runtime_open(the_host, options, &mx, err);
    if (status == GP_OK) {
        *version = mx->version;
        *path = mx->path;
    }
    return status;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine,
        .abi = GP_ENGINE_ABI,
        .name = "mxnet",
        .version = "",
        .open = open_model,
        .describe = describe_model,
        .run = mx_run,
        .close = close_model,
        .probe = probe,
        .flags = GP_ISOLATED,
    };
    the_host = host;
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
