/* server/metrics_models.h - the metrics of all models at one moment.
 *
 * A family of metrics is written in one piece, so all versions of all models are collected first.
 * The table of models is locked meanwhile, and not while text is written. */
#ifndef GP_SERVER_METRICS_MODELS_H
#define GP_SERVER_METRICS_MODELS_H

#include "base/text.h"
#include "model/models.h"

/* A version of a model. One that has gone has nothing but its counts. */
struct metrics_version {
    struct metrics_version *next;
    struct text labels;    /* of all its metrics: model="NAME",version="N" */
    struct counts *counts; /* held */
    enum model_state state;
    bool is_there;
    bool has_failed;    /* to load, the last time */
    bool has_children;  /* or had some that ended */
    int64_t load_ns;    /* 0: it is not open */
    int64_t warm_up_ns; /* 0: it had none */
    unsigned n_waiting; /* these of all models that are open under the labels */
    unsigned n_slots;
    bool has_batches;
    bool has_cache;
    struct isolate_counts children;
};

struct metrics_models {
    struct models *models;
    struct gp_arena *arena;
    struct metrics_version *first;
    struct metrics_version **end;
    bool is_short; /* memory was */
};

/* False if memory is short; to be dropped then too. */
bool metrics_collect_models(struct models *models, struct gp_arena *arena,
                            struct metrics_models *all);
void metrics_drop_models(struct metrics_models *all);

#endif
