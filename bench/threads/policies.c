/* policies.c: parking pollers, replacing those that entered an engine, and the watcher. */
#define _GNU_SOURCE
#include "policies.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

enum {
    IDLE_TICKS = 10,  /* ticks without work after which the watcher sleeps */
    LONG_RUN_US = 500 /* policy F */
};

struct server s;

static void futex_wait(atomic_int *word, int value)
{
    syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, NULL, NULL, 0);
}

static void futex_wake(atomic_int *word)
{
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
}

double clock_us(clockid_t clock)
{
    struct timespec t = {0};
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/* ---- parking and waking ------------------------------------------------------------ */

/* While runs are short and compute, a poller beside them costs more than it brings. */
static bool is_one_too_many(int n_pollers)
{
    return n_pollers > s.cores ||
           (atomic_load_explicit(&s.short_runs, memory_order_relaxed) &&
            atomic_load_explicit(&s.n_awake, memory_order_relaxed) > s.cores);
}

/* Parks the caller if there are more pollers than cores. The test and the decrement are
 * one step (entries to engines decrement without the lock), and the push is under the
 * same lock as the pop, so that whoever then finds no poller left also finds this
 * thread to wake. */
void park_if_too_many(struct thread *t)
{
    int n = atomic_load_explicit(&s.n_pollers, memory_order_relaxed);
    if (s.policy == NOBODY || !is_one_too_many(n)) {
        return;
    }
    pthread_mutex_lock(&s.park_lock);
    n = atomic_load(&s.n_pollers);
    bool parks = is_one_too_many(n);
    while (parks && !atomic_compare_exchange_weak(&s.n_pollers, &n, n - 1)) {
        parks = is_one_too_many(n);
    }
    if (parks) {
        atomic_fetch_sub(&s.n_awake, 1);
        atomic_store(&t->parked, 1); /* before the unlock, or the wake-up is lost */
        t->below = s.parked;
        s.parked = t;
        atomic_fetch_add_explicit(&s.n_parks, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s.park_lock);
    while (atomic_load(&t->parked)) {
        futex_wait(&t->parked, 1);
    }
}

/* The waker counts the woken thread as a poller at once, so that two wakers do not wake
 * two threads for one need. */
static void wake_one(void)
{
    pthread_mutex_lock(&s.park_lock);
    struct thread *t = s.parked;
    if (t != NULL) {
        s.parked = t->below;
        atomic_fetch_add(&s.n_awake, 1);
        atomic_fetch_add(&s.n_pollers, 1);
        atomic_fetch_add_explicit(&s.n_wakes, 1, memory_order_relaxed);
    }
    pthread_mutex_unlock(&s.park_lock);
    if (t != NULL) {
        atomic_store(&t->parked, 0);
        futex_wake(&t->parked);
    }
}

bool has_watcher(void)
{
    return s.policy == WATCHER || s.policy == TWO_LOOKS || s.policy == FITTING;
}

/* What the watcher must see is stored before the read-modify-write of n_pollers, and
 * watcher_asleep is read after it; the watcher does the reverse around its own
 * read-modify-write of n_pollers. Whichever comes second sees what the other stored.
 * Policies E and F have work for the watcher only when no poller is left. */
void engine_enter(struct thread *t)
{
    atomic_store_explicit(&t->in_engine, true, memory_order_relaxed);
    if (s.policy == NOBODY) {
        return;
    }
    int n_left = atomic_fetch_sub(&s.n_pollers, 1) - 1;
    if (s.policy == EVERY_ENTRY || (s.policy == LAST_POLLER && n_left == 0)) {
        wake_one();
    } else if (has_watcher() && (s.policy == WATCHER || n_left <= 0) &&
               atomic_load_explicit(&s.watcher_asleep, memory_order_relaxed) &&
               atomic_exchange(&s.watcher_asleep, 0)) {
        futex_wake(&s.watcher_asleep);
    }
}

void engine_leave(struct thread *t)
{
    atomic_store_explicit(&t->in_engine, false, memory_order_relaxed);
    if (s.policy != NOBODY) {
        atomic_fetch_add(&s.n_pollers, 1);
    }
}

/* ---- the watcher ------------------------------------------------------------------- */

struct sight {
    unsigned long polls[MAX_THREADS], posts[MAX_THREADS];
    bool without_poller;
    double runs, run_us, cpu_us; /* sums that lose an eighth at each tick (policy F) */
    double last_us, last_cpu_us;
};

static bool any_in_engine(void)
{
    bool any = false;
    for (int i = 0; i < s.n_threads; i++) {
        any |= atomic_load_explicit(&s.threads[i].in_engine, memory_order_relaxed);
    }
    return any;
}

static void watcher_sleep(void)
{
    atomic_store(&s.watcher_asleep, 1);
    int n_pollers = atomic_fetch_add(&s.n_pollers, 0); /* see engine_enter */
    bool is_needed = s.policy == WATCHER ? any_in_engine() : n_pollers <= 0;
    if (is_needed && atomic_exchange(&s.watcher_asleep, 0)) {
        return;
    }
    while (atomic_load(&s.watcher_asleep)) {
        futex_wait(&s.watcher_asleep, 1);
    }
    atomic_fetch_add_explicit(&s.n_rouses, 1, memory_order_relaxed);
}

/* True while runs end at every tick, are short on average and compute: then polling
 * between runs, inline, is best. False for long runs, and for engines that wait (for a
 * device, another host), whose cores have time for one more poller: those take less
 * than a quarter of the time that threads spend in engines as CPU time (of the whole
 * process, which is one call). */
static bool runs_are_short(struct sight *last, unsigned long n_runs, int n_running)
{
    double now_us = clock_us(CLOCK_MONOTONIC);
    double used_us = clock_us(CLOCK_PROCESS_CPUTIME_ID);
    double tick_us = now_us - last->last_us;
    last->runs += (double)n_runs - last->runs / 8;
    last->run_us += tick_us * n_running - last->run_us / 8;
    last->cpu_us += used_us - last->last_cpu_us - last->cpu_us / 8;
    last->last_us = now_us;
    last->last_cpu_us = used_us;
    return n_runs > 0 && last->run_us < last->runs * LONG_RUN_US &&
           last->cpu_us * 4 > last->run_us;
}

/* One tick: returns true when a replacement is due. */
static bool watcher_look(struct sight *last, bool *idle)
{
    bool polled = false;
    unsigned long n_runs = 0;
    int n_running = 0;
    for (int i = 0; i < s.n_threads; i++) {
        struct thread *t = &s.threads[i];
        unsigned long polls = atomic_load_explicit(&t->polls, memory_order_relaxed);
        unsigned long posts = atomic_load_explicit(&t->posts, memory_order_relaxed);
        polled |= polls % 2 == 1 || polls != last->polls[i];
        n_runs += posts - last->posts[i];
        n_running += atomic_load_explicit(&t->in_engine, memory_order_relaxed);
        last->polls[i] = polls;
        last->posts[i] = posts;
    }
    bool without = atomic_load_explicit(&s.n_pollers, memory_order_relaxed) <= 0;
    bool was_without = last->without_poller;
    last->without_poller = without;
    if (s.policy == WATCHER) {
        *idle = n_runs == 0 && n_running == 0;
        return !polled && !*idle;
    }
    *idle = !without && atomic_load(&s.n_awake) <= s.cores;
    bool is_short = s.policy == FITTING && runs_are_short(last, n_runs, n_running);
    atomic_store_explicit(&s.short_runs, is_short, memory_order_relaxed);
    return without && was_without && !is_short;
}

void *watcher_main(void *unused)
{
    (void)unused;
    struct sight last = {0};
    bool idle;
    for (int n_idle = 0;;) {
        struct timespec tick = {0, s.tick_ns};
        nanosleep(&tick, NULL);
        atomic_fetch_add_explicit(&s.n_ticks, 1, memory_order_relaxed);
        if (watcher_look(&last, &idle)) {
            wake_one();
        }
        n_idle = idle ? n_idle + 1 : 0;
        if (n_idle >= IDLE_TICKS) {
            watcher_sleep();
            watcher_look(&last, &idle); /* what happened meanwhile counts for nothing */
            last.runs = last.run_us = last.cpu_us = 0;
            n_idle = 0;
        }
    }
    return NULL;
}
