/* server/connection.h - a client's connection.
 *
 * It is armed one-shot, so one thread owns it at a time. A turn (turn.c) takes it through its
 * states until it must wait or has used up its share of the thread; then it is armed again.
 * Between requests it owns no buffer and no exchange.
 */
#ifndef GP_SERVER_CONNECTION_H
#define GP_SERVER_CONNECTION_H

#include "base/clock.h"
#include "net/poller.h"
#include "net/transport.h"
#include "net/worker.h"
#include "server/connections.h"
#include "server/exchange.h"

/* What a turn may take before others get theirs. */
enum { TURN_BYTES = 1 << 20, TURN_REQUESTS = 16 };

enum connection_state {
    CONNECTION_HEAD,    /* between requests, or in a head */
    CONNECTION_BODY,    /* in a body of known length */
    CONNECTION_CHUNKED, /* in a chunked body */
    CONNECTION_REQUEST, /* a request is complete */
    CONNECTION_ANSWER,  /* an answer is ready, or partly sent */
    CONNECTION_LINGER   /* closed by us; the peer may still be reading the answer */
};

/* The result of a step of a turn. */
enum step {
    STEP_NEXT,  /* the state changed: take the next step */
    STEP_READ,  /* wait until readable */
    STEP_WRITE, /* wait until writable */
    STEP_YIELD, /* let others use the thread, then go on */
    STEP_GONE,  /* the connection now belongs to another thread */
    STEP_CLOSE
};

struct connection {
    struct source source; /* first */
    enum connection_state state;
    struct transport transport;
    struct gp_server *server;
    struct guest guest;
    struct exchange *x;
    struct pool_buffer pending; /* bytes received but not parsed in the last turn */
    size_t pending_size;
    bool is_fresh;      /* has not been sent an answer */
    bool has_lost_some; /* there was no room to keep requests behind the current one */
    int64_t since_ns;   /* when the current state began; for CONNECTION_LINGER: its end */
    size_t turn_bytes;  /* of the current turn */
    unsigned turn_requests;
};

/* How long a peer may take to read an answer after which we close: long if it may still be sending
 * what was refused, otherwise just long enough to avoid a reset. */
#define CONNECTION_LINGER_REFUSED_NS (10 * CLOCK_S)
#define CONNECTION_LINGER_NS (1 * CLOCK_S)

/* The connection that the guest is part of. */
struct connection *connection_of(struct guest *guest);

/* An exchange for its next request; NULL if memory is short. */
struct exchange *connection_take_exchange(struct connection *c);

/* Ends its request. */
void connection_end_exchange(struct connection *c);

/* Closes and frees it, with its current request. */
void connection_close(struct connection *c);

/* Sends a 503 without allocating; nothing else is being sent, so it fits the socket's buffer. */
void connection_send_refusal(int fd, const char *why);

/* Answers 503 if there is not even memory for an exchange, and lingers. */
void connection_refuse_plainly(struct connection *c);

/* Refuses the request being received with x->error, as text, and closes after the answer. Without
 * an exchange, for which there was no memory, the answer is 503. */
enum step connection_refuse(struct connection *c);

/* The same if there is no room to keep what has been received of one or more requests. */
enum step connection_refuse_head(struct connection *c);

/* Keeps the unparsed bytes with the connection between turns; false if memory is short. */
bool connection_save_window(struct worker *worker, struct connection *c);
void connection_load_window(struct worker *worker, struct connection *c);

/* What to wait for after a transfer that moved nothing. */
enum step connection_step(enum transport_result result);

/* True if the peer has closed its side or reset the connection. Any thread may call it. */
bool connection_is_left(const struct connection *c);

#endif
