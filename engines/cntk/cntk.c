/* The CNTK engine: opens, describes and closes a model that CNTK 2 saved. Options:
 * library=. It asks to be isolated: the project has ended, so what is wrong in it stays
 * wrong. */
#include "cntk.h"

#include <locale.h>

static const struct gp_host *the_host;

static enum gp_status check_options(const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    for (size_t i = 0; i < options->n_options; i++)
        if (!plugin_option(options->options[i], "library"))
            return gp_error_set(err, GP_INVALID,
                                "the cntk engine has no option \"%.*s\"; it has "
                                "library=PATH",
                                gp_cut(options->options[i], 100), options->options[i]);
    if (!options->model_path)
        return gp_error_set(err, GP_INVALID,
                            "the cntk engine needs a model: --model NAME.model");
    return GP_OK;
}

/* CNTK's interface widens the bytes of names one by one, and then cannot narrow them. */
static bool is_about_names(const struct ck_status *result)
{
    return result->value != 0 && strstr(result->message, "wstring_convert");
}

/* CNTK prints what it throws before it does. As it reads it sets the locale, and then leaves
 * it that of the environment. */
static enum gp_status load_network(struct ck_model *model, struct gp_error *err)
{
    static const struct ck_device cpu = {CK_CPU, 0};
    FILE *before = plugin_mute();
    const struct ck_status result =
        model->ck->api.LoadModel(model->path, &cpu, &model->network);
    plugin_unmute(before);
    (void)setlocale(LC_ALL, "C");
    if (is_about_names(&result))
        return gp_error_set(err, GP_UNSUPPORTED,
                            "%s: an input or output has a name outside ASCII, which "
                            "CNTK's C interface cannot tell; give it another in CNTK "
                            "(cntk.alias) and save the model again",
                            model->path);
    return ck_check(&result, GP_INVALID, model->path, err);
}

static enum gp_status load_model(struct ck_model *model,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err)
{
    struct plugin_file file;
    struct ck_inputs inputs;
    model->path = plugin_keep_text(&model->kept, options->model_path, err);
    if (!model->path)
        return GP_NO_MEMORY;
    enum gp_status status =
        plugin_map(model->path, "the cntk engine needs a .model file", &file, err);
    if (status == GP_OK)
        status = ck_file_read(&file, model->path, &model->kept, &inputs, err);
    plugin_unmap(&file);
    if (status == GP_OK)
        status = load_network(model, err);
    if (status == GP_OK)
        status = ck_ios_read(model, &inputs, err);
    return status == GP_OK ? GP_OK : plugin_blame(status, model->path, err);
}

static void close_model(void *self)
{
    struct ck_model *model = self;
    if (!model)
        return;
    ck_ios_free(model);
    if (model->network)
        model->ck->api.ReleaseModel(model->network);
    plugin_free(model->kept);
    free(model);
}

static enum gp_status open_model(const struct gp_engine_options *options, void **opened,
                                 struct gp_error *err)
{
    const struct ck_runtime *ck;
    if (check_options(options, err) != GP_OK ||
        ck_runtime_open(the_host, options, &ck, err) != GP_OK)
        return err->status;
    struct ck_model *model = calloc(1, sizeof *model);
    if (!model)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model");
    model->ck = ck;
    model->n_threads = options->n_threads ? options->n_threads : 1;
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
    struct ck_model *model = self;
    (void)err;
    plugin_say_cpu(model->summary, sizeof model->summary, model->n_threads);
    d->flags = GP_WRITES_OUTPUTS;
    d->n_slots = 1;
    d->n_inputs = model->n_inputs;
    d->n_outputs = model->n_outputs;
    d->n_files = 1;
    d->summary = model->summary;
    d->version = "";
    d->description = "";
    d->inputs = model->ios;
    d->outputs = model->ios + model->n_inputs;
    d->files = &model->path;
    return GP_OK;
}

static enum gp_status probe(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err)
{
    const struct ck_runtime *ck;
    const enum gp_status status = ck_runtime_open(the_host, options, &ck, err);
    if (status == GP_OK) {
        *version = ck->version;
        *path = ck->path;
    }
    return status;
}

GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host)
{
    static const struct gp_engine engine = {
        .size_bytes = sizeof engine,
        .abi = GP_ENGINE_ABI,
        .name = "cntk",
        .version = "",
        .open = open_model,
        .describe = describe_model,
        .run = ck_run,
        .close = close_model,
        .probe = probe,
        .flags = GP_ISOLATED,
    };
    the_host = host;
    return host->abi == GP_ENGINE_ABI ? &engine : NULL;
}
