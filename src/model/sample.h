/* model/sample.h - rows of inputs that fit a model, to be asked in any selection and order: generated
 * from its description, or those of requests.
 */
#ifndef GP_MODEL_SAMPLE_H
#define GP_MODEL_SAMPLE_H

#include "model/model.h"

/* The default inputs without data, in the arena: a dimension that the model leaves open is `open`, an
 * input of any type is float32, and one of any rank has rank 1; so has the one input for a model that
 * takes anything and describes nothing. */
enum gp_status sample_shapes(const struct model *model, struct gp_arena *arena,
                             int64_t open, struct gp_tensor **tensors, uint32_t *n,
                             struct gp_error *err);

struct sample {
    struct gp_arena *arena;
    struct gp_call call;      /* of all rows */
    struct gp_tensor *inputs; /* call.inputs */
    uint32_t n_rows;
};

/* Any call may fail, for want of memory or since something does not fit; nothing is to be undone but
 * to drop the arena. */

/* n_rows rows, filled as wire/fill.h says. Each input has them in its first dimension. 0: one request
 * instead, as the model describes it, which sample_call cannot divide. */
enum gp_status sample_generate(struct sample *sample, const struct model *model,
                               int64_t open, uint32_t n_rows, struct gp_error *err);

/* Adds rows of a request, which was decoded and outlives the sample, until there are most_rows. The
 * first request says how the inputs are named and shaped, which outputs are wanted, and the config;
 * one that differs is refused. */
enum gp_status sample_add(struct sample *sample, const struct gp_call *call,
                          uint32_t most_rows, struct gp_error *err);

/* A call with these rows, in this order: views of the sample, and copies in the arena. */
enum gp_status sample_call(const struct sample *sample, const uint32_t *rows,
                           uint32_t n_rows, struct gp_arena *arena, struct gp_call *call,
                           struct gp_error *err);

#endif
