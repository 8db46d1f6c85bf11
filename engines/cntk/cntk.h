/* An open CNTK model. The engine asks for a process of its own, which has one slot, so
 * nothing here is locked and no clones are needed. */
#ifndef GP_CNTK_CNTK_H
#define GP_CNTK_CNTK_H

#include "ck.h"

#include <stdatomic.h>

/* A size that is free, and one that CNTK had yet to infer. */
static const uint32_t CK_FREE = UINT32_MAX - 2, CK_INFERRED = UINT32_MAX;

/* What the file says of an input. */
struct ck_input {
    const char *name;
    uint32_t n_axes; /* dynamic: 0, 1: rows, 2: sequences */
    uint32_t data_type;
    bool is_sparse;
};

struct ck_inputs {
    struct ck_input *items;
    uint32_t n;
};

struct ck_model {
    const struct ck_runtime *ck;
    union plugin_block *kept;
    ck_handle network;
    struct ck_variable *inputs; /* CNTK's */
    struct ck_variable *outputs;
    uint32_t n_inputs;
    uint32_t n_outputs;
    uint32_t *n_axes;   /* of each input */
    struct gp_io *ios;  /* inputs, then outputs */
    struct ck_value *x; /* of the run; their data is the request's */
    bool *begins;       /* all true: a request is a whole sequence */
    uint32_t n_threads; /* of a run */
    atomic_bool is_stopped;
    const char *path;
    char summary[64];
};

/* Checks what CNTK trusts in the file, and lists the network's inputs. */
enum gp_status ck_file_read(const struct plugin_file *file, const char *path,
                            union plugin_block **kept, struct ck_inputs *inputs,
                            struct gp_error *err);

/* Fills what describes the loaded network. */
enum gp_status ck_ios_read(struct ck_model *model, const struct ck_inputs *inputs,
                           struct gp_error *err);
void ck_ios_free(struct ck_model *model);

/* Runs the network over model->x, to values for each of the outputs, which go back by
 * ck_values_free. */
enum gp_status ck_evaluate(struct ck_model *model, const struct ck_variable *outputs,
                           uint32_t n_outputs, struct ck_value **values,
                           struct gp_error *err);
void ck_values_free(const struct ck_model *model, struct ck_value *values, uint32_t n);

/* gp_engine.run */
enum gp_status ck_run(void *model, uint32_t slot, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err);

#endif
