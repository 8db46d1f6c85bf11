#include "model/configure.h"

#include "model/function.h"
#include "model/load.h"
#include "model/model_name.h"
#include "model/repository.h"

#include <string.h>

struct change {
    struct models *models;
    const struct model_host *host;
    struct sync *sync;
    const struct gp_server_options *options;
    /* Of models in the repository that are not listed. */
    struct gp_model_options defaults;
    bool has_moved;       /* the repository is another one */
    struct gp_error *err; /* the first failure */
};

/* --- the check ---------------------------------------------------------------------------- */

struct unchangeable {
    const char *unnamed;
    bool has_function;
};

static void find_unchangeable(struct model_entry *entry, void *arg)
{
    struct unchangeable *found = arg;
    const struct model_version *version = entry->versions;
    if (entry->is_unnamed)
        found->unnamed = entry->name;
    if (version && version->model && version->model->engine == &function_engine)
        found->has_function = true;
}

/* A lone model without a name keeps the one that it got when it was opened. */
static struct gp_model_options options_at(const struct change *change, size_t i)
{
    struct unchangeable found = {0};
    struct gp_model_options options = model_options_at(change->options, i);
    if (options.name || model_options_count(change->options) > 1)
        return options;
    models_each_entry(change->models, find_unchangeable, &found);
    options.name = found.unnamed;
    return options;
}

static enum gp_status check_name(const struct change *change, size_t i)
{
    const struct gp_model_options options = options_at(change, i);
    if (!options.name)
        return gp_error_set(
            change->err, GP_INVALID,
            "a model has no name: wanted one that is part of its address");
    for (size_t k = 0; k < i; k++)
        if (strcmp(options.name, model_options_at(change->options, k).name) == 0)
            return gp_error_set(change->err, GP_INVALID, "two models are named \"%s\"",
                                options.name);
    return model_name_check(options.name, change->err);
}

static bool is_listed(const struct change *change, const char *name)
{
    for (size_t i = 0; i < model_options_count(change->options); i++) {
        const char *listed = options_at(change, i).name;
        if (listed && strcmp(listed, name) == 0)
            return true;
    }
    return false;
}

/* If it can be read, and has or had the default model. One that serves already may be away for a
 * while. */
static enum gp_status check_repository(const struct change *change)
{
    struct gp_arena *arena = gp_arena_create();
    struct gp_error err = {0};
    struct catalog catalog = {0};
    const char *wanted = change->options->default_model;
    if (!arena)
        return gp_error_set(change->err, GP_NO_MEMORY, "no memory for a repository");
    (void)repository_look(arena, change->options->repository, NULL, &catalog, &err);
    bool has_default = !wanted || is_listed(change, wanted) ||
                       (!change->has_moved && models_entry(change->models, wanted));
    for (size_t i = 0; i < catalog.n_models && !has_default; i++)
        has_default = strcmp(catalog.models[i].name, wanted) == 0;
    gp_arena_destroy(arena);
    if (err.status != GP_OK && change->has_moved)
        *change->err = err;
    else if (!has_default)
        gp_error_set(change->err, GP_INVALID,
                     "the default model is \"%s\", and none is named so", wanted);
    return change->err->status;
}

static enum gp_status check_options(const struct change *change)
{
    const struct gp_server_options *options = change->options;
    struct unchangeable found = {0};
    models_each_entry(change->models, find_unchangeable, &found);
    if (found.has_function)
        return gp_error_set(change->err, GP_UNSUPPORTED,
                            "the model is a function of this process, which has no "
                            "options that can change");
    for (size_t i = 0; i < model_options_count(options); i++)
        if (check_name(change, i) != GP_OK)
            return change->err->status;
    if (options->repository)
        return check_repository(change);
    if (options->default_model && !is_listed(change, options->default_model))
        return gp_error_set(change->err, GP_INVALID,
                            "the default model is \"%s\", and none is named so",
                            options->default_model);
    return GP_OK;
}

/* --- the change --------------------------------------------------------------------------- */

static void note_failure(struct change *change, const struct model_entry *entry,
                         const struct gp_error *err)
{
    if (change->err->status != GP_OK)
        return;
    *change->err = *err;
    if (entry)
        gp_error_set(change->err, err->status, "model \"%.*s\": %s",
                     gp_cut(entry->name, 64), entry->name, err->message);
}

static void forget_files(struct model_entry *entry)
{
    for (struct model_version *v = entry->versions; v; v = v->next)
        v->fingerprint = 0;
}

/* Those that it had in the repository. */
static void retire_others(struct change *change, struct model_entry *entry)
{
    for (struct model_version *v = entry->versions, *next; v; v = next) {
        next = v->next;
        if (v->number != 1)
            load_retire(change->models, change->host, entry, v);
    }
}

/* Of a model outside of the repository: it does not serve what its options said the last time. */
static bool has_failed(const struct model_entry *entry)
{
    return !entry->versions || entry->versions->error.status != GP_OK;
}

/* Likewise. */
static void open_entry(struct change *change, struct model_entry *entry, bool is_anew)
{
    struct gp_error err = {0};
    enum gp_status status = GP_OK;
    if (entry->is_unloaded)
        return;
    is_anew = is_anew || has_failed(entry);
    if (atomic_load(change->host->is_ending))
        status = gp_error_set(&err, GP_UNAVAILABLE, "the server is ending");
    else if (is_anew)
        status = load_entry(change->models, change->host, entry, &err);
    else
        status = load_changed(change->models, change->host, entry, &err);
    if (status != GP_OK)
        note_failure(change, entry, &err);
    else
        retire_others(change, entry);
}

static void take_model(struct change *change, const struct gp_model_options *options)
{
    struct models *models = change->models;
    struct gp_error err = {0};
    struct model_entry *entry = models_entry(models, options->name);
    const bool was_inside = entry && change->sync->path && !entry->options->path;
    const bool is_inside = change->options->repository && !options->path;
    const bool is_anew = !entry || was_inside != is_inside ||
                         model_options_need_opening(entry->options, options);
    if (!entry)
        entry = models_add(models, options, &err);
    else if (models_set_options(models, entry, options, &err) == GP_OK)
        entry->is_unnamed =
            entry->is_unnamed && model_options_count(change->options) == 1;
    if (entry)
        entry->is_declared = true;
    if (!entry || err.status != GP_OK)
        note_failure(change, NULL, &err);
    else if (!is_inside)
        open_entry(change, entry, is_anew);
    else if (is_anew || change->has_moved)
        forget_files(entry);
}

/* A model that is not listed belongs to the repository, or else goes. */
static void leave_entry(struct model_entry *entry, void *arg)
{
    struct change *change = arg;
    struct gp_model_options options = change->defaults;
    struct gp_error err;
    if (entry->is_declared)
        return;
    if (!change->options->repository) {
        load_retire_all(change->models, change->host, entry);
        models_remove(change->models, entry);
        return;
    }
    options.name = entry->name;
    options.path = NULL;
    if (change->has_moved || model_options_need_opening(entry->options, &options))
        forget_files(entry);
    if (models_set_options(change->models, entry, &options, &err) != GP_OK)
        note_failure(change, NULL, &err);
}

static void forget_declared(struct model_entry *entry, void *arg)
{
    (void)arg;
    entry->is_declared = false;
}

/* Where nothing else is said, the model at "/" stays the same as long as there is one of its name. */
static void set_default(struct change *change, bool is_last)
{
    struct models *models = change->models;
    const struct gp_server_options *options = change->options;
    const char *wanted = options->default_model, *now = models->default_name;
    const struct model_entry *entry = now ? models_entry(models, now) : NULL;
    struct gp_error err;
    if (!wanted && now && (options->repository || (entry && entry->is_declared)))
        return;
    const char *only = model_options_count(options) == 1 && !options->repository
                           ? options_at(change, 0).name
                           : NULL;
    wanted = wanted ? wanted : only;
    if (!is_last && !(wanted && models_entry(models, wanted)))
        return;
    if (models_set_default(models, wanted, &err) != GP_OK)
        note_failure(change, NULL, &err);
}

static void follow_repository(struct change *change)
{
    struct gp_error err = {0};
    const char *path = change->options->repository;
    models_each_entry(change->models, leave_entry, change);
    if (sync_move(change->sync, change->models, change->host, path, &change->defaults,
                  &err) != GP_OK)
        note_failure(change, NULL, &err);
    (void)sync_look(change->sync, NULL, NULL);
}

enum gp_status configure_models(struct models *models, const struct model_host *host,
                                struct sync *sync,
                                const struct gp_server_options *options, bool *is_refused,
                                struct gp_error *err)
{
    const char *path = options->repository;
    struct change change = {
        .models = models,
        .host = host,
        .sync = sync,
        .options = options,
        .defaults = model_options_defaults(options),
        .has_moved = path && !(sync->path && strcmp(sync->path, path) == 0),
        .err = err,
    };
    *err = (struct gp_error){0};
    *is_refused = check_options(&change) != GP_OK;
    if (*is_refused)
        return err->status;
    models_each_entry(models, forget_declared, NULL);
    for (size_t i = 0; i < model_options_count(options); i++) {
        const struct gp_model_options model = options_at(&change, i);
        take_model(&change, &model);
    }
    if (atomic_load(host->is_ending))
        return err->status;
    set_default(&change, false);
    follow_repository(&change);
    set_default(&change, true);
    return err->status;
}
