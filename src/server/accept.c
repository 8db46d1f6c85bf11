#include "server/accept.h"

#include "server/server.h"
#include "server/turn.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

enum { ACCEPTS_A_TURN = 64 };

/* Accepts up to 64 clients, then arms the listener again. An idle connection that was ended to make
 * room is closed by its own event, which must not wait for more clients. */
void accept_clients(struct worker *worker, struct source *source)
{
    (void)worker;
    struct listener *listener = (struct listener *)source;
    struct gp_server *server = listener->owner;
    const int on = 1;
    bool has_room = true;
    for (int i = 0; i < ACCEPTS_A_TURN && has_room; i++) {
        if (server_is_draining(server))
            return;
        struct sockaddr_storage from;
        socklen_t size = sizeof from;
        int fd = accept4(listener->source.fd, (struct sockaddr *)&from, &size,
                         SOCK_NONBLOCK | SOCK_CLOEXEC);
        const bool is_short = fd < 0 && (errno == EMFILE || errno == ENFILE);
        if (is_short)
            fd = connections_accept_by_spare(&server->connections, listener->source.fd,
                                             &from, &size);
        if (fd < 0 && (errno == EINTR || errno == ECONNABORTED))
            continue;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE) &&
            connections_pause(&server->connections, listener))
            return;
        if (fd < 0)
            break;
        if (!listener->unix_path)
            setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        atomic_fetch_add_explicit(&server->metrics.n_accepted, 1, memory_order_relaxed);
        has_room = turn_begin(server, listener, fd, (struct sockaddr *)&from, !is_short);
        if (is_short)
            connections_keep_spares(&server->connections);
    }
    if (!listen_rearm(listener, &server->poller))
        (void)connections_pause(&server->connections,
                                listener); /* until the next connection goes */
}
