#include "server/timers.h"

#include "base/clock.h"
#include "base/place.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The timer need not be exact: it fires at most ten times a second. */
#define GRAIN_NS (100 * CLOCK_MS)

static void list_init(struct timer *list)
{
    list->prev = list->next = list;
}

static void unlink_timer(struct timer *timer)
{
    timer->prev->next = timer->next;
    timer->next->prev = timer->prev;
    timer->kind = TIMER_NONE;
}

enum gp_status timers_init(struct timers *timers, struct poller *poller,
                           struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    pthread_mutex_init(&timers->lock, NULL);
    for (int i = 0; i < TIMER_N_KINDS; i++)
        list_init(&timers->lists[i]);
    timers->source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timers->source.fd < 0 || !poller_add(poller, &timers->source, EPOLLIN | EPOLLET))
        return gp_error_set(err, GP_IO, "timerfd: %s", place_explain(errno, words));
    return GP_OK;
}

void timers_finish(struct timers *timers)
{
    if (timers->source.fd > 0)
        close(timers->source.fd);
    pthread_mutex_destroy(&timers->lock);
}

void timer_init(struct timer *timer, int fd)
{
    *timer = (struct timer){.kind = TIMER_NONE, .fd = fd};
}

static void set_wake(struct timers *timers, int64_t wake_ns)
{
    timers->wake_ns = wake_ns;
    const struct itimerspec spec = {
        .it_value = {.tv_sec = wake_ns / CLOCK_S, .tv_nsec = wake_ns % CLOCK_S}};
    timerfd_settime(timers->source.fd, TFD_TIMER_ABSTIME, &spec, NULL);
}

void timers_join(struct timers *timers, struct timer *timer, enum timer_kind kind,
                 int64_t deadline_ns)
{
    pthread_mutex_lock(&timers->lock);
    struct timer *list = &timers->lists[kind];
    timer->kind = kind;
    timer->deadline_ns = deadline_ns;
    timer->prev = list->prev;
    timer->next = list;
    list->prev->next = timer;
    list->prev = timer;
    if (!timers->wake_ns || deadline_ns < timers->wake_ns - GRAIN_NS)
        set_wake(timers, deadline_ns);
    pthread_mutex_unlock(&timers->lock);
}

bool timers_leave(struct timers *timers, struct timer *timer)
{
    pthread_mutex_lock(&timers->lock);
    if (timer->kind != TIMER_NONE)
        unlink_timer(timer);
    const bool is_expired = timer->is_expired;
    pthread_mutex_unlock(&timers->lock);
    return is_expired;
}

/* A slow sender can still be told so: its reading side alone is shut. */
static void expire(struct timer *timer)
{
    const bool can_answer = timer->kind == TIMER_HEAD || timer->kind == TIMER_BODY;
    unlink_timer(timer);
    timer->is_expired = true;
    shutdown(timer->fd, can_answer ? SHUT_RD : SHUT_RDWR);
}

/* Expires what is due on one list; the earliest deadline that is left, or INT64_MAX. */
static int64_t expire_list(struct timer *list, bool is_ordered, int64_t now)
{
    int64_t earliest = INT64_MAX;
    for (struct timer *at = list->next, *next; at != list; at = next) {
        next = at->next;
        if (at->deadline_ns <= now) {
            expire(at);
        } else {
            if (at->deadline_ns < earliest)
                earliest = at->deadline_ns;
            if (is_ordered)
                break;
        }
    }
    return earliest;
}

void timers_expire(struct timers *timers)
{
    uint64_t n_fired;
    if (read(timers->source.fd, &n_fired, sizeof n_fired) < 0) {
        /* Set anew by another thread since it fired: the look below is right all the
         * same. */
    }
    pthread_mutex_lock(&timers->lock);
    const int64_t now = clock_now_ns();
    int64_t earliest = INT64_MAX;
    for (int i = 0; i < TIMER_N_KINDS; i++) {
        const int64_t left = expire_list(&timers->lists[i], i == TIMER_IDLE, now);
        if (left < earliest)
            earliest = left;
    }
    if (earliest == INT64_MAX)
        set_wake(timers, 0);
    else
        set_wake(timers, earliest > now + GRAIN_NS ? earliest : now + GRAIN_NS);
    pthread_mutex_unlock(&timers->lock);
}

void timers_hurry(struct timers *timers, enum timer_kind kind, int64_t deadline_ns)
{
    pthread_mutex_lock(&timers->lock);
    struct timer *list = &timers->lists[kind];
    for (struct timer *timer = list->next; timer != list; timer = timer->next)
        if (timer->deadline_ns > deadline_ns)
            timer->deadline_ns = deadline_ns;
    if (list->next != list)
        set_wake(timers, deadline_ns);
    pthread_mutex_unlock(&timers->lock);
}
