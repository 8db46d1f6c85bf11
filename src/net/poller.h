/* net/poller.h - the epoll set, and the threads that wait for it.
 *
 * Everything in the set except the timers is armed one-shot, so one thread owns a source at a
 * time and a source needs no lock. The watcher (watcher.c) wakes a parked thread if it has seen
 * no poller twice in a row, unless runs are so short that pollers come back between them
 * anyway; a ready task (poller_ready) wakes one at once. Threads are created before they are
 * needed (poller_need), so waking one cannot fail; when fewer are needed again, those too many
 * leave instead of parking. docs/decisions/threads.md has the measurements.
 */
#ifndef GP_NET_POLLER_H
#define GP_NET_POLLER_H

#include "base/log.h"
#include "net/worker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* What an epoll event points to: the first member of a listener, a connection and so on. */
struct source {
    void (*serve)(struct worker *worker,
                  struct source *source); /* called for its event */
    int fd;
    /* Hands the source from the thread that armed it to the one that gets the event: the kernel
     * orders the two, and this tells the compiler. */
    atomic_bool is_armed;
};

struct poller {
    int epoll_fd;
    int end_fd;  /* an eventfd that wakes all polling threads at the end */
    int n_cores; /* the number of threads that poll */
    struct log *log;
    /* Called at each look of the watcher. Returns how many threads that poll are in long runs. */
    unsigned (*watch)(void *context);
    void *watch_context;

    /* Workers' threads: n_awake are not parked; of these, n_polling are not in an engine. */
    atomic_int n_awake;
    atomic_int n_polling;
    atomic_int n_engaged;
    atomic_ulong n_runs;        /* ended */
    atomic_bool has_short_runs; /* this and n_long as the watcher found last */
    atomic_int n_long;          /* threads in long runs */
    atomic_bool is_stopping;
    atomic_uint n_made; /* workers, ever */

    struct source alarm;        /* a timerfd, made for the first alarm (alarm.h) */
    pthread_mutex_t alarm_lock; /* of the list */
    struct alarm *alarms;

    struct source ready;        /* an eventfd: there are ready tasks */
    pthread_mutex_t ready_lock; /* of the list */
    struct task *ready_tasks;
    struct task **ready_end;
    atomic_uint n_ready;

    pthread_mutex_t lock; /* of what follows */
    struct worker *workers;
    unsigned n_workers;
    unsigned n_needed;        /* threads, in addition to those that poll */
    struct worker *dismissed; /* the last that was; its thread joins the one before */
    struct worker *parked;
    pthread_cond_t watcher_waked; /* on the monotonic clock */
    atomic_int watcher_pace;      /* enum watcher_pace */
    bool has_watcher;
    pthread_t watcher;
};

/* How the watcher waits for its next look. */
enum watcher_pace {
    WATCHER_ASLEEP, /* nothing runs: wait until something does */
    WATCHER_SLOW,   /* something runs, and a thread polls */
    WATCHER_FAST    /* no poller is left, or more threads than cores are awake */
};

/* Prepares for n_cores polling threads; starts none. */
enum gp_status poller_init(struct poller *poller, struct log *log, unsigned n_cores,
                           struct gp_error *err);

/* Creates the threads that poll, those needed in addition, and one more. */
enum gp_status poller_start(struct poller *poller, struct gp_error *err);

/* Ends and joins the threads; none may be in an engine for long. */
void poller_stop(struct poller *poller);

/* A zeroed poller is allowed. */
void poller_finish(struct poller *poller);

/* Puts a source into the set, armed for one event, or with EPOLLET for every event. False if
 * the system refused. */
bool poller_add(struct poller *poller, struct source *source, uint32_t events);

/* Arms a source for one event. From then on it may belong to another thread. */
bool poller_arm(struct poller *poller, struct source *source, uint32_t events);

/* Wakes the thread that parked last, if any. */
void poller_unpark(struct poller *poller);

/* How many threads are awake and in no long run. */
int poller_n_quick(const struct poller *poller);

/* For crew.c and poller.c: a worker's thread; adds one to an eventfd. */
void *worker_main(void *worker);
void poller_signal(int event_fd);

/* If there are too many pollers, waits until the watcher or the end wakes this thread. False if it
 * is not needed any more. */
bool worker_park_if_too_many(struct worker *worker);

/* At the end of a thread: if it was dismissed, joins the one that was dismissed before it. */
void worker_join_dismissed(struct worker *worker);

/* The watcher's thread (watcher.c). */
void *watcher_main(void *poller);

#endif
