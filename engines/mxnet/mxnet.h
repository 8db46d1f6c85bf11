/* An open MXNet model: its symbol, the arrays of its params file, and an executor for each
 * set of input shapes that has been run. The engine asks for a process of its own, which
 * has one slot, so nothing here is locked. */
#ifndef GP_MXNET_MXNET_H
#define GP_MXNET_MXNET_H

#include "mx.h"

enum { MX_MOST_EXECUTORS = 16, MX_MOST_ARGUMENTS = 1 << 16 };

/* An array of a params file; what it points to is in the file. */
struct mx_array {
    const char *name; /* "fc1_weight", without "arg:"; kept by the model */
    bool is_aux;      /* it was "aux:..." */
    int type;
    uint32_t rank;
    uint32_t sizes[GP_MAX_RANK];
    const unsigned char *data;
    size_t n_elements;
};

struct mx_params {
    struct plugin_file file;
    struct mx_array *arrays; /* by name */
    size_t n;
};

/* What the user says of an input or output, in a JSON file or an option. */
struct mx_said {
    const char *name; /* "": the one at this place */
    const char *description;
    enum gp_dtype dtype; /* GP_NULL: not said */
    bool has_shape;
    uint32_t rank;
    int64_t sizes[GP_MAX_RANK];
};

struct mx_said_list {
    struct mx_said *items;
    size_t n;
    bool is_said;
};

/* What an argument of the symbol is. */
enum mx_role { MX_PARAMETER, MX_INPUT, MX_LABEL };

struct mx_argument {
    const char *name;
    enum mx_role role;
    NDArrayHandle array; /* of a parameter */
    uint32_t rank;       /* of a parameter */
    uint32_t sizes[GP_MAX_RANK];
    uint32_t input; /* of an input: which */
};

/* Shapes for MXNet to infer others from: first those of all parameters, then of inputs. */
struct mx_query {
    const char **names;
    uint32_t *ends; /* of each in sizes, after a 0 */
    int *sizes;
    uint32_t n;
    uint32_t n_parameters;
};

/* What MXNet infers; it belongs to MXNet until the thread's next call. */
struct mx_shapes {
    uint32_t n;
    const int *ranks; /* below 0, or 0 where sizes may not be: unknown */
    const int **sizes;
};

struct mx_executor {
    ExecutorHandle handle;
    NDArrayHandle *inputs; /* and labels, in the symbol's order */
    uint32_t n_own;        /* of both */
    int64_t *shapes;       /* of each input its rank, then its sizes */
    size_t n_bytes;        /* of the inputs */
    uint64_t used;         /* the number of the last run that it did */
};

struct mx_model {
    const struct mx_runtime *mx;
    union plugin_block *kept;
    SymbolHandle symbol;
    bool has_numpy_shapes; /* a size may be 0, an array may have no sizes */
    struct mx_argument *arguments;
    uint32_t n_arguments;
    NDArrayHandle *auxiliaries;
    uint32_t n_auxiliaries;
    struct mx_query query;
    struct gp_io *inputs;
    uint32_t n_inputs;
    struct gp_io *outputs;
    uint32_t n_outputs;
    struct mx_executor executors[MX_MOST_EXECUTORS];
    uint32_t n_executors;
    uint64_t n_runs;
    uint32_t n_threads; /* of a run; 0: as the cores are free */
    uint32_t n_cores;
    const char *files[3];
    uint32_t n_files;
    const char *name;
    char summary[64];
};

/* Maps and checks a params file; *params is to be closed in any case. */
enum gp_status mx_params_open(const char *path, union plugin_block **kept,
                              struct mx_params *params, struct gp_error *err);
const struct mx_array *mx_params_find(const struct mx_params *params, const char *name,
                                      bool is_aux);
void mx_params_close(struct mx_params *params);

/* Reads {"inputs": [...], "outputs": [...]}, or one list of them; `where` is its name in
 * messages. */
enum gp_status mx_said_read(const char *text, size_t size_bytes, const char *where,
                            union plugin_block **kept, struct mx_said_list *inputs,
                            struct mx_said_list *outputs, struct gp_error *err);
enum gp_status mx_said_read_list(const char *text, const char *where,
                                 union plugin_block **kept, struct mx_said_list *list,
                                 struct gp_error *err);

/* Makes model->symbol of the file's text, after a check of what MXNet trusts. */
enum gp_status mx_symbol_read(struct mx_model *model, const struct plugin_file *file,
                              struct gp_error *err);

/* Fills arguments, auxiliaries, inputs and outputs from the symbol, the params and what
 * was said. */
enum gp_status mx_ios_read(struct mx_model *model, const struct mx_params *params,
                           const struct mx_said_list *inputs,
                           const struct mx_said_list *outputs, struct gp_error *err);

/* Adds the sizes of an input to the query, -1 for any. */
enum gp_status mx_query_add(struct mx_model *model, const char *name,
                            const int64_t *sizes, uint32_t rank, struct gp_error *err);

/* Infers what it can, or with is_whole everything; either list may be NULL. */
enum gp_status mx_query_infer(const struct mx_model *model, bool is_whole,
                              struct mx_shapes *arguments, struct mx_shapes *outputs,
                              struct gp_error *err);

/* Fill what the inputs and outputs lack; an input whose type nobody says has float32. */
enum gp_status mx_infer_types(struct mx_model *model, const struct mx_params *params,
                              struct gp_error *err);
enum gp_status mx_infer_shapes(struct mx_model *model, struct gp_error *err);

/* Gives an input or output a shape, of which the model keeps a copy. */
enum gp_status mx_keep_shape(struct mx_model *model, struct gp_io *io,
                             const int64_t *sizes, uint32_t rank, struct gp_error *err);

/* gp_engine.run */
enum gp_status mx_run(void *model, uint32_t slot, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err);
void mx_executors_free(struct mx_model *model);

#endif
