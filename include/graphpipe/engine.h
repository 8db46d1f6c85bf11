/* graphpipe/engine.h - the contract of a plug-in, which puts a framework behind the
 * server.
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
 * engines/echo/echo.c is the sample. A plug-in includes this header and those of its
 * framework, and has no undefined gp_ symbol: host calls go through struct gp_host.
 *
 * Slots: a model has n_slots slots, numbered from 0. The host calls run from one thread
 * at a time per slot, but not always the same one, so per-slot state needs no lock. With
 * GP_SLOT_THREAD it is always the same thread.
 * Ownership: the call's inputs are borrowed until run returns. For outputs,
 * gp_outputs_alloc gives host memory (preferred: never copied), and gp_outputs_adopt
 * hands over the engine's own memory with a function that frees it. Setting an output
 * again drops the previous one. On failure the host drops all outputs.
 * Growth: structs begin with size_bytes and grow at the end; never read a field beyond
 * that size. Structs without it (gp_tensor, gp_string, gp_io, gp_library, gp_error) never
 * change. Enum values are never reused.
 * Errors: return a status and set *err; never print, exit or throw. GP_INVALID for an
 * invalid request, GP_ENGINE when a valid one failed.
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

/* Raised only when old plug-ins cannot work with new hosts, or the other way around. */
#define GP_ENGINE_ABI 1u

enum gp_log_level {
    GP_LOG_ERROR = 0,
    GP_LOG_WARNING = 1,
    GP_LOG_INFO = 2,
    GP_LOG_DEBUG = 3
};

/* How to open a model. Borrowed until open returns, except log and log_context, which may
 * be used until close. */
struct gp_engine_options {
    uint32_t size_bytes;
    uint32_t n_slots;           /* concurrent runs wanted; 0: the engine chooses */
    uint32_t n_threads;         /* threads wanted per run; 0: the engine chooses */
    uint32_t n_cores;           /* that this process may use, at least 1 */
    const char *model_path;     /* file or folder; NULL if none was given */
    const char *const *options; /* "key=value" of --engine-option, n_options of them */
    size_t n_options;
    /* May be NULL. */
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
    uint32_t first_slot; /* of this process among all slots of the model */
};

/* True if a struct from the other side has this member, which a host or plug-in of an
 * earlier release does not know. */
#define GP_HAS(pointer, member)                                                          \
    ((pointer)->size_bytes >=                                                            \
     (size_t)((const char *)(&(pointer)->member + 1) - (const char *)(pointer)))

enum gp_description_flags {
    /* Each slot must always run on the same thread. */
    GP_SLOT_THREAD = 1u << 0,
    /* The host checks no names, types or shapes. */
    GP_ANY_INPUTS = 1u << 1,
    /* Requests may name outputs that are not described. If none are described and none
     * requested, n_outputs is 0. */
    GP_ANY_OUTPUT = 1u << 2,
    /* A request with a config, or with names that do not match the described inputs, is
     * not refused: its inputs are passed on as they came, unchecked. With a config and no
     * output names n_outputs is 0. */
    GP_OPEN_INPUTS = 1u << 3,
    /* Before run succeeds it has written every byte of the memory from gp_outputs_alloc
     * and gp_outputs_memory. Without this flag the host clears the memory first, since it
     * may hold values of other clients. */
    GP_WRITES_OUTPUTS = 1u << 4
};

/* Describes an open model. The engine owns all of it until close. */
struct gp_description {
    uint32_t size_bytes;
    uint32_t flags;   /* enum gp_description_flags */
    uint32_t n_slots; /* at least 1 */
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t n_files;
    const char *summary;         /* one line for people: "cpu  2 threads" */
    const char *version;         /* of the model, "" if it has none */
    const char *description;     /* of the model, "" if it has none */
    const struct gp_io *inputs;  /* the default inputs in order, then the optional ones */
    const struct gp_io *outputs; /* the default outputs, in order */
    const char *const *files;    /* paths of all files of the model */
    int64_t max_batch;           /* rows per run; 0: no known limit */
    const char *name;            /* of the model; NULL or "": the name of its file */

    /* Optional, both or neither, and valid until the process ends: they lock the host's
     * tensor memory in place, so that a device can copy from and to it directly. The host
     * calls them from any thread, with memory that is present, and pins it once for as
     * long as it keeps it; they must not call the host. pin returns 0 on failure. */
    int (*pin)(void *memory, size_t size_bytes);
    void (*unpin)(void *memory);
};

/* The outputs of one run. What follows the member is private to the host. */
struct gp_outputs {
    const struct gp_host *host;
};

/* Where to look for a framework's library. */
struct gp_library {
    const char *file;    /* "libonnxruntime.so.1": SONAME for the system's loader path */
    const char *pattern; /* "libonnxruntime.so*": file names to match in a folder */
    const char *deps;    /* folder under .deps/ that tools/setup fills: "onnxruntime" */
    const char *package; /* folder inside Python's site-packages: "onnxruntime/capi" */
    const char *remedy;  /* command to run if it is not found */
    const char *symbol;  /* that it must export */
};

/* What the host offers to plug-ins; valid until the process ends. Unless stated otherwise
 * its functions may be called from any thread. Use the helpers below rather than the
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

enum gp_engine_flags {
    /* Open, describe, probe and close may be called for several models at the same time. */
    GP_OPENS_TOGETHER = 1u << 0,
    /* Its models always run in processes of their own, one for each slot, as with --isolate.
     * The plug-in is loaded in the server too, to be asked, but opens no model there; so
     * its framework is to be loaded by open and probe. */
    GP_ISOLATED = 1u << 1
};

/* What a plug-in provides. Optional members may be NULL. All but run are called for one model at
 * a time, unless flags say more, but other models of the engine may run meanwhile. */
struct gp_engine {
    uint32_t size_bytes;
    uint32_t abi;        /* GP_ENGINE_ABI that it was built with */
    const char *name;    /* "onnx" */
    const char *version; /* of the framework, "" if only known after open */

    /* Loads a model into *model. */
    enum gp_status (*open)(const struct gp_engine_options *options, void **model,
                           struct gp_error *err);

    /* Describes the model; called once, after open. All of *description but its size is
     * zero. */
    enum gp_status (*describe)(void *model, struct gp_description *description,
                               struct gp_error *err);

    /* Runs one call, on no more threads than call->n_free_cores where that can be chosen:
     * runs of other models want cores too. The host has checked the inputs against the
     * description: they come in the described order, without optional ones that the request
     * left out, named, and with the described types and shapes; output names are resolved (n_outputs is 0 only
     * where a flag says so). Must set every requested output, in the order of the
     * request. */
    enum gp_status (*run)(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err);

    /* Frees the model. No run is in progress, and none follows. */
    void (*close)(void *model);

    /* Optional: the version of the installed framework, which is loaded if necessary, and
     * where it was found, for "graphpipe engines". The strings live as long as the
     * process. */
    enum gp_status (*probe)(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err);
    uint32_t flags; /* enum gp_engine_flags */
};

/* The exported symbol. Returns NULL if the host is too old or too new for the plug-in. */
#ifndef __cplusplus
GP_ENGINE_EXPORT const struct gp_engine *gp_engine_entry(const struct gp_host *host);
#endif

/* Returns memory for output `index` of the run, aligned to 64 bytes and zeroed unless the
 * description has GP_WRITES_OUTPUTS; for GP_STRING an array of struct gp_string. For an
 * empty tensor the pointer is not NULL either. On failure NULL and *err. */
static inline void *gp_outputs_alloc(struct gp_outputs *outputs, uint32_t index,
                                     enum gp_dtype dtype, const int64_t *shape,
                                     uint32_t rank, struct gp_error *err)
{
    return outputs->host->outputs_alloc(outputs, index, dtype, shape, rank, err);
}

/* Makes the engine's own memory output `index`. release(arg) is called once, from any
 * thread, after the answer has been sent. It may be NULL for memory of the call's inputs,
 * or that lives as long as the model. The shape is copied. On failure release is never
 * called. */
static inline enum gp_status gp_outputs_adopt(struct gp_outputs *outputs, uint32_t index,
                                              const struct gp_tensor *tensor,
                                              void (*release)(void *arg), void *arg,
                                              struct gp_error *err)
{
    return outputs->host->outputs_adopt(outputs, index, tensor, release, arg, err);
}

/* Returns memory for the bytes of strings, which lives as long as the outputs. */
static inline void *gp_outputs_memory(struct gp_outputs *outputs, size_t size_bytes,
                                      struct gp_error *err)
{
    return outputs->host->outputs_memory(outputs, size_bytes, err);
}

/* Registers fn(arg) to be called, at most once and from another thread, when the run
 * should stop because its client left or its deadline is over. A run has one
 * registration: a second call replaces the first, and a NULL fn removes it, after which
 * fn neither runs nor will be called. Otherwise it may be called until the host has the
 * result of run, so `arg` must live as long as the slot or be unregistered. fn must not
 * block. GP_CANCELLED means that it is too late: fn will not be called, and run should
 * return. */
static inline enum gp_status gp_call_on_cancel(const struct gp_call *call,
                                               void (*fn)(void *arg), void *arg)
{
    return call->host ? call->host->call_on_cancel(call, fn, arg) : GP_OK;
}

#ifdef __cplusplus
}
#endif

#endif
