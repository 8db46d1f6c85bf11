/* policies.h - who polls while engines run: what varies between the policies of threads.c, and what the
 * threads share. */
#ifndef POLICIES_H
#define POLICIES_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

enum { MAX_THREADS = 64 };

/* Who brings in a replacement when a poller enters an engine. */
enum policy {
    EVERY_ENTRY = 'A', /* each entry wakes a parked thread */
    LAST_POLLER = 'B', /* an entry wakes one when no poller remains */
    WATCHER = 'C',     /* a watcher wakes one when nobody polled for a whole tick */
    NOBODY = 'D',      /* plain pollers, as many as cores */
    TWO_LOOKS = 'E',   /* a watcher wakes one when no poller was left at two ticks in a
                        * row, whether or not somebody polled in between */
    FITTING = 'F'      /* as E, but not while runs are short and compute; then threads
                        * beyond cores park, too (see runs_are_short) */
};

/* One cache line of its own for each thread, written by that thread, read by the
 * watcher. */
struct thread {
    _Alignas(128) atomic_ulong polls; /* odd inside epoll_wait, counts its entries */
    atomic_bool in_engine;
    atomic_ulong posts, gets; /* answered */
    atomic_int parked;        /* futex */
    struct thread *below;     /* on the stack of parked threads */
    pthread_t id;
};

struct server {
    enum policy policy;
    int cores, n_threads, epoll_fd, listener_fd;
    int n_slots;
    long tick_ns, sleep_ns, spin_loops, outlier_us;
    struct thread threads[MAX_THREADS];

    _Alignas(128) atomic_int n_pollers;      /* threads neither parked nor in an engine */
    _Alignas(128) atomic_int watcher_asleep; /* futex */
    atomic_bool short_runs;                  /* policy F: the watcher's last finding */
    atomic_int n_awake;                      /* threads not parked; under park_lock */

    pthread_mutex_t park_lock; /* the stack, n_awake, and parking's change of n_pollers */
    struct thread *parked;
    atomic_ulong n_wakes, n_parks, n_ticks, n_rouses;

    pthread_mutex_t slot_lock;
    int n_free_slots;
    struct conn *queue_head, **queue_tail;
};

extern struct server s;

/* Parks the caller if there are more pollers than cores. */
void park_if_too_many(struct thread *t);

/* Around the time in an engine. */
void engine_enter(struct thread *t);
void engine_leave(struct thread *t);

/* Policies with a watcher have a thread of it. */
bool has_watcher(void);
void *watcher_main(void *unused);

double clock_us(clockid_t clock);

#endif
