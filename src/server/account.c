/* Counting and logging what was answered. */
#include "base/clock.h"
#include "server/server.h"

static const char *peer_of(const struct connection *c, char *text, size_t text_size)
{
    struct sockaddr_storage address = {0};
    socklen_t size = sizeof address;
    if (c->listener->unix_path ||
        getpeername(c->source.fd, (struct sockaddr *)&address, &size) != 0)
        return c->listener->unix_path ? "unix" : "-";
    return listen_format((struct sockaddr *)&address, size, text, text_size);
}

void server_count_answer(struct exchange *x, int status)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "OTHER"};
    struct gp_server *server = x->server;
    const int64_t total_ns = clock_now_ns() - x->arrived_ns;
    char peer[128];
    if (x->is_counted)
        atomic_fetch_sub_explicit(&server->metrics.n_in_flight, 1, memory_order_relaxed);
    x->is_counted = false;
    metrics_request(&server->metrics, status, total_ns);
    atomic_fetch_add_explicit(&server->metrics.sent_bytes, x->answer_bytes,
                              memory_order_relaxed);
    if (server->log.level < GP_LOG_DEBUG)
        return;
    const struct log_access access = {
        .peer = peer_of(x->connection, peer, sizeof peer),
        .method = x->target && x->target[0] ? methods[x->http.method] : "-",
        .target = x->target && x->target[0] ? x->target : "-",
        .note = x->has_failed   ? x->error.message
                : status == 499 ? "the client left"
                                : "",
        .status = status,
        .received_bytes = x->body_size,
        .sent_bytes = x->answer_bytes,
        .total_ns = total_ns,
        .waited_ns = x->waited_ns,
        .ran_ns = x->ran_ns,
    };
    log_access(&server->log, &access);
}
