/* net/transport.h - the seam between a connection and its bytes: plain sockets today,
 * TLS behind the same two calls later. Neither call blocks or raises SIGPIPE. */
#ifndef GP_NET_TRANSPORT_H
#define GP_NET_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/uio.h>

enum transport_result {
    TRANSPORT_OK,         /* *n_moved bytes, at least one */
    TRANSPORT_WANT_READ,  /* nothing moved: wait until readable */
    TRANSPORT_WANT_WRITE, /* nothing moved: wait until writable */
    TRANSPORT_CLOSED,     /* the peer has ended its side */
    TRANSPORT_FAILED      /* reset or broken */
};

struct transport {
    int fd;
};

enum transport_result transport_readv(struct transport *transport,
                                      const struct iovec *parts, size_t n_parts,
                                      size_t *n_moved);
enum transport_result transport_writev(struct transport *transport,
                                       const struct iovec *parts, size_t n_parts,
                                       size_t *n_moved);

/* True if received bytes wait in the transport, where epoll does not see them. */
bool transport_has_more(const struct transport *transport);

#endif
