/* model/counts.h - what is counted of one version of a model.
 *
 * The counts belong to the model's name and the version's number, not to the model that is open: a
 * version that is loaded again continues its counts. They are held by the entry of the name, by its
 * version, and by each open model, which may outlive both. */
#ifndef GP_MODEL_COUNTS_H
#define GP_MODEL_COUNTS_H

#include "base/counters.h"

/* Counted here; the counters from COUNTS_OTHERS on are for whoever answers requests. */
enum {
    COUNTS_CHILD_RESTARTS,
    COUNTS_CHILD_ENDED, /* four, by enum isolate_end */
    COUNTS_OTHERS = COUNTS_CHILD_ENDED + 4
};

/* So many versions that have gone keep their counts: those that were made last. */
enum { COUNTS_KEPT = 8 };

struct counts {
    struct counters counters;
    uint64_t version;
    atomic_uint n_users;
    struct counts *next; /* of the entry's, the last made first */
};

/* Those of the version in the list, held; made if it has none, with n_others counters behind our own.
 * NULL if memory is short. */
struct counts *counts_take(struct counts **list, uint64_t version, unsigned n_others,
                           unsigned n_threads);

void counts_hold(struct counts *counts);

/* Takes NULL. */
void counts_drop(struct counts *counts);

/* Drops the list's own holds. */
void counts_drop_list(struct counts *list);

#endif
