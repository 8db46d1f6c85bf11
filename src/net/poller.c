#include "net/poller.h"

#include "base/mem.h"
#include "base/place.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long access lines wait for more. */
enum { LINES_WAIT_MS = 10 };

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

/* Called with the lock held. Those that are not parked leave when they would park: so none is parked
 * while there are too many. */
static void dismiss_parked(struct poller *poller)
{
    while (poller->parked && poller->n_workers > wanted_workers(poller)) {
        struct worker *worker = poller->parked;
        poller->parked = worker->next_parked;
        worker->is_parked = false;
        dismiss_worker(worker);
        pthread_cond_signal(&worker->unparked);
    }
}

/* If there are too many pollers, waits until the watcher or the end wakes this thread. False if it
 * is not needed any more. */
static bool park_if_too_many(struct worker *worker)
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
    struct worker *worker = poller->parked;
    if (!worker)
        return;
    poller->parked = worker->next_parked;
    worker->is_parked = false;
    atomic_fetch_add(&poller->n_awake, 1);
    atomic_fetch_add(&poller->n_polling, 1);
    pthread_cond_signal(&worker->unparked);
}

void poller_unpark(struct poller *poller)
{
    pthread_mutex_lock(&poller->lock);
    unpark_worker(poller);
    pthread_mutex_unlock(&poller->lock);
}

/* The counts change before the pace is read, and the watcher sets its pace before it reads
 * the counts: the second always sees what the first did. */
static void wake_watcher(struct poller *poller, int n_polling)
{
    const int pace = atomic_load(&poller->watcher_pace);
    if (pace == WATCHER_FAST || (pace == WATCHER_SLOW && n_polling > 0))
        return;
    pthread_mutex_lock(&poller->lock);
    atomic_store(&poller->watcher_pace, WATCHER_FAST);
    pthread_cond_signal(&poller->watcher_waked);
    pthread_mutex_unlock(&poller->lock);
}

/* If the last poller enters an engine while a task is ready, another thread takes the task. */
static void poller_engage(struct poller *poller)
{
    atomic_fetch_add(&poller->n_engaged, 1);
    const int n_polling = atomic_fetch_sub(&poller->n_polling, 1) - 1;
    wake_watcher(poller, n_polling);
    if (n_polling <= 0 && atomic_load(&poller->n_ready))
        poller_unpark(poller);
}

static void poller_disengage(struct poller *poller)
{
    atomic_fetch_add_explicit(&poller->n_runs, 1, memory_order_relaxed);
    atomic_fetch_add(&poller->n_polling, 1);
    atomic_fetch_sub(&poller->n_engaged, 1);
}

void poller_expect(struct poller *poller)
{
    atomic_fetch_add(&poller->n_engaged, 1);
    wake_watcher(poller, atomic_load(&poller->n_polling));
}

void poller_forget(struct poller *poller)
{
    atomic_fetch_add_explicit(&poller->n_runs, 1, memory_order_relaxed);
    atomic_fetch_sub(&poller->n_engaged, 1);
}

/* A run that may be long must not delay the log lines of earlier answers. */
void worker_engage(struct worker *worker)
{
    struct poller *poller = worker->poller;
    if (!atomic_load_explicit(&poller->has_short_runs, memory_order_relaxed))
        log_write(poller->log, &worker->lines);
    if (worker->polls)
        poller_engage(poller);
    else
        poller_expect(poller);
}

void worker_disengage(struct worker *worker)
{
    if (worker->polls)
        poller_disengage(worker->poller);
    else
        poller_forget(worker->poller);
}

unsigned worker_n_engaged(const struct worker *worker)
{
    const int n = atomic_load_explicit(&worker->poller->n_engaged, memory_order_relaxed);
    return n > 1 ? (unsigned)n : 1;
}

static void signal_event(int event_fd)
{
    const uint64_t one = 1;
    if (write(event_fd, &one, sizeof one) < 0) {
        /* Cannot fail: the counter is far from its maximum. */
    }
}

/* The count changes before n_polling is read, and in poller_engage the other way round: the
 * second always sees what the first did. */
void poller_ready(struct poller *poller, struct task *task)
{
    task->next = NULL;
    pthread_mutex_lock(&poller->ready_lock);
    *poller->ready_end = task;
    poller->ready_end = &task->next;
    atomic_fetch_add(&poller->n_ready, 1);
    pthread_mutex_unlock(&poller->ready_lock);
    signal_event(poller->ready.fd);
    if (atomic_load(&poller->n_polling) <= 0)
        poller_unpark(poller);
}

bool worker_takes_any(const struct worker *worker)
{
    return !worker->is_reserved;
}

void worker_reserve(struct worker *worker)
{
    worker->is_reserved = true;
}

void worker_share(struct worker *worker)
{
    struct task *task;
    while (worker->polls && (task = worker_next_task(worker)))
        poller_ready(worker->poller, task);
}

/* Takes one task and signals for the next one, since two writes may be one event. */
static void take_ready(struct worker *worker, struct source *source)
{
    struct poller *poller = worker->poller;
    pthread_mutex_lock(&poller->ready_lock);
    struct task *task = poller->ready_tasks;
    if (task)
        poller->ready_tasks = task->next;
    const bool has_more = poller->ready_tasks;
    if (!has_more)
        poller->ready_end = &poller->ready_tasks;
    if (task)
        atomic_fetch_sub(&poller->n_ready, 1);
    pthread_mutex_unlock(&poller->ready_lock);
    if (has_more)
        signal_event(source->fd);
    if (task)
        worker_take(worker, task);
}

/* The event may come, and its thread close the descriptor, before epoll_ctl returns. */
static bool arm_source(struct poller *poller, int operation, struct source *source,
                       uint32_t events)
{
    const uint32_t once = events & EPOLLET ? 0 : EPOLLONESHOT;
    struct epoll_event event = {.events = events | once, .data.ptr = source};
    const int fd = source->fd;
    atomic_store_explicit(&source->is_armed, true, memory_order_release);
    return epoll_ctl(poller->epoll_fd, operation, fd, &event) == 0;
}

bool poller_add(struct poller *poller, struct source *source, uint32_t events)
{
    return arm_source(poller, EPOLL_CTL_ADD, source, events);
}

bool poller_arm(struct poller *poller, struct source *source, uint32_t events)
{
    return arm_source(poller, EPOLL_CTL_MOD, source, events);
}

static bool open_set(struct poller *poller)
{
    struct epoll_event end = {.events = EPOLLIN, .data.ptr = NULL};
    poller->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    poller->end_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    poller->ready.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    poller->ready.serve = take_ready;
    return poller->epoll_fd >= 0 && poller->end_fd >= 0 && poller->ready.fd >= 0 &&
           epoll_ctl(poller->epoll_fd, EPOLL_CTL_ADD, poller->end_fd, &end) == 0 &&
           poller_add(poller, &poller->ready, EPOLLIN | EPOLLET);
}

enum gp_status poller_init(struct poller *poller, struct log *log, unsigned n_cores,
                           struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    poller->log = log;
    poller->epoll_fd = poller->end_fd = poller->ready.fd = -1;
    poller->ready_end = &poller->ready_tasks;
    poller->n_cores = (int)n_cores;
    pthread_mutex_init(&poller->lock, NULL);
    pthread_mutex_init(&poller->ready_lock, NULL);
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&poller->watcher_waked, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!open_set(poller))
        return gp_error_set(err, GP_IO, "cannot make an epoll set: %s",
                            place_explain(errno, words));
    return GP_OK;
}

static void join_worker(struct worker *worker)
{
    if (!worker)
        return;
    pthread_join(worker->thread, NULL);
    worker_destroy(worker);
}

/* One that is dismissed joins the one dismissed before it: at most the last is left to be joined. */
static void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct poller *poller = worker->poller;
    while (!atomic_load(&poller->is_stopping) && park_if_too_many(worker)) {
        /* One event at a time: a second would wait for the engine of the first. */
        struct epoll_event event;
        const bool has_lines = worker->lines.text.size_bytes > 0;
        const int n =
            epoll_wait(poller->epoll_fd, &event, 1, has_lines ? LINES_WAIT_MS : -1);
        if (n == 0)
            log_write(poller->log, &worker->lines);
        if (n != 1 || !event.data.ptr || atomic_load(&poller->is_stopping))
            continue;
        struct source *source = event.data.ptr;
        atomic_load_explicit(&source->is_armed, memory_order_acquire);
        source->serve(worker, source);
        worker_carry_tasks(worker);
    }
    log_write(poller->log, &worker->lines);
    if (worker->is_dismissed)
        join_worker(worker->next);
    return NULL;
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
    signal_event(poller->end_fd);
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
    poller->has_watcher = false;
}

struct worker *worker_create(struct poller *poller)
{
    struct worker *worker = mem_zalloc(sizeof *worker);
    if (!worker)
        return NULL;
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

void poller_finish(struct poller *poller)
{
    if (!poller->n_cores)
        return;
    const int fds[] = {poller->epoll_fd, poller->end_fd, poller->ready.fd};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    while (poller->workers) {
        struct worker *worker = poller->workers;
        poller->workers = worker->next;
        worker_destroy(worker);
    }
    pthread_mutex_destroy(&poller->lock);
    pthread_mutex_destroy(&poller->ready_lock);
    pthread_cond_destroy(&poller->watcher_waked);
}
