/* server/connection.h - one client's connection, between the steps that its requests take.
 *
 * It is armed one-shot, so one thread owns it at a time. A turn (turn.c) takes it through its
 * states until there is nothing to do without waiting, or its share of the thread is used
 * up; then it is armed again. Between requests it owns no buffer and no exchange.
 */
#ifndef GP_SERVER_CONNECTION_H
#define GP_SERVER_CONNECTION_H

#include "base/clock.h"
#include "net/poller.h"
#include "net/transport.h"
#include "net/worker.h"
#include "server/connections.h"
#include "server/exchange.h"

/* What a turn may take before others have theirs. */
enum { TURN_BYTES = 1 << 20, TURN_REQUESTS = 16 };

enum connection_state {
    CONNECTION_HEAD,    /* between requests, or in a head */
    CONNECTION_BODY,    /* in a body of known length */
    CONNECTION_CHUNKED, /* in a chunked body */
    CONNECTION_REQUEST, /* a request is complete */
    CONNECTION_ANSWER,  /* an answer is ready, or partly sent */
    CONNECTION_LINGER   /* closed by us; waiting for the peer to have read the answer */
};

/* What a step of a turn came to. */
enum step {
    STEP_NEXT,  /* the state changed: take the next step */
    STEP_READ,  /* wait until readable */
    STEP_WRITE, /* wait until writable */
    STEP_YIELD, /* let others have the thread, then go on */
    STEP_GONE,  /* the connection belongs to somebody else now */
    STEP_CLOSE
};

struct connection {
    struct source source; /* first */
    enum connection_state state;
    struct transport transport;
    struct gp_server *server;
    struct guest guest;
    struct exchange *x;
    struct pool_buffer pending; /* received bytes that were not parsed in the last turn */
    size_t pending_size;
    bool is_fresh;      /* has not had an answer */
    bool has_lost_some; /* requests behind the one being answered: no room to keep them */
    int64_t since_ns;   /* when the present state began; of CONNECTION_LINGER: its end */
    size_t turn_bytes;  /* of the present turn */
    unsigned turn_requests;
};

/* How long a peer may take to read an answer after which we close: long when it may still
 * be sending what was refused, else just enough not to reset it. */
#define CONNECTION_LINGER_REFUSED_NS (10 * CLOCK_S)
#define CONNECTION_LINGER_NS (1 * CLOCK_S)

/* Of a guest. */
struct connection *connection_of(struct guest *guest);

/* An exchange for its next request; NULL when memory is short. */
struct exchange *connection_take_exchange(struct connection *c);

/* Its request is over. */
void connection_end_exchange(struct connection *c);

/* Closes and frees it, with the request that it is in. */
void connection_close(struct connection *c);

/* Sends a 503 that takes no memory; nothing is being sent, so it fits into the socket's buffer. */
void connection_send_refusal(int fd, const char *why);

/* Answers 503 where there is no memory even for an exchange, and lingers. */
void connection_refuse_plainly(struct connection *c);

/* Refuses the request being received with x->error, as text, and closes after the
 * answer. Without an exchange there was no memory for one: 503. */
enum step connection_refuse(struct connection *c);

/* The same where there is no room to keep what has come of a request, or of several. */
enum step connection_refuse_head(struct connection *c);

/* Between turns the unparsed bytes are kept with the connection; false: no memory. */
bool connection_save_window(struct worker *worker, struct connection *c);
void connection_load_window(struct worker *worker, struct connection *c);

/* What to wait for after a transfer that moved nothing. */
enum step connection_step(enum transport_result result);

/* True when the peer has closed its side or reset the connection. Any thread. */
bool connection_is_left(const struct connection *c);

#endif
