#include "net/worker.h"

#include "base/clock.h"

/* What a task that is postponed waits for: events that are served, and how long that takes. */
#define MOST_NS CLOCK_MS
enum { MOST_SERVED = 64 };

void worker_init(struct worker *worker, struct poller *poller, struct log *log)
{
    worker->poller = poller;
    worker->log = log;
    worker->tasks_end = &worker->tasks;
    pthread_cond_init(&worker->unparked, NULL);
}

void worker_finish(struct worker *worker)
{
    log_lines_finish(&worker->lines);
    pthread_cond_destroy(&worker->unparked);
}

void worker_take(struct worker *worker, struct task *task)
{
    task->next = NULL;
    *worker->tasks_end = task;
    worker->tasks_end = &task->next;
}

void worker_postpone(struct worker *worker, struct task *task)
{
    if (!worker->polls) {
        worker_take(worker, task);
    } else if (worker->postponed) {
        poller_ready(worker->poller, task);
    } else {
        worker->postponed = task;
        worker->postponed_ns = clock_now_ns();
        worker->n_served = 0;
    }
}

void worker_take_postponed(struct worker *worker)
{
    if (worker->postponed)
        worker_take(worker, worker->postponed);
    worker->postponed = NULL;
}

bool worker_has_postponed_enough(const struct worker *worker)
{
    return worker->postponed && (worker->n_served >= MOST_SERVED ||
                                 clock_now_ns() - worker->postponed_ns >= MOST_NS);
}

struct task *worker_next_task(struct worker *worker)
{
    struct task *task = worker->tasks;
    if (task)
        worker->tasks = task->next;
    if (!worker->tasks)
        worker->tasks_end = &worker->tasks;
    return task;
}

void worker_carry_tasks(struct worker *worker)
{
    struct task *task;
    while ((task = worker_next_task(worker)))
        task->go(worker, task);
}

void worker_carry(struct worker *worker, struct task *task)
{
    worker_take(worker, task);
    worker_carry_tasks(worker);
    log_write(worker->log, &worker->lines);
}
