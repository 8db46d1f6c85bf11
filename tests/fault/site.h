/* A server of this process on a unix socket, and a peer with a bare socket, which judges what
 * comes back: a whole answer, or a connection that was closed before one was whole. No wait
 * lasts longer than PATIENCE_MS: a server that hangs fails the test. */
#ifndef GP_TESTS_SITE_H
#define GP_TESTS_SITE_H

#include "server/server.h"

#include <stdbool.h>
#include <stddef.h>

enum { PATIENCE_MS = 8000 };

struct site {
    struct gp_server *server;
    pthread_t thread;
    char path[80];
    char listen[88];
    int log_fd;
    enum gp_status status; /* of gp_server_run */
    struct gp_error err;
    long n_live; /* before it was made */
    unsigned n_descriptors;
};

/* Fills in where to listen, two pollers and a log that nobody reads, and starts it; without an
 * engine it is a function that gives copies of its inputs, in memory of each kind, and an
 * adopted tensor. While site_hold is set, the function does not return. */
void site_open(struct site *site, const struct gp_server_options *options);
extern atomic_bool site_hold;

/* True once `is_so` is, within PATIENCE_MS. */
bool site_await(struct site *site, bool (*is_so)(struct gp_server *server));

/* Waits until the server has done with the last answer, or closed all connections. */
void site_settle(struct site *site);

/* Ends it and checks that nothing is left: connections, requests, slots, buffers, blocks,
 * descriptors, the socket's file. */
void site_close(struct site *site);

struct peer {
    int fd;
    char *bytes; /* received and not read: from `at` to `end` */
    size_t at;
    size_t end;
};

struct reply {
    int status; /* 0: closed, before an answer was whole */
    bool is_last;
    const char *body; /* until the peer is used again */
    size_t size;
};

void peer_open(struct peer *peer, const struct site *site);
void peer_close(struct peer *peer);

/* Sends what the server takes: it may have closed. */
void peer_send(struct peer *peer, const void *bytes, size_t size_bytes);

struct reply peer_receive(struct peer *peer, bool is_head);

#endif
