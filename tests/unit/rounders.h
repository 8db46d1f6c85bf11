/* Inferences that go round: each enters a model, comes back, and enters again on whichever thread it has come
 * to, until so many have. What they are in is a world of one kind, which test_interleavings makes and meddles
 * with; they check what has to hold of each of them. */
#ifndef GP_TESTS_ROUNDERS_H
#define GP_TESTS_ROUNDERS_H

#include "engine/isolate_child.h"
#include "fake_model.h"
#include "net/poller.h"
#include "row_request.h"
#include "tenants.h"

enum { ROUNDERS_N = 24, ROUNDERS_N_CLIENTS = 3, ROUNDERS_MAX_SLOTS = 3 };

enum rounders_kind {
    ROUNDERS_PLAIN,
    ROUNDERS_SLOT_THREADS,
    ROUNDERS_CHILDREN,
    ROUNDERS_MODELS,
    ROUNDERS_BATCHES,
    ROUNDERS_CACHED
};

struct rounder {
    struct fake_inference fake; /* first */
    struct task again;
    struct rounders_world *world;
    atomic_bool is_away; /* entered, and not back yet */
    atomic_int n_cancels;
    int n_ends; /* that were over in the world when it entered */

    struct row_request rows; /* of what has rows */
};

struct rounders_world {
    struct poller poller;
    struct fake_model model;
    struct slots *slots;
    struct rounder rounders[ROUNDERS_N];
    struct share_taker clients[ROUNDERS_N_CLIENTS];
    atomic_int n_entered;
    atomic_bool is_late;     /* nothing more enters */
    atomic_int n_going;      /* rounders */
    atomic_int n_ends_begun; /* of all that enters */
    atomic_int n_ends_over;
    unsigned n_runs[ROUNDERS_MAX_SLOTS]; /* not atomic: a slot has one run at a time */
    pthread_t threads[ROUNDERS_MAX_SLOTS];
    atomic_int n_cancels[ROUNDERS_MAX_SLOTS]; /* of what has rows */
    enum rounders_kind kind;

    struct isolate isolate;
    struct child children[ROUNDERS_MAX_SLOTS];
    struct task news;
    atomic_bool has_news; /* the task is under way */

    struct tenants *tenants;
};

static inline bool rounders_have_rows(const struct rounders_world *world)
{
    return world->kind == ROUNDERS_BATCHES || world->kind == ROUNDERS_CACHED;
}

/* What the world's model and its tenants do: they work for a while, give up at times, and lose slots. */
fake_run rounders_run;
tenants_work rounders_work;

/* One that has not entered yet; its task `again` has it go. */
void rounder_begin(struct rounder *rounder, struct rounders_world *world);

#endif
