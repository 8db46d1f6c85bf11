/* net/worker.h - the state of a thread that carries tasks. */
#ifndef GP_NET_WORKER_H
#define GP_NET_WORKER_H

#include "base/log.h"
#include "net/task.h"

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { WINDOW_READ_BYTES = 16 * 1024, WINDOW_BYTES = 64 * 1024 + 2 * WINDOW_READ_BYTES };

struct worker {
    struct poller *poller;
    struct log *log;
    struct task *tasks; /* to be carried once the current event has been served */
    struct task **tasks_end;
    /* A task or NULL, since when, and how many events have been served since. */
    struct task *postponed;
    int64_t postponed_ns;
    unsigned n_served;
    size_t window_start; /* bytes received but not parsed: [start, end) of window */
    size_t window_end;
    struct log_lines lines; /* not written yet */

    unsigned number;   /* from 0; mostly no two have the same */
    bool polls;        /* otherwise the thread is not the poller's */
    bool is_reserved;  /* runs what it is given, and nothing else */
    bool is_parked;    /* this and the next three under the poller's lock */
    bool is_dismissed; /* the thread ends */
    struct worker *next_parked;
    struct worker *next; /* of the poller's workers, or of those dismissed */
    pthread_cond_t unparked;
    pthread_t thread;
    char window[WINDOW_BYTES];
};

/* The worker must be zeroed. */
void worker_init(struct worker *worker, struct poller *poller, struct log *log);
void worker_finish(struct worker *worker);

/* Takes the next task off the list; NULL if there is none. */
struct task *worker_next_task(struct worker *worker);

/* Takes the task that was postponed, if any. */
void worker_take_postponed(struct worker *worker);

/* True if it has been long enough. */
bool worker_has_postponed_enough(const struct worker *worker);

/* Carries its tasks until none is left. */
void worker_carry_tasks(struct worker *worker);

#endif
