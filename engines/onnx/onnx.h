/* An open ONNX model: sessions, which may run in several threads at a time, and the state
 * of each slot. */
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

/* Whether an output comes with the predicted shape. */
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
    bool is_bound; /* the runtime writes it into the host's memory */
};

/* State of a run in a slot; used by one thread at a time. */
struct onnx_slot {
    const struct ort_runtime *ort;
    struct OrtRunOptions *options; /* to stop a run */
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
    /* one per device; on CPUs one of n_threads, and one of a single thread */
    struct OrtSession **sessions;
    uint32_t n_sessions;
    uint32_t n_cores;
    /* on CPUs, with more concurrent runs than this each has one thread */
    uint32_t n_wide;
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

/* Opens the sessions and sets n_threads and n_slots; needs onnx_file_list and the
 * devices. */
enum gp_status onnx_session_open(struct onnx_model *model,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err);

/* Takes the session for a run that begins now; give when it has ended. */
struct OrtSession *onnx_session_take(struct onnx_model *model, uint32_t slot,
                                     const struct gp_call *call);
void onnx_session_give(struct onnx_model *model);

/* Fills inputs and outputs from the session. `file` tells which of them have no shape. */
enum gp_status onnx_io_read(struct onnx_model *model, const struct plugin_file *file,
                            struct gp_error *err);

/* Reads which sizes of an input or output have names. Inputs come first. */
enum gp_status onnx_shape_read_input(struct onnx_model *model,
                                     const struct OrtTypeInfo *info,
                                     const struct gp_io *io, struct gp_error *err);
enum gp_status onnx_shape_read_output(struct onnx_model *model,
                                      const struct OrtTypeInfo *info,
                                      const struct gp_io *io, struct gp_error *err);

/* The shape that the output will have for this call, as far as it is known and has been
 * right before. */
bool onnx_shape_predict(const struct onnx_shape *shape, const struct gp_call *call,
                        int64_t *sizes);

/* Compares the shape that was, or would have been, predicted with the actual one. */
void onnx_shape_learn(struct onnx_shape *shape, const struct gp_call *call,
                      const int64_t *sizes, size_t rank);

/* Never predicts it again. */
void onnx_shape_refute(struct onnx_shape *shape);

/* gp_engine.run */
enum gp_status onnx_run(void *model, uint32_t slot, const struct gp_call *call,
                        struct gp_outputs *outputs, struct gp_error *err);

/* Maps the model's file, and reads the parts that the runtime does not expose. */
enum gp_status onnx_file_open(struct plugin_file *file, const char *path,
                              struct gp_error *err);

/* True if the graph's input or output with that name declares its shape. */
bool onnx_file_has_shape(const struct plugin_file *file, const char *name);

/* Lists the files of the model and adds up their sizes. */
enum gp_status onnx_file_list(struct onnx_model *model, const struct plugin_file *file,
                              const char *path, struct gp_error *err);

#endif
