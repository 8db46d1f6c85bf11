#include "model/queue.h"

#include "base/clock.h"
#include "model/signature.h"

void queue_init(struct run_queue *queue)
{
    queue->end = &queue->first;
}

static struct run *run_of(struct task *task)
{
    return (struct run *)(void *)task; /* its first member */
}

void queue_add(struct run_queue *queue, struct run *run)
{
    struct inference *inference = run->inference;
    const int64_t deadline_ns = inference->deadline_ns;
    inference->queued_ns = clock_now_ns();
    run->task.next = NULL;
    *queue->end = &run->task;
    queue->end = &run->task.next;
    queue->n++;
    share_taker_add(inference->client);
    if (deadline_ns && (!queue->deadline_ns || deadline_ns < queue->deadline_ns))
        queue->deadline_ns = deadline_ns;
}

/* Takes the run at *at out. */
static struct run *take_at(struct run_queue *queue, struct task **at)
{
    struct run *run = run_of(*at);
    *at = run->task.next;
    if (!*at)
        queue->end = at;
    queue->n--;
    share_taker_drop(run->inference->client);
    run->inference->waited_ns = clock_now_ns() - run->inference->queued_ns;
    return run;
}

struct run *queue_take(struct run_queue *queue)
{
    return queue->first ? take_at(queue, &queue->first) : NULL;
}

void queue_fill(struct run_queue *queue, struct run *run)
{
    struct inference *first = run->inference, *last = first;
    uint64_t n_rows = first->n_rows;
    unsigned n_left = QUEUE_MOST_MEMBERS - 1; /* to look at: the lock is held meanwhile */
    for (struct task **at = &queue->first; *at && n_rows < queue->max_rows && n_left--;) {
        struct inference *other = run_of(*at)->inference;
        if (other->may_join && other->n_rows <= queue->max_rows - n_rows &&
            signature_matches(first, other)) {
            take_at(queue, at);
            last = last->next_member = other;
            n_rows += other->n_rows;
        } else {
            at = &(*at)->next;
        }
    }
}

struct task *queue_take_late(struct run_queue *queue, int64_t now)
{
    struct task *late = NULL;
    int64_t earliest = 0;
    for (struct task **at = &queue->first; *at;) {
        const int64_t deadline_ns = run_of(*at)->inference->deadline_ns;
        if (now == INT64_MAX || (deadline_ns && deadline_ns <= now)) {
            struct run *run = take_at(queue, at);
            run->task.next = late;
            late = &run->task;
        } else {
            if (deadline_ns && (!earliest || deadline_ns < earliest))
                earliest = deadline_ns;
            at = &(*at)->next;
        }
    }
    queue->deadline_ns = earliest;
    return late;
}
