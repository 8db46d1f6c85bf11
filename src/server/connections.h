/* server/connections.h - all connections, and whether another is admitted.
 *
 * Beyond the limit, or a client's share of it, the connection that has idled longest makes room; if
 * none is idle, the new one is refused with an answer. A few connections are reserved for health
 * checks from this machine, and a few descriptors for when there are no others.
 */
#ifndef GP_SERVER_CONNECTIONS_H
#define GP_SERVER_CONNECTIONS_H

#include "net/listen.h"
#include "net/peers.h"
#include "net/timers.h"

#include <netinet/in.h>

enum {
    CONNECTIONS_N_SPARES = 8,     /* descriptors */
    CONNECTIONS_N_FOR_HEALTH = 8, /* beyond the limit, for health checks from here */
    CONNECTIONS_N_REFUSED = 16 /* beyond the limit, lingering until the refusal is read */
};

/* What becomes of a new connection. */
enum admission {
    ADMISSION_GRANTED,
    ADMISSION_GRANTED_FOR_ANOTHER, /* an idle one was ended to make room */
    ADMISSION_FOR_HEALTH,          /* it may ask for health and metrics */
    ADMISSION_REFUSED,             /* it may stay until it has read why */
    ADMISSION_REFUSED_AT_ONCE
};

/* The part of a connection that describes its client. */
struct guest {
    const struct listener *listener;
    struct peer_record *peer; /* shared by all connections of the client */
    struct sockaddr_in6 from; /* or of another family, cut */
    struct timer timer;
    bool is_for_health; /* beyond the limit */
    bool is_refused;    /* likewise, and only lingers */
    struct guest *prev; /* in the list of all */
    struct guest *next;
};

struct connections {
    unsigned n_most;
    struct timers *timers;

    pthread_mutex_t lock; /* of what follows */
    struct guest *first;
    unsigned n;
    unsigned n_for_health;
    unsigned n_refused;
    struct peers peers;
    int spares[CONNECTIONS_N_SPARES];
    unsigned n_spares;
};

void connections_init(struct connections *connections, struct timers *timers);
void connections_finish(struct connections *connections);

/* Adds a connection from this address and sets its peer; false if memory is short. */
bool connections_add(struct connections *connections, struct guest *guest, int fd,
                     const struct sockaddr *from);

/* Decides whether it is served; if not, *why says why. */
enum admission connections_admit(struct connections *connections, struct guest *guest,
                                 bool has_descriptors, const char **why);

void connections_remove(struct connections *connections, struct guest *guest);

unsigned connections_count(struct connections *connections);
unsigned connections_count_peers(struct connections *connections);

/* Fills up the spare descriptors. */
void connections_keep_spares(struct connections *connections);

/* Like accept4, with a spare descriptor; below 0 and errno on failure. */
int connections_accept_by_spare(struct connections *connections, int listen_fd,
                                struct sockaddr_storage *from, socklen_t *size);

/* Marks a listener as paused until a connection goes; false if there is no connection. */
bool connections_pause(struct connections *connections, struct listener *listener);

/* Removes the mark; true if there was one. */
bool connections_resume(struct connections *connections, struct listener *listener);

#endif
