/* server/infer.h - one inference, from the request's bytes to the answer's. */
#ifndef GP_SERVER_INFER_H
#define GP_SERVER_INFER_H

#include "server/exchange.h"

/* Begins with a body that is complete. True: the answer is ready to be sent. False: x is no longer
 * the caller's, and comes back by the task of its inference. */
bool infer_begin(struct worker *worker, struct exchange *x);

/* Makes the answer, once the inference has come back. */
void infer_answer(struct exchange *x);

/* Whose inference it is. */
struct exchange *infer_exchange(const struct inference *inference);

#endif
