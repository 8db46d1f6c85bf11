/* net/timers.h - how long a peer may take: lists by kind under one lock, with one timerfd; and
 * which connection has idled longest, of all and of each peer, to be closed when there are too
 * many.
 *
 * A connection is on a list while it is armed, and on none while a thread works for it. Expiry
 * only marks the connection and shuts its socket down: its owner sees the event and ends it. A
 * connection leaves its list, under the lock, before its descriptor is closed, so a reused
 * number is never hit.
 */
#ifndef GP_NET_TIMERS_H
#define GP_NET_TIMERS_H

#include "net/poller.h"

enum timer_kind {
    TIMER_FRESH,  /* accepted; no byte has come */
    TIMER_IDLE,   /* between requests */
    TIMER_HEAD,   /* a head is being received */
    TIMER_BODY,   /* a body is being received */
    TIMER_SEND,   /* an answer is being sent */
    TIMER_LINGER, /* we have closed, the peer not yet */
    TIMER_N_KINDS,
    TIMER_NONE
};

/* Why a connection's socket was shut down. */
enum timer_end {
    TIMER_GOES_ON,
    TIMER_EXPIRED, /* its deadline has passed */
    TIMER_EVICTED, /* it was idle, and makes room for another */
    TIMER_REVOKED  /* it stalled with memory that others need */
};

/* A place in a list, or a list: a ring. */
struct timer_link {
    struct timer_link *prev;
    struct timer_link *next;
};

/* The lists that a timer may be on: that of its kind and, while it is fresh or idle, those with
 * the one that has idled longest in front. */
enum timer_list {
    TIMER_BY_KIND,
    TIMER_IDLE_OF_ALL,
    TIMER_IDLE_OF_PEER,
    TIMER_IDLE_OF_SITE,
    TIMER_N_LISTS
};

/* Part of a connection. */
struct timer {
    struct timer_link links[TIMER_N_LISTS]; /* zero: not on the list */
    struct timer_link *idle[TIMER_N_LISTS]; /* its lists while it idles; NULL: none */
    int64_t deadline_ns;
    int64_t stalled_ns;   /* when a TIMER_HEAD or TIMER_BODY begins to count as stalled */
    enum timer_kind kind; /* TIMER_NONE: on no list */
    enum timer_end end;
    int fd;
};

struct timers {
    struct source source;
    pthread_mutex_t lock;
    struct timer_link lists[TIMER_N_KINDS];
    struct timer_link idle; /* all that are fresh or idle */
    int64_t wake_ns;        /* when the timerfd fires; 0: disarmed */
    /* Frees what a connection holds and returns the number of bytes. Called with the lock held,
     * so its owner is not using it. */
    size_t (*take_back)(struct timer *timer);
};

enum gp_status timers_init(struct timers *timers, struct poller *poller,
                           struct gp_error *err);
void timers_finish(struct timers *timers);

void timer_list_init(struct timer_link *list);

/* A timer that is on no list yet, with the idle lists of its peer and its site, if any. */
void timer_init(struct timers *timers, struct timer *timer, int fd,
                struct timer_link *idle_of_peer, struct timer_link *idle_of_site);

/* Puts the timer on a list. All deadlines of TIMER_FRESH are equally far from their joining,
 * and so are those of TIMER_IDLE: these lists, the only long ones, are in order, and only their
 * front is checked. */
void timers_join(struct timers *timers, struct timer *timer, enum timer_kind kind,
                 int64_t deadline_ns);

/* Takes the timer off its lists; says, once, whether and how it was ended. */
enum timer_end timers_leave(struct timers *timers, struct timer *timer);

/* Ends the connection that has idled longest of all, of the timer's peer, or of its site; false
 * if none is idle. */
bool timers_evict(struct timers *timers, struct timer *timer, enum timer_list whose);

/* Ends connections that have stalled in a head or a body, which are answered 503, until they have
 * given up the wanted number of bytes; returns how many. Any thread may call it. */
size_t timers_revoke(struct timers *timers, size_t wanted_bytes);

/* Called when the timerfd has fired. */
void timers_expire(struct timers *timers);

/* Brings the deadlines of all of a kind forward to deadline_ns at the latest. */
void timers_hurry(struct timers *timers, enum timer_kind kind, int64_t deadline_ns);

#endif
