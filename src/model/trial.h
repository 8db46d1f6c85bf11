/* model/trial.h - requests of our own on a model that was just opened, before it is served: nobody else
 * may use it yet.
 *
 * A player is called for each slot, as many at a time as there are cores, and plays any number of
 * requests on it. Meanwhile the calling thread enforces their deadlines: the watcher may not run yet,
 * and knows only models that are served.
 */
#ifndef GP_MODEL_TRIAL_H
#define GP_MODEL_TRIAL_H

#include "model/model.h"

/* The deadline of one request: a first run may compile the model. */
#define TRIAL_LIMIT_NS (300 * CLOCK_S)

/* One thread's. */
struct trial {
    struct inference inference; /* first: request_ended */
    struct task start;
    struct trials *trials;
    struct worker *worker;
    pthread_t thread;
    struct gp_request request; /* to be filled in between begin and run */
    struct pool_buffer body;   /* where its message may lie */
    uint32_t slot;
    struct gp_error error; /* the player's, why it failed */
    bool has_ended;        /* under the lock */
};

/* False, with the trial's error set, if no more slots should be begun. */
typedef bool trial_player(struct trial *trial, void *context);

struct trial_plan {
    const char *name; /* for messages */
    struct model *model;
    uint32_t n_slots; /* the first ones of the model's */
    int64_t limit_ns; /* of each request */
    trial_player *play;
    void *context;
};

/* Plays on each slot, until all is done or one player fails: *err is the first one's then, or why there
 * is no thread, and the others' next requests fail. Stops what runs once host->is_ending. */
enum gp_status trials_run(const struct trial_plan *plan, struct gp_error *err);

/* For a player: a request after the other. Begin, fill in trial->request, run, which binds it, look at the
 * outputs in trial->inference.run.engine_run, and end, whether it went well or not. On failure the inference's
 * error says why. */
void trial_begin(struct trial *trial);
bool trial_run(struct trial *trial);
void trial_end(struct trial *trial);

/* True once the server is ending. */
bool trial_is_over(const struct trial *trial);

#endif
