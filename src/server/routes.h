/* server/routes.h - routes requests: they are looked up, and may be refused, once their head is
 * complete, and answered once their body is. */
#ifndef GP_SERVER_ROUTES_H
#define GP_SERVER_ROUTES_H

#include "server/exchange.h"

/* Sets whether a web page asks that may, by a head whose target was read: what is refused from then on, it can
 * read. */
void routes_find_page(struct exchange *x, const char *head);

/* Sets x->route to the route of a complete head, whose bytes are at `head`, or x->model to the
 * model, which is held. False if the request is refused with x->error, which routes_serve
 * answers. */
bool routes_find(struct exchange *x, const char *head);

enum served {
    SERVED_ANSWER, /* the answer is ready */
    /* x no longer belongs to the caller: it comes back through the task of its inference. */
    SERVED_LATER
};

/* True if routes_serve may return SERVED_LATER. */
bool routes_may_wait(const struct exchange *x);

/* Answers a complete request, or begins its inference. */
enum served routes_serve(struct worker *worker, struct exchange *x);

#endif
