/* server/accept.h - lets clients in. */
#ifndef GP_SERVER_ACCEPT_H
#define GP_SERVER_ACCEPT_H

#include "net/poller.h"

/* Serves a listener: accepts clients, then arms it again. */
void accept_clients(struct worker *worker, struct source *source);

#endif
