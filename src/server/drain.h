/* server/drain.h - the graceful end.
 *
 * The server reports that it is not ready, accepts no more clients and closes idle connections at
 * once. Requests whose heads have arrived are finished within the drain limit; then gp_server_run
 * returns.
 */
#ifndef GP_SERVER_DRAIN_H
#define GP_SERVER_DRAIN_H

#include "server/server.h"

/* Begins to drain. The task of the client that asked for it, if any, becomes ready once all other
 * clients have gone. */
void drain_begin(struct gp_server *server, struct task *shutdown_for);

/* Called after a connection has gone completely. */
void drain_connection_gone(struct gp_server *server);

/* Waits for the drain to begin and to end; GP_DEADLINE if a run never came back. */
enum gp_status drain_wait(struct gp_server *server, struct gp_error *err);

#endif
