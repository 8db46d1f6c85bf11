/* server/infer.h - one inference, from the request's bytes to the answer's. */
#ifndef GP_SERVER_INFER_H
#define GP_SERVER_INFER_H

#include "net/poller.h"
#include "server/exchange.h"

#include <stdbool.h>

/* Begins with a body that is complete. True: the answer is ready to be sent. False: x
 * waits for a slot, or runs on its slot's own thread, and is no longer the caller's. */
bool infer_begin(struct worker *worker, struct exchange *x);

/* Goes on with a slot in hand, to an answer that is ready to be sent. The next exchange
 * for the slot, if one waited, is left in worker->carried. */
void infer_finish(struct worker *worker, struct exchange *x);

#endif
