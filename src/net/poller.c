#include "net/poller.h"

#include "base/place.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* How long access lines wait for more. */
enum { LINES_WAIT_MS = 10 };

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
    if (worker->postponed)
        poller_ready(poller, worker->postponed);
    worker->postponed = NULL;
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

void poller_signal(int event_fd)
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
    poller_signal(poller->ready.fd);
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
        poller_signal(source->fd);
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
    poller->ready_end = &poller->ready_tasks;
    poller->n_cores = (int)n_cores;
    pthread_mutex_init(&poller->lock, NULL);
    pthread_mutex_init(&poller->ready_lock, NULL);
    pthread_mutex_init(&poller->alarm_lock, NULL);
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

static int wait_ms(const struct worker *worker)
{
    return worker->postponed ? 0 : worker->lines.text.size_bytes ? LINES_WAIT_MS : -1;
}

void *worker_main(void *arg)
{
    struct worker *worker = arg;
    struct poller *poller = worker->poller;
    while (!atomic_load(&poller->is_stopping) &&
           (worker->postponed || worker_park_if_too_many(worker))) {
        /* One event at a time: a second would wait for the engine of the first. */
        struct epoll_event event;
        const int n = epoll_wait(poller->epoll_fd, &event, 1, wait_ms(worker));
        if (n == 0 && !worker->postponed)
            log_write(poller->log, &worker->lines);
        if (n == 1 && event.data.ptr && !atomic_load(&poller->is_stopping)) {
            struct source *source = event.data.ptr;
            atomic_load_explicit(&source->is_armed, memory_order_acquire);
            source->serve(worker, source);
            worker->n_served++;
        }
        if (n != 1 || worker_has_postponed_enough(worker))
            worker_take_postponed(worker);
        worker_carry_tasks(worker);
    }
    worker_take_postponed(worker);
    worker_carry_tasks(worker);
    log_write(poller->log, &worker->lines);
    worker_join_dismissed(worker);
    return NULL;
}

void poller_finish(struct poller *poller)
{
    if (!poller->n_cores)
        return;
    const int fds[] = {poller->epoll_fd, poller->end_fd, poller->ready.fd};
    for (int i = 0; i < 3; i++)
        if (fds[i] >= 0)
            close(fds[i]);
    if (poller->alarm.serve)
        close(poller->alarm.fd);
    while (poller->workers) {
        struct worker *worker = poller->workers;
        poller->workers = worker->next;
        worker_destroy(worker);
    }
    pthread_mutex_destroy(&poller->lock);
    pthread_mutex_destroy(&poller->ready_lock);
    pthread_mutex_destroy(&poller->alarm_lock);
    pthread_cond_destroy(&poller->watcher_waked);
}
