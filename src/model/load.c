#include "model/load.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/parallel.h"
#include "model/contents.h"
#include "model/trial.h"
#include "model/warm_up.h"

#include <inttypes.h>
#include <sys/stat.h>

struct model *load_try(struct model *model, const struct gp_model_options *options,
                       struct gp_error *err)
{
    if (!model)
        return NULL;
    if (warm_up_model(model, options->warm_up, TRIAL_LIMIT_NS, err) == GP_OK) {
        model_check_rows(model, options->warm_up);
        return model;
    }
    model_close(model);
    return NULL;
}

/* Opens the version's model, and tries it. */
static struct model *open_version(const struct model_host *host,
                                  const struct model_entry *entry,
                                  const struct model_version *version, const char *path,
                                  struct gp_error *err)
{
    struct gp_model_options options = *entry->options;
    options.path = path;
    return load_try(model_open(host, &options, version->number, err), &options, err);
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
    models_set_state(models, version, MODEL_LOADING, NULL);
    host->close_left(host->left_context); /* room for this one */
    struct model *model = open_version(host, entry, version, path, err);
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

/* --- several --- */

struct loading {
    struct models *models;
    const struct model_host *host;
    const struct load *loads;
    /* Of those that are served together. */
    struct opened {
        struct model *model;
        struct gp_error error;
    } * opened;
    atomic_bool has_failed;
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
    struct loading loading = {.models = models, .host = host, .loads = loads};
    parallel_each(n_threads, n, load_one, &loading);
}

static void open_one(void *context, size_t i)
{
    struct loading *loading = context;
    const struct load *load = &loading->loads[i];
    struct opened *opened = &loading->opened[i];
    if (atomic_load(&loading->has_failed))
        return;
    opened->model = open_version(loading->host, load->entry, load->version, load->path,
                                 &opened->error);
    if (!opened->model)
        atomic_store(&loading->has_failed, true);
}

/* The last one first: so they are listed by name. */
static void serve_all(const struct loading *loading, size_t n)
{
    for (size_t i = n; i-- > 0;) {
        const struct load *load = &loading->loads[i];
        load->version->fingerprint = load->path ? load_fingerprint(load->path) : 0;
        models_publish(loading->models, load->version, loading->opened[i].model);
    }
}

static enum gp_status close_all(const struct loading *loading, size_t n,
                                struct gp_error *err)
{
    size_t first = 0;
    for (size_t i = n; i-- > 0;)
        if (loading->opened[i].model)
            model_close(loading->opened[i].model);
        else if (loading->opened[i].error.status != GP_OK)
            first = i;
    const struct gp_error *why = &loading->opened[first].error;
    return gp_error_set(err, why->status, "model \"%s\": %s",
                        loading->loads[first].entry->name, why->message);
}

enum gp_status load_together(struct models *models, const struct model_host *host,
                             const struct load *loads, size_t n, unsigned n_threads,
                             struct gp_error *err)
{
    struct loading loading = {.models = models, .host = host, .loads = loads};
    enum gp_status status = GP_OK;
    loading.opened = mem_array(n, sizeof *loading.opened);
    if (!loading.opened)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the models");
    parallel_each(n_threads, n, open_one, &loading);
    if (atomic_load(&loading.has_failed))
        status = close_all(&loading, n, err);
    else
        serve_all(&loading, n);
    mem_free(loading.opened);
    return status;
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
