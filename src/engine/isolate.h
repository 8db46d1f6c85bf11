/* engine/isolate.h - an engine that runs in child processes, one for each slot.
 *
 * To the server it is an engine: describe returns what the children described, run sends a
 * record (record.h) and waits, close ends the children. Beyond that, the server must know that
 * a slot is lost for a while when its child ended, or goes on with a run past the deadline:
 * isolate_let_go tells so after each run, and news when the slot can be used again.
 *
 * isolate.c opens and closes, isolate_run.c is one run, supervisor.c looks after children that
 * cannot be used, spawn.c starts the process, child.c runs in it. The reasons are in
 * docs/decisions/isolation.md.
 *
 * Threads: a slot belongs to the server (the caller) or to the supervisor's thread, and only
 * its owner talks to its child. Isolates share nothing but the pool: one may be opened or
 * closed while others run. */
#ifndef GP_ENGINE_ISOLATE_H
#define GP_ENGINE_ISOLATE_H

#include "base/pool.h"

#include <graphpipe/engine.h>

#include <stdbool.h>

struct isolate;

struct isolate_options {
    const char *name; /* of the engine, as for engine_load */
    const char *engine_dir;
    /* The program to start; NULL: this one if it is graphpipe, else it is searched. Unused for
     * an engine that is a Python program, which has an option python=PATH. */
    const char *worker;
    int64_t hang_ns;   /* how long a child may go on after its request was answered */
    struct pool *pool; /* outlives the isolate */
    const struct gp_engine_options *engine; /* n_slots: children, at least 1 */
    void (*tell)(void *context); /* there are news; any thread, no lock is held */
    /* A child that was started anew has opened the model, which it read again, and does not run yet;
     * may be NULL. The supervisor's thread. */
    void (*reopened)(void *context);
    void *tell_context; /* of both */
};

/* Starts the children and has them open the model; *err is from the first that cannot. */
enum gp_status isolate_open(const struct isolate_options *options,
                            struct isolate **isolate, struct gp_error *err);

/* With the name and version of the isolated engine; the isolate is its model. */
const struct gp_engine *isolate_engine(const struct isolate *isolate);

/* For engine_run's `memory`: the children see this pair and nothing else of the pool. Answers
 * that still lie there when the isolate is closed stay valid until they are dropped. */
struct pool_pair isolate_memory(const struct isolate *isolate);

/* After a run: true if the slot can be used again, false if it is the supervisor's until news
 * says otherwise. */
bool isolate_let_go(struct isolate *isolate, uint32_t slot);

/* Checks if the child of an unused slot has ended, before isolate_let_go. */
void isolate_look(struct isolate *isolate, uint32_t slot);

enum isolate_news {
    ISOLATE_NONE,
    ISOLATE_USABLE, /* the slot is the caller's again */
    ISOLATE_LOST,   /* its child ended: a run notices by itself, else isolate_look does */
    ISOLATE_DOWN    /* no child could be restarted: see isolate_is_alive */
};

/* News, one at a time, as long as there are some: whoever is told takes them all. */
enum isolate_news isolate_next(struct isolate *isolate, uint32_t *slot);

/* False, with the reason in *err, while all children are down and wait to be restarted. */
bool isolate_is_alive(struct isolate *isolate, struct gp_error *err);

enum isolate_state { ISOLATE_READY, ISOLATE_LATE, ISOLATE_STARTING, ISOLATE_BACKOFF };
enum isolate_end { ISOLATE_SIGNAL, ISOLATE_EXIT, ISOLATE_HANG, ISOLATE_PROTOCOL };

struct isolate_counts {
    uint32_t children[4]; /* by enum isolate_state */
    uint64_t ended[4];    /* by enum isolate_end */
    uint64_t n_restarts;
};
struct isolate_counts isolate_count(struct isolate *isolate);

/* The main function of a child, "graphpipe worker PARENT" with the server's process id; returns
 * the exit status. An engine that is a Python program runs as "PYTHON ENGINE.py PARENT". */
int isolate_child(const char *parent);

#endif
