/* server/send.h - the sending side of a connection: answers, and the end. */
#ifndef GP_SERVER_SEND_H
#define GP_SERVER_SEND_H

#include "server/connection.h"

/* One step in the state CONNECTION_ANSWER. */
enum step send_answer(struct worker *worker, struct connection *c);

/* In CONNECTION_LINGER: reads and drops what the peer still sends, so that closing does not reset
 * the connection before the peer has read the answer. */
enum step send_linger(struct worker *worker, struct connection *c);

#endif
