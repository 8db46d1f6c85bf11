/* The contract between host and plug-in as release 0.1 had it: what a plug-in that was built
 * then has compiled into it. Written down once more so that it stays as it was when the
 * public headers grow: never change it. */
#ifndef GP_TESTS_ENGINE_0_1_H
#define GP_TESTS_ENGINE_0_1_H

#include <stddef.h>
#include <stdint.h>

#define GP_ENGINE_ABI 1u

enum gp_status { GP_OK = 0, GP_INVALID = 1, GP_NO_MEMORY = 14, GP_CANCELLED = 17 };
enum gp_dtype {
    GP_NULL = 0,
    GP_UINT8 = 1,
    GP_INT64 = 8,
    GP_FLOAT32 = 10,
    GP_STRING = 12
};
enum gp_io_flags { GP_IO_OPTIONAL = 1, GP_IO_ANY_RANK = 2 };
enum gp_description_flags { GP_SLOT_THREAD = 1, GP_ANY_INPUTS = 2, GP_ANY_OUTPUT = 4 };
enum gp_log_level {
    GP_LOG_ERROR = 0,
    GP_LOG_WARNING = 1,
    GP_LOG_INFO = 2,
    GP_LOG_DEBUG = 3
};

struct gp_error {
    enum gp_status status;
    char message[508];
};

struct gp_string {
    const char *data;
    size_t size_bytes;
};

struct gp_tensor {
    const char *name;
    const int64_t *shape;
    const void *data;
    size_t size_bytes;
    enum gp_dtype dtype;
    uint32_t rank;
};

struct gp_io {
    const char *name;
    const char *description;
    const int64_t *shape;
    uint32_t rank;
    enum gp_dtype dtype;
    uint32_t flags;
};

struct gp_call {
    uint32_t size_bytes;
    uint32_t n_inputs;
    const struct gp_tensor *inputs;
    const char *const *output_names;
    uint32_t n_outputs;
    const char *config;
    int64_t deadline_ns;
    const struct gp_host *host;
};

struct gp_engine_options {
    uint32_t size_bytes;
    uint32_t n_slots;
    uint32_t n_threads;
    uint32_t n_cores;
    const char *model_path;
    const char *const *options;
    size_t n_options;
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
};

struct gp_description {
    uint32_t size_bytes;
    uint32_t flags;
    uint32_t n_slots;
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t n_files;
    const char *summary;
    const char *version;
    const char *description;
    const struct gp_io *inputs;
    const struct gp_io *outputs;
    const char *const *files;
    int64_t max_batch;
};

struct gp_outputs {
    const struct gp_host *host;
};

struct gp_library {
    const char *file;
    const char *pattern;
    const char *deps;
    const char *package;
    const char *remedy;
    const char *symbol;
};

struct gp_host {
    uint32_t size_bytes;
    uint32_t abi;
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

struct gp_engine {
    uint32_t size_bytes;
    uint32_t abi;
    const char *name;
    const char *version;
    enum gp_status (*open)(const struct gp_engine_options *options, void **model,
                           struct gp_error *err);
    enum gp_status (*describe)(void *model, struct gp_description *description,
                               struct gp_error *err);
    enum gp_status (*run)(void *model, uint32_t slot, const struct gp_call *call,
                          struct gp_outputs *outputs, struct gp_error *err);
    void (*close)(void *model);
    enum gp_status (*probe)(const struct gp_engine_options *options, const char **version,
                            const char **path, struct gp_error *err);
};

#endif
