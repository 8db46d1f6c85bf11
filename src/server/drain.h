/* server/drain.h - the way to the end.
 *
 * Not ready, no more accepting, idle connections closed at once; a request whose head has
 * arrived is finished within the drain limit; then gp_server_run returns.
 */
#ifndef GP_SERVER_DRAIN_H
#define GP_SERVER_DRAIN_H

#include "server/server.h"

/* Begins to drain. The task, of somebody who asked for it, is ready when the other clients have
 * gone; NULL: nobody did. */
void drain_begin(struct gp_server *server, struct task *shutdown_for);

/* A connection has gone, with nothing of it left. */
void drain_connection_gone(struct gp_server *server);

/* Waits for the drain to begin and to end; GP_DEADLINE when a run never came back. */
enum gp_status drain_wait(struct gp_server *server, struct gp_error *err);

#endif
