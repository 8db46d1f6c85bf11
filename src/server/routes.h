/* server/routes.h - which request goes where: looked up, and refused where it must be, when its
 * head is complete, and answered once its body is. */
#ifndef GP_SERVER_ROUTES_H
#define GP_SERVER_ROUTES_H

#include "server/exchange.h"

/* Finds the route of a complete head, into x->route, or the model, held, into x->model. False: the
 * request is refused, for the reason in x->error, which routes_serve answers. `head` is where its
 * bytes are. */
bool routes_find(struct exchange *x, const char *head);

enum served {
    SERVED_ANSWER, /* the answer is ready */
    SERVED_LATER /* x is no longer the caller's, and comes back by the task of its inference */
};

/* Answers a request that is complete, or begins its inference. */
enum served routes_serve(struct worker *worker, struct exchange *x);

#endif
