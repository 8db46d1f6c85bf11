/* model/model.h - the open model: its description, its slots, and the queue before them.
 *
 * A request that finds a slot free takes it and runs at once. When all are taken it joins
 * the queue, holding no thread; the thread that frees a slot takes what heads the queue,
 * and the slot with it.
 */
#ifndef GP_MODEL_MODEL_H
#define GP_MODEL_MODEL_H

#include "engine/isolate.h"
#include "net/poller.h"
#include "server/exchange.h"

#include <graphpipe/server.h>

/* One run at a time. The lock guards what the watcher looks at. */
struct slot {
    pthread_mutex_t lock;
    struct exchange *running;
    bool is_cancelled;
    atomic_llong began_ns; /* 0: nothing runs */
    uint32_t next_free;

    /* With GP_SLOT_THREAD: the slot's own thread, and what it is to run next. */
    struct worker *worker;
    pthread_cond_t given;
    struct exchange *to_run;
    bool is_ending;
};

struct model {
    const struct gp_engine *engine;
    void *handle;
    struct isolate *isolate; /* the handle, where the engine runs in children; or NULL */
    struct source news;      /* of it */
    const char *engine_version; /* as installed */
    struct gp_description description;
    struct gp_metadata metadata;
    struct gp_server *server;
    uint32_t n_default_inputs;
    const uint32_t *default_inputs; /* indexes into the description, in order */
    const char *const *default_outputs;
    uint32_t n_default_outputs;
    uint32_t max_waiting;

    struct slot *slots;
    pthread_mutex_t lock; /* of what follows */
    uint32_t first_free;  /* n_slots: none */
    struct exchange *queue;
    struct exchange **queue_end;
    uint32_t n_waiting;
    int64_t queue_deadline_ns; /* no later than the earliest in the queue; 0: none */
};

/* Settles what the options leave open: which engine it is, and that one which is a Python program
 * is isolated. */
enum gp_status model_choose(struct gp_server_options *options, struct gp_error *err);

/* Opens what the options name, once they are settled, and prepares its slots. */
enum gp_status model_open(struct model *model, struct gp_server *server,
                          const struct gp_server_options *options, struct gp_error *err);

/* The same for an engine whose model is open already; the model then owns the handle,
 * also when this fails. */
enum gp_status model_attach(struct model *model, struct gp_server *server,
                            const struct gp_engine *engine, void *handle,
                            const struct gp_server_options *options,
                            struct gp_error *err);

/* Starts the slots' own threads, where the engine asks for them; ends them. */
enum gp_status model_start(struct model *model, struct gp_error *err);
void model_stop(struct model *model);

/* Closes it; nothing runs. One that was never opened is ignored. */
void model_close(struct model *model);

/* Matches the request's inputs and outputs with the model's; fills x->run.call. Copies nothing:
 * the inputs are still views (wire.h). On failure x->error says what was wanted and what came. */
bool model_bind(struct model *model, struct exchange *x);

/* Copies of the bound inputs what the engine could not read where it lies, into memory that the
 * client's share pays for; false: x->error says what there was no room for. Done when x has its
 * slot, so that requests that wait, or never run, hold no copies. */
bool model_settle(struct exchange *x);

enum slot_take { SLOT_TAKEN, SLOT_QUEUED, SLOT_REFUSED };

/* A slot for x, a place in the queue (x is then no longer the caller's), or neither. */
enum slot_take model_take_slot(struct model *model, struct exchange *x);

/* Gives the slot to what heads the queue, which is returned; else frees it and returns
 * NULL. A slot that has lost its child is neither given nor freed. */
struct exchange *model_pass_slot(struct model *model, uint32_t slot);

/* Around a run, for the watcher; model_run_end tells whether it was cancelled. */
void model_run_begin(struct model *model, struct exchange *x);
bool model_run_end(struct model *model, struct exchange *x);

/* Hands x to its slot's own thread; false where slots have none. */
bool model_hand_over(struct model *model, struct exchange *x);

/* The watcher's look: cancels runs whose client left or whose deadline is over, and
 * answers the waiting whose deadline is over. */
void model_watch(struct model *model);

/* Cancels all runs and fails all who wait: the drain limit is over. */
void model_cancel_all(struct model *model);

#endif
