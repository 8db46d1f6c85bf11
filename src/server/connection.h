/* server/connection.h - one client's connection: bytes in, requests, answers, bytes out.
 *
 * It is armed one-shot, so one thread owns it at a time. A turn takes it through its
 * states until there is nothing to do without waiting, or its share of the thread is used
 * up; then it is armed again. Between requests it owns no buffer and no exchange.
 */
#ifndef GP_SERVER_CONNECTION_H
#define GP_SERVER_CONNECTION_H

#include "net/poller.h"
#include "net/timers.h"
#include "net/transport.h"
#include "server/exchange.h"

#include <netinet/in.h>

struct listener;
struct peer_record;

enum connection_state {
    CONNECTION_HEAD,    /* between requests, or in a head */
    CONNECTION_BODY,    /* in a body of known length */
    CONNECTION_CHUNKED, /* in a chunked body */
    CONNECTION_ANSWER,  /* an answer is ready, or partly sent */
    CONNECTION_LINGER   /* closed by us; waiting for the peer to have read the answer */
};

struct connection {
    struct source source; /* first */
    enum connection_state state;
    bool is_late_answer; /* x->error is to be answered first */
    struct transport transport;
    struct gp_server *server;
    const struct listener *listener;
    struct peer_record *peer; /* whose it is, with other connections */
    struct sockaddr_in6 from; /* or another family's, cut */
    struct exchange *x;
    struct pool_buffer pending; /* received bytes that were not parsed in the last turn */
    size_t pending_size;
    bool is_fresh;      /* has not had an answer */
    bool is_for_health; /* beyond max_connections */
    bool is_refused;    /* likewise, and only lingers */
    bool has_lost_some; /* requests behind the one being answered: no room to keep them */
    int64_t since_ns;   /* when the present state began; of CONNECTION_LINGER: its end */
    struct timer timer;
    struct connection *prev; /* of all the server's */
    struct connection *next;
};

/* Takes over a socket accepted from an address and arms it; or answers 503 and closes it: there
 * are too many, the server drains, or memory or epoll is lacking. Without descriptors this one is
 * a spare. False: the next one may be accepted when others have had a turn. */
bool connection_open(struct gp_server *server, const struct listener *listener, int fd,
                     const struct sockaddr *from, bool has_descriptors);

/* Takes memory back from requests that have stalled in a head or a body, which are answered 503,
 * until it comes to the bytes that are wanted; false: none has stalled. Any thread. */
bool connection_revoke(struct gp_server *server, size_t wanted_bytes);

/* Answers 503 where there is no memory even for an exchange, and lingers. */
void connection_refuse_plainly(struct connection *c);

/* Goes on with an exchange that has a slot, and with those that get the slot after it. */
void connection_carry(struct worker *worker, struct exchange *x);

/* Has x->error answered by whichever thread gets the connection's next event. From then
 * on x is no longer the caller's. */
void connection_answer_later(struct exchange *x);

/* Has an answer that is ready sent in the same way. */
void connection_send_later(struct exchange *x);

/* Closes those that are left when no thread runs any more. */
void connection_close_all(struct gp_server *server);

/* True when the peer has closed its side or reset the connection. Any thread. */
bool connection_is_left(const struct connection *c);

#endif
