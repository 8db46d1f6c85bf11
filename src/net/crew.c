/* The threads of a poller: made before they are needed, parked while there are too many pollers,
 * woken, and dismissed when they are no longer needed. */
#include "base/mem.h"
#include "base/place.h"
#include "net/poller.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>

int poller_n_quick(const struct poller *poller)
{
    return atomic_load_explicit(&poller->n_awake, memory_order_relaxed) -
           atomic_load_explicit(&poller->n_long, memory_order_relaxed);
}

/* While runs are short and compute, a thread beyond the number of cores costs more than it
 * gains. One in a long run does not count: it will not come back soon. */
static bool is_one_too_many(const struct poller *poller, int n_polling)
{
    if (n_polling > poller->n_cores)
        return true;
    return atomic_load_explicit(&poller->has_short_runs, memory_order_relaxed) &&
           poller_n_quick(poller) > poller->n_cores;
}

/* Called with the lock held. False if the thread polls on: there are not too many, or a task is ready
 * and it is the only one to take it. The test and the decrement are one step, since threads enter
 * engines without the lock; for the tasks see poller_ready. */
static bool stop_polling(struct poller *poller)
{
    int n = atomic_load(&poller->n_polling);
    bool stops = is_one_too_many(poller, n) && !atomic_load(&poller->is_stopping);
    while (stops && !atomic_compare_exchange_weak(&poller->n_polling, &n, n - 1))
        stops = is_one_too_many(poller, n);
    if (stops && n <= 1 && atomic_load(&poller->n_ready)) {
        atomic_fetch_add(&poller->n_polling, 1);
        stops = false;
    }
    if (stops)
        atomic_fetch_sub(&poller->n_awake, 1);
    return stops;
}

static unsigned wanted_workers(const struct poller *poller)
{
    return (unsigned)poller->n_cores + poller->n_needed + 1;
}

/* Called with the lock held, by the worker's thread or while that is parked. */
static void dismiss_worker(struct worker *worker)
{
    struct poller *poller = worker->poller;
    struct worker **at = &poller->workers;
    while (*at != worker)
        at = &(*at)->next;
    *at = worker->next;
    poller->n_workers--;
    worker->next = poller->dismissed;
    poller->dismissed = worker;
    worker->is_dismissed = true;
}

/* Called with the lock held: the one that parked last, which goes on once the lock is free. */
static void wake_parked(struct poller *poller)
{
    struct worker *worker = poller->parked;
    poller->parked = worker->next_parked;
    worker->is_parked = false;
    pthread_cond_signal(&worker->unparked);
}

/* Called with the lock held. Those that are not parked leave when they would park: so none is parked
 * while there are too many. */
static void dismiss_parked(struct poller *poller)
{
    while (poller->parked && poller->n_workers > wanted_workers(poller)) {
        dismiss_worker(poller->parked);
        wake_parked(poller);
    }
}

bool worker_park_if_too_many(struct worker *worker)
{
    struct poller *poller = worker->poller;
    const int n = atomic_load_explicit(&poller->n_polling, memory_order_relaxed);
    if (!is_one_too_many(poller, n))
        return true;
    log_write(poller->log, &worker->lines);
    pthread_mutex_lock(&poller->lock);
    if (!stop_polling(poller)) {
        /* polls on */
    } else if (poller->n_workers > wanted_workers(poller)) {
        dismiss_worker(worker);
    } else {
        worker->is_parked = true;
        worker->next_parked = poller->parked;
        poller->parked = worker;
        while (worker->is_parked)
            pthread_cond_wait(&worker->unparked, &poller->lock);
    }
    const bool stays = !worker->is_dismissed;
    pthread_mutex_unlock(&poller->lock);
    return stays;
}

/* Called with the lock held. The thread counts as a poller at once, so that two needs wake
 * two threads. */
static void unpark_worker(struct poller *poller)
{
    if (!poller->parked)
        return;
    atomic_fetch_add(&poller->n_awake, 1);
    atomic_fetch_add(&poller->n_polling, 1);
    wake_parked(poller);
}

void poller_unpark(struct poller *poller)
{
    pthread_mutex_lock(&poller->lock);
    unpark_worker(poller);
    pthread_mutex_unlock(&poller->lock);
}

static void join_worker(struct worker *worker)
{
    if (!worker)
        return;
    pthread_join(worker->thread, NULL);
    worker_destroy(worker);
}

/* At most the last that was dismissed is left to be joined. */
void worker_join_dismissed(struct worker *worker)
{
    if (worker->is_dismissed)
        join_worker(worker->next);
}

/* The lowest that no other worker has, so that threads seldom share a row of counters, however many
 * have come and gone. */
static unsigned choose_number(const struct poller *poller, unsigned otherwise)
{
    uint64_t taken = 0;
    for (const struct worker *one = poller->workers; one; one = one->next)
        taken |= one->number < 64 ? UINT64_C(1) << one->number : 0;
    return ~taken ? (unsigned)__builtin_ctzll(~taken) : otherwise;
}

/* Called with the lock held, or before anything runs. */
static bool make_worker(struct poller *poller, int *error)
{
    struct worker *worker = worker_create(poller);
    *error = ENOMEM;
    if (!worker)
        return false;
    worker->polls = true;
    worker->number = choose_number(poller, worker->number);
    atomic_fetch_add(&poller->n_awake, 1);
    atomic_fetch_add(&poller->n_polling, 1);
    *error = pthread_create(&worker->thread, NULL, worker_main, worker);
    if (*error) {
        atomic_fetch_sub(&poller->n_awake, 1);
        atomic_fetch_sub(&poller->n_polling, 1);
        worker_destroy(worker);
        return false;
    }
    worker->next = poller->workers;
    poller->workers = worker;
    poller->n_workers++;
    return true;
}

/* Likewise. */
static enum gp_status make_workers(struct poller *poller, unsigned n,
                                   struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    int error = 0;
    while (poller->n_workers < n)
        if (!make_worker(poller, &error))
            return gp_error_set(err, GP_UNAVAILABLE,
                                "cannot make thread %u of %u: %s; fewer --pollers and "
                                "--instances need fewer threads",
                                poller->n_workers + 1, n, place_explain(error, words));
    return GP_OK;
}

enum gp_status poller_start(struct poller *poller, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    const int rc = pthread_create(&poller->watcher, NULL, watcher_main, poller);
    if (rc != 0)
        return gp_error_set(err, GP_UNAVAILABLE, "cannot make the watcher's thread: %s",
                            place_explain(rc, words));
    pthread_mutex_lock(&poller->lock);
    poller->has_watcher = true;
    const enum gp_status status = make_workers(poller, wanted_workers(poller), err);
    pthread_mutex_unlock(&poller->lock);
    return status;
}

/* Called with the lock held. */
static void need_less(struct poller *poller, unsigned n)
{
    poller->n_needed -= n;
    dismiss_parked(poller);
}

enum gp_status poller_need(struct poller *poller, unsigned n, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    pthread_mutex_lock(&poller->lock);
    poller->n_needed += n;
    if (poller->has_watcher && !atomic_load(&poller->is_stopping))
        status = make_workers(poller, wanted_workers(poller), err);
    if (status != GP_OK)
        need_less(poller, n);
    pthread_mutex_unlock(&poller->lock);
    return status;
}

void poller_need_less(struct poller *poller, unsigned n)
{
    pthread_mutex_lock(&poller->lock);
    need_less(poller, n);
    pthread_mutex_unlock(&poller->lock);
}

void poller_stop(struct poller *poller)
{
    pthread_mutex_lock(&poller->lock);
    atomic_store(&poller->is_stopping, true);
    poller_signal(poller->end_fd);
    while (poller->parked)
        unpark_worker(poller);
    pthread_cond_signal(&poller->watcher_waked);
    pthread_mutex_unlock(&poller->lock);
    for (struct worker *worker = poller->workers; worker; worker = worker->next)
        pthread_join(worker->thread, NULL);
    join_worker(poller->dismissed);
    poller->dismissed = NULL;
    if (poller->has_watcher)
        pthread_join(poller->watcher, NULL);
}

struct worker *worker_create(struct poller *poller)
{
    struct worker *worker = mem_alloc(sizeof *worker);
    if (!worker)
        return NULL;
    memset(worker, 0, offsetof(struct worker, window)); /* pages that it may never need */
    worker_init(worker, poller, poller->log);
    worker->number = atomic_fetch_add(&poller->n_made, 1);
    return worker;
}

void worker_destroy(struct worker *worker)
{
    if (worker)
        worker_finish(worker);
    mem_free(worker);
}
