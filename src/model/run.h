/* model/run.h - one inference, once it is bound: to a slot, through the engine, back to its
 * owner. */
#ifndef GP_MODEL_RUN_H
#define GP_MODEL_RUN_H

#include "model/inference.h"

/* Has a bound inference run; from then on it is no longer the caller's, but comes back by its
 * task. False: it may not, and its error says why. */
bool run_enter(struct worker *worker, struct inference *inference);

/* True when the deadline is over; the error then says so. */
bool run_is_late(struct inference *inference);

#endif
