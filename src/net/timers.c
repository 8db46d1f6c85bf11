#include "net/timers.h"

#include "base/clock.h"
#include "base/place.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* The timer need not be exact: it fires at most ten times a second. */
#define GRAIN_NS (100 * CLOCK_MS)

/* How many idle connections are checked for one without unread bytes. */
enum { EVICT_LOOKS = 16 };

/* How many connections are checked for one that has stalled. */
enum { REVOKE_LOOKS = 256 };

void timer_list_init(struct timer_link *list)
{
    list->prev = list->next = list;
}

/* The timer that this link is part of. */
static struct timer *timer_of(struct timer_link *link, enum timer_list list)
{
    return (struct timer *)(void *)((char *)(link - list) -
                                    offsetof(struct timer, links));
}

static void append_link(struct timer_link *list, struct timer_link *link)
{
    link->prev = list->prev;
    link->next = list;
    list->prev->next = link;
    list->prev = link;
}

static void unlink_timer(struct timer *timer)
{
    for (int i = 0; i < TIMER_N_LISTS; i++) {
        struct timer_link *link = &timer->links[i];
        if (!link->next)
            continue;
        link->prev->next = link->next;
        link->next->prev = link->prev;
        *link = (struct timer_link){0};
    }
    timer->kind = TIMER_NONE;
}

static bool is_idle(enum timer_kind kind)
{
    return kind == TIMER_FRESH || kind == TIMER_IDLE;
}

enum gp_status timers_init(struct timers *timers, struct poller *poller,
                           struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    pthread_mutex_init(&timers->lock, NULL);
    for (int i = 0; i < TIMER_N_KINDS; i++)
        timer_list_init(&timers->lists[i]);
    timer_list_init(&timers->idle);
    timers->source.fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (timers->source.fd < 0 || !poller_add(poller, &timers->source, EPOLLIN | EPOLLET))
        return gp_error_set(err, GP_IO, "cannot make a timer: %s",
                            place_explain(errno, words));
    return GP_OK;
}

void timers_finish(struct timers *timers)
{
    if (timers->source.fd >= 0)
        close(timers->source.fd);
    pthread_mutex_destroy(&timers->lock);
}

void timer_init(struct timers *timers, struct timer *timer, int fd,
                struct timer_link *idle_of_peer, struct timer_link *idle_of_site)
{
    *timer = (struct timer){
        .idle = {NULL, &timers->idle, idle_of_peer, idle_of_site},
        .kind = TIMER_NONE,
        .fd = fd,
    };
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
    timer->kind = kind;
    timer->deadline_ns = deadline_ns;
    append_link(&timers->lists[kind], &timer->links[TIMER_BY_KIND]);
    for (int i = 0; is_idle(kind) && i < TIMER_N_LISTS; i++)
        if (timer->idle[i])
            append_link(timer->idle[i], &timer->links[i]);
    if (!timers->wake_ns || deadline_ns < timers->wake_ns - GRAIN_NS)
        set_wake(timers, deadline_ns);
    pthread_mutex_unlock(&timers->lock);
}

enum timer_end timers_leave(struct timers *timers, struct timer *timer)
{
    pthread_mutex_lock(&timers->lock);
    if (timer->kind != TIMER_NONE)
        unlink_timer(timer);
    const enum timer_end end = timer->end;
    timer->end = TIMER_GOES_ON;
    pthread_mutex_unlock(&timers->lock);
    return end;
}

/* If the peer can still be answered, only the reading side is shut. */
static void end_timer(struct timer *timer, enum timer_end end)
{
    const bool can_answer =
        end != TIMER_EXPIRED || timer->kind == TIMER_HEAD || timer->kind == TIMER_BODY;
    unlink_timer(timer);
    timer->end = end;
    shutdown(timer->fd, can_answer ? SHUT_RD : SHUT_RDWR);
}

/* Expires what is due on one list; returns the earliest deadline left, or INT64_MAX. */
static int64_t expire_list(struct timer_link *list, bool is_ordered, int64_t now)
{
    int64_t earliest = INT64_MAX;
    for (struct timer_link *at = list->next, *next; at != list; at = next) {
        struct timer *timer = timer_of(at, TIMER_BY_KIND);
        next = at->next;
        if (timer->deadline_ns <= now) {
            end_timer(timer, TIMER_EXPIRED);
        } else {
            if (timer->deadline_ns < earliest)
                earliest = timer->deadline_ns;
            if (is_ordered)
                break;
        }
    }
    return earliest;
}

/* True if bytes have come that a thread is about to read. */
static bool has_unread(const struct timer *timer)
{
    int n = 0;
    return ioctl(timer->fd, FIONREAD, &n) == 0 && n > 0;
}

bool timers_evict(struct timers *timers, struct timer *timer, enum timer_list whose)
{
    pthread_mutex_lock(&timers->lock);
    struct timer_link *list = timer->idle[whose], *at = list->next;
    for (int i = 0; at != list && has_unread(timer_of(at, whose)); i++)
        at = i < EVICT_LOOKS ? at->next : list;
    if (at != list)
        end_timer(timer_of(at, whose), TIMER_EVICTED);
    pthread_mutex_unlock(&timers->lock);
    return at != list;
}

size_t timers_revoke(struct timers *timers, size_t wanted_bytes)
{
    static const enum timer_kind kinds[] = {TIMER_BODY, TIMER_HEAD};
    size_t bytes = 0;
    pthread_mutex_lock(&timers->lock);
    const int64_t now = clock_now_ns();
    for (int i = 0; i < 2; i++) {
        struct timer_link *list = &timers->lists[kinds[i]], *next;
        int n_looks = 0;
        for (struct timer_link *at = list->next;
             at != list && bytes < wanted_bytes && n_looks < REVOKE_LOOKS; at = next) {
            struct timer *timer = timer_of(at, TIMER_BY_KIND);
            next = at->next;
            n_looks++;
            if (timer->stalled_ns > now || has_unread(timer))
                continue;
            const size_t held = timers->take_back(timer);
            bytes += held;
            if (held) {
                end_timer(timer, TIMER_REVOKED);
                n_looks = 0;
            }
        }
    }
    pthread_mutex_unlock(&timers->lock);
    return bytes;
}

void timers_expire(struct timers *timers)
{
    uint64_t n_fired;
    if (read(timers->source.fd, &n_fired, sizeof n_fired) < 0) {
        /* Another thread has set it since it fired: the check below is right all the same. */
    }
    pthread_mutex_lock(&timers->lock);
    const int64_t now = clock_now_ns();
    int64_t earliest = INT64_MAX;
    for (int i = 0; i < TIMER_N_KINDS; i++) {
        const int64_t left =
            expire_list(&timers->lists[i], is_idle((enum timer_kind)i), now);
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
    struct timer_link *list = &timers->lists[kind];
    for (struct timer_link *at = list->next; at != list; at = at->next) {
        struct timer *timer = timer_of(at, TIMER_BY_KIND);
        if (timer->deadline_ns > deadline_ns)
            timer->deadline_ns = deadline_ns;
    }
    if (list->next != list && (!timers->wake_ns || deadline_ns < timers->wake_ns))
        set_wake(timers, deadline_ns);
    pthread_mutex_unlock(&timers->lock);
}
