/* server/timers.h - how long a peer may take: lists by kind under one lock, one timerfd.
 *
 * A connection is on a list while it is armed, and on none while a thread works for it.
 * Expiry marks the connection and shuts its socket down, nothing more: its owner sees the
 * event and ends it. A connection leaves its list, under the lock, before its descriptor
 * is closed, so a reused number is never hit.
 */
#ifndef GP_SERVER_TIMERS_H
#define GP_SERVER_TIMERS_H

#include "server/poller.h"

enum timer_kind {
    TIMER_IDLE,   /* between requests */
    TIMER_HEAD,   /* a head is awaited or under way */
    TIMER_BODY,   /* a body is being received */
    TIMER_SEND,   /* an answer is being sent */
    TIMER_LINGER, /* we have closed, the peer not yet */
    TIMER_N_KINDS,
    TIMER_NONE
};

/* Part of a connection. */
struct timer {
    struct timer *prev;
    struct timer *next;
    int64_t deadline_ns;
    enum timer_kind kind; /* the list that it is on */
    bool is_expired;
    int fd;
};

struct timers {
    struct source source;
    pthread_mutex_t lock;
    struct timer lists[TIMER_N_KINDS];
    int64_t wake_ns; /* when the timerfd fires; 0: disarmed */
};

enum gp_status timers_init(struct timers *timers, struct poller *poller,
                           struct gp_error *err);
void timers_finish(struct timers *timers);

/* A timer that is on no list. */
void timer_init(struct timer *timer, int fd);

/* Puts it on a list. Deadlines of TIMER_IDLE are all as far from when they join, so that
 * list, the only long one, is in order and only its front is looked at. */
void timers_join(struct timers *timers, struct timer *timer, enum timer_kind kind,
                 int64_t deadline_ns);

/* Takes it off its list; true when it had expired before. */
bool timers_leave(struct timers *timers, struct timer *timer);

/* The timerfd fired. */
void timers_expire(struct timers *timers);

/* Brings the deadlines of all of a kind forward to deadline_ns at the latest. */
void timers_hurry(struct timers *timers, enum timer_kind kind, int64_t deadline_ns);

#endif
