/* model/queue.h - the runs of a model that have no slot yet, in the order in which they came.
 *
 * Each is of one inference; those that may run together join when one of them begins (queue_fill).
 * All calls are made with the lock of the slots held.
 */
#ifndef GP_MODEL_QUEUE_H
#define GP_MODEL_QUEUE_H

#include "model/inference.h"

/* Of one run. */
enum { QUEUE_MOST_MEMBERS = 256 };

struct run_queue {
    struct task *first; /* runs */
    struct task **end;
    unsigned n;
    int64_t deadline_ns;  /* no later than the earliest of them; 0: none */
    uint64_t max_rows;    /* of those that run together; 0: none do */
    int64_t max_delay_ns; /* how long one waits for others although there is a slot */
};

void queue_init(struct run_queue *queue);

void queue_add(struct run_queue *queue, struct run *run);

/* True if the run need not wait for others that might join it. */
bool queue_is_ripe(const struct run_queue *queue, const struct run *run);

/* Takes the first out that has waited for others long enough, or one that would have as many rows
 * with them as it may: of the first in the queue, or of `other`, which is in it too (or NULL). NULL if
 * there is none. */
struct run *queue_take(struct run_queue *queue, const struct run *other);

/* Why this one begins now, which has left the queue or was never in it: for what it is by itself,
 * before others join. */
enum run_reason queue_reason(const struct run_queue *queue, const struct run *run);

/* When the next one has waited long enough; 0: there is none. */
int64_t queue_due_ns(const struct run_queue *queue);

/* Takes those out that may join the run, which may be joined, and fit. */
void queue_fill(struct run_queue *queue, struct run *run);

/* Takes those out whose deadline is over at `now` (INT64_MAX: all), and returns them as a list. */
struct task *queue_take_late(struct run_queue *queue, int64_t now);

#endif
