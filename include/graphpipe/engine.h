/* graphpipe/engine.h - how a framework is put behind the server: the contract of a
 * plug-in.
 *
 * A plug-in is a shared object graphpipe-engine-NAME.so with one exported symbol:
 *
 *     static enum gp_status run(void *model, uint32_t slot, const struct gp_call *call,
 *                               struct gp_outputs *outputs, struct gp_error *err)
 *     {
 *         const struct gp_tensor *x = &call->inputs[0];
 *         float *y = gp_outputs_alloc(outputs, 0, GP_FLOAT32, x->shape, x->rank, err);
 *         ...
 *     }
 *     static const struct gp_engine engine = {.size_bytes = sizeof engine,
 *                                             .abi = GP_ENGINE_ABI, .name = "mine",
 *                                             .open = open_model, ...};
 *     GP_ENGINE_EXPORT const struct gp_engine *
 *     gp_engine_entry(const struct gp_host *host)
 *     {
 *         return &engine;
 *     }
 *
 * engines/echo/echo.c is the sample. A plug-in includes this header and its framework's
 * own, and has no undefined gp_ symbol: host calls go through struct gp_host.
 *
 * Slots: a model has n_slots slots, numbered from 0. The host calls run for a slot from
 * one thread at a time, whichever that is, so state kept by slot needs no lock. With
 * GP_SLOT_THREAD it is always the same thread.
 * Ownership: the call's inputs are borrowed until run returns. Outputs: gp_outputs_alloc
 * gives host memory (preferred: it needs no copy on any path), gp_outputs_adopt hands
 * over the engine's own with a function that frees it. An output that is set again is
 * dropped first. On failure the host drops all outputs.
 * Growth: structs begin with size_bytes and grow at the end; a reader looks at no field
 * beyond the size that came. Those without one (gp_tensor, gp_string, gp_io, gp_library,
 * gp_error) never change. Enum values are never reused.
 * Errors: return a status and set *err; never print, exit or throw. GP_INVALID for a
 * request that cannot be right, GP_ENGINE when a valid one failed.
 */
#ifndef GRAPHPIPE_ENGINE_H
#define GRAPHPIPE_ENGINE_H

#include <graphpipe/tensor.h>

#ifdef __cplusplus
extern "C" {
#define GP_ENGINE_EXPORT extern "C" __attribute__((visibility("default")))
#elif defined(__GNUC__)
#define GP_ENGINE_EXPORT __attribute__((visibility("default")))
#else
#define GP_ENGINE_EXPORT
#endif

/* Raised only when an old plug-in could not work with a new host, or the other way. */
#define GP_ENGINE_ABI 1u

enum gp_log_level {
    GP_LOG_ERROR = 0,
    GP_LOG_WARNING = 1,
    GP_LOG_INFO = 2,
    GP_LOG_DEBUG = 3
};

/* How a model is to be opened. Borrowed until open returns, but for log and log_context,
 * which may be used until close. */
struct gp_engine_options {
    uint32_t size_bytes;
    uint32_t n_slots;           /* wanted runs at a time; 0: the engine's best */
    uint32_t n_threads;         /* wanted threads for a run; 0: the engine's best */
    uint32_t n_cores;           /* that this process may use, at least 1 */
    const char *model_path;     /* file or folder; NULL where none was given */
    const char *const *options; /* "key=value" of --engine-option, n_options of them */
    size_t n_options;
    void (*log)(void *log_context, enum gp_log_level level,
                const char *message); /* or NULL */
    void *log_context;
    uint32_t first_slot; /* this process's first of all the model's slots */
};

/* True when a struct that came has this member: a host, or a plug-in, of an earlier release
 * does not know it. */
#define GP_HAS(pointer, member)                                                          \
    ((pointer)->size_bytes >=                                                            \
     (size_t)((const char *)(&(pointer)->member + 1) - (const char *)(pointer)))

enum gp_description_flags {
    /* each slot must always run on the same thread */
    GP_SLOT_THREAD = 1u << 0,
    /* takes whatever comes: the host checks no names, types or shapes */
    GP_ANY_INPUTS = 1u << 1,
    /* outputs beyond those described can be asked for by name; where none is described and
     * none asked for, n_outputs is 0 */
    GP_ANY_OUTPUT = 1u << 2,
    /* a request with a config, or whose names do not fit the described inputs, is not
     * refused: its inputs come as they were sent, unchecked; with a config and no names
     * of outputs n_outputs is 0 */
    GP_OPEN_INPUTS = 1u << 3,
    /* every byte of the memory that gp_outputs_alloc and gp_outputs_memory give is written
     * before run succeeds. Without this the host clears it first, since it had other
     * clients' values in it */
    GP_WRITES_OUTPUTS = 1u << 4
};

/* What an open model is. The engine owns all of it until close. */
struct gp_description {
    uint32_t size_bytes;
    uint32_t flags;   /* enum gp_description_flags */
    uint32_t n_slots; /* at least 1 */
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t n_files;
    const char *summary;         /* one line for people: "cpu  2 threads" */
    const char *version;         /* of the model, "" when it has none */
    const char *description;     /* of the model, "" when it has none */
    const struct gp_io *inputs;  /* the default inputs in order, then optional ones */
    const struct gp_io *outputs; /* the default outputs, in order */
    const char *const *files;    /* what makes up the model, as paths */
    int64_t max_batch;           /* rows of a run; 0: no limit known */
    const char *name;            /* of the model, NULL or "": that of its file */

    /* Optional, both or neither, in force until the process ends: locks the host's memory
     * for tensors in place, so that a device copies from and to it directly. The host
     * calls them from any thread, with memory that is all there, once for as long as it
     * keeps it; they call nothing of the host's. pin gives 0 when it cannot. */
    int (*pin)(void *memory, size_t size_bytes);
    void (*unpin)(void *memory);
};

/* One run's outputs; the rest of it is the host's. */
struct gp_outputs {
    const struct gp_host *host;
};

/* Where to look for a framework's library. */
struct gp_library {
    const char *file;    /* "libonnxruntime.so.1": SONAME for the system's loader path */
    const char *pattern; /* "libonnxruntime.so*": what to match in a folder */
    const char *deps;    /* folder under .deps/ that tools/setup fills: "onnxruntime" */
    const char *package; /* folder inside Python's site-packages: "onnxruntime/capi" */
    const char *remedy;  /* what to run where none is found */
    const char *symbol;  /* one that it must have */
};

/* What the host does for a plug-in; valid as long as the process. All calls may be made
 * from any thread, unless said otherwise. Use the helpers below rather than the
 * pointers. */
struct gp_host {
    uint32_t size_bytes;
    uint32_t abi; /* GP_ENGINE_ABI of the host */
    void *(*library_open)(const struct gp_library *library,
                          const struct gp_engine_options *options, char *path,
                          size_t path_size, struct gp_error *err);
    void *(*outputs_alloc)(struct gp_outputs *outputs, uint32_t index,
                           enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                           struct gp_error *err);
    enum gp_status (*outputs_adopt)(struct gp_outputs *outputs, uint32_t index,
                                    const struct gp_tensor *tensor,
                                    void (*release)(void *arg), void *arg,
                                    struct gp_error *err);
    void *(*outputs_memory)(struct gp_outputs *outputs, size_t size_bytes,
                            struct gp_error *err);
    enum gp_status (*call_on_cancel)(const struct gp_call *call, void (*fn)(void *arg),
                                     void *arg);
};

/* What a plug-in is. Optional members may be NULL. */
struct gp_engine {
    uint32_t size_bytes;
    uint32_t abi;        /* GP_ENGINE_ABI that it was built for */
    const char *name;    /* "onnx" */
    const char *version; /* of the framework, "" when that is known only after open */

    /* Loads a model into *model. Not called twice at a time. */
    enum gp_status (*open)(const struct gp_engine_options *options, void **model,
                           struct gp_error *err);

    /* Describes it; called once, after open. *description is zeroed but for its size. */
    enum gp_status (*describe)(void *model, struct gp_description *description,
                               struct gp_error *err);

    /* Runs one call. The host has checked the inputs against the description: they are in
     * the described order with optional ones left out where they did not come, named, and
     * of the described type and shape; output names are resolved (n_outputs 0 only where
     * a flag says so). Sets every output that was asked for, in that order. */
    enum gp_status (*run)(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err);

    /* Frees it. No run is under way, and none follows. */
    void (*close)(void *model);

    /* Optional: the framework's version as it is installed, loading it if need be, and
     * where it was found; "graphpipe engines" prints them. The text lives as long as the
     * process. */
    enum gp_status (*probe)(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err);
};

/* The one symbol. NULL when this host is too old or too new for the plug-in. */
#ifndef __cplusplus
GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host);
#endif

/* Memory for output `index` of the run, aligned to 64 bytes, and zeroed unless the
 * description has GP_WRITES_OUTPUTS; for GP_STRING an array of struct gp_string. An empty
 * tensor gives a pointer that is not NULL. NULL: *err says why. */
static inline void *gp_outputs_alloc(struct gp_outputs *outputs, uint32_t index,
                                     enum gp_dtype dtype, const int64_t *shape,
                                     uint32_t rank, struct gp_error *err)
{
    return outputs->host->outputs_alloc(outputs, index, dtype, shape, rank, err);
}

/* Output `index` is the engine's own memory. release(arg) is called once, from any
 * thread, when the answer has been sent; NULL: the memory is the call's input, or lives
 * as long as the model. The shape is copied. On failure release has not been called and
 * will not be. */
static inline enum gp_status gp_outputs_adopt(struct gp_outputs *outputs, uint32_t index,
                                              const struct gp_tensor *tensor,
                                              void (*release)(void *arg), void *arg,
                                              struct gp_error *err)
{
    return outputs->host->outputs_adopt(outputs, index, tensor, release, arg, err);
}

/* Memory that lives as long as the outputs, for the bytes of strings. */
static inline void *gp_outputs_memory(struct gp_outputs *outputs, size_t size_bytes,
                                      struct gp_error *err)
{
    return outputs->host->outputs_memory(outputs, size_bytes, err);
}

/* fn(arg) is called at most once, from another thread, when the run should stop: its
 * client has left or its deadline is over. One registration a run; a second replaces the
 * first, and a NULL fn takes it back: afterwards fn is neither running nor called any
 * more. A registration that is left may be called until the host has run's result, so
 * `arg` lives as long as the slot, or is taken back. fn must not block. GP_CANCELLED when
 * it is too late: fn will not be called, and run should return. */
static inline enum gp_status gp_call_on_cancel(const struct gp_call *call,
                                               void (*fn)(void *arg), void *arg)
{
    return call->host ? call->host->call_on_cancel(call, fn, arg) : GP_OK;
}

#ifdef __cplusplus
}
#endif

#endif
