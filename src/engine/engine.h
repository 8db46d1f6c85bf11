/* engine/engine.h - finds, loads, checks and calls a plug-in; the host side of
 * graphpipe/engine.h.
 *
 * Engines (search.c, folders.c) are plug-ins, graphpipe-engine-NAME.so, or Python
 * programs, .py, for processes of their own. They are searched by name in --engine-dir,
 * in the folders of GRAPHPIPE_ENGINE_PATH (colon-separated), beside the program (its
 * folder's ../lib/graphpipe, in the layout of builds and installations alike), and beside
 * libgraphpipe-server (its folder's graphpipe/), for other programs that link it.
 *
 * Runtime libraries (library.c, python.c) are searched by --engine-option library=PATH,
 * beside the plug-ins, in .deps/ above the program, on the system's loader path, and last
 * in the site-packages of the python3 on PATH.
 *
 * Calling (run.c): one struct engine_run holds the outputs of an engine and the means to
 * stop it. */
#ifndef GP_ENGINE_ENGINE_H
#define GP_ENGINE_ENGINE_H

#include "base/pool.h"

#include <graphpipe/engine.h>
#include <graphpipe/message.h>

#include <pthread.h>
#include <stdbool.h>

/* The host calls that every plug-in gets; constant for the life of the process. */
extern const struct gp_host engine_host;

/* Loads the plug-in `name` ("onnx", or a path with a slash in it) and checks its
 * contract. The library is never closed. If a plug-in is missing or cannot load, the
 * message names the missing library and the command that installs it. */
enum gp_status engine_load(const char *name, const char *engine_dir,
                           const struct gp_engine **engine, struct gp_error *err);

/* Around calls of an engine other than run, which are made for one model at a time unless it has
 * GP_OPENS_TOGETHER. */
void engine_enter(const struct gp_engine *engine);
void engine_leave(const struct gp_engine *engine);

/* The path of the engine `name`, as for engine_load, if it is a Python program, which
 * cannot be loaded but only isolated (isolate.h); otherwise "". Fails only when memory is
 * short. */
enum gp_status engine_script(const char *name, const char *engine_dir, char *path,
                             size_t path_size, struct gp_error *err);

/* Sets *is_isolated if the engine `name` runs in children whether or not anybody asks: a Python
 * program, or a plug-in that says so (GP_ISOLATED), which is loaded. */
enum gp_status engine_isolates(const char *name, const char *engine_dir,
                               bool *is_isolated, struct gp_error *err);

/* Chooses the engine for a model by looking at its file or folder. *name is static. */
enum gp_status engine_guess(const char *model_path, const char **name,
                            struct gp_error *err);

/* The name of a model by its path, cut to fit: "mobilenet" for "models/mobilenet.onnx".
 * Returns name. */
const char *engine_model_name(const char *path, char *name, size_t name_size);

/* Calls visit, in order, for each engine that this release knows, installed or not, and
 * for any other that is found. `path` is NULL if it is not installed. */
struct engine_known {
    const char *name;
    const char *path;
    const char *remedy; /* the command that installs it, "" if unknown */
    bool is_script;     /* a Python program */
};
void engine_each(const char *engine_dir,
                 void (*visit)(void *arg, const struct engine_known *known), void *arg);

/* gp_host.library_open. What installs a library that is missing stands in its message after this. */
#define ENGINE_BEFORE_REMEDY "; to install it: "

void *engine_library_open(const struct gp_library *library,
                          const struct gp_engine_options *options, char *path,
                          size_t path_size, struct gp_error *err);

/* Outputs up to this size are not worth a buffer of the pool: they are placed in the
 * run's arena. */
enum { ENGINE_SMALL_BYTES = 4096 };

/* One output of a run. */
struct engine_output {
    struct gp_tensor tensor;
    struct pool_buffer buffer; /* if the host allocated it */
    void (*release)(void *arg);
    void *release_arg;
    bool is_set;
};

/* Outputs of a run; all zero: none. */
struct engine_outputs {
    struct engine_output *all; /* in the run's arena */
    uint32_t n;                /* one more than the highest that was set */
    uint32_t capacity;
};

/* One run of an engine: its call, its outputs, and how to stop it. Belongs to one thread,
 * except for engine_run_cancel. */
struct engine_run {
    struct gp_outputs face; /* first: what the engine sees */
    struct gp_call call;    /* what the engine is called with */
    struct pool *pool;
    /* The model's: set before a body is received for it, and kept until engine_run_drop. */
    struct pool_pair memory;
    struct gp_arena *arena;
    struct engine_output *outputs; /* in the arena */
    uint32_t n_outputs;            /* one more than the highest that was set */
    uint32_t capacity;
    struct pool_promise promise; /* for the outputs and the answer's message */
    /* for what was not admitted, at the expense of its peer's share */
    struct pool_promise unplanned;
    struct pool_promise heap; /* what the engine copies of strings, until it returns */
    bool writes_outputs;      /* the model's GP_WRITES_OUTPUTS */
    /* Where inputs lie: the request's body, or NULL, and the copies of what could not be
     * read there (engine_run_copies), or NULL. An engine that needs them for longer may
     * take both, and leave an empty body and NULL. */
    struct pool_buffer *body;
    struct gp_arena *copies;
    /* In a child: memory for a large output, instead of the pool. */
    void *(*take)(struct engine_run *run, size_t size_bytes);

    pthread_mutex_t lock; /* protects what follows */
    void (*cancel)(void *arg);
    void *cancel_arg;
    bool is_cancelled;
    bool is_running;
};

/* Once, before the first run. Small things and the array of outputs live in the arena,
 * which the owner resets between runs, after engine_run_drop. */
void engine_run_init(struct engine_run *run, struct pool *pool, struct gp_arena *arena);

/* The arena for copies of inputs, made on first use; NULL when memory is short. It lives
 * until engine_run_drop. */
struct gp_arena *engine_run_copies(struct engine_run *run);

/* Accounts for memory that an engine will need to copy n_strings strings of size_bytes in
 * all; false if there is no room for it. */
bool engine_run_reserve_strings(struct engine_run *run, size_t n_strings,
                                size_t size_bytes);

/* Before each run: run->call is empty except for what the host sets, and not
 * cancelled. */
void engine_run_begin(struct engine_run *run);

/* Calls engine->run for run->call on `slot`, then checks that all requested outputs are
 * set; each was checked when it was set. On failure all outputs are dropped, and the
 * message is one line. */
enum gp_status engine_run_execute(struct engine_run *run, const struct gp_engine *engine,
                                  void *model, uint32_t slot, struct gp_error *err);

/* Sets output `index`, as gp_outputs_adopt does, to memory in `buffer`, which moves to
 * the run and is left empty; on failure it is unchanged. */
enum gp_status engine_run_set(struct engine_run *run, uint32_t index,
                              const struct gp_tensor *tensor, struct pool_buffer *buffer,
                              struct gp_error *err);

/* For outputs that the host has set itself, in place of engine_run_execute: after the last one. */
void engine_run_complete(struct engine_run *run);

/* Takes the outputs out of the run, which has none then; they are dropped, or put back in place of those
 * that it has by then. *outputs is empty after both. */
struct engine_outputs engine_run_take_outputs(struct engine_run *run);
void engine_run_put_outputs(struct engine_run *run, struct engine_outputs *outputs);
void engine_outputs_drop(struct engine_outputs *outputs, struct engine_run *run);

/* Drops the outputs, but keeps what was promised for them. */
void engine_run_drop_outputs(struct engine_run *run);

/* Asks a run to stop, from any thread, whether it runs, has run or will; see
 * gp_call_on_cancel. */
void engine_run_cancel(struct engine_run *run);

/* Drops the outputs and what was promised for them: releases adopted memory, gives
 * buffers back. */
void engine_run_drop(struct engine_run *run);

/* Drops the outputs and frees what init made. */
void engine_run_finish(struct engine_run *run);

#endif
