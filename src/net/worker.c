#include "net/worker.h"

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
