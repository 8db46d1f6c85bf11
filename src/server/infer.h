/* server/infer.h - one inference, from the request's bytes to the answer's. */
#ifndef GP_SERVER_INFER_H
#define GP_SERVER_INFER_H

#include "server/exchange.h"

/* Begins with a complete body. True if the answer is ready to be sent. False if x no longer belongs
 * to the caller: it comes back through the task of its inference. */
bool infer_begin(struct worker *worker, struct exchange *x);

/* Makes the answer once the inference has come back. */
void infer_answer(struct worker *worker, struct exchange *x);

/* The exchange that the inference is part of. */
struct exchange *infer_exchange(const struct inference *inference);

#endif
