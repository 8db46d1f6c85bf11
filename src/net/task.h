/* net/task.h - what a thread goes on with, and what a task may ask of its thread.
 *
 * A task lies inside what it goes on with, as its first member, and is in one list at a time.
 * A thread that has served an event carries its tasks, one after the other, until none is left.
 */
#ifndef GP_NET_TASK_H
#define GP_NET_TASK_H

#include <graphpipe/status.h>

#include <stdbool.h>

struct poller;
struct worker;

struct task {
    struct task *next;
    void (*go)(struct worker *worker, struct task *task);
};

/* Puts the task behind those that this thread goes on with. */
void worker_take(struct worker *worker, struct task *task);

/* Gives this thread's tasks to whoever polls: it has something long to do first. */
void worker_share(struct worker *worker);

/* Around a run of an engine, or any other work that takes long: the watcher looks for a
 * stand-in when no poller is left. */
void worker_engage(struct worker *worker);
void worker_disengage(struct worker *worker);

/* Any thread: gives the task to a thread that polls, waking one if none does. */
void poller_ready(struct poller *poller, struct task *task);

/* Any thread: something is in progress that is no run, and the watcher has to look after it. */
void poller_expect(struct poller *poller);
void poller_forget(struct poller *poller);

/* Any thread: that many threads more may be in engines at a time, so there have to be as many more;
 * or less again, when they stay for the next who needs some. Before the poller starts it only
 * counts. When they cannot be made, nothing has changed. */
enum gp_status poller_need(struct poller *poller, unsigned n, struct gp_error *err);
void poller_need_less(struct poller *poller, unsigned n);

/* A worker for a thread that does not poll, to be used by that thread alone; NULL when memory is
 * short. */
struct worker *worker_create(struct poller *poller);
void worker_destroy(struct worker *worker);

/* In such a thread: carries the task and all that follows from it. */
void worker_carry(struct worker *worker, struct task *task);

#endif
