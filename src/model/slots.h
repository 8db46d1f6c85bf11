/* model/slots.h - the slots of a model, each for one run at a time, and the queue before them.
 *
 * A run that finds a free slot takes it. If all are taken it joins the queue, holding no thread;
 * the thread that frees a slot gives it to the first run in the queue. Entering, passing a slot
 * on and leaving the queue are one step each under the lock: if a slot is free, no run waits but
 * for others that may join it, and that not for long.
 */
#ifndef GP_MODEL_SLOTS_H
#define GP_MODEL_SLOTS_H

#include "engine/isolate.h"
#include "model/queue.h"
#include "net/alarm.h"

#include <pthread.h>
#include <stdatomic.h>

/* Why a run was asked to stop. */
enum slot_stop { SLOT_GOES_ON, SLOT_LATE, SLOT_LEFT, SLOT_ENDING };

struct slot {
    pthread_mutex_t lock; /* of what the watcher checks */
    struct run *running;
    enum slot_stop stop;
    atomic_llong began_ns; /* 0: nothing runs */
    uint32_t next_free;
    struct batch *batch; /* its run's, if the model takes batches; made by the model */

    /* With GP_SLOT_THREAD: the slot's own thread, and what it runs next. */
    struct worker *worker;
    pthread_t thread;
    pthread_cond_t given;
    struct run *to_run;
    bool is_ending;
};

struct slots {
    struct slot *all;
    uint32_t n;
    struct poller *poller;
    struct isolate *isolate; /* whose children are the slots; or NULL */
    unsigned max_waiting;
    atomic_uint n_lost; /* of which the supervisor has brought no news yet */
    atomic_int n_taken; /* written under the lock */

    pthread_mutex_t lock; /* of what follows */
    uint32_t first_free;  /* n: none */
    struct run_queue queue;
    struct alarm alarm; /* has those run that have waited for others long enough */
};

/* Makes n free slots. The caller sets the other members. */
enum gp_status slots_init(struct slots *slots, uint32_t n, struct gp_error *err);
void slots_finish(struct slots *slots);

/* Before the first run: those that others may join wait for them so long, though there is a slot. */
enum gp_status slots_delay(struct slots *slots, int64_t delay_ns, struct gp_error *err);

/* Creates a thread for each slot; ends these threads. */
enum gp_status slots_start_threads(struct slots *slots, struct gp_error *err);
void slots_stop_threads(struct slots *slots);

/* Continues the run with a slot, now or once one is free, on this thread or the slot's own; it no
 * longer belongs to the caller. False if it may not wait; the inference's error says why. */
bool slots_enter(struct slots *slots, struct worker *worker, struct run *run);

/* The same, but with this slot only. False if it is not free; then nothing has happened. */
bool slots_enter_at(struct slots *slots, struct worker *worker, struct run *run,
                    uint32_t slot);

/* Gives the slot to the first run in the queue, which this thread continues (without a worker: any
 * that polls), or frees it. A slot that has lost its child is neither given nor freed. */
void slots_pass(struct slots *slots, struct worker *worker, uint32_t slot);

/* Takes those out of the queue that may join the run, which has a slot and may be joined, and fit. */
void slots_fill(struct slots *slots, struct run *run);

/* From now on requests run alone. */
void slots_stop_joining(struct slots *slots);

/* Around a run, for the watcher; the end says whether and why the run was asked to stop. */
void slots_run_begin(struct slots *slots, struct run *run);
enum slot_stop slots_run_end(struct slots *slots, struct run *run);

/* For the watcher, without a lock: no slot is taken, so nothing runs or waits. */
bool slots_are_idle(const struct slots *slots);

/* For the watcher: stops runs that nobody wants or that are late, and takes those whose deadline
 * has passed out of the queue. Returns how many threads that poll are in long runs. */
unsigned slots_watch(struct slots *slots);

/* Stops all runs and empties the queue. */
void slots_cancel(struct slots *slots);

/* Takes all news about the children. */
void slots_take_news(struct slots *slots);

unsigned slots_n_waiting(struct slots *slots);

#endif
