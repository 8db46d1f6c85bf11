/* server/receive.h - the receiving side of a connection: heads and bodies. */
#ifndef GP_SERVER_RECEIVE_H
#define GP_SERVER_RECEIVE_H

#include "server/connection.h"

/* One step in the states CONNECTION_HEAD, CONNECTION_BODY and CONNECTION_CHUNKED. */
enum step receive_head(struct worker *worker, struct connection *c);
enum step receive_body(struct connection *c);
enum step receive_chunked(struct worker *worker, struct connection *c);

#endif
