/* server/routes.h - which request goes where: looked up, and refused where it must be, when its
 * head is complete, and answered once its body is. */
#ifndef GP_SERVER_ROUTES_H
#define GP_SERVER_ROUTES_H

#include "server/receive.h"

/* Finds the route of a complete head, into x->route. False: the request is refused, for the reason
 * in x->error, which routes_dispatch answers. `head` is where its bytes are. */
bool routes_find(struct exchange *x, const char *head);

/* Answers the request of c->x, or begins its inference; the state is then
 * CONNECTION_ANSWER. STEP_GONE: the exchange waits, and the connection with it. */
enum step routes_dispatch(struct worker *worker, struct connection *c);

#endif
