#include "model/load.h"

#include "base/clock.h"
#include "base/parallel.h"
#include "model/contents.h"
#include "model/warm_up.h"

#include <inttypes.h>
#include <sys/stat.h>

struct model *load_warm_up(struct model *model, const struct gp_model_options *options,
                           struct gp_error *err)
{
    if (!model || warm_up_model(model, options->warm_up, WARM_UP_LIMIT_NS, err) == GP_OK)
        return model;
    model_close(model);
    return NULL;
}

static void say_ready(const struct model_host *host, const struct model_entry *entry,
                      const struct model *model)
{
    char warm_up[64] = "";
    if (model->warm_up_ns)
        (void)snprintf(warm_up, sizeof warm_up, ", warmed up in %lld ms",
                       (long long)(model->warm_up_ns / CLOCK_MS));
    log_line(host->log, GP_LOG_INFO,
             "%s version %" PRIu64 " is ready: loaded in %lld ms%s", entry->name,
             model->version, (long long)(model->load_ns / CLOCK_MS), warm_up);
}

enum gp_status load_version(struct models *models, const struct model_host *host,
                            struct model_entry *entry, struct model_version *version,
                            const char *path, struct gp_error *err)
{
    struct gp_model_options options = *entry->options;
    options.path = path;
    models_set_state(models, version, MODEL_LOADING, NULL);
    host->close_left(host->left_context); /* room for this one */
    struct model *model =
        load_warm_up(model_open(host, &options, version->number, err), &options, err);
    if (!model) {
        log_line(host->log, GP_LOG_ERROR, "%s version %" PRIu64 " does not load%s: %s",
                 entry->name, version->number,
                 version->model ? ", and the one before goes on" : "", err->message);
        models_set_state(models, version, MODEL_FAILED, err);
        models_end_joining(models, entry);
        return err->status;
    }
    say_ready(host, entry, model);
    models_publish(models, version, model);
    models_end_joining(models, entry);
    return GP_OK;
}

enum gp_status load_entry(struct models *models, const struct model_host *host,
                          struct model_entry *entry, struct gp_error *err)
{
    const char *path = entry->options->path;
    struct model_version *version = models_version(models, entry, 1);
    if (!version)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model's version");
    version->fingerprint = path ? load_fingerprint(path) : 0;
    return load_version(models, host, entry, version, path, err);
}

enum gp_status load_changed(struct models *models, const struct model_host *host,
                            struct model_entry *entry, struct gp_error *err)
{
    const char *path = entry->options->path;
    const bool has_changed = path && entry->versions && !entry->is_unloaded &&
                             !atomic_load(host->is_ending) &&
                             entry->versions->fingerprint != load_fingerprint(path);
    return has_changed ? load_entry(models, host, entry, err) : GP_OK;
}

struct loading {
    struct models *models;
    const struct model_host *host;
    const struct load *loads;
};

static void load_one(void *context, size_t i)
{
    const struct loading *loading = context;
    const struct load *load = &loading->loads[i];
    struct gp_error err = {0}; /* is the version's */
    if (!atomic_load(loading->host->is_ending))
        (void)load_version(loading->models, loading->host, load->entry, load->version,
                           load->path, &err);
}

void load_several(struct models *models, const struct model_host *host,
                  const struct load *loads, size_t n, unsigned n_threads)
{
    struct loading loading = {models, host, loads};
    parallel_each(n_threads, n, load_one, &loading);
}

uint64_t load_fingerprint(const char *path)
{
    struct stat info;
    struct listing_root root;
    struct gp_arena *arena = gp_arena_create();
    uint64_t fingerprint = 0;
    if (arena && stat(path, &info) == 0 && !S_ISDIR(info.st_mode))
        fingerprint = (uint64_t)info.st_mtim.tv_sec * 1000003u +
                      (uint64_t)info.st_mtim.tv_nsec * 31u + (uint64_t)info.st_size * 7u +
                      (uint64_t)info.st_ino;
    else if (arena && listing_open(arena, path, &root, &info, NULL) == GP_OK)
        (void)contents_fingerprint(arena, &root, root.path, &fingerprint, NULL);
    gp_arena_destroy(arena);
    return fingerprint;
}

void load_retire(struct models *models, const struct model_host *host,
                 struct model_entry *entry, struct model_version *version)
{
    if (version->model)
        log_line(host->log, GP_LOG_INFO, "%s version %" PRIu64 " is no longer served",
                 entry->name, version->number);
    models_retire(models, entry, version);
}

void load_retire_all(struct models *models, const struct model_host *host,
                     struct model_entry *entry)
{
    while (entry->versions)
        load_retire(models, host, entry, entry->versions);
}
