/* Slots and the queue before them. Lock order: the model's, then a slot's; neither is
 * held while anything is read, written or run. */
#include "model/model.h"

#include "base/clock.h"
#include "base/place.h"
#include "server/connection.h"
#include "server/server.h"

#include <sys/epoll.h>

/* A run younger than this is left alone: looking costs more than it could save. */
#define YOUNG_NS (20 * CLOCK_MS)

/* Whether it makes sense to wait for a slot; else x->error says why not. With the lock held. */
static bool may_wait(struct model *model, struct exchange *x)
{
    if (model->isolate && !isolate_is_alive(model->isolate, &x->error))
        return false;
    if (model->n_waiting >= model->max_waiting)
        gp_error_set(&x->error, GP_BUSY,
                     "busy: %u requests wait already (--max-waiting); try again later",
                     model->max_waiting);
    else if (peers_is_over_waiting(x->connection->peer, model->max_waiting,
                                   model->n_waiting))
        gp_error_set(&x->error, GP_BUSY,
                     "busy: this client's share of the %u places for requests that wait "
                     "(--max-waiting) is used up, and the last ones are kept for others; "
                     "try again later",
                     model->max_waiting);
    else
        return true;
    return false;
}

enum slot_take model_take_slot(struct model *model, struct exchange *x)
{
    enum slot_take take = SLOT_TAKEN;
    const int64_t now = clock_now_ns();
    pthread_mutex_lock(&model->lock);
    if (model->first_free < model->description.n_slots) {
        x->slot = model->first_free;
        model->first_free = model->slots[x->slot].next_free;
    } else if (may_wait(model, x)) {
        take = SLOT_QUEUED;
        x->queued_ns = now;
        x->next = NULL;
        *model->queue_end = x;
        model->queue_end = &x->next;
        model->n_waiting++;
        peers_add_waiting(x->connection->peer);
        if (x->deadline_ns &&
            (!model->queue_deadline_ns || x->deadline_ns < model->queue_deadline_ns))
            model->queue_deadline_ns = x->deadline_ns;
    } else {
        take = SLOT_REFUSED;
    }
    pthread_mutex_unlock(&model->lock);
    return take;
}

struct exchange *model_pass_slot(struct model *model, uint32_t slot)
{
    if (model->isolate && !isolate_let_go(model->isolate, slot)) {
        /* Not a run, but as with one the watcher has to look after those who wait. */
        poller_engage_slot(&model->server->poller);
        return NULL;
    }
    pthread_mutex_lock(&model->lock);
    struct exchange *x = model->queue;
    if (x) {
        model->queue = x->next;
        if (!model->queue)
            model->queue_end = &model->queue;
        model->n_waiting--;
        peers_drop_waiting(x->connection->peer);
        x->next = NULL;
        x->slot = slot;
    } else {
        model->slots[slot].next_free = model->first_free;
        model->first_free = slot;
    }
    pthread_mutex_unlock(&model->lock);
    if (x)
        x->waited_ns = clock_now_ns() - x->queued_ns;
    return x;
}

void model_run_begin(struct model *model, struct exchange *x)
{
    struct slot *slot = &model->slots[x->slot];
    x->run_began_ns = clock_now_ns();
    pthread_mutex_lock(&slot->lock);
    slot->running = x;
    slot->is_cancelled = false;
    atomic_store(&slot->began_ns, x->run_began_ns);
    pthread_mutex_unlock(&slot->lock);
}

bool model_run_end(struct model *model, struct exchange *x)
{
    struct slot *slot = &model->slots[x->slot];
    x->ran_ns = clock_now_ns() - x->run_began_ns;
    pthread_mutex_lock(&slot->lock);
    slot->running = NULL;
    const bool is_cancelled = slot->is_cancelled;
    atomic_store(&slot->began_ns, 0);
    pthread_mutex_unlock(&slot->lock);
    return is_cancelled;
}

/* The slot's own thread: takes what it is given and carries on with what waits. */
static void *slot_main(void *arg)
{
    struct worker *worker = arg;
    struct model *model = &worker->server->model;
    struct slot *slot = &model->slots[worker->slot];
    for (;;) {
        pthread_mutex_lock(&slot->lock);
        while (!slot->to_run && !slot->is_ending)
            pthread_cond_wait(&slot->given, &slot->lock);
        struct exchange *x = slot->to_run;
        slot->to_run = NULL;
        pthread_mutex_unlock(&slot->lock);
        if (!x)
            return NULL;
        connection_carry(worker, x);
        log_write(&model->server->log, &worker->lines);
    }
}

bool model_hand_over(struct model *model, struct exchange *x)
{
    struct slot *slot = &model->slots[x->slot];
    if (!slot->worker)
        return false;
    pthread_mutex_lock(&slot->lock);
    slot->to_run = x;
    pthread_cond_signal(&slot->given);
    pthread_mutex_unlock(&slot->lock);
    return true;
}

/* With the slot's lock held, so that the run cannot end meanwhile. */
static void watch_run(struct slot *slot, int64_t now)
{
    struct exchange *x = slot->running;
    if (!x || slot->is_cancelled)
        return;
    bool is_over = x->deadline_ns && now >= x->deadline_ns;
    if (!is_over && now - x->run_began_ns > YOUNG_NS)
        is_over = connection_is_left(x->connection);
    if (is_over) {
        slot->is_cancelled = true;
        engine_run_cancel(&x->run);
    }
}

/* Takes out of the queue what is due at `now`, INT64_MAX: everything; a list. */
static struct exchange *take_due(struct model *model, int64_t now)
{
    struct exchange *due = NULL;
    int64_t earliest = 0;
    pthread_mutex_lock(&model->lock);
    struct exchange **at = &model->queue;
    while (*at) {
        struct exchange *x = *at;
        if (now == INT64_MAX || (x->deadline_ns && x->deadline_ns <= now)) {
            *at = x->next;
            model->n_waiting--;
            peers_drop_waiting(x->connection->peer);
            x->next = due;
            due = x;
        } else {
            if (x->deadline_ns && (!earliest || x->deadline_ns < earliest))
                earliest = x->deadline_ns;
            at = &x->next;
        }
    }
    model->queue_end = at;
    model->queue_deadline_ns = earliest;
    pthread_mutex_unlock(&model->lock);
    return due;
}

static void fail_all(struct exchange *list, enum gp_status status, const char *message)
{
    while (list) {
        struct exchange *x = list;
        list = x->next;
        x->next = NULL;
        gp_error_set(&x->error, status, "%s", message);
        connection_answer_later(x);
    }
}

void model_watch(struct model *model)
{
    const int64_t now = clock_now_ns();
    for (uint32_t i = 0; i < model->description.n_slots; i++) {
        struct slot *slot = &model->slots[i];
        if (!atomic_load_explicit(&slot->began_ns, memory_order_relaxed))
            continue;
        pthread_mutex_lock(&slot->lock);
        watch_run(slot, now);
        pthread_mutex_unlock(&slot->lock);
    }
    pthread_mutex_lock(&model->lock);
    const bool has_due = model->queue_deadline_ns && model->queue_deadline_ns <= now;
    pthread_mutex_unlock(&model->lock);
    if (has_due)
        fail_all(take_due(model, now), GP_DEADLINE,
                 "the deadline was over before a slot was free");
}

void model_cancel_all(struct model *model)
{
    fail_all(take_due(model, INT64_MAX), GP_UNAVAILABLE,
             "the server ended before a slot was free");
    for (uint32_t i = 0; i < model->description.n_slots; i++) {
        struct slot *slot = &model->slots[i];
        pthread_mutex_lock(&slot->lock);
        if (slot->running && !slot->is_cancelled) {
            slot->is_cancelled = true;
            engine_run_cancel(&slot->running->run);
        }
        pthread_mutex_unlock(&slot->lock);
    }
}

/* Takes a slot out of the free ones; false when it is not among them. */
static bool withdraw(struct model *model, uint32_t slot)
{
    pthread_mutex_lock(&model->lock);
    uint32_t *at = &model->first_free;
    while (*at < model->description.n_slots && *at != slot)
        at = &model->slots[*at].next_free;
    const bool is_free = *at == slot;
    if (is_free)
        *at = model->slots[slot].next_free;
    pthread_mutex_unlock(&model->lock);
    return is_free;
}

/* A piece of news about the children. */
static void news_came(struct worker *worker, struct source *source)
{
    struct model *model = &worker->server->model;
    struct exchange *x = NULL;
    struct gp_error err;
    uint32_t slot;
    (void)source;
    switch (isolate_next(model->isolate, &slot)) {
    case ISOLATE_NONE:
        break;
    case ISOLATE_USABLE:
        poller_disengage_slot(&worker->server->poller);
        x = model_pass_slot(model, slot);
        break;
    case ISOLATE_LOST:
        if (withdraw(model, slot)) {
            isolate_look(model->isolate, slot);
            x = model_pass_slot(model, slot);
        }
        break;
    case ISOLATE_DOWN:
        if (!isolate_is_alive(model->isolate, &err))
            fail_all(take_due(model, INT64_MAX), err.status, err.message);
        break;
    }
    connection_carry(worker, x);
}

enum gp_status model_start(struct model *model, struct gp_error *err)
{
    if (model->isolate) {
        model->news.serve = news_came;
        model->news.fd = isolate_news_fd(model->isolate);
        if (!poller_add(&model->server->poller, &model->news, EPOLLIN | EPOLLET))
            return gp_error_set(err, GP_IO, "cannot watch the engine's processes");
    }
    if (!(model->description.flags & GP_SLOT_THREAD))
        return GP_OK;
    for (uint32_t i = 0; i < model->description.n_slots; i++) {
        struct worker *worker = server_make_worker(model->server);
        if (!worker)
            return gp_error_set(err, GP_NO_MEMORY, "no memory for a slot's thread");
        worker->slot = i;
        const int rc = pthread_create(&worker->thread, NULL, slot_main, worker);
        if (rc != 0) {
            char words[PLACE_WORDS_BYTES];
            server_free_worker(worker);
            return gp_error_set(
                err, GP_UNAVAILABLE,
                "cannot make a thread for slot %u of %u: %s; fewer --instances need "
                "fewer threads",
                i, model->description.n_slots, place_explain(rc, words));
        }
        model->slots[i].worker = worker;
    }
    return GP_OK;
}

void model_stop(struct model *model)
{
    for (uint32_t i = 0; model->slots && i < model->description.n_slots; i++) {
        struct slot *slot = &model->slots[i];
        if (!slot->worker)
            continue;
        pthread_mutex_lock(&slot->lock);
        slot->is_ending = true;
        pthread_cond_signal(&slot->given);
        pthread_mutex_unlock(&slot->lock);
        pthread_join(slot->worker->thread, NULL);
        server_free_worker(slot->worker);
        slot->worker = NULL;
    }
}
