/* net/task.h - what a thread does next, and what a task may ask of its thread.
 *
 * A task is the first member of the object that it continues, and is in one list at a time. A
 * thread that has served an event carries its tasks one by one until none is left.
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

/* Appends the task to this thread's list. */
void worker_take(struct worker *worker, struct task *task);

/* Carries the task once no event is ready that this thread could serve first, or after some
 * dozens, or a millisecond; a thread that does not poll, after its other tasks. It waits for no other
 * work: if this thread postpones a second one, or has something long to do first, another thread
 * carries it. */
void worker_postpone(struct worker *worker, struct task *task);

/* Gives this thread's tasks to threads that poll: it has something long to do first. A thread that
 * does not poll keeps its own. */
void worker_share(struct worker *worker);

/* False for a thread that is reserved. */
bool worker_takes_any(const struct worker *worker);

/* The thread is for what it is given by name: a slot's own. */
void worker_reserve(struct worker *worker);

/* Around a run of an engine, or any other long work: the watcher finds a stand-in if no poller
 * is left. */
void worker_engage(struct worker *worker);
void worker_disengage(struct worker *worker);

/* How many runs are under way in the process, this thread's among them. */
unsigned worker_n_engaged(const struct worker *worker);

/* From any thread: gives the task to a thread that polls, waking one if none does. */
void poller_ready(struct poller *poller, struct task *task);

/* From any thread: something other than a run is in progress, which the watcher must check. */
void poller_expect(struct poller *poller);
void poller_forget(struct poller *poller);

/* From any thread: n more threads may be in engines at a time, so creates that many; if it cannot,
 * nothing has changed. Before the poller starts it only counts. When fewer are needed again,
 * threads end as soon as they have nothing to do. */
enum gp_status poller_need(struct poller *poller, unsigned n, struct gp_error *err);
void poller_need_less(struct poller *poller, unsigned n);

/* A worker for a thread that does not poll, used only by that thread; NULL if memory is
 * short. */
struct worker *worker_create(struct poller *poller);
void worker_destroy(struct worker *worker);

/* In such a thread: carries the task and everything that follows from it. */
void worker_carry(struct worker *worker, struct task *task);

#endif
