/* An open Caffe2 model: two nets, the first of which fills the blobs of the weights, and the
 * second of which computes. The engine asks for a process of its own, which has one slot, so
 * nothing here is locked. */
#ifndef GP_CAFFE2_CAFFE2_H
#define GP_CAFFE2_CAFFE2_H

#include "../plugin.h"
#include "../protobuf.h"
#include "bridge/bridge.h"

#include <limits.h>

struct c2_runtime {
    const struct c2_bridge *bridge;
    char path[PATH_MAX]; /* of Caffe2's library */
};

/* A serialized NetDef. */
struct c2_net {
    const char *path;
    struct plugin_file file;
    size_t n_operators;
};

/* Names that lie in a file, sorted. */
struct c2_names {
    struct pb_bytes *items;
    size_t n;
};

/* What value_inputs.json says of an input: "data": [1, [1, 3, 227, 227]]. */
struct c2_said {
    const char *name;
    enum gp_dtype dtype;
    uint32_t rank;
    int64_t sizes[GP_MAX_RANK];
};

struct c2_said_list {
    struct c2_said *items;
    size_t n;
    const char *path; /* NULL: nobody says anything */
};

struct c2_model {
    const struct c2_runtime *runtime;
    struct c2_workspace *workspace;
    union plugin_block *kept;
    struct gp_io *inputs;
    uint32_t n_inputs;
    struct gp_io *outputs;
    uint32_t n_outputs;
    uint32_t n_threads; /* of a run; 0: as the cores are free */
    uint32_t n_cores;
    const char *files[3];
    uint32_t n_files;
    const char *name;
    char summary[64];
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
};

/* Loads Caffe2 on the first call. */
enum gp_status c2_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct c2_runtime **runtime, struct gp_error *err);

/* Maps a net and checks it before Caffe2 sees it: it is whole, and its operators are there.
 * The file is to be unmapped in any case. */
enum gp_status c2_net_open(const char *path, const struct c2_bridge *bridge,
                           struct c2_net *net, struct gp_error *err);

/* A copy in *bytes, to be freed, that runs on a CPU, one operator after the other. */
enum gp_status c2_net_copy(const struct c2_net *net, unsigned char **bytes,
                           size_t *size_bytes, struct gp_error *err);

struct pb_bytes c2_net_view(const struct c2_net *net);

/* The names of all that the net's operators write, sorted; and whether one is among them. */
enum gp_status c2_net_written(const struct c2_net *net, union plugin_block **kept,
                              struct c2_names *names, struct gp_error *err);
bool c2_names_have(const struct c2_names *sorted, struct pb_bytes name);

/* Reads a value_inputs.json. */
enum gp_status c2_said_read(const char *path, union plugin_block **kept,
                            struct c2_said_list *said, struct gp_error *err);

/* Fills the model's inputs. */
enum gp_status c2_inputs_read(struct c2_model *model, const struct c2_net *init,
                              const struct c2_net *predict,
                              const struct c2_said_list *said, struct gp_error *err);

/* Makes the net's operators, and fills the model's outputs by running it. */
enum gp_status c2_outputs_find(struct c2_model *model, const struct c2_net *predict,
                               struct gp_error *err);

/* gp_engine.run */
enum gp_status c2_run(void *model, uint32_t slot, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err);

#endif
