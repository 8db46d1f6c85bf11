#include "model/loader.h"

#include "base/clock.h"
#include "base/place.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <string.h>
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

enum gp_status loader_init(struct loader *loader, struct models *models,
                           const struct model_host *host, struct gp_error *err)
{
    loader->models = models;
    loader->host = *host;
    loader->host.left = model_left;
    loader->host.left_context = loader;
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
    if (loader->wake_fd >= 0)
        close(loader->wake_fd);
    pthread_mutex_destroy(&loader->lock);
}

/* Closes what nobody holds any more. */
static void close_left(struct loader *loader)
{
    pthread_mutex_lock(&loader->lock);
    struct model *model = loader->left;
    loader->left = NULL;
    pthread_mutex_unlock(&loader->lock);
    while (model) {
        struct model *next = model->next_left;
        log_line(loader->host.log, GP_LOG_INFO, "%s version %" PRIu64 " is closed",
                 model->metadata.name, model->version);
        models_close(loader->models, model);
        model = next;
    }
}

static enum gp_status fail_load(struct loader *loader, struct model_entry *entry,
                                struct model_version *version, const struct gp_error *err)
{
    models_set_state(loader->models, version, MODEL_FAILED, err);
    log_line(loader->host.log, GP_LOG_ERROR, "%s version %" PRIu64 " does not load%s: %s",
             entry->name, version->number,
             version->model ? ", and the one before goes on" : "", err->message);
    return err->status;
}

/* Opens a version's model at the path, and has it take over. */
static enum gp_status load_version(struct loader *loader, struct model_entry *entry,
                                   struct model_version *version, const char *path,
                                   struct gp_error *err)
{
    struct gp_model_options options = *entry->options;
    options.path = path;
    models_set_state(loader->models, version, MODEL_LOADING, NULL);
    struct model *model = model_open(&loader->host, &options, version->number, err);
    if (!model)
        return fail_load(loader, entry, version, err);
    models_publish(loader->models, version, model);
    return GP_OK;
}

static struct model_version *declare(struct loader *loader,
                                     const struct gp_model_options *options,
                                     struct gp_model_options *kept, struct gp_error *err)
{
    struct model_entry *entry = models_add(loader->models, options, err);
    struct model_version *version =
        entry ? models_version(loader->models, entry, 1) : NULL;
    if (entry && !version)
        gp_error_set(err, GP_NO_MEMORY, "no memory for a model's version");
    if (version)
        *kept = *entry->options;
    return version;
}

enum gp_status loader_open(struct loader *loader, const struct gp_model_options *options,
                           struct gp_error *err)
{
    struct gp_model_options kept;
    struct model_version *version = declare(loader, options, &kept, err);
    struct model *model = version ? model_open(&loader->host, &kept, 1, err) : NULL;
    if (!model)
        return err->status;
    models_publish(loader->models, version, model);
    return GP_OK;
}

enum gp_status loader_open_function(struct loader *loader, gp_infer_fn *function,
                                    void *self, const struct gp_model_options *options,
                                    const struct gp_metadata *metadata,
                                    struct gp_error *err)
{
    struct gp_model_options kept;
    struct model_version *version = declare(loader, options, &kept, err);
    struct model *model =
        version ? model_open_function(&loader->host, function, self, &kept, metadata, err)
                : NULL;
    if (!model)
        return err->status;
    models_publish(loader->models, version, model);
    return GP_OK;
}

static void retire_all(struct loader *loader, struct model_entry *entry)
{
    while (entry->versions)
        models_retire(loader->models, entry, entry->versions);
}

static void log_ready(struct loader *loader, const struct model_entry *entry)
{
    const struct model_version *version = entry->versions;
    log_line(loader->host.log, GP_LOG_INFO, "%s version %" PRIu64 " is ready in %lld ms",
             entry->name, version->number,
             (long long)(version->model->load_ns / CLOCK_MS));
}

static enum gp_status load_entry(struct loader *loader, struct model_entry *entry,
                                 struct gp_error *err)
{
    struct model_version *version = models_version(loader->models, entry, 1);
    if (!version)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a model's version");
    entry->is_unloaded = false;
    if (load_version(loader, entry, version, entry->options->path, err) == GP_OK)
        log_ready(loader, entry);
    return err->status;
}

static void obey_command(struct loader *loader, struct loader_command *command,
                         bool is_ending)
{
    struct gp_error *err = &command->error;
    struct model_entry *entry =
        command->name ? models_entry(loader->models, command->name) : NULL;
    *err = (struct gp_error){0};
    if (is_ending)
        gp_error_set(err, GP_UNAVAILABLE, "the server is ending");
    else if (command->name && !entry)
        gp_error_set(err, GP_NOT_FOUND, "no model is named \"%.*s\"",
                     gp_cut(command->name, 64), command->name);
    else if (command->ask == LOADER_LOAD)
        load_entry(loader, entry, err);
    else if (command->ask == LOADER_UNLOAD) {
        entry->is_unloaded = true;
        retire_all(loader, entry);
    }
    command->done(command);
}

static struct loader_command *next_command(struct loader *loader, bool *is_ending)
{
    pthread_mutex_lock(&loader->lock);
    struct loader_command *command = loader->commands;
    if (command)
        loader->commands = command->next;
    if (!loader->commands)
        loader->commands_end = &loader->commands;
    *is_ending = loader->is_ending;
    pthread_mutex_unlock(&loader->lock);
    return command;
}

static void *loader_main(void *arg)
{
    struct loader *loader = arg;
    bool is_ending = false;
    while (!is_ending) {
        struct pollfd wake = {.fd = loader->wake_fd, .events = POLLIN};
        eventfd_t n;
        (void)poll(&wake, 1, -1);
        (void)eventfd_read(loader->wake_fd, &n);
        close_left(loader);
        struct loader_command *command;
        while ((command = next_command(loader, &is_ending)))
            obey_command(loader, command, is_ending);
        close_left(loader);
    }
    return NULL;
}

enum gp_status loader_start(struct loader *loader, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    const int rc = pthread_create(&loader->thread, NULL, loader_main, loader);
    if (rc != 0)
        return gp_error_set(err, GP_UNAVAILABLE,
                            "cannot make a thread to load models: %s",
                            place_explain(rc, words));
    loader->has_thread = true;
    return GP_OK;
}

void loader_stop(struct loader *loader)
{
    if (!loader->has_thread)
        return;
    pthread_mutex_lock(&loader->lock);
    loader->is_ending = true;
    pthread_mutex_unlock(&loader->lock);
    wake_loader(loader);
    pthread_join(loader->thread, NULL);
    loader->has_thread = false;
}

void loader_command(struct loader *loader, struct loader_command *command)
{
    command->next = NULL;
    pthread_mutex_lock(&loader->lock);
    const bool is_ending = loader->is_ending || !loader->has_thread;
    if (!is_ending) {
        *loader->commands_end = command;
        loader->commands_end = &command->next;
    }
    pthread_mutex_unlock(&loader->lock);
    if (!is_ending) {
        wake_loader(loader);
        return;
    }
    gp_error_set(&command->error, GP_UNAVAILABLE, "the server does not run");
    command->done(command);
}
