/* server/routes.h - which request goes where, once its body is complete. */
#ifndef GP_SERVER_ROUTES_H
#define GP_SERVER_ROUTES_H

#include "server/receive.h"

/* Answers the request of c->x, or begins its inference; the state is then
 * CONNECTION_ANSWER. STEP_GONE: the exchange waits, and the connection with it. */
enum step routes_dispatch(struct worker *worker, struct connection *c);

#endif
