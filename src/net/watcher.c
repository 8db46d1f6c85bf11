/* The watcher finds a stand-in when no poller is left, and checks on runs (deadlines, clients
 * that left). docs/decisions/threads.md compares it with waking a thread whenever one enters
 * an engine.
 *
 * It wakes no thread while runs are short and compute: pollers then come back between runs, and
 * one more thread would only pass requests around. It does when runs are long, or when engines
 * wait for something (a device, another host) instead of computing. Where models differ, short
 * runs of one may come beside long ones of another: threads in long runs get stand-ins, whatever
 * the mean says.
 */
#include "net/poller.h"

#include "base/clock.h"

#include <time.h>

#define FAST_NS (1 * CLOCK_MS)
#define SLOW_NS (20 * CLOCK_MS)
#define LONG_RUN_NS (CLOCK_MS / 2)

/* How many looks without need pass before the pace goes down. */
enum { PATIENCE = 10 };

/* What the last looks saw; the sums decay by an eighth at each look. */
struct sight {
    unsigned long n_runs;
    int64_t now_ns;
    int64_t cpu_ns;
    double sum_runs;
    double sum_engaged_ns;
    double sum_cpu_ns;
    bool was_without;
};

static int64_t process_cpu_ns(void)
{
    struct timespec used;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * CLOCK_S + used.tv_nsec;
}

/* True while runs end at every look, are short on average, and compute: waiting engines use
 * less than a quarter of the time that threads spend in them. */
static bool runs_are_short(const struct poller *poller, struct sight *sight)
{
    const unsigned long n_runs = atomic_load(&poller->n_runs);
    const unsigned long n_ended = n_runs - sight->n_runs;
    const int64_t now_ns = clock_now_ns(), cpu_ns = process_cpu_ns();
    sight->sum_runs += (double)n_ended - sight->sum_runs / 8;
    sight->sum_engaged_ns +=
        (double)(now_ns - sight->now_ns) * atomic_load(&poller->n_engaged) -
        sight->sum_engaged_ns / 8;
    sight->sum_cpu_ns += (double)(cpu_ns - sight->cpu_ns) - sight->sum_cpu_ns / 8;
    sight->n_runs = n_runs;
    sight->now_ns = now_ns;
    sight->cpu_ns = cpu_ns;
    return n_ended && sight->sum_engaged_ns < sight->sum_runs * LONG_RUN_NS &&
           sight->sum_cpu_ns * 4 > sight->sum_engaged_ns;
}

/* True if a stand-in is needed. */
static bool look_at_pollers(struct poller *poller, struct sight *sight)
{
    const bool is_short = runs_are_short(poller, sight);
    const bool is_without = atomic_load(&poller->n_polling) <= 0;
    const bool is_due = is_without && sight->was_without &&
                        (!is_short || poller_n_quick(poller) < poller->n_cores);
    sight->was_without = is_without;
    atomic_store_explicit(&poller->has_short_runs, is_short, memory_order_relaxed);
    return is_due;
}

static enum watcher_pace wanted_pace(const struct poller *poller)
{
    if (atomic_load(&poller->n_polling) <= 0 ||
        atomic_load(&poller->n_awake) > poller->n_cores)
        return WATCHER_FAST;
    return atomic_load(&poller->n_engaged) ? WATCHER_SLOW : WATCHER_ASLEEP;
}

/* Lowers the pace by one, and waits until the time has passed or a thread enters an engine. */
static void wait_slowly(struct poller *poller, enum watcher_pace pace)
{
    const int64_t until_ns = clock_now_ns() + SLOW_NS;
    const struct timespec until = {.tv_sec = until_ns / CLOCK_S,
                                   .tv_nsec = until_ns % CLOCK_S};
    pthread_mutex_lock(&poller->lock);
    atomic_store(&poller->watcher_pace, pace);
    int rc = 0;
    while (rc == 0 && (int)pace == atomic_load(&poller->watcher_pace) &&
           wanted_pace(poller) <= pace && !atomic_load(&poller->is_stopping))
        rc = pace == WATCHER_ASLEEP
                 ? pthread_cond_wait(&poller->watcher_waked, &poller->lock)
                 : pthread_cond_timedwait(&poller->watcher_waked, &poller->lock, &until);
    if (wanted_pace(poller) > pace)
        atomic_store(&poller->watcher_pace, WATCHER_FAST);
    pthread_mutex_unlock(&poller->lock);
}

void *watcher_main(void *arg)
{
    struct poller *poller = arg;
    const struct timespec fast = {0, FAST_NS};
    struct sight sight = {0};
    int n_easy = 0; /* looks in a row for which a slower pace would have done */
    while (!atomic_load(&poller->is_stopping)) {
        const enum watcher_pace pace =
            (enum watcher_pace)atomic_load(&poller->watcher_pace);
        if (pace == WATCHER_FAST)
            nanosleep(&fast, NULL);
        else
            wait_slowly(poller, pace);
        if (pace == WATCHER_ASLEEP) { /* what happened meanwhile does not count */
            look_at_pollers(poller, &sight);
            sight.sum_runs = sight.sum_engaged_ns = sight.sum_cpu_ns = 0;
            continue;
        }
        if (poller->watch)
            atomic_store_explicit(&poller->n_long,
                                  (int)poller->watch(poller->watch_context),
                                  memory_order_relaxed);
        if (look_at_pollers(poller, &sight))
            poller_unpark(poller);
        n_easy = wanted_pace(poller) < pace ? n_easy + 1 : 0;
        if (n_easy > PATIENCE) {
            atomic_store(&poller->watcher_pace, (int)pace - 1);
            n_easy = 0;
        }
    }
    return NULL;
}
