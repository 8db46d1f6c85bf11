/* graphpipe/server.h - make a model server out of a C function, or of an engine and a
 * model.
 *
 *     static enum gp_status twice(void *self, const struct gp_call *call,
 *                                 struct gp_outputs *outputs, struct gp_error *err)
 *     {
 *         const struct gp_tensor *x = &call->inputs[0];
 *         const float *in = gp_tensor_data(x, GP_FLOAT32, err);
 *         float *y = NULL;
 *         if (in)
 *             y = gp_outputs_alloc(outputs, 0, GP_FLOAT32, x->shape, x->rank, err);
 *         for (size_t i = 0; y && i < x->size_bytes / sizeof *y; i++)
 *             y[i] = 2 * in[i];
 *         return y ? GP_OK : err->status;
 *     }
 *
 *     int main(void)
 *     {
 *         return gp_serve_function(twice, NULL, NULL);
 *     }
 *
 * gp_serve_function does everything, signals included. The calls below it are for
 * programs that have a main loop of their own.
 *
 * Threads: the function is called from several threads at a time unless n_slots is 1. A
 * server may be stopped from any thread or signal handler; its other calls belong to one
 * thread.
 * Descriptors: where 0, 1 or 2 is closed, making a server opens /dev/null there, and it stays.
 * Signals: dispositions are left alone; gp_serve_function takes signals over.
 * Ownership: options and what they point at are borrowed until create returns; `self` and
 * what metadata points at until destroy.
 */
#ifndef GRAPHPIPE_SERVER_H
#define GRAPHPIPE_SERVER_H

#include <graphpipe/engine.h>
#include <graphpipe/message.h>
#include <graphpipe/version.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gp_server;

/* Tensors in, tensors out. Same contract as run in engine.h: the inputs are borrowed, the
 * outputs are set by gp_outputs_alloc or gp_outputs_adopt. */
typedef enum gp_status gp_infer_fn(void *self, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err);

enum gp_log_format { GP_LOG_TEXT = 0, GP_LOG_JSON = 1 };

struct gp_model_options;

/* Zero means the default, here and in every field. */
struct gp_server_options {
    uint32_t size_bytes; /* sizeof(struct gp_server_options); 0: the layout of 0.1 */

    /* The model. */
    const char *engine;     /* "onnx", a path of a plug-in, or NULL: by the model file */
    const char *engine_dir; /* where plug-ins are looked for first */
    const char *model_path; /* file or folder */
    const char *model_name; /* default: from the path */
    const char *const *engine_options; /* "key=value" */
    size_t n_engine_options;
    uint32_t n_slots;          /* runs at a time; default: the engine's best */
    uint32_t n_threads;        /* threads of one run; default: the engine's best */
    const char *const *inputs; /* default inputs by name, in place of the model's own */
    const char *const *outputs;
    size_t n_inputs;
    size_t n_outputs;
    const struct gp_metadata
        *metadata; /* of a function; NULL: takes and gives anything */

    /* Where to listen: "HOST:PORT", ":PORT", "[::1]:PORT", "unix:/path"; port 0: a
     * free one. */
    const char *const *listen; /* default {"127.0.0.1:9000"} */
    size_t n_listen;

    /* Limits. */
    uint64_t max_body_bytes;  /* default 1 GiB, at most GP_MAX_MESSAGE_BYTES */
    uint64_t pool_bytes;      /* of tensors held at a time; default: half of the memory */
    uint32_t max_waiting;     /* requests waiting for a slot; default 1024 */
    uint32_t max_connections; /* default, and at most: what the descriptor limit allows */
    uint32_t timeout_ms;      /* a request's deadline at most; default: none */
    uint32_t head_timeout_ms; /* default 10 000 */
    uint32_t idle_timeout_ms; /* of a connection between requests; default 75 000 */
    uint32_t drain_timeout_ms; /* default 30 000 */
    uint64_t min_rate_bytes;   /* per second, of bodies and answers; default 1 000 000 */
    uint32_t n_pollers;        /* default: as many as cores */
    int allow_remote_control;  /* /control/shutdown from other machines too */

    /* Lines about what happens. The library prints nothing unless log_fd is above 0. A thread
     * writes them, to a copy of the descriptor; lines that a slow reader leaves no room for are
     * lost, and counted in /metrics. */
    int log_fd; /* open for writing; 2: standard error */
    enum gp_log_level log_level;
    enum gp_log_format log_format;

    /* The engine in processes of its own, one for each slot: one that crashes or hangs takes
     * down its request only. Not for functions. */
    int isolate;
    uint32_t hang_timeout_ms; /* past a deadline a process is ended after this; default
                                 30 000 */
    const char *worker; /* the graphpipe program that they run; default: this one if it is
                           graphpipe, else the one beside it or on PATH */

    /* Requests over TCP have to be for one of these hosts: "NAME" with any port, or
     * "NAME:PORT". Default: for any. */
    const char *const *allow_hosts;
    size_t n_allow_hosts;

    /* Several models, each at /NAME. Without any, the fields at the top are the model; with
     * them, and with a repository, those are what a model that is not listed here gets.
     * A model that is listed takes nothing from them. */
    const struct gp_model_options *models; /* all of the size that models[0] states */
    size_t n_models;
    const char *repository;    /* a folder of models: NAME/VERSION/files or NAME/files */
    const char *default_model; /* the one at "/"; default: the only one */
    int takes_any_path; /* every path is the default model's, as in 2018; default: "/" and names */
};

/* A name for a version of a model, so that clients may ask for /NAME/versions/ALIAS. */
struct gp_model_alias {
    const char *name; /* spelt as the name of a model is, and no number */
    uint64_t version;
};

/* One of several models. Zero means the default, in every field. Borrowed as the server's
 * options are: until create returns. */
struct gp_model_options {
    uint32_t size_bytes; /* sizeof(struct gp_model_options) */

    /* In addresses. 1 to 128 of A-Z a-z 0-9 . _ and -, beginning with a letter or a digit;
     * control, metrics, ui, v1, v2 and versions are taken. Default, for a lone model: from
     * the path. */
    const char *name;
    const char
        *path; /* file or folder; default: the folder of that name in the repository */

    const char *engine;                /* as in gp_server_options, and so are these: */
    const char *const *engine_options; /* "key=value"; a device is one of them */
    size_t n_engine_options;
    uint32_t n_slots;
    uint32_t n_threads;
    const char *const *inputs;
    const char *const *outputs;
    size_t n_inputs;
    size_t n_outputs;
    int isolate;
    uint32_t hang_timeout_ms;

    /* Limits of its own, where they are lower than the server's; default: the server's. */
    uint64_t max_body_bytes;
    uint32_t max_waiting; /* requests waiting for a slot of this model */
    uint32_t timeout_ms;

    /* Which of the versions in its folder are served: these, else the n_newest highest. */
    const uint64_t *versions;
    size_t n_versions;
    uint32_t n_newest; /* default 1 */
    const struct gp_model_alias *aliases;
    size_t n_aliases;

    /* What a version answers before it takes over: "N" requests that are made up to fit its
     * inputs, or the recorded ones in a file or folder. Default: none. */
    const char *warm_up;
};

/* Opens the model and the listeners; requests are answered once it runs. NULL and
 * *err. */
GP_API struct gp_server *gp_server_create(const struct gp_server_options *options,
                                          struct gp_error *err);

/* The same for a function of this process. */
GP_API struct gp_server *
gp_server_create_function(gp_infer_fn *function, void *self,
                          const struct gp_server_options *options, struct gp_error *err);

/* Listener `index` as an address that gp_client_create takes, with the port that was
 * given; NULL beyond the last. Belongs to the server. */
GP_API const char *gp_server_address(const struct gp_server *server, size_t index);

/* Serves until gp_server_stop, then drains: answers what is in flight, closes the
 * rest. */
GP_API enum gp_status gp_server_run(struct gp_server *server, struct gp_error *err);

/* Makes gp_server_run drain and return. Async-signal-safe; may be called more than
 * once. */
GP_API void gp_server_stop(struct gp_server *server);

/* While the server runs, from any thread but one of its own: opens the model of that name anew and
 * has it take over from the one before, which answers what it has begun; waits until that is so, or
 * *err says why not, and then nothing has changed. */
GP_API enum gp_status gp_server_load(struct gp_server *server, const char *name,
                                     struct gp_error *err);

/* Likewise: no longer serves the model, until it is loaded. */
GP_API enum gp_status gp_server_unload(struct gp_server *server, const char *name,
                                       struct gp_error *err);

/* Likewise: looks at the files of all models, and loads those that changed. One that does not load
 * is in the log and in its state, and changes nothing. */
GP_API enum gp_status gp_server_reload(struct gp_server *server, struct gp_error *err);

/* Frees it; not while it runs. Takes NULL. */
GP_API void gp_server_destroy(struct gp_server *server);

/* Serves a function until SIGTERM or SIGINT, with lines on standard error; a second
 * signal ends the process at once with 128 + its number. `options` may be NULL. Returns
 * the exit status for main: 0, or 1 when it could not start (the reason is printed). */
GP_API int gp_serve_function(gp_infer_fn *function, void *self,
                             const struct gp_server_options *options);

#ifdef __cplusplus
}
#endif

#endif
