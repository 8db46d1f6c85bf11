/* Which models, and each with what. Names are checked here because they become parts of
 * addresses, of file names in a repository and of labels in metrics. */
#include "cli/models.h"

#include <string.h>
#include <unistd.h>

enum { MAX_NAME_BYTES = 128 };

#define AT(field) OPTION_AT(model_values, field)
const struct option model_options[MODEL_N_OPTIONS] = {
    {.name = "path",
     .env = "GP_MODEL", /* which names it, with the model */
     .argument = "PATH|URL",
     .kind = OPTION_TEXT,
     .is_of_model = true,
     AT(path),
     .help = "file, folder or URL (default: the folder of the model's name in\n"
             "the repository)"},
    {.name = "aliases",
     .argument = "NAME=VERSION",
     .kind = OPTION_LIST,
     .is_pairs = true,
     .is_of_model = true,
     AT(aliases),
     .help = "names for versions, such as stable"},
};
#undef AT

static const struct option *const path_option = &model_options[0];

void model_init(struct model_settings *model, struct gp_arena *arena)
{
    *model = (struct model_settings){.shared = {.table = serve_options,
                                                .n = SERVE_N_OPTIONS,
                                                .values = &model->shared_values,
                                                .arena = arena},
                                     .own = {.table = model_options,
                                             .n = MODEL_N_OPTIONS,
                                             .values = &model->own_values,
                                             .arena = arena}};
}

static bool is_model_name(const char *name)
{
    const size_t size = strspn(name, "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                     "abcdefghijklmnopqrstuvwxyz._-");
    return size > 0 && size <= MAX_NAME_BYTES && !name[size] && !strchr("._-", name[0]);
}

enum gp_status model_check_name(const char *label, const char *name, struct gp_error *err)
{
    static const char *const taken[] = {"control", "metrics", "ui",
                                        "v1",      "v2",      "versions"};
    if (!is_model_name(name))
        return gp_error_set(err, GP_INVALID,
                            "%s: a name has 1 to %d letters, digits, \".\", \"_\" and "
                            "\"-\", the first a letter or digit; not \"%.*s\"",
                            label, MAX_NAME_BYTES, gp_cut(name, 60), name);
    for (size_t i = 0; i < sizeof taken / sizeof *taken; i++)
        if (strcmp(name, taken[i]) == 0)
            return gp_error_set(err, GP_INVALID,
                                "%s: no model can be called \"%s\", the server uses "
                                "that address itself",
                                label, name);
    return GP_OK;
}

/* --- which ---------------------------------------------------------------------------- */

static struct model_settings *find_model(const struct models_settings *models,
                                         const char *name)
{
    for (size_t i = 0; i < models->n; i++)
        if (models->items[i].name && strcmp(models->items[i].name, name) == 0)
            return &models->items[i];
    return NULL;
}

/* "NAME=PATH" or a path; a file that is called so comes first. */
static bool split_word(struct gp_arena *arena, const char *word, const char **name,
                       const char **path)
{
    const size_t size = strcspn(word, "=/");
    *name = NULL;
    *path = word;
    if (word[size] != '=' || size == 0 || access(word, F_OK) == 0)
        return true;
    char *copy = gp_arena_alloc(arena, size + 1);
    if (!copy)
        return false;
    memcpy(copy, word, size);
    copy[size] = '\0';
    *name = copy;
    *path = word + size + 1;
    return true;
}

/* As "=" would, but for what points into the struct itself. */
static void copy_model(struct model_settings *to, const struct model_settings *from)
{
    *to = *from;
    to->shared.values = &to->shared_values;
    to->own.values = &to->own_values;
}

static enum gp_status add_word(struct models_settings *models,
                               const struct models_settings *in_file,
                               const struct options *server, enum option_source source,
                               const char *word, bool is_alone, struct gp_error *err)
{
    const char *label = source == OPTION_ENVIRONMENT ? "GP_MODEL" : "--model";
    const char *name, *path;
    if (!split_word(server->arena, word, &name, &path))
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    if (!name && !is_alone)
        return gp_error_set(err, GP_INVALID,
                            "with several models each needs a name, NAME=PATH, and "
                            "\"%.*s\" has none",
                            gp_cut(word, 150), word);
    if (name && model_check_name(label, name, err) != GP_OK)
        return err->status;
    if (name && find_model(models, name))
        return gp_error_set(err, GP_INVALID, "%s: two models are called \"%s\"", label,
                            name);
    const struct model_settings *table = name ? find_model(in_file, name) : NULL;
    struct model_settings *model = &models->items[models->n++];
    if (table)
        copy_model(model, table);
    else
        model_init(model, server->arena);
    model->name = name;
    return options_take(&model->own, path_option, source, label, path, err);
}

/* The words, and where there is a repository what the file says of models in it. */
static enum gp_status add_named(struct models_settings *models,
                                const struct models_settings *in_file,
                                const struct options *server, struct gp_error *err)
{
    const struct serve_values *values = server->values;
    const struct option_list *named = &values->models;
    const enum option_source source = options_source(server, "model");
    const bool is_alone = named->n == 1 && !values->repository;
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < named->n && status == GP_OK; i++)
        status =
            add_word(models, in_file, server, source, named->items[i], is_alone, err);
    for (size_t i = 0; i < in_file->n && status == GP_OK; i++) {
        const struct model_settings *table = &in_file->items[i];
        if (values->repository && !table->own_values.path &&
            !find_model(models, table->name))
            copy_model(&models->items[models->n++], table);
    }
    return status;
}

/* An engine that needs no file, where nothing is named. */
static enum gp_status add_engine(struct models_settings *models, struct gp_arena *arena,
                                 struct gp_error *err)
{
    models->items = gp_arena_alloc(arena, sizeof *models->items);
    if (!models->items)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    models->n = 1;
    model_init(models->items, arena);
    return GP_OK;
}

/* Without a repository all names are known here. */
static enum gp_status check_default(const struct models_settings *models,
                                    const struct options *server, struct gp_error *err)
{
    const struct serve_values *values = server->values;
    if (!values->default_model || values->repository ||
        find_model(models, values->default_model))
        return GP_OK;
    char label[OPTION_LABEL_BYTES];
    options_label(label, server, "default-model");
    return gp_error_set(err, GP_INVALID, "%s: no model is called \"%.*s\"", label,
                        gp_cut(values->default_model, 60), values->default_model);
}

static enum gp_status complete_model(struct model_settings *model,
                                     const struct options *server, struct gp_error *err)
{
    const struct serve_values *values = server->values;
    options_inherit(&model->shared, server);
    if (!model->own_values.path && !values->repository && !model->shared_values.engine)
        return gp_error_set(
            err, GP_INVALID,
            "%.*s:%u: model \"%s\" has no path, and there is no repository",
            gp_cut(model->file, 100), model->file, model->line, model->name);
    return GP_OK;
}

enum gp_status models_choose(struct models_settings *models,
                             const struct option_list *words, struct options *server,
                             struct gp_error *err)
{
    const struct serve_values *values = server->values;
    const struct models_settings in_file = *models;
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < words->n && status == GP_OK; i++)
        status = options_take(server, options_find(server, "model"), OPTION_COMMAND_LINE,
                              "MODEL", words->items[i], err);
    if (values->models.n && status == GP_OK) {
        const size_t n = values->models.n + in_file.n;
        models->items = gp_arena_alloc(server->arena, n * sizeof *models->items);
        models->n = 0;
        status = models->items ? add_named(models, &in_file, server, err)
                               : gp_error_set(err, GP_NO_MEMORY, "out of memory");
    } else if (!models->n && values->engine && !values->repository && status == GP_OK) {
        status = add_engine(models, server->arena, err);
    }
    for (size_t i = 0; i < models->n && status == GP_OK; i++)
        status = complete_model(&models->items[i], server, err);
    return status == GP_OK ? check_default(models, server, err) : status;
}

void models_print(struct text *text, const struct models_settings *models)
{
    for (size_t i = 0; i < models->n; i++) {
        const struct model_settings *model = &models->items[i];
        if (!model->name)
            continue;
        text_printf(text, "\n[models.%s]\n", model->name);
        options_print(text, &model->own, true);
        options_print(text, &model->shared, true);
    }
}
