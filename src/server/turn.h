/* server/turn.h - a connection's turn on a thread: from an event to the next wait. */
#ifndef GP_SERVER_TURN_H
#define GP_SERVER_TURN_H

#include "server/connection.h"

/* Takes over an accepted socket and arms it; or answers 503 and closes it if there are too many,
 * the server drains, or memory or epoll fails. Without has_descriptors the descriptor is a spare.
 * False if others must have a turn before the next one is accepted. */
bool turn_begin(struct gp_server *server, const struct listener *listener, int fd,
                const struct sockaddr *from, bool has_descriptors);

/* Takes memory back from a request that has stalled in a head or a body, and returns the number of
 * bytes. For timers_revoke. */
size_t turn_take_back(struct timer *timer);

/* Closes the remaining connections once no thread runs any more. */
void turn_close_all(struct gp_server *server);

#endif
