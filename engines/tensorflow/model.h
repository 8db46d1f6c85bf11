/* An open TensorFlow model: a graph, a session that runs it for all slots concurrently,
 * and its signatures: which tensors of the graph are inputs and outputs, and their names.
 * A GraphDef has no signatures; one is made for it. */
#ifndef GP_TENSORFLOW_MODEL_H
#define GP_TENSORFLOW_MODEL_H

#include "../device.h"
#include "tf.h"

#include <stdbool.h>
#include <stddef.h>

/* Inputs or outputs, with their places in the graph. */
struct tf_ends {
    struct gp_io *ios;
    TF_Output *places;
    uint32_t n;
};

struct tf_signature {
    const char *name; /* "" for that of a GraphDef */
    struct tf_ends inputs;
    struct tf_ends outputs;
    const char *unusable; /* why it cannot be run, or NULL */
    bool keeps_inputs;    /* a run may keep its inputs in the model's state */
};

/* State of a run in a slot; used by one thread at a time. */
struct tf_slot {
    TF_Status *status;
    TF_Output *places;  /* the inputs', then the outputs' */
    TF_Tensor **values; /* in the same order */
    size_t capacity;
};

struct tf_model {
    const struct tf_runtime *tf;
    struct plugin_listener listener;
    struct device_list devices; /* at most one is used: it is a setting of the process */
    TF_Graph *graph;
    TF_Session *session;
    TF_Status *status; /* for open and close */
    struct tf_signature *signatures;
    uint32_t n_signatures;
    const struct tf_signature *chosen;
    struct tf_slot *slots;
    union plugin_block *blocks;
    const char **files;
    uint32_t n_files;
    uint32_t n_slots;
    uint32_t n_threads;
    bool is_saved_model;
    char summary[32 + sizeof(((struct device_list *)0)->text)];
    char description[96];
};

/* Fills graph, session and files, and for a SavedModel its signatures, if any. */
enum gp_status tf_graph_open(struct tf_model *model, const char *path, uint32_t n_cores,
                             struct gp_error *err);

/* Reads the signatures of a SavedModel from its MetaGraphDef; it may have none. */
enum gp_status tf_signature_read(struct tf_model *model, const TF_Buffer *meta_graph,
                                 struct gp_error *err);

/* Makes the signature of a graph that has none: its placeholders, and whatever nothing
 * consumes. */
enum gp_status tf_signature_make(struct tf_model *model, struct gp_error *err);

/* The signature with that name; otherwise NULL, and *err lists the existing ones. */
const struct tf_signature *tf_signature_find(const struct tf_model *model,
                                             const char *name, struct gp_error *err);

/* The place in the graph that "op" or "op:1" names. */
bool tf_place_find(const struct tf_model *model, const char *name, TF_Output *place);

/* Reads what the graph knows of a place's type and shape into *io; `shape` has room for
 * GP_MAX_RANK. */
enum gp_status tf_place_describe(const struct tf_model *model, TF_Output place,
                                 TF_Status *status, struct gp_io *io, int64_t *shape,
                                 struct gp_error *err);

/* True if a run that computes these outputs may change state that outlives it, and keep
 * its inputs there, or if that is unknown. */
bool tf_state_is_kept(const struct tf_model *model, const struct tf_ends *outputs);

/* A TensorFlow tensor, over the same memory if it is lent; NULL and *err when memory is
 * short. */
TF_Tensor *tf_tensor_make(const struct tf_api *api, const struct gp_tensor *tensor,
                          bool is_lent, struct gp_error *err);

/* Hands output `index` over; *value is empty afterwards if the host took it. */
enum gp_status tf_tensor_give(const struct tf_api *api, TF_Tensor **value, uint32_t index,
                              struct gp_outputs *outputs, struct gp_error *err);

/* gp_engine.run */
enum gp_status tf_run(void *model, uint32_t slot, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err);

/* Runs the chosen signature once if that has no effects: the first run of a session takes
 * long, as it optimises the graph. */
void tf_run_warm_up(struct tf_model *model);

#endif
