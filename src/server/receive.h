/* server/receive.h - the receiving half of a connection: heads and bodies. */
#ifndef GP_SERVER_RECEIVE_H
#define GP_SERVER_RECEIVE_H

#include "server/connection.h"

/* What a step of a turn came to. */
enum step {
    STEP_NEXT,  /* the state changed: take the next step */
    STEP_READ,  /* wait until readable */
    STEP_WRITE, /* wait until writable */
    STEP_YIELD, /* let others have the thread, then go on */
    STEP_GONE,  /* the connection belongs to somebody else now */
    STEP_CLOSE
};

enum { TURN_BYTES = 1 << 20, TURN_REQUESTS = 16 };

/* One step in the states CONNECTION_HEAD, CONNECTION_BODY and CONNECTION_CHUNKED. */
enum step receive_head(struct worker *worker, struct connection *c);
enum step receive_body(struct worker *worker, struct connection *c);
enum step receive_chunked(struct worker *worker, struct connection *c);

/* What to wait for after a transfer that moved nothing. */
enum step receive_step(enum transport_result result);

/* Refuses the request being received with x->error, as text, and closes after the
 * answer. Without an exchange there was no memory for one: 503. */
enum step receive_refuse(struct connection *c);

/* Between turns the unparsed bytes are kept with the connection; false: no memory. */
bool window_save(struct worker *worker, struct connection *c);
void window_load(struct worker *worker, struct connection *c);

#endif
