/* graphpipe/server.h - makes a server from a C function, or from an engine and a model.
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
 * gp_serve_function does everything, including signals. The other calls are for programs
 * with a main loop of their own.
 *
 * Threads: the function is called from several threads at a time unless n_slots is 1. A
 * server may be stopped from any thread or signal handler, and its models loaded from any
 * thread but its own; its other calls must come from one thread.
 * Descriptors: if 0, 1 or 2 is closed, creating a server opens /dev/null there for good.
 * Signals: only gp_serve_function changes their dispositions.
 * Ownership: options and what they point to are borrowed until create or reload returns;
 * `self` and what the metadata points to until destroy.
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

/* Tensors in, tensors out. Same contract as run in engine.h: inputs are borrowed, outputs
 * are set with gp_outputs_alloc or gp_outputs_adopt. */
typedef enum gp_status gp_infer_fn(void *self, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err);

enum gp_log_format { GP_LOG_TEXT = 0, GP_LOG_JSON = 1 };

struct gp_model_options;

/* Zero means the default, here and in every field. */
struct gp_server_options {
    uint32_t size_bytes; /* sizeof(struct gp_server_options); 0: the layout of 0.1 */

    /* The model. */
    const char *engine;     /* "onnx", a plug-in's path, or NULL: by the model file */
    const char *engine_dir; /* searched first for plug-ins */
    const char *model_path; /* file or folder */
    const char *model_name; /* default: from the path */
    const char *const *engine_options; /* "key=value" */
    size_t n_engine_options;
    uint32_t n_slots;          /* concurrent runs; default: the engine chooses */
    uint32_t n_threads;        /* threads per run; default: the engine chooses */
    const char *const *inputs; /* default inputs by name, instead of the model's own */
    const char *const *outputs;
    size_t n_inputs;
    size_t n_outputs;
    const struct gp_metadata *metadata; /* of a function; NULL: any inputs and outputs */

    /* Where to listen: "HOST:PORT", "PORT" of 127.0.0.1, ":PORT" of all addresses,
     * "[::1]:PORT", "unix:/path"; port 0: any free one. */
    const char *const *listen; /* default {"127.0.0.1:9000"} */
    size_t n_listen;

    /* Limits. */
    uint64_t max_body_bytes;   /* default 1 GiB, at most GP_MAX_MESSAGE_BYTES */
    uint64_t pool_bytes;       /* memory for tensors; default: half of what is usable */
    uint32_t max_waiting;      /* requests waiting for a slot; default 1024 */
    uint32_t max_connections;  /* default and maximum: what the descriptor limit allows */
    uint32_t timeout_ms;       /* longest deadline of a request; default: none */
    uint32_t head_timeout_ms;  /* default 10 000 */
    uint32_t idle_timeout_ms;  /* of a connection between requests; default 75 000 */
    uint32_t drain_timeout_ms; /* default 30 000 */
    uint64_t min_rate_bytes;   /* per second, of bodies and answers; default 1 000 000 */
    uint32_t n_pollers;        /* default: one per core */
    int allow_remote_control;  /* /control/shutdown from other machines too */

    /* The log. The library prints nothing unless log_fd is above 0. A thread writes the
     * lines to a copy of the descriptor; if the reader is too slow lines are dropped, and
     * counted in /metrics. */
    int log_fd; /* open for writing; 2: standard error */
    enum gp_log_level log_level;
    enum gp_log_format log_format;

    /* Runs the engine in processes of its own, one per slot: one that crashes or hangs
     * takes down only its own request. Not for functions. */
    int isolate;
    /* A process that is this long past its deadline is killed; default 30 000. */
    uint32_t hang_timeout_ms;
    /* The graphpipe program that these processes run; default: this one if it is
     * graphpipe, otherwise the one beside it or on PATH. */
    const char *worker;

    /* The hosts that requests over TCP may be for: "NAME" with any port, or "NAME:PORT".
     * Default: any. */
    const char *const *allow_hosts;
    size_t n_allow_hosts;

    /* Several models, each at /NAME. Without models and repository, the fields at the top
     * are the model. */
    const struct gp_model_options *models; /* all of the size that models[0] states */
    size_t n_models;
    const char *repository; /* a folder of models: NAME/VERSION/files or NAME/files */
    /* The settings of models that are in the repository but not listed; default: the fields
     * at the top. A listed model takes nothing from them. */
    const struct gp_model_options *model_defaults;
    const char *default_model; /* the one at "/"; default: the only one */
    /* The default model answers on every path, as in 2018; default: on "/" and its name. */
    int takes_any_path;
    const char *warm_up; /* as in gp_model_options */

    uint32_t max_batch; /* this and what follows as in gp_model_options */
    const uint32_t *batch_sizes;
    size_t n_batch_sizes;
    uint32_t max_delay_us;

    int cache; /* likewise */
    /* The folder of the rows that models with a cache keep. It must be on a local disk, is made
     * if it is missing, and servers may share it. Needed if there is such a model. */
    const char *cache_dir;
    uint64_t cache_size_bytes; /* of all rows in it; default 1 GiB, at least 1 MiB */
    uint32_t cache_ttl_s; /* rows are forgotten after it; default: only to make room */
    /* A Redis where servers on several hosts find each other's rows: redis://HOST[:PORT][/DB],
     * rediss:// for TLS, or unix:///PATH; with USER:PASSWORD@ before the host. The server waits for
     * it for some milliseconds at most, and goes on without it. Default: rows stay here. */
    const char *cache_url;

    /* The origins whose web pages may ask the models and read the answers, as browsers write
     * them: "https://app.example", "http://localhost:8080", or "*" for all. Default: none. */
    const char *const *cors_origins;
    size_t n_cors_origins;
};

#define GP_MAX_BATCH_AUTO UINT32_MAX

/* A name for a version of a model: clients may ask for /NAME/versions/ALIAS. */
struct gp_model_alias {
    const char *name; /* spelt like a model's name, but not a number */
    uint64_t version;
};

/* One of several models. Zero means the default, in every field. Borrowed until create
 * returns, like the server's options. */
struct gp_model_options {
    uint32_t size_bytes; /* sizeof(struct gp_model_options) */

    /* Its part of an address: 1 to 128 of A-Z a-z 0-9 . _ and -, beginning with a letter or
     * a digit; control, metrics, ui, v1, v2 and versions are taken. Default, for a lone
     * model: from the path. */
    const char *name;
    /* File or folder; default: the folder of that name in the repository. */
    const char *path;

    /* As in gp_server_options. */
    const char *engine;
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

    /* Limits, where they are lower than the server's; default: the server's. */
    uint64_t max_body_bytes;
    uint32_t max_waiting; /* requests waiting for a slot of this model */
    uint32_t timeout_ms;

    /* The versions in its folder to serve: these, otherwise the n_newest highest. */
    const uint64_t *versions;
    size_t n_versions;
    uint32_t n_newest; /* default 1 */
    const struct gp_model_alias *aliases;
    size_t n_aliases;

    /* What a version runs, on each of its slots, before it is served: "N" generated requests
     * that fit its inputs, or the recorded ones in a file or folder. If one fails the version
     * is not served. Default: none. */
    const char *warm_up;

    /* Requests that differ only in their rows may run together, up to so many rows at a time, and
     * one with more is run in parts: for a model that gives one row of each output for each row of
     * its inputs, whatever the others are. One that is made for a fixed number of rows then takes
     * any (max_batch is that number). GP_MAX_BATCH_AUTO: rows are run alone and together when the
     * model is loaded, and if their answers are the same it is done, up to what the model takes or
     * 32. Default: each request runs alone, as it is. */
    uint32_t max_batch;
    /* A run is padded to the next of these sizes, which ascend up to max_batch, or to max_batch;
     * default: no padding. */
    const uint32_t *batch_sizes;
    size_t n_batch_sizes;
    /* How long a request waits for others although there is a slot; default: not at all. */
    uint32_t max_delay_us;

    /* Keeps what was computed, in the server's cache_dir, and answers the same rows from there:
     * those of the same model with the same files, engine, engine options, inputs, output and
     * config. Only whole requests if its rows depend on each other, which is found out when it
     * is loaded, unless max_batch says that they do not. Default: no. */
    int cache;
};

/* Opens the model and the listeners; gp_server_run answers requests. On failure NULL and
 * *err. */
GP_API struct gp_server *gp_server_create(const struct gp_server_options *options,
                                          struct gp_error *err);

/* The same for a function of this program. */
GP_API struct gp_server *
gp_server_create_function(gp_infer_fn *function, void *self,
                          const struct gp_server_options *options, struct gp_error *err);

/* The address of listener `index`, with its actual port, as gp_client_create takes it;
 * NULL beyond the last. Owned by the server. */
GP_API const char *gp_server_address(const struct gp_server *server, size_t index);

/* Serves until gp_server_stop, then drains: answers the requests in flight and closes all
 * other connections. */
GP_API enum gp_status gp_server_run(struct gp_server *server, struct gp_error *err);

/* Makes gp_server_run drain and return. Async-signal-safe; may be called more than
 * once. */
GP_API void gp_server_stop(struct gp_server *server);

/* From any thread but one of the server's, while it runs: loads the model of that name afresh,
 * and replaces the version being served, which still answers the requests it has begun. Returns
 * once that is done; or *err says why not, and nothing has changed. */
GP_API enum gp_status gp_server_load(struct gp_server *server, const char *name,
                                     struct gp_error *err);

/* Likewise: stops serving the model until it is loaded again. */
GP_API enum gp_status gp_server_unload(struct gp_server *server, const char *name,
                                       struct gp_error *err);

/* Likewise: looks at the files of all models and loads those that changed. A model that fails to
 * load is logged and shown in its state; what is served stays as it was.
 *
 * With `options`, which are borrowed for the call and may be NULL, the models are first brought
 * in line with them: new ones are opened, those with other options are opened anew beside
 * the ones being served, and those no longer named are not served any more. This takes over
 * the models (the fields at the top, or models), repository, model_defaults, default_model,
 * max_body_bytes and timeout_ms; the others count at create only. A lone model without a
 * name keeps its own, and without default_model the model at "/" stays.
 *
 * Fails without any change if the options are refused, as two models of one name are. If a
 * model fails to load, *err is the first one's, and the others are as the options say. */
GP_API enum gp_status gp_server_reload(struct gp_server *server,
                                       const struct gp_server_options *options,
                                       struct gp_error *err);

/* Frees the server, which must not be running. Takes NULL. */
GP_API void gp_server_destroy(struct gp_server *server);

/* Serves a function until SIGTERM or SIGINT, and logs to standard error; a second signal
 * ends the process at once with 128 + its number. `options` may be NULL. Returns the exit
 * status for main: 0, or 1 if it could not start (the reason is printed). */
GP_API int gp_serve_function(gp_infer_fn *function, void *self,
                             const struct gp_server_options *options);

#ifdef __cplusplus
}
#endif

#endif
