/* server/server.h - the server as a whole: what its parts share, how it starts and how it
 * ends.
 *
 * Ending (drain): not ready, no more accepting, idle connections closed at once; a
 * request whose head has arrived is finished within the drain limit; then gp_server_run
 * returns.
 */
#ifndef GP_SERVER_SERVER_H
#define GP_SERVER_SERVER_H

#include "base/log.h"
#include "base/place.h"
#include "base/pool.h"
#include "model/model.h"
#include "net/listen.h"
#include "net/peers.h"
#include "net/poller.h"
#include "net/timers.h"
#include "server/connection.h"
#include "server/exchange.h"
#include "server/metrics.h"

#include <graphpipe/server.h>

enum {
    SERVER_N_SPARES = 8, /* descriptors */
    SERVER_N_FOR_HEALTH =
        8, /* connections beyond max_connections, to health checks from here */
    SERVER_N_REFUSED = 16 /* connections beyond it that linger until a refusal is read */
};

/* What becomes of a new connection. */
enum admission {
    ADMISSION_GRANTED,
    ADMISSION_GRANTED_FOR_ANOTHER, /* an idle one has been ended to make room */
    ADMISSION_FOR_HEALTH,          /* it may ask for health and metrics */
    ADMISSION_REFUSED,             /* it may stay until it has read why */
    ADMISSION_REFUSED_AT_ONCE
};

/* One kind of refusals, for the log. */
struct refusals {
    atomic_llong said_ns;  /* when the last line was written */
    atomic_ulong n_unsaid; /* since then */
};

struct gp_server {
    struct gp_server_options options; /* defaults filled in; its pointers are not kept */
    struct gp_arena *arena;           /* of what lives as long as the server */
    struct place place;               /* that it runs in */
    struct pool *pool;
    struct log log;
    struct metrics metrics;
    struct poller poller;
    struct timers timers;
    struct exchanges exchanges;
    struct model model;
    struct listener *listeners;
    struct source stop; /* an eventfd: gp_server_stop writes it */
    int64_t created_ns;
    atomic_bool is_draining;
    struct refusals refusals[METRICS_N_REFUSALS];

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct connection *connections;
    unsigned n_connections;
    unsigned n_for_health; /* of them, beyond max_connections */
    unsigned n_refused;    /* of them, beyond max_connections, that are being told so */
    struct peers peers;    /* of the connections */
    struct exchange
        *shutdown_for; /* who asked for the shutdown, to be answered at its end */
    unsigned n_shutdown_for;
    bool is_finished;            /* drained */
    int spares[SERVER_N_SPARES]; /* descriptors for when there are no others */
    unsigned n_spares;
};

bool server_is_draining(const struct gp_server *server);
unsigned server_n_connections(struct gp_server *server);
unsigned server_n_peers(struct gp_server *server);

/* A copy that lives as long as the server; NULL when memory is short. */
char *server_strdup(struct gp_server *server, const char *text);

/* The list of connections; adding sets its peer, and is false when memory is short. Then it is
 * settled whether it is served: *why says why not. server_connection_gone follows a removal, once
 * nothing of the connection is left. */
bool server_add_connection(struct gp_server *server, struct connection *c,
                           struct peer_name name);
enum admission server_admit(struct gp_server *server, struct connection *c,
                            bool has_descriptors, const char **why);
void server_remove_connection(struct gp_server *server, struct connection *c);
void server_connection_gone(struct gp_server *server);

/* Fills up the spare descriptors. */
void server_keep_spares(struct gp_server *server);

/* Leaves a listener unarmed until a connection goes; false when there is none. */
bool server_pause_listener(struct gp_server *server, struct listener *listener);
void server_rearm_listener(struct gp_server *server, struct listener *listener);

/* Counts and logs an answer, or (status 499) that nobody was left to take it. */
void server_count_answer(struct exchange *x, int status, struct log_lines *lines);

/* Counts that a client was refused for want of room, and logs who and why, seldom enough for an
 * attack not to fill the log. */
void server_count_refusal(struct gp_server *server, enum metrics_refusal what,
                          const struct sockaddr_in6 *from, const char *why);

/* Begins to drain; x, whose answer is ready, gets it when the other clients have gone. */
void server_shutdown_for(struct gp_server *server, struct exchange *x);

/* Waits for the drain to begin and to end; GP_DEADLINE when a run never came back. */
enum gp_status server_wait(struct gp_server *server, struct gp_error *err);

/* A worker that does not poll, for a slot's own thread. */
struct worker *server_make_worker(struct gp_server *server);
void server_free_worker(struct worker *worker);

#endif
