/* server/server.h - what the parts of a server share.
 *
 * create.c makes a server of its parts, accept.c lets clients in, turn.c takes a connection through
 * its states, and drain.c ends it gracefully.
 */
#ifndef GP_SERVER_SERVER_H
#define GP_SERVER_SERVER_H

#include "base/log.h"
#include "base/place.h"
#include "base/pool.h"
#include "model/loader.h"
#include "net/listen.h"
#include "net/poller.h"
#include "net/timers.h"
#include "server/connections.h"
#include "server/cors.h"
#include "server/exchange.h"
#include "server/metrics.h"

#include <graphpipe/server.h>

/* One kind of refusal, for the log. */
struct refusals {
    atomic_llong said_ns;  /* when the last line was logged */
    atomic_ulong n_unsaid; /* since then */
};

struct shared;
struct store;

struct gp_server {
    struct gp_server_options options; /* with defaults; its pointers are not kept */
    /* Instead of those of the options, since a reload may set them. */
    _Atomic uint64_t max_body_bytes;
    _Atomic uint32_t timeout_ms;
    struct gp_arena *arena; /* of what lives as long as the server */
    struct cors cors;
    struct place place; /* where it runs */
    struct pool *pool;
    struct log log;
    struct metrics metrics;
    struct refusals refusals[METRICS_N_REFUSALS];
    struct poller poller;
    struct timers timers;
    struct exchanges exchanges;
    struct connections connections;
    struct models models;
    struct loader loader;
    struct listener *listeners;
    struct source stop;          /* an eventfd that gp_server_stop writes */
    pthread_mutex_t store_lock;  /* while it is opened, by the threads that load */
    struct store *_Atomic store; /* of rows; NULL until a model needs it */
    struct shared *shared;       /* rows of other hosts; NULL: there is no cache_url */
    int64_t created_ns;
    atomic_bool is_draining;

    pthread_mutex_t lock; /* of what follows, for the end */
    pthread_cond_t changed;
    struct task *shutdown_for; /* those who asked for it, answered at the end */
    unsigned n_shutdown_for;
    bool is_finished; /* drained */
};

static inline bool server_is_draining(const struct gp_server *server)
{
    return atomic_load(&server->is_draining);
}

#endif
