/* model/run.h - takes a bound inference to a slot, through the engine and back to its owner. */
#ifndef GP_MODEL_RUN_H
#define GP_MODEL_RUN_H

#include "model/inference.h"

/* Runs a bound inference, alone or with others of its model, which leaves the caller and comes back
 * through its task. False if it may not run; its error says why. */
bool run_enter(struct worker *worker, struct inference *inference);

/* The same, but on this slot only. False if it is not free. */
bool run_enter_at(struct worker *worker, struct inference *inference, uint32_t slot);

/* A failure that says nothing of those that ran together: fewer of them would not fare better. */
bool run_blames_nobody(enum gp_status status);

/* True if the deadline has passed; the error then says so. */
bool run_is_late(struct inference *inference);

#endif
