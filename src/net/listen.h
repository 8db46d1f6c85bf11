/* net/listen.h - addresses and listening sockets. */
#ifndef GP_NET_LISTEN_H
#define GP_NET_LISTEN_H

#include "net/poller.h"

#include <sys/socket.h>

struct listener {
    struct source source; /* first; its opener sets what serves it */
    bool is_local;        /* a unix socket, or bound to a loopback address */
    bool is_stopped; /* its socket file is removed: another server may have the path */
    bool is_paused;  /* not armed; for the caller that accepts */
    char *unix_path; /* to be removed at the end */
    char *address;   /* "http://127.0.0.1:9000" or "unix:/path" */
    void *owner;
    struct listener *next;
};

/* Listens on "HOST:PORT", ":PORT", "[::1]:PORT" or "unix:/path", with a listener for each
 * address of a host. They are put in front of *list. */
enum gp_status listen_open(const char *where, struct listener **list,
                           struct gp_error *err);

/* Arms the listener again, for another accept. False if epoll refused for half a second. */
bool listen_rearm(struct listener *listener, struct poller *poller);

/* Refuses new clients from now on. The sockets stay open until listen_close, since a thread
 * may be accepting. */
void listen_stop(struct listener *list);

/* Closes and frees the list. */
void listen_close(struct listener *list);

#endif
