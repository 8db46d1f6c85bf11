/* Lock order: the lock of the slots, then that of one slot. Neither is held while anything is read,
 * written or run, except that the watcher asks under a slot's lock whether the client has left. */
#include "model/slots.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/place.h"

#include <stddef.h>

/* A run younger than this is left alone: checking costs more than it could save. */
#define YOUNG_NS (20 * CLOCK_MS)

/* A run older than this is long: the watcher's tick. */
#define LONG_NS (1 * CLOCK_MS)

enum gp_status slots_init(struct slots *slots, uint32_t n, struct gp_error *err)
{
    slots->all = mem_array(n, sizeof *slots->all);
    if (!slots->all)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for %u slots", n);
    slots->n = n;
    queue_init(&slots->queue);
    pthread_mutex_init(&slots->lock, NULL);
    for (uint32_t i = 0; i < n; i++) {
        pthread_mutex_init(&slots->all[i].lock, NULL);
        pthread_cond_init(&slots->all[i].given, NULL);
        slots->all[i].next_free = i + 1;
    }
    return GP_OK;
}

void slots_finish(struct slots *slots)
{
    if (!slots->all)
        return;
    if (slots->alarm.ring)
        alarm_remove(slots->poller, &slots->alarm);
    for (uint32_t i = 0; i < slots->n; i++) {
        pthread_mutex_destroy(&slots->all[i].lock);
        pthread_cond_destroy(&slots->all[i].given);
    }
    pthread_mutex_destroy(&slots->lock);
    for (unsigned n = atomic_load(&slots->n_lost); n; n--)
        poller_forget(slots->poller); /* no news of them comes any more */
    mem_free(slots->all);
    slots->all = NULL;
}

/* Called with the lock held. False if the run may not wait for a slot; the inference's error says
 * why. */
static bool may_wait(struct slots *slots, struct inference *inference)
{
    struct gp_error *err = &inference->error;
    if (slots->isolate && !isolate_is_alive(slots->isolate, err))
        return false;
    if (slots->queue.n >= slots->max_waiting)
        gp_error_set(err, GP_BUSY,
                     "busy: %u requests wait already (--max-waiting); try again later",
                     slots->max_waiting);
    else if (share_taker_is_over(inference->client, slots->max_waiting, slots->queue.n))
        gp_error_set(err, GP_BUSY,
                     "busy: this client's share of the %u places for requests that wait "
                     "(--max-waiting) is used up, and the last ones are kept for others; "
                     "try again later",
                     slots->max_waiting);
    else
        return true;
    return false;
}

void slots_fill(struct slots *slots, struct run *run)
{
    pthread_mutex_lock(&slots->lock);
    queue_fill(&slots->queue, run);
    pthread_mutex_unlock(&slots->lock);
}

/* Starts a run that has its slot: on this thread, or any that polls. A slot with a thread of its own
 * has it run there and nowhere else, so such a run is never among the tasks that a thread may
 * share; nor does that thread run others. */
static void start_run(struct slots *slots, struct worker *worker, struct run *run)
{
    struct slot *slot = &slots->all[run->slot];
    if (!slot->worker) {
        if (worker && worker_takes_any(worker))
            worker_take(worker, &run->task);
        else
            poller_ready(slots->poller, &run->task);
        return;
    }
    pthread_mutex_lock(&slot->lock);
    slot->to_run = run;
    pthread_cond_signal(&slot->given);
    pthread_mutex_unlock(&slot->lock);
}

/* Called with the lock held. */
static void count_taken(struct slots *slots, int more)
{
    const int n = atomic_load_explicit(&slots->n_taken, memory_order_relaxed);
    atomic_store_explicit(&slots->n_taken, n + more, memory_order_relaxed);
}

bool slots_are_idle(const struct slots *slots)
{
    return !atomic_load_explicit(&slots->n_taken, memory_order_relaxed);
}

/* Called with the lock held: gives the run the first free slot. */
static void take_slot(struct slots *slots, struct run *run)
{
    run->inference->run_reason = queue_reason(&slots->queue, run);
    run->slot = slots->first_free;
    slots->first_free = slots->all[run->slot].next_free;
    count_taken(slots, 1);
}

/* Called with the lock held: the run, or another that is ripe by its coming, has a slot then and
 * begins; NULL if none does. */
static struct run *take_or_wait(struct slots *slots, struct run *run, bool *may_enter)
{
    const bool has_slot = slots->first_free < slots->n;
    struct run *begins = run;
    *may_enter = true;
    if (!has_slot || !queue_is_ripe(&slots->queue, run)) {
        *may_enter = may_wait(slots, run->inference);
        if (!*may_enter)
            return NULL;
        queue_add(&slots->queue, run);
        begins = has_slot ? queue_take(&slots->queue, run) : NULL;
    }
    if (begins)
        take_slot(slots, begins);
    return begins;
}

/* With the lock held: when the alarm has to ring, since nothing else will look; 0: not. */
static int64_t alarm_ns(const struct slots *slots)
{
    return slots->queue.max_delay_ns && slots->first_free < slots->n
               ? queue_due_ns(&slots->queue)
               : 0;
}

bool slots_enter(struct slots *slots, struct worker *worker, struct run *run)
{
    bool may_enter;
    pthread_mutex_lock(&slots->lock);
    struct run *begins = take_or_wait(slots, run, &may_enter);
    const int64_t due_ns = alarm_ns(slots);
    pthread_mutex_unlock(&slots->lock);
    if (begins)
        start_run(slots, worker, begins);
    if (due_ns)
        alarm_set(slots->poller, &slots->alarm, due_ns);
    return may_enter;
}

/* The alarm: those that have waited for others long enough begin, as far as there are slots. */
static int64_t begin_due(struct worker *worker, struct alarm *alarm)
{
    struct slots *slots =
        (struct slots *)(void *)((char *)alarm - offsetof(struct slots, alarm));
    struct run *run = NULL;
    int64_t due_ns;
    do {
        pthread_mutex_lock(&slots->lock);
        run = slots->first_free < slots->n ? queue_take(&slots->queue, NULL) : NULL;
        if (run)
            take_slot(slots, run);
        due_ns = alarm_ns(slots);
        pthread_mutex_unlock(&slots->lock);
        if (run)
            start_run(slots, worker, run);
    } while (run);
    return due_ns;
}

enum gp_status slots_delay(struct slots *slots, int64_t delay_ns, struct gp_error *err)
{
    slots->queue.max_delay_ns = delay_ns;
    slots->alarm.ring = begin_due;
    return delay_ns ? alarm_add(slots->poller, &slots->alarm, err) : GP_OK;
}

/* Takes a slot off the free list; false if it is not on it. */
static bool withdraw_slot(struct slots *slots, uint32_t slot)
{
    pthread_mutex_lock(&slots->lock);
    uint32_t *at = &slots->first_free;
    while (*at < slots->n && *at != slot)
        at = &slots->all[*at].next_free;
    const bool is_free = *at == slot;
    if (is_free) {
        *at = slots->all[slot].next_free;
        count_taken(slots, 1);
    }
    pthread_mutex_unlock(&slots->lock);
    return is_free;
}

bool slots_enter_at(struct slots *slots, struct worker *worker, struct run *run,
                    uint32_t slot)
{
    const bool is_free = withdraw_slot(slots, slot);
    run->slot = slot;
    if (is_free)
        start_run(slots, worker, run);
    return is_free;
}

void slots_pass(struct slots *slots, struct worker *worker, uint32_t slot)
{
    if (slots->isolate && !isolate_let_go(slots->isolate, slot)) {
        atomic_fetch_add(&slots->n_lost, 1);
        poller_expect(slots->poller); /* the watcher must check the runs that wait */
        return;
    }
    pthread_mutex_lock(&slots->lock);
    struct run *run = queue_take(&slots->queue, NULL);
    if (run) {
        run->inference->run_reason = RUN_HAD_SLOT; /* what it waited for in the end */
        run->slot = slot;
    } else {
        slots->all[slot].next_free = slots->first_free;
        slots->first_free = slot;
        count_taken(slots, -1);
    }
    const int64_t due_ns = alarm_ns(slots);
    pthread_mutex_unlock(&slots->lock);
    if (run)
        start_run(slots, worker, run);
    if (due_ns)
        alarm_set(slots->poller, &slots->alarm, due_ns);
}

void slots_stop_joining(struct slots *slots)
{
    pthread_mutex_lock(&slots->lock);
    slots->queue.max_rows = 0;
    pthread_mutex_unlock(&slots->lock);
}

void slots_run_begin(struct slots *slots, struct run *run)
{
    struct slot *slot = &slots->all[run->slot];
    run->began_ns = clock_now_ns();
    pthread_mutex_lock(&slot->lock);
    slot->running = run;
    slot->stop = SLOT_GOES_ON;
    atomic_store(&slot->began_ns, run->began_ns);
    pthread_mutex_unlock(&slot->lock);
}

enum slot_stop slots_run_end(struct slots *slots, struct run *run)
{
    struct slot *slot = &slots->all[run->slot];
    const int64_t ran_ns = clock_now_ns() - run->began_ns;
    for (struct inference *i = run->inference; i; i = i->next_member)
        i->ran_ns = ran_ns;
    pthread_mutex_lock(&slot->lock);
    slot->running = NULL;
    const enum slot_stop stop = slot->stop;
    atomic_store(&slot->began_ns, 0);
    pthread_mutex_unlock(&slot->lock);
    return stop;
}

/* Called with the slot's lock held, so that the run cannot end meanwhile. */
static void stop_run(struct slot *slot, enum slot_stop why)
{
    if (!slot->running || slot->stop != SLOT_GOES_ON || why == SLOT_GOES_ON)
        return;
    slot->stop = why;
    engine_run_cancel(&slot->running->engine_run);
}

/* Likewise: a run goes on as long as one of its members is wanted. */
static enum slot_stop why_stop(const struct slot *slot, int64_t now)
{
    const struct run *run = slot->running;
    enum slot_stop why = SLOT_GOES_ON;
    if (!run || slot->stop != SLOT_GOES_ON)
        return SLOT_GOES_ON;
    for (const struct inference *i = run->inference; i; i = i->next_member) {
        if (i->deadline_ns && now >= i->deadline_ns)
            why = SLOT_LATE;
        else if (now - run->began_ns > YOUNG_NS && i->is_left(i))
            why = SLOT_LEFT;
        else
            return SLOT_GOES_ON;
    }
    return why;
}

static struct task *take_late(struct slots *slots, int64_t now)
{
    pthread_mutex_lock(&slots->lock);
    struct task *late = queue_take_late(&slots->queue, now);
    pthread_mutex_unlock(&slots->lock);
    return late;
}

static void fail_all(struct slots *slots, struct task *list, enum gp_status status,
                     const char *message)
{
    while (list) {
        struct inference *inference = ((struct run *)(void *)list)->inference;
        list = list->next;
        gp_error_set(&inference->error, status, "%s", message);
        poller_ready(slots->poller, &inference->task);
    }
}

unsigned slots_watch(struct slots *slots)
{
    unsigned n_long = 0;
    const int64_t now = clock_now_ns();
    for (uint32_t i = 0; i < slots->n; i++) {
        struct slot *slot = &slots->all[i];
        const int64_t began_ns =
            atomic_load_explicit(&slot->began_ns, memory_order_relaxed);
        if (!began_ns)
            continue;
        n_long += !slot->worker && now - began_ns > LONG_NS;
        pthread_mutex_lock(&slot->lock);
        stop_run(slot, why_stop(slot, now));
        pthread_mutex_unlock(&slot->lock);
    }
    pthread_mutex_lock(&slots->lock);
    const bool has_late = slots->queue.deadline_ns && slots->queue.deadline_ns <= now;
    pthread_mutex_unlock(&slots->lock);
    if (has_late)
        fail_all(slots, take_late(slots, now), GP_DEADLINE,
                 "the deadline was over before a slot was free");
    return n_long;
}

void slots_cancel(struct slots *slots)
{
    fail_all(slots, take_late(slots, INT64_MAX), GP_UNAVAILABLE,
             "the server ended before a slot was free");
    for (uint32_t i = 0; i < slots->n; i++) {
        struct slot *slot = &slots->all[i];
        pthread_mutex_lock(&slot->lock);
        stop_run(slot, SLOT_ENDING);
        pthread_mutex_unlock(&slot->lock);
    }
}

unsigned slots_n_waiting(struct slots *slots)
{
    pthread_mutex_lock(&slots->lock);
    const unsigned n = slots->queue.n;
    pthread_mutex_unlock(&slots->lock);
    return n;
}

static void take_one(struct slots *slots, enum isolate_news news, uint32_t slot)
{
    struct gp_error err;
    switch (news) {
    case ISOLATE_NONE:
        break;
    case ISOLATE_USABLE:
        atomic_fetch_sub(&slots->n_lost, 1);
        poller_forget(slots->poller);
        slots_pass(slots, NULL, slot);
        break;
    case ISOLATE_LOST:
        if (withdraw_slot(slots, slot)) {
            isolate_look(slots->isolate, slot);
            slots_pass(slots, NULL, slot);
        }
        break;
    case ISOLATE_DOWN:
        if (!isolate_is_alive(slots->isolate, &err))
            fail_all(slots, take_late(slots, INT64_MAX), err.status, err.message);
        break;
    }
}

void slots_take_news(struct slots *slots)
{
    enum isolate_news news;
    do {
        uint32_t slot = 0;
        news = isolate_next(slots->isolate, &slot);
        take_one(slots, news, slot);
    } while (news != ISOLATE_NONE);
}

/* The slot's own thread: carries out the runs it is given, and those that wait after them. */
static void *slot_main(void *arg)
{
    struct slot *slot = arg;
    for (;;) {
        pthread_mutex_lock(&slot->lock);
        while (!slot->to_run && !slot->is_ending)
            pthread_cond_wait(&slot->given, &slot->lock);
        struct run *run = slot->to_run;
        slot->to_run = NULL;
        pthread_mutex_unlock(&slot->lock);
        if (!run)
            return NULL;
        worker_carry(slot->worker, &run->task);
    }
}

enum gp_status slots_start_threads(struct slots *slots, struct gp_error *err)
{
    for (uint32_t i = 0; i < slots->n; i++) {
        struct slot *slot = &slots->all[i];
        slot->worker = worker_create(slots->poller);
        if (!slot->worker)
            return gp_error_set(err, GP_NO_MEMORY, "no memory for a slot's thread");
        worker_reserve(slot->worker);
        const int rc = pthread_create(&slot->thread, NULL, slot_main, slot);
        if (rc != 0) {
            char words[PLACE_WORDS_BYTES];
            worker_destroy(slot->worker);
            slot->worker = NULL;
            return gp_error_set(
                err, GP_UNAVAILABLE,
                "cannot make a thread for slot %u of %u: %s; fewer --instances need "
                "fewer threads",
                i, slots->n, place_explain(rc, words));
        }
    }
    return GP_OK;
}

void slots_stop_threads(struct slots *slots)
{
    for (uint32_t i = 0; slots->all && i < slots->n; i++) {
        struct slot *slot = &slots->all[i];
        if (!slot->worker)
            continue;
        pthread_mutex_lock(&slot->lock);
        slot->is_ending = true;
        pthread_cond_signal(&slot->given);
        pthread_mutex_unlock(&slot->lock);
        pthread_join(slot->thread, NULL);
        worker_destroy(slot->worker);
        slot->worker = NULL;
    }
}
