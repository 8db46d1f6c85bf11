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

/* Half of the time that its deadline leaves, if that is less. */
static void set_due(const struct run_queue *queue, struct inference *inference)
{
    const int64_t left_ns = inference->deadline_ns - inference->queued_ns;
    inference->is_hurried = inference->deadline_ns && left_ns / 2 < queue->max_delay_ns;
    inference->due_ns = inference->queued_ns +
                        (inference->is_hurried ? left_ns / 2 : queue->max_delay_ns);
}

void queue_add(struct run_queue *queue, struct run *run)
{
    struct inference *inference = run->inference;
    const int64_t deadline_ns = inference->deadline_ns;
    inference->queued_ns = clock_now_ns();
    set_due(queue, inference);
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

static bool waits_for_others(const struct run_queue *queue, const struct run *run)
{
    return queue->max_delay_ns && run->inference->may_join &&
           run->inference->n_rows < queue->max_rows;
}

bool queue_is_ripe(const struct run_queue *queue, const struct run *run)
{
    return !waits_for_others(queue, run);
}

enum run_reason queue_reason(const struct run_queue *queue, const struct run *run)
{
    const struct inference *inference = run->inference;
    if (!waits_for_others(queue, run))
        return RUN_HAD_SLOT;
    if (inference->waited_ns < inference->due_ns - inference->queued_ns)
        return RUN_WAS_FULL; /* with others in the queue */
    return inference->is_hurried ? RUN_HAD_TO : RUN_HAD_WAITED;
}

/* Where the first of those is that fill a run together with this one; NULL if they do not. */
static struct task **find_full(struct run_queue *queue, const struct run *run)
{
    struct task **first = NULL;
    uint64_t n_rows = 0;
    unsigned n_left = QUEUE_MOST_MEMBERS;
    for (struct task **at = &queue->first; *at && n_left--; at = &(*at)->next) {
        const struct inference *one = run_of(*at)->inference;
        if (!one->may_join || !signature_matches(one, run->inference))
            continue;
        first = first ? first : at;
        n_rows += one->n_rows;
        if (n_rows >= queue->max_rows)
            return first;
    }
    return NULL;
}

struct run *queue_take(struct run_queue *queue, const struct run *other)
{
    struct task **at = &queue->first;
    const int64_t now = *at && queue->max_delay_ns ? clock_now_ns() : 0;
    while (*at && waits_for_others(queue, run_of(*at)) &&
           now < run_of(*at)->inference->due_ns)
        at = &(*at)->next;
    if (!*at && queue->first)
        at = find_full(queue, other ? other : run_of(queue->first));
    return at && *at ? take_at(queue, at) : NULL;
}

int64_t queue_due_ns(const struct run_queue *queue)
{
    int64_t due_ns = 0;
    for (struct task *task = queue->first; task; task = task->next) {
        const int64_t one = run_of(task)->inference->due_ns;
        due_ns = !due_ns || one < due_ns ? one : due_ns;
    }
    return due_ns;
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
