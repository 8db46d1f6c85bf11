/* model/loader.h - the thread that opens, swaps, retires and closes models.
 *
 * A version is opened while the one that it replaces is served, and takes over once it is ready;
 * if it does not load, only its state changes. Models that nobody holds any more are closed here
 * too: a worker never closes a model, since it might be a thread of the model's slots.
 */
#ifndef GP_MODEL_LOADER_H
#define GP_MODEL_LOADER_H

#include "model/models.h"
#include "model/sync.h"

enum loader_ask {
    LOADER_LOAD,     /* opens the model again, even if its files have not changed */
    LOADER_UNLOAD,   /* stops serving it until it is loaded */
    LOADER_RELOAD,   /* opens the models whose files have changed */
    LOADER_CONFIGURE /* serves the models of the options (configure.h), and the same */
};

/* A request to the loader, in the caller's storage until `done` has been called. */
struct loader_command {
    struct loader_command *next;
    enum loader_ask ask;
    const char *name;                             /* of the model to load or unload */
    const struct gp_server_options *options;      /* to configure */
    struct gp_error error;                        /* GP_OK on success */
    bool is_refused;                              /* of options: nothing has changed */
    void (*done)(struct loader_command *command); /* on the loader's thread */
};

struct loader {
    struct models *models;
    struct model_host host; /* of all models */
    int wake_fd;            /* an eventfd, written when there is something to do */
    pthread_t thread;
    bool has_thread;

    struct sync sync; /* the thread's, once there is one */

    pthread_mutex_t lock; /* of what follows */
    struct model *left;   /* to be closed */
    struct loader_command *commands;
    struct loader_command **commands_end;
    bool has_hangup; /* a signal asks for LOADER_RELOAD */

    atomic_bool is_ending; /* set under the lock */
};

/* Copies `host`, but with a function `left` of its own. */
enum gp_status loader_init(struct loader *loader, struct models *models,
                           const struct model_host *host, struct gp_error *err);
void loader_finish(struct loader *loader);

/* Opens a lone model, before the thread is started. */
enum gp_status loader_open(struct loader *loader, const struct gp_model_options *options,
                           struct gp_error *err);

/* The same for a function of this process. */
enum gp_status loader_open_function(struct loader *loader, gp_infer_fn *function,
                                    void *self, const struct gp_model_options *options,
                                    const struct gp_metadata *metadata,
                                    struct gp_error *err);

/* Declares a model, which lies at its path, or else in the repository. */
enum gp_status loader_declare(struct loader *loader,
                              const struct gp_model_options *options,
                              struct gp_error *err);

/* Opens the declared models, several at a time: all, or only those with a path. They are served
 * when all are open; else *err is that of the first that is not. */
enum gp_status loader_open_declared(struct loader *loader, bool has_repository,
                                    struct gp_error *err);

/* Opens the models in a repository; those not declared get the defaults. Fails if the repository
 * cannot be read. */
enum gp_status loader_open_repository(struct loader *loader, const char *path,
                                      const struct gp_model_options *defaults,
                                      struct gp_error *err);

/* Starts the thread; stops it, and fails the commands that it has not begun. */
enum gp_status loader_start(struct loader *loader, struct gp_error *err);
void loader_stop(struct loader *loader);

/* It will be stopped soon: ends a warm-up, and fails commands that have not begun. */
void loader_hurry(struct loader *loader);

/* From any thread, but not from `done`. */
void loader_command(struct loader *loader, struct loader_command *command);

/* Any thread: LOADER_RELOAD, once for all signals that came before it begins. */
void loader_hang_up(struct loader *loader);

#endif
