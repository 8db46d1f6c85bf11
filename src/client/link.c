/* Connecting tries each address of the host in turn, each with a share of the remaining
 * time, so that one that swallows packets does not use up the time of the others. Sends
 * never raise SIGPIPE. */
#include "client/link.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { UNIX_RETRY_MS = 2 };

/* Milliseconds until the deadline, rounded up, for poll; 0: it has passed. */
static int poll_ms(int64_t deadline_ns)
{
    if (deadline_ns == INT64_MAX)
        return -1;
    const int64_t left_ns = deadline_ns - clock_now_ns();
    if (left_ns <= 0)
        return 0;
    const int64_t left_ms = (left_ns - 1) / CLOCK_MS + 1;
    return left_ms > INT_MAX ? INT_MAX : (int)left_ms;
}

static short wait_fd(int fd, short events, int64_t deadline_ns)
{
    struct pollfd entry = {.fd = fd, .events = events};
    for (;;) {
        const int n = poll(&entry, 1, poll_ms(deadline_ns));
        if (n > 0)
            return entry.revents;
        const int error = n < 0 ? errno : 0;
        if (clock_now_ns() >= deadline_ns)
            return 0;
        if (error && error != EINTR)
            return POLLERR;
    }
}

short link_wait(const struct client_link *link, short events, int64_t deadline_ns)
{
    return wait_fd(link->fd, events, deadline_ns);
}

void link_close(struct client_link *link)
{
    if (link->fd >= 0)
        close(link->fd);
    link->fd = -1;
}

/* Connects fd; returns 0 or an errno, ETIMEDOUT at the deadline. */
static int connect_fd(int fd, const struct sockaddr *name, socklen_t size,
                      int64_t deadline_ns)
{
    /* nothing signals that the queue of a unix socket has room: try again */
    while (connect(fd, name, size) != 0) {
        if (errno == EAGAIN && name->sa_family == AF_UNIX) {
            if (clock_now_ns() >= deadline_ns)
                return ETIMEDOUT;
            poll(NULL, 0, UNIX_RETRY_MS);
        } else if (errno == EINPROGRESS || errno == EINTR) {
            int error = 0;
            socklen_t error_size = sizeof error;
            if (wait_fd(fd, POLLOUT, deadline_ns) == 0)
                return ETIMEDOUT;
            if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &error_size) != 0)
                return errno;
            return error;
        } else {
            return errno;
        }
    }
    return 0;
}

static int open_one(struct client_link *link, int family, const struct sockaddr *name,
                    socklen_t size, int64_t deadline_ns)
{
    const int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return errno;
    const int error = connect_fd(fd, name, size, deadline_ns);
    if (error != 0) {
        close(fd);
        return error;
    }
    const int on = 1;
    if (family != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    link->fd = fd;
    return 0;
}

/* Tries each address of the list in turn; returns 0 or the errno of the last one. */
static int open_any(struct client_link *link, const struct addrinfo *list,
                    int64_t deadline_ns)
{
    int n_left = 0;
    int error = ETIMEDOUT;
    for (const struct addrinfo *at = list; at; at = at->ai_next)
        n_left++;
    for (const struct addrinfo *at = list; at; at = at->ai_next, n_left--) {
        const int64_t now_ns = clock_now_ns();
        error = open_one(link, at->ai_family, at->ai_addr, at->ai_addrlen,
                         now_ns + (deadline_ns - now_ns) / n_left);
        if (error == 0)
            break;
    }
    return error;
}

static enum gp_status open_failure(const struct client_link *link, int error,
                                   bool is_past_deadline, struct gp_error *err)
{
    const char *label = link->address.label;
    char memory[128];
    if (error == ETIMEDOUT && is_past_deadline)
        return gp_error_set(err, GP_DEADLINE, "%s: the deadline passed while connecting",
                            label);
    if (error == ETIMEDOUT)
        return gp_error_set(err, GP_TIMEOUT, "%s: no connection within %u ms", label,
                            link->connect_timeout_ms);
    const char *why = strerror_r(error, memory, sizeof memory);
    const bool is_absent = error == ECONNREFUSED || error == ENOENT;
    return gp_error_set(err, GP_IO, "%s: %c%s%s", label, tolower((unsigned char)*why),
                        why + 1, is_absent ? "; is the server running?" : "");
}

enum gp_status link_open(struct client_link *link, int64_t deadline_ns,
                         struct gp_error *err)
{
    const struct client_address *address = &link->address;
    int64_t until_ns = clock_now_ns() + link->connect_timeout_ms * CLOCK_MS;
    if (until_ns > deadline_ns)
        until_ns = deadline_ns;

    int error;
    if (address->is_unix) {
        const struct sockaddr *name = (const struct sockaddr *)&address->unix_path;
        error = open_one(link, AF_UNIX, name, sizeof address->unix_path, until_ns);
    } else {
        struct addrinfo *list = NULL;
        const enum gp_status status = client_resolve(address, until_ns, &list, err);
        if (status == GP_TIMEOUT && until_ns == deadline_ns)
            return open_failure(link, ETIMEDOUT, true, err);
        if (status != GP_OK)
            return status;
        error = open_any(link, list, until_ns);
        freeaddrinfo(list);
    }
    return error == 0 ? GP_OK : open_failure(link, error, until_ns == deadline_ns, err);
}

bool link_is_stale(const struct client_link *link)
{
    char byte;
    const ssize_t got = recv(link->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    return got >= 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

static enum link_outcome outcome_of(ssize_t moved)
{
    if (moved > 0)
        return LINK_MOVED;
    if (moved == 0)
        return LINK_CLOSED;
    return errno == EAGAIN || errno == EWOULDBLOCK ? LINK_LATER : LINK_FAILED;
}

enum link_outcome link_send(struct client_link *link, struct iovec *parts, size_t n_parts,
                            size_t *moved)
{
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = n_parts};
    ssize_t sent;
    do
        sent = sendmsg(link->fd, &message, MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    *moved = sent > 0 ? (size_t)sent : 0;
    return outcome_of(sent);
}

enum link_outcome link_receive(struct client_link *link, void *bytes, size_t size,
                               size_t *moved)
{
    ssize_t got;
    do
        got = recv(link->fd, bytes, size, 0);
    while (got < 0 && errno == EINTR);
    *moved = got > 0 ? (size_t)got : 0;
    return outcome_of(got);
}
