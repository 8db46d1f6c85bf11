/* model/batch.h - the rows of one or more requests in as few calls of the engine as they need.
 *
 * The rows of all members, one after the other, are cut into runs of at most max_rows, and a run
 * that is shorter than a size the model takes is padded with copies of its last row. Rows are
 * gathered with one copy, and each member gets a copy of its rows of the outputs: from then on it
 * is as if it had run alone, so nothing of a batch outlives its run, and a slow reader holds
 * nothing of the others' (docs/decisions/batching.md).
 *
 * Each slot of a model that takes batches has one batch, which belongs to whoever has the slot.
 */
#ifndef GP_MODEL_BATCH_H
#define GP_MODEL_BATCH_H

#include "model/inference.h"

/* What the batches of a model have in common; it outlives them. */
struct batch_rules {
    const struct gp_engine *engine;
    void *handle;
    struct pool *pool;
    struct pool_pair memory;
    bool writes_outputs; /* the model's GP_WRITES_OUTPUTS */
    bool is_isolated;    /* the engine may read its inputs after a run has been left */
    uint64_t max_rows;
    bool is_fixed;        /* the model runs max_rows, and no other number */
    bool is_auto;         /* it has to turn out whether there are batches */
    const char *why_none; /* it turned out that there are none, before any run; or NULL */
    /* What the model says of itself, if that was changed since it is fixed. */
    const struct gp_io *fixed_inputs, *fixed_outputs;
    /* Ascending, below max_rows: a run has as many rows as one of them, or max_rows. None: as many
     * as there are. */
    const uint32_t *sizes;
    size_t n_sizes;
};

struct batch {
    struct run run; /* of all members, for the watcher */
    const struct batch_rules *rules;
    struct gp_arena *arena;
    struct pool_buffer inputs; /* rows that were gathered */
};

/* NULL if memory is short. */
struct batch *batch_create(const struct batch_rules *rules);

/* Takes NULL. */
void batch_destroy(struct batch *batch);

/* False if one inference alone can run as it is. */
bool batch_is_needed(const struct batch_rules *rules, const struct inference *inference);

/* Before the members, which batch->run.inference leads, are watched as one run. */
void batch_begin(struct batch *batch, uint32_t n_free_cores);

/* Runs the members, whose inputs are settled. On success each has its outputs, or an error of its
 * own; on failure none has any, and *err says why. */
enum gp_status batch_run(struct batch *batch, struct gp_error *err);

#endif
