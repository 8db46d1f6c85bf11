#include "model/loader.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/place.h"
#include "model/configure.h"
#include "model/load.h"
#include "model/model_name.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

static void wake_loader(struct loader *loader)
{
    (void)eventfd_write(loader->wake_fd, 1);
}

static void model_left(void *context, struct model *model)
{
    struct loader *loader = context;
    pthread_mutex_lock(&loader->lock);
    model->next_left = loader->left;
    loader->left = model;
    pthread_mutex_unlock(&loader->lock);
    wake_loader(loader);
}

static void close_model(struct loader *loader, struct model *model)
{
    const uint64_t version = model->version;
    const char *whole = model->metadata.name;
    char name[MODEL_NAME_MAX_BYTES + 1];
    (void)snprintf(name, sizeof name, "%.*s", gp_cut(whole, sizeof name - 1), whole);
    models_close(loader->models, model);
    log_line(loader->host.log, GP_LOG_INFO, "%s version %" PRIu64 " is closed", name,
             version);
}

/* Closes what nobody holds any more. */
static void close_left(void *context)
{
    struct loader *loader = context;
    pthread_mutex_lock(&loader->lock);
    struct model *model = loader->left;
    loader->left = NULL;
    pthread_mutex_unlock(&loader->lock);
    const bool has_some = model;
    while (model) {
        struct model *next = model->next_left;
        close_model(loader, model);
        model = next;
    }
    if (has_some)
        mem_trim();
}

enum gp_status loader_init(struct loader *loader, struct models *models,
                           const struct model_host *host, struct gp_error *err)
{
    loader->models = models;
    loader->host = *host;
    loader->host.left = model_left;
    loader->host.left_context = loader;
    loader->host.close_left = close_left;
    loader->host.is_ending = &loader->is_ending;
    loader->commands_end = &loader->commands;
    pthread_mutex_init(&loader->lock, NULL);
    loader->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    char words[PLACE_WORDS_BYTES];
    return loader->wake_fd >= 0
               ? GP_OK
               : gp_error_set(err, GP_UNAVAILABLE, "cannot make a loader of models: %s",
                              place_explain(errno, words));
}

void loader_finish(struct loader *loader)
{
    if (!loader->models)
        return;
    sync_finish(&loader->sync);
    if (loader->wake_fd >= 0)
        close(loader->wake_fd);
    pthread_mutex_destroy(&loader->lock);
}

/* Puts an open model into the table, by the name that was given, or its own. */
static enum gp_status add_model(struct loader *loader,
                                const struct gp_model_options *options,
                                struct model *model, struct gp_error *err)
{
    struct gp_model_options named = *options;
    if (!named.name)
        named.name = model->metadata.name;
    struct model_entry *entry = models_add(loader->models, &named, err);
    struct model_version *version =
        entry ? models_version(loader->models, entry, 1) : NULL;
    if (!version) {
        if (entry)
            gp_error_set(err, GP_NO_MEMORY, "no memory for a model's version");
        model_close(model);
        return err->status;
    }
    entry->is_declared = true;
    entry->is_unnamed = !options->name;
    version->fingerprint = options->path ? load_fingerprint(options->path) : 0;
    models_publish(loader->models, version, model);
    return GP_OK;
}

enum gp_status loader_open(struct loader *loader, const struct gp_model_options *options,
                           struct gp_error *err)
{
    struct model *model =
        load_try(model_open(&loader->host, options, 1, err), options, err);
    return model ? add_model(loader, options, model, err) : err->status;
}

enum gp_status loader_open_function(struct loader *loader, gp_infer_fn *function,
                                    void *self, const struct gp_model_options *options,
                                    const struct gp_metadata *metadata,
                                    struct gp_error *err)
{
    struct model *model = load_try(
        model_open_function(&loader->host, function, self, options, metadata, err),
        options, err);
    return model ? add_model(loader, options, model, err) : err->status;
}

enum gp_status loader_declare(struct loader *loader,
                              const struct gp_model_options *options,
                              struct gp_error *err)
{
    struct model_entry *entry = models_add(loader->models, options, err);
    if (!entry)
        return err->status;
    entry->is_declared = true;
    return GP_OK;
}

/* Those that are declared, or only those with a path. NULL if memory is short. */
static struct load *list_declared(struct models *models, bool has_repository, size_t *n)
{
    struct load *loads = mem_array(models->n_entries, sizeof *loads);
    *n = 0;
    for (size_t i = 0; loads && i < models->n_entries; i++) {
        struct model_entry *entry = models->entries[i];
        const char *path = entry->options->path;
        if (has_repository && !path)
            continue;
        struct model_version *version = models_version(models, entry, 1);
        if (!version) {
            mem_free(loads);
            return NULL;
        }
        loads[(*n)++] = (struct load){.entry = entry, .version = version, .path = path};
    }
    return loads;
}

enum gp_status loader_open_declared(struct loader *loader, bool has_repository,
                                    struct gp_error *err)
{
    size_t n;
    struct load *loads = list_declared(loader->models, has_repository, &n);
    if (!loads)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the models");
    const enum gp_status status =
        load_together(loader->models, &loader->host, loads, n, loader->host.n_cores, err);
    mem_free(loads);
    return status;
}

enum gp_status loader_open_repository(struct loader *loader, const char *path,
                                      const struct gp_model_options *defaults,
                                      struct gp_error *err)
{
    return sync_init(&loader->sync, loader->models, &loader->host, path, defaults, err);
}

static void unload_entry(struct loader *loader, struct model_entry *entry)
{
    models_set_unloaded(loader->models, entry, true);
    load_retire_all(loader->models, &loader->host, entry);
}

static enum gp_status fail_name(const char *name, struct gp_error *err)
{
    return gp_error_set(err, GP_NOT_FOUND, "no model is named \"%.*s\"", gp_cut(name, 64),
                        name);
}

/* Of a model in the repository: what its policy wants, whether it changed or not. */
static enum gp_status load_versions(struct loader *loader, struct model_entry *entry,
                                    struct gp_error *err)
{
    for (struct model_version *v = entry->versions; v; v = v->next)
        v->fingerprint = 0;
    if (sync_look(&loader->sync, entry, err) != GP_OK)
        return err->status;
    *err = entry->error;
    for (struct model_version *v = entry->versions; v && err->status == GP_OK;
         v = v->next)
        *err = v->error;
    if (err->status == GP_OK && !entry->versions)
        gp_error_set(err, GP_NOT_FOUND, "model \"%s\" is not in the repository",
                     entry->name);
    return err->status;
}

static void load_model(struct loader *loader, const char *name, struct gp_error *err)
{
    struct model_entry *entry = models_entry(loader->models, name);
    if (!entry) {
        if (sync_look(&loader->sync, NULL, err) != GP_OK)
            return;
        entry = models_entry(loader->models, name);
    }
    if (!entry) {
        fail_name(name, err);
        return;
    }
    const bool was_unloaded = entry->is_unloaded;
    models_set_unloaded(loader->models, entry, false);
    if (loader->sync.path && !entry->options->path)
        (void)load_versions(loader, entry, err);
    else
        (void)load_entry(loader->models, &loader->host, entry, err);
    const struct model_version *newest = models_newest(entry);
    if (err->status != GP_OK && was_unloaded && !(newest && newest->model))
        unload_entry(loader, entry); /* a load that failed has changed nothing */
}

static void unload_model(struct loader *loader, const char *name, struct gp_error *err)
{
    struct model_entry *entry = models_entry(loader->models, name);
    if (entry)
        unload_entry(loader, entry);
    else
        fail_name(name, err);
}

static void reload_entry(struct model_entry *entry, void *arg)
{
    struct loader *loader = arg;
    struct gp_error err;
    (void)load_changed(loader->models, &loader->host, entry, &err);
}

static void reload_all(struct loader *loader)
{
    models_each_entry(loader->models, reload_entry, loader);
    (void)sync_look(&loader->sync, NULL, NULL);
}

static void obey_command(struct loader *loader, struct loader_command *command,
                         bool is_ending)
{
    struct gp_error *err = &command->error;
    *err = (struct gp_error){0};
    command->is_refused = is_ending;
    if (is_ending) {
        gp_error_set(err, GP_UNAVAILABLE, "the server is ending");
    } else if (command->ask == LOADER_LOAD) {
        load_model(loader, command->name, err);
    } else if (command->ask == LOADER_UNLOAD) {
        unload_model(loader, command->name, err);
    } else if (command->ask == LOADER_CONFIGURE) {
        configure_models(loader->models, &loader->host, &loader->sync, command->options,
                         &command->is_refused, err);
    } else {
        reload_all(loader);
    }
    command->done(command);
}

static void obey_hangup(struct loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    const bool has_hangup = loader->has_hangup && !loader->is_ending;
    loader->has_hangup = false;
    pthread_mutex_unlock(&loader->lock);
    if (!has_hangup)
        return;
    log_line(loader->host.log, GP_LOG_INFO, "SIGHUP: looking at the models' files again");
    reload_all(loader);
}

static struct loader_command *next_command(struct loader *loader, bool *is_ending)
{
    pthread_mutex_lock(&loader->lock);
    struct loader_command *command = loader->commands;
    if (command)
        loader->commands = command->next;
    if (!loader->commands)
        loader->commands_end = &loader->commands;
    *is_ending = atomic_load(&loader->is_ending);
    pthread_mutex_unlock(&loader->lock);
    return command;
}

static void *loader_main(void *arg)
{
    struct loader *loader = arg;
    bool is_ending = false;
    while (!is_ending) {
        const int wait_ms = sync_wait_ms(&loader->sync);
        struct pollfd wakes[] = {
            {.fd = loader->wake_fd, .events = POLLIN},
            {.fd = loader->sync.path ? loader->sync.watch.fd : -1, .events = POLLIN},
        };
        eventfd_t n;
        (void)poll(wakes, 2, wait_ms);
        (void)eventfd_read(loader->wake_fd, &n);
        close_left(loader);
        struct loader_command *command;
        while ((command = next_command(loader, &is_ending)))
            obey_command(loader, command, is_ending);
        obey_hangup(loader);
        if (wait_ms == 0 && !is_ending)
            (void)sync_look(&loader->sync, NULL, NULL);
        close_left(loader);
    }
    return NULL;
}

enum gp_status loader_start(struct loader *loader, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    loader->models->is_serving = true;
    const int rc = pthread_create(&loader->thread, NULL, loader_main, loader);
    if (rc != 0)
        return gp_error_set(err, GP_UNAVAILABLE,
                            "cannot make a thread to load models: %s",
                            place_explain(rc, words));
    pthread_mutex_lock(&loader->lock);
    loader->has_thread = true;
    pthread_mutex_unlock(&loader->lock);
    return GP_OK;
}

void loader_hurry(struct loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    atomic_store(&loader->is_ending, true);
    pthread_mutex_unlock(&loader->lock);
    wake_loader(loader);
}

void loader_stop(struct loader *loader)
{
    if (!loader->has_thread)
        return;
    loader_hurry(loader);
    pthread_join(loader->thread, NULL);
    loader->has_thread = false; /* no lock: is_ending is set */
}

void loader_command(struct loader *loader, struct loader_command *command)
{
    command->next = NULL;
    pthread_mutex_lock(&loader->lock);
    const bool is_ending = atomic_load(&loader->is_ending) || !loader->has_thread;
    if (!is_ending) {
        *loader->commands_end = command;
        loader->commands_end = &command->next;
    }
    pthread_mutex_unlock(&loader->lock);
    if (!is_ending) {
        wake_loader(loader);
        return;
    }
    command->is_refused = true;
    gp_error_set(&command->error, GP_UNAVAILABLE, "the server does not run");
    command->done(command);
}

void loader_hang_up(struct loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    loader->has_hangup = true;
    pthread_mutex_unlock(&loader->lock);
    wake_loader(loader);
}
