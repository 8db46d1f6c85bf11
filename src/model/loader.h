/* model/loader.h - the thread that opens, swaps, retires and closes models.
 *
 * A version is opened beside the one that it replaces, and takes over when it is ready; one that
 * does not load changes nothing but its state. What nobody holds any more is closed here too: a
 * worker never closes a model, whose slots' threads it might be one of.
 */
#ifndef GP_MODEL_LOADER_H
#define GP_MODEL_LOADER_H

#include "model/models.h"
#include "model/sync.h"

enum loader_ask {
    LOADER_LOAD,   /* opens the model anew, whether its files changed or not */
    LOADER_UNLOAD, /* serves it no longer, until it is loaded */
    LOADER_RELOAD  /* looks at the files of all models, and opens what changed */
};

/* Something that the loader is asked to do; the asker's storage until `done` was called. */
struct loader_command {
    struct loader_command *next;
    enum loader_ask ask;
    const char *name;      /* of the model; NULL with LOADER_RELOAD */
    struct gp_error error; /* GP_OK: it went well */
    void (*done)(struct loader_command *command); /* on the loader's thread */
};

struct loader {
    struct models *models;
    struct model_host host; /* of all models */
    int wake_fd;            /* an eventfd: there is something to do */
    pthread_t thread;
    bool has_thread;

    struct sync sync; /* the thread's, once there is one */

    pthread_mutex_t lock; /* of what follows */
    struct model *left;   /* to be closed */
    struct loader_command *commands;
    struct loader_command **commands_end;
    bool is_ending;
};

/* `host` but for its function `left`, which is the loader's. */
enum gp_status loader_init(struct loader *loader, struct models *models,
                           const struct model_host *host, struct gp_error *err);
void loader_finish(struct loader *loader);

/* Opens a model that is declared, before the thread is started; fails when that cannot be. */
enum gp_status loader_open(struct loader *loader, const struct gp_model_options *options,
                           struct gp_error *err);

/* The same for a function of this process. */
enum gp_status loader_open_function(struct loader *loader, gp_infer_fn *function,
                                    void *self, const struct gp_model_options *options,
                                    const struct gp_metadata *metadata,
                                    struct gp_error *err);

/* Declares a model whose versions are in the repository. */
enum gp_status loader_declare(struct loader *loader,
                              const struct gp_model_options *options,
                              struct gp_error *err);

/* Opens what is in a repository; models that are not declared have the defaults. Fails when it
 * cannot be looked at. */
enum gp_status loader_open_repository(struct loader *loader, const char *path,
                                      const struct gp_model_options *defaults,
                                      struct gp_error *err);

/* Starts the thread; ends it, when commands that were not begun fail. */
enum gp_status loader_start(struct loader *loader, struct gp_error *err);
void loader_stop(struct loader *loader);

/* Any thread, but from `done`. */
void loader_command(struct loader *loader, struct loader_command *command);

#endif
