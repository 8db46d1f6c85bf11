/* server/access.h - what was answered and what was refused, counted and logged. */
#ifndef GP_SERVER_ACCESS_H
#define GP_SERVER_ACCESS_H

#include "server/server.h"

/* Appends "127.0.0.1:40000", "[::1]:40000" or "unix". */
void access_put_client(struct text *text, const struct sockaddr_in6 *from);

/* On the thread of that number: counts and logs the answer to x, or (status 499) that the client had left. */
void access_answered(struct exchange *x, int status, unsigned thread,
                     struct log_lines *lines);

/* Counts that a client was refused for lack of room, and logs who and why, but so rarely that an
 * attack cannot fill the log. */
void access_refused(struct gp_server *server, enum metrics_refusal what,
                    const struct sockaddr_in6 *from, const char *why);

#endif
