/* An open OpenVINO model: compiled for each way of running it (a lane), with the requests
 * that run it.
 *
 * A run borrows a request, and if outputs are in the request's own memory, the answer
 * keeps the request until it has been sent. So requests belong to runs and answers, not
 * to slots, and there are as many as were ever needed at the same time. */
#ifndef GP_OPENVINO_OPENVINO_H
#define GP_OPENVINO_OPENVINO_H

#include "../plugin.h"
#include "ov.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

enum { N_LANES = 2 };

struct ov_request {
    ov_infer_request_t *infer;
    struct ov_lane *lane;
    uint32_t edition;        /* the lane's model, as compiled when the request was made */
    struct ov_request *next; /* of the lane's free ones */
    atomic_uint n_users;     /* the run, and each output that is lent */
    atomic_bool is_cancelled;
    struct ov_bound *bound; /* by output */
};

/* An output of fixed shape, written into the host's memory. `own` is the request's
 * memory, for runs that do not ask for it; is_host: the host's is set now. */
struct ov_bound {
    ov_tensor_t *own;
    bool is_host;
};

/* One way of compiling the model: n_streams runs at a time, each on its share of
 * threads. */
struct ov_lane {
    struct ov_model *model;
    ov_compiled_model_t *compiled;
    uint32_t edition; /* how often it has been compiled */
    uint32_t n_streams;
    uint32_t n_threads; /* of all streams together */
    pthread_mutex_t lock;
    struct ov_request *free; /* under lock */
};

struct ov_model {
    const struct ov_runtime *ov;
    ov_model_t *graph;
    struct ov_lane lanes[N_LANES]; /* for single runs, if that differs; for all others */
    uint32_t n_lanes;
    uint32_t n_cores;
    atomic_uint n_running;
    struct ov_shapes *shapes; /* NULL: all shapes are fixed, and runs can be stopped */
    /* read-locked by runs, write-locked by those that must be alone */
    pthread_rwlock_t gate;
    atomic_bool is_spoilt; /* a run has failed: recompile before the next */
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
    union plugin_block *blocks;
    struct gp_io *inputs;
    struct gp_io *outputs;
    const char **files;
    uint64_t size_bytes; /* of the files */
    const char *description;
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t n_files;
    uint32_t n_slots;
    const char *precision; /* "f32" or "bf16" */
    char summary[64];
};

/* Lists the files of the model and adds up their sizes; *err says why `path` cannot be a
 * model. */
enum gp_status openvino_files_list(struct ov_model *model, const char *path,
                                   struct gp_error *err);

/* Fills inputs and outputs from the graph. */
enum gp_status openvino_io_read(struct ov_model *model, struct gp_error *err);

/* True if the output has only one shape. */
bool openvino_io_is_fixed(const struct gp_io *io);

/* Prepares for checking shapes, which models with free sizes need. */
enum gp_status openvino_shapes_open(struct ov_model *model, struct gp_error *err);
void openvino_shapes_close(struct ov_model *model);

/* GP_INVALID if the shapes of the call's inputs do not fit each other. *is_fixed: all
 * shapes within the graph follow from them. */
enum gp_status openvino_shapes_check(struct ov_model *model, const struct gp_call *call,
                                     bool *is_fixed, struct gp_error *err);

/* Restores the graph's own shapes for compiling it, until it is released, which must
 * follow in any case. */
enum gp_status openvino_shapes_hold(struct ov_model *model, struct gp_error *err);
void openvino_shapes_let_go(struct ov_model *model);

/* Compiles the graph; after openvino_io_read. */
enum gp_status openvino_lanes_open(struct ov_model *model,
                                   const struct gp_engine_options *options,
                                   struct gp_error *err);
void openvino_lanes_close(struct ov_model *model);

/* Recompiles the graph while nothing runs. */
enum gp_status openvino_lanes_renew(struct ov_model *model, struct gp_error *err);

/* Runs each number of rows in the list ("1,8,32") once on every stream. */
enum gp_status openvino_lanes_warm_up(struct ov_model *model, const char *rows,
                                      struct gp_error *err);

/* A free request of the lane, made if there is none, with the caller as its only user.
 * NULL and *err on failure. */
struct ov_request *openvino_request_take(struct ov_lane *lane, struct gp_error *err);

/* Drops one user; the last one makes it free. A release function for gp_outputs_adopt. */
void openvino_request_give(void *request);

/* gp_engine.run */
enum gp_status openvino_run(void *model, uint32_t slot, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err);

#endif
