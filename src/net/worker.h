/* net/worker.h - what a thread that carries tasks has at hand. */
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
    struct task *tasks; /* to be carried when the present event has been served */
    struct task **tasks_end;
    size_t window_start; /* bytes received and not parsed: [start, end) of window */
    size_t window_end;
    struct log_lines lines; /* not written yet */

    bool polls; /* else a thread of somebody's own */
    bool is_parked;
    struct worker *next_parked;
    struct worker *next; /* of the poller's */
    pthread_cond_t unparked;
    pthread_t thread;
    char window[WINDOW_BYTES];
};

/* Of a zeroed worker. */
void worker_init(struct worker *worker, struct poller *poller, struct log *log);
void worker_finish(struct worker *worker);

/* Takes the next task off; NULL: there is none. */
struct task *worker_next_task(struct worker *worker);

/* Carries its tasks until there is none. */
void worker_carry_tasks(struct worker *worker);

#endif
