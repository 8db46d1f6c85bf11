/* engine/isolate.h - an engine that runs in child processes, one for each slot.
 *
 * To the server it is an engine: describe says what the children said, run sends a record
 * (record.h) and waits, close ends them. What the server has to know beyond that: a slot is lost
 * for a while when its child ended, or goes on with a run past the deadline. isolate_let_go tells
 * so after each run, and news says when it can be used again.
 *
 * isolate.c opens and closes, isolate_run.c is one run, supervisor.c looks after children that
 * cannot be used, spawn.c makes the process, child.c is what runs in it. docs/decisions/isolation.md
 * has the reasons.
 *
 * Threads: a slot belongs to the server (its caller) or to the supervisor's thread; whoever has it
 * talks with its child. Isolates share nothing but the pool: one may be opened or closed while
 * others run.
 */
#ifndef GP_ENGINE_ISOLATE_H
#define GP_ENGINE_ISOLATE_H

#include "base/pool.h"

#include <graphpipe/engine.h>

#include <stdbool.h>

struct isolate;

struct isolate_options {
    const char *name; /* of the engine, as engine_load takes it */
    const char *engine_dir;
    /* The program; NULL: this one, when it is graphpipe, else found. Not for an engine that is a
     * Python program: it has an option python=PATH. */
    const char *worker;
    int64_t hang_ns;   /* how long a child may go on when nobody waits for it any more */
    struct pool *pool; /* outlives the isolate */
    const struct gp_engine_options *engine; /* n_slots: children, at least 1 */
    void (*tell)(void *context); /* there are news; any thread, no lock is held */
    void *tell_context;
};

/* Starts the children and has them open the model; the first that cannot says why. */
enum gp_status isolate_open(const struct isolate_options *options,
                            struct isolate **isolate, struct gp_error *err);

/* Its name and version are the engine's; the model to call it with is the isolate. */
const struct gp_engine *isolate_engine(const struct isolate *isolate);

/* The model's own, for engine_run's `memory`: its children see this pair and nothing else of the
 * pool. Answers that still lie there when the isolate is closed stay until they are dropped. */
struct pool_pair isolate_memory(const struct isolate *isolate);

/* After a run on the slot: true when it can be used again. False: it is the supervisor's, until
 * news tells of it. */
bool isolate_let_go(struct isolate *isolate, uint32_t slot);

/* Looks whether the child of a slot that nobody runs on has ended, for isolate_let_go to tell. */
void isolate_look(struct isolate *isolate, uint32_t slot);

enum isolate_news {
    ISOLATE_NONE,
    ISOLATE_USABLE, /* the slot is the caller's again */
    ISOLATE_LOST,   /* its child has ended; who runs on it finds out, else isolate_look */
    ISOLATE_DOWN    /* no child could be started again: see isolate_is_alive */
};

/* News, one at a time, as long as there are some: whoever is told takes them all. */
enum isolate_news isolate_next(struct isolate *isolate, uint32_t *slot);

/* False while every child is down and waits for its next start; *err says why. */
bool isolate_is_alive(struct isolate *isolate, struct gp_error *err);

enum isolate_state { ISOLATE_READY, ISOLATE_LATE, ISOLATE_STARTING, ISOLATE_BACKOFF };
enum isolate_end { ISOLATE_SIGNAL, ISOLATE_EXIT, ISOLATE_HANG, ISOLATE_PROTOCOL };

struct isolate_counts {
    uint32_t children[4]; /* by enum isolate_state */
    uint64_t ended[4];    /* by enum isolate_end */
    uint64_t n_restarts;
};
struct isolate_counts isolate_count(struct isolate *isolate);

/* What a child process runs: "graphpipe worker PARENT", PARENT the server's process. Gives the exit
 * status. For an engine that is a Python program: "PYTHON ENGINE.py PARENT". */
int isolate_child(const char *parent);

#endif
