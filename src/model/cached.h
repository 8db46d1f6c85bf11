/* model/cached.h - a request of a model whose rows are cached: what is known is copied, what others are
 * computing is awaited, and only the rest is run.
 *
 * It stands between binding and entering: the run sees an inference of fewer rows, or of fewer outputs,
 * and knows nothing of it. Where rows depend on each other, or the request has none, the request as a
 * whole is what a row is otherwise. docs/decisions/cache.md says what a row's key covers.
 */
#ifndef GP_MODEL_CACHED_H
#define GP_MODEL_CACHED_H

#include "model/model.h"

enum cached_way {
    CACHED_FOUND, /* it has all of its outputs */
    CACHED_GOES, /* it has left the caller and comes back through its task, as from run_enter */
    CACHED_REFUSED /* its error says why */
};

/* Answers a bound inference of a model with flights, without a run if it can. */
enum cached_way cached_enter(struct worker *worker, struct inference *inference);

/* For the watcher: those that await others' rows, and are late or left, await them no longer. */
void cached_watch(struct model *model);

/* All of them. */
void cached_cancel(struct model *model);

#endif
