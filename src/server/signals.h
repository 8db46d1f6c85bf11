/* server/signals.h - SIGTERM and SIGINT, taken by a thread that waits for them, so that
 * no handler runs anywhere. While a model loads, a signal ends the process; while the
 * server runs, the first one drains it and a second ends the process; at once, with 128 +
 * its number.
 */
#ifndef GP_SERVER_SIGNALS_H
#define GP_SERVER_SIGNALS_H

#include <graphpipe/server.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

struct signals {
    pthread_t thread;
    _Atomic(struct gp_server *) server;
    atomic_bool is_over;
};

/* Blocks both in this thread and those that it makes later (an engine's included), and
 * begins to wait for them. To be called before any other thread is made. */
enum gp_status signals_begin(struct signals *signals, struct gp_error *err);

/* gp_server_run with the server drained by the first signal. */
enum gp_status signals_run(struct signals *signals, struct gp_server *server,
                           struct gp_error *err);

/* Ends the waiting; the signals stay blocked. */
void signals_end(struct signals *signals);

#endif
