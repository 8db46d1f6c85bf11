/* model/inference.h - one inference, and the run of the engine that answers it.
 *
 * Its owner fills in the request and gets the inference back through its task: on the thread
 * that ran it, or on any polling thread if it ended without a run. In between it belongs to the
 * queue of its model's slots, then to the thread that runs it.
 */
#ifndef GP_MODEL_INFERENCE_H
#define GP_MODEL_INFERENCE_H

#include "base/share.h"
#include "engine/engine.h"
#include "net/task.h"

#include <graphpipe/message.h>

struct cached;
struct inference;
struct model;

/* Why a run of rows began with those that it had. */
enum run_reason {
    RUN_HAD_SLOT,   /* there was a slot, and nothing to wait for */
    RUN_WAS_FULL,   /* it had as many rows as it may have */
    RUN_HAD_WAITED, /* --max-delay was over */
    RUN_HAD_TO,     /* or what the deadline of the first left of it */
    RUN_N_REASONS
};

/* One call of an engine, on a slot, for one inference or several. */
struct run {
    struct task task;            /* first: run_go */
    struct inference *inference; /* the first of its members */
    struct engine_run engine_run;
    uint32_t slot;
    int64_t began_ns;
};

struct inference {
    struct task task;    /* first: what its owner does once it has ended, well or not */
    struct model *model; /* held by its owner */
    struct gp_arena *arena;     /* the owner's, of the request */
    struct share_taker *client; /* takes places in queues */
    /* True if nobody wants the outputs any more. From any thread, under a slot's lock. */
    bool (*is_left)(const struct inference *inference);

    const struct gp_request *request;
    int64_t arrived_ns;
    int64_t deadline_ns; /* 0: none */

    struct gp_tensor *inputs; /* bound; views until they are settled */
    enum gp_dtype *wanted;    /* the type that each must have */
    /* Wanted output i is output_order[i] of the run; NULL: all outputs in the run's order. */
    const uint32_t *output_order;
    uint32_t n_wanted;
    uint64_t n_rows; /* of the first input; 1 if it has none */
    bool has_rows;   /* as many in each input, where that matters (signature.h) */
    bool may_join;   /* others in a run */
    bool is_settled;
    struct run run;
    struct inference *next_member; /* of the same run */

    struct cached *cached; /* what the cache has to do with it (cached.h); or NULL */
    uint32_t cache_rows;   /* of it, that were looked for; 0: none */
    uint32_t cache_hits;   /* of those, that it did not have to run */

    struct gp_error error; /* why it failed; GP_OK if it has not */
    int64_t queued_ns;     /* when it joined a queue; 0 if it did not */
    int64_t due_ns;        /* in a queue: from then on it waits for no others */
    bool is_hurried;       /* its deadline set due_ns, rather than --max-delay */
    int64_t waited_ns;
    int64_t ran_ns;
    bool leads_run;    /* the metrics of its run are this one's to count */
    uint64_t run_rows; /* of all its members together */
    enum run_reason run_reason;
};

#endif
