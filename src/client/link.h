/* client/link.h - one connection to the server, non-blocking, opened and reopened on
 * demand. */
#ifndef GP_CLIENT_LINK_H
#define GP_CLIENT_LINK_H

#include "client/address.h"

#include <stddef.h>
#include <sys/uio.h>

struct client_link {
    struct client_address address;
    uint32_t connect_timeout_ms;
    int fd; /* -1: none */
};

enum link_outcome {
    LINK_MOVED,
    LINK_LATER,
    LINK_CLOSED,
    LINK_FAILED /* errno says why */
};

/* Connects; the deadline is absolute, INT64_MAX for none. Fails with GP_DEADLINE,
 * GP_TIMEOUT (over the link's own connect_timeout_ms) or GP_IO. */
enum gp_status link_open(struct client_link *link, int64_t deadline_ns,
                         struct gp_error *err);

void link_close(struct client_link *link);

/* True if the server has closed an idle connection, or has sent something unasked. */
bool link_is_stale(const struct client_link *link);

/* One system call each; LINK_MOVED: *moved is at least 1. */
enum link_outcome link_send(struct client_link *link, struct iovec *parts, size_t n_parts,
                            size_t *moved);
enum link_outcome link_receive(struct client_link *link, void *bytes, size_t size,
                               size_t *moved);

/* Waits for POLLIN or POLLOUT; returns what came, or 0 at the deadline. */
short link_wait(const struct client_link *link, short events, int64_t deadline_ns);

#endif
