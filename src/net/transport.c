#include "net/transport.h"

#include <errno.h>
#include <limits.h>
#include <sys/socket.h>

static enum transport_result result_of(ssize_t n, enum transport_result would_block,
                                       size_t *n_moved)
{
    if (n > 0) {
        *n_moved = (size_t)n;
        return TRANSPORT_OK;
    }
    if (n == 0)
        return TRANSPORT_CLOSED;
    return errno == EAGAIN || errno == EWOULDBLOCK ? would_block : TRANSPORT_FAILED;
}

enum transport_result transport_readv(struct transport *transport,
                                      const struct iovec *parts, size_t n_parts,
                                      size_t *n_moved)
{
    ssize_t n;
    do {
        n = readv(transport->fd, parts, (int)(n_parts < IOV_MAX ? n_parts : IOV_MAX));
    } while (n < 0 && errno == EINTR);
    return result_of(n, TRANSPORT_WANT_READ, n_moved);
}

enum transport_result transport_writev(struct transport *transport,
                                       const struct iovec *parts, size_t n_parts,
                                       size_t *n_moved)
{
    const struct msghdr message = {.msg_iov = (struct iovec *)(void *)(size_t)parts,
                                   .msg_iovlen = n_parts < IOV_MAX ? n_parts : IOV_MAX};
    ssize_t n;
    do {
        n = sendmsg(transport->fd, &message, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return result_of(n, TRANSPORT_WANT_WRITE, n_moved);
}

bool transport_has_more(const struct transport *transport)
{
    (void)transport;
    return false;
}
