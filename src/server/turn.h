/* server/turn.h - a connection's turn on a thread: from what came to the next thing to wait for. */
#ifndef GP_SERVER_TURN_H
#define GP_SERVER_TURN_H

#include "server/connection.h"

/* Takes over a socket accepted from an address and arms it; or answers 503 and closes it: there
 * are too many, the server drains, or memory or epoll is lacking. Without descriptors this one is
 * a spare. False: the next one may be accepted when others have had a turn. */
bool turn_begin(struct gp_server *server, const struct listener *listener, int fd,
                const struct sockaddr *from, bool has_descriptors);

/* Takes memory back from a request that has stalled in a head or a body; gives how many bytes.
 * For timers_revoke. */
size_t turn_take_back(struct timer *timer);

/* Closes the connections that are left when no thread runs any more. */
void turn_close_all(struct gp_server *server);

#endif
