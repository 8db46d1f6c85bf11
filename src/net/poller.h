/* net/poller.h - the threads: who polls, who is parked, and the watcher between them.
 *
 * One epoll set; everything in it but the timers is armed one-shot, so one thread owns a
 * source at a time and a source needs no lock. As many threads poll as there are cores; one that goes
 * into an engine wakes nobody. The watcher (watcher.c) wakes a parked thread when no
 * poller was left at two ticks in a row, unless runs are so short that the pollers come
 * back between them anyway. When the pollers are too many again the next one to finish
 * parks; the last that parked is woken first. All threads are made at the start, so
 * waking one cannot fail. docs/decisions/threads.md has the measurements.
 */
#ifndef GP_NET_POLLER_H
#define GP_NET_POLLER_H

#include "base/log.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { WINDOW_READ_BYTES = 16 * 1024, WINDOW_BYTES = 64 * 1024 + 2 * WINDOW_READ_BYTES };

struct exchange;
struct gp_server;
struct poller;

struct worker;

/* What an epoll event points at: the first member of a listener, a connection and so on. */
struct source {
    void (*serve)(struct worker *worker, struct source *source); /* its event came */
    int fd;
    atomic_bool
        is_armed; /* hands it from the thread that armed it to the one that got the event:
                             the kernel orders the two, this says so to the language */
};

struct worker {
    struct gp_server *server;
    struct exchange *carried; /* holds a slot, to be run when the present turn is over */
    size_t window_start;      /* bytes received and not parsed: [start, end) of window */
    size_t window_end;
    size_t turn_bytes;
    unsigned turn_requests;
    uint32_t slot; /* of a slot's own thread */

    struct poller *poller;
    struct worker *next_parked;
    pthread_cond_t unparked;
    bool is_parked;
    pthread_t thread;
    struct log_lines lines; /* not written yet */
    char window[WINDOW_BYTES];
};

struct poller {
    int epoll_fd;
    int end_fd;  /* an eventfd that wakes all who poll, at the end */
    int n_cores; /* how many poll */
    unsigned n_workers;
    unsigned n_started; /* of them, whose threads were made */
    struct worker *workers;
    void (*watch)(struct gp_server *server); /* at each look of the watcher */
    struct gp_server *server;

    /* Threads, of workers: n_awake are not parked, of which n_polling are not in an
     * engine. */
    atomic_int n_awake;
    atomic_int n_polling;
    atomic_int n_engaged;
    atomic_ulong n_runs;        /* ended */
    atomic_bool has_short_runs; /* the watcher's last finding */
    atomic_bool is_stopping;

    pthread_mutex_t lock; /* of what follows */
    struct worker *parked;
    pthread_cond_t watcher_waked; /* on the monotonic clock */
    atomic_int watcher_pace;      /* enum watcher_pace */
    bool has_watcher;
    pthread_t watcher;
};

/* How the watcher waits for its next look. */
enum watcher_pace {
    WATCHER_ASLEEP, /* nothing runs: until something does */
    WATCHER_SLOW,   /* something runs, and somebody polls */
    WATCHER_FAST    /* no poller is left, or threads beyond the cores are awake */
};

/* n_workers threads in all, of which n_cores poll. Nothing runs yet. */
enum gp_status poller_init(struct poller *poller, struct gp_server *server,
                           unsigned n_cores, unsigned n_workers, struct gp_error *err);

/* Makes the threads. */
enum gp_status poller_start(struct poller *poller, struct gp_error *err);

/* Ends and joins the threads; none may be in an engine for long. */
void poller_stop(struct poller *poller);
void poller_finish(struct poller *poller);

/* Puts a source into the set, armed for one event, or with EPOLLET for each; false: the
 * system refused. */
bool poller_add(struct poller *poller, struct source *source, uint32_t events);

/* Arms a source for one event. From then on it may belong to another thread. */
bool poller_arm(struct poller *poller, struct source *source, uint32_t events);

/* Wakes the thread that parked last, if one is. */
void poller_unpark(struct poller *poller);

/* The watcher's thread (watcher.c). */
void *watcher_main(void *poller);

/* Around an engine's run, or any work that takes long, of a thread that polls. */
void poller_engage(struct poller *poller);
void poller_disengage(struct poller *poller);

/* Around a run on a slot's own thread: it is watched, and leaves no poller less. */
void poller_engage_slot(struct poller *poller);
void poller_disengage_slot(struct poller *poller);

#endif
