/* An open ONNX model: sessions, which may run in several threads at a time, and what
 * belongs to each slot. */
#ifndef GP_ONNX_ONNX_H
#define GP_ONNX_ONNX_H

#include "../device.h"
#include "ort.h"

#include <stdatomic.h>
#include <stdbool.h>

/* A size that only a request knows, such as "batch", and where it is found there. */
struct onnx_symbol {
    const char *name;
    uint32_t input;
    uint32_t axis;
    struct onnx_symbol *next;
};

/* Whether an output comes in the shape that was predicted. */
enum onnx_trust { ONNX_UNTRIED, ONNX_TRUSTED, ONNX_REFUTED };

/* How an output's shape is predicted, see onnx_shape.c. */
struct onnx_shape {
    const struct gp_io *io;
    const struct onnx_symbol **symbols; /* by axis, for sizes that are not fixed */
    atomic_int trust;                   /* enum onnx_trust */
};

/* An output of a call. */
struct onnx_asked {
    struct onnx_shape *shape;
    bool is_bound; /* the runtime writes it where the host has it */
};

/* What one slot needs for a run; only one thread at a time has it. */
struct onnx_slot {
    const struct ort_runtime *ort;
    struct OrtRunOptions *options; /* by which a run is stopped */
    atomic_bool is_cancelled;
    struct OrtValue **values; /* the inputs, then the outputs */
    const char **input_names;
    struct onnx_asked *asked;
    size_t capacity;
};

struct onnx_model {
    const struct ort_runtime *ort;
    struct ort_listener listener;
    struct device_list devices;
    struct OrtSession **sessions; /* for each device; on CPUs of n_threads, and of one */
    uint32_t n_sessions;
    uint32_t n_wide; /* on CPUs, runs at a time beyond which they have one thread */
    atomic_uint n_running;
    struct onnx_slot *slots;
    union plugin_block *blocks;
    struct gp_io *inputs;
    struct gp_io *outputs;
    struct onnx_shape *shapes; /* of the outputs */
    struct onnx_symbol *symbols;
    const char **files;
    uint64_t size_bytes; /* of the files */
    const char *version;
    const char *description;
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t n_files;
    uint32_t n_slots;
    uint32_t n_threads;
    char summary[32 + sizeof(((struct device_list *)0)->text)];
};

/* Opens the sessions and sets n_threads and n_slots; after onnx_file_list, and with the devices
 * known. */
enum gp_status onnx_session_open(struct onnx_model *model,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err);

/* The session for a run that begins now; give when it has ended. */
struct OrtSession *onnx_session_take(struct onnx_model *model, uint32_t slot);
void onnx_session_give(struct onnx_model *model);

/* Fills inputs and outputs from the session. `file` tells which of them have no shape. */
enum gp_status onnx_io_read(struct onnx_model *model, const struct plugin_file *file,
                            struct gp_error *err);

/* Reads which sizes of an input, or of an output, have names. Inputs come first. */
enum gp_status onnx_shape_read_input(struct onnx_model *model,
                                     const struct OrtTypeInfo *info,
                                     const struct gp_io *io, struct gp_error *err);
enum gp_status onnx_shape_read_output(struct onnx_model *model,
                                      const struct OrtTypeInfo *info,
                                      const struct gp_io *io, struct gp_error *err);

/* The shape that the output will have for this call, as far as that is known and has been
 * right before. */
bool onnx_shape_predict(const struct onnx_shape *shape, const struct gp_call *call,
                        int64_t *sizes);

/* Compares what was, or would have been, predicted with the shape that came. */
void onnx_shape_learn(struct onnx_shape *shape, const struct gp_call *call,
                      const int64_t *sizes, size_t rank);

/* Never predicts it again. */
void onnx_shape_refute(struct onnx_shape *shape);

/* gp_engine.run */
enum gp_status onnx_run(void *model, uint32_t slot, const struct gp_call *call,
                        struct gp_outputs *outputs, struct gp_error *err);

/* Maps the model's file, which is read as far as the runtime does not tell what is in it.
 */
enum gp_status onnx_file_open(struct plugin_file *file, const char *path,
                              struct gp_error *err);

/* True when the graph's input or output of that name says what its shape is. */
bool onnx_file_has_shape(const struct plugin_file *file, const char *name);

/* Lists the files that make up the model, and adds their sizes up. */
enum gp_status onnx_file_list(struct onnx_model *model, const struct plugin_file *file,
                              const char *path, struct gp_error *err);

#endif
