/* Counting and logging what was answered. */
#include "base/clock.h"
#include "server/server.h"

void server_count_answer(struct exchange *x, int status, struct log_lines *lines)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "OTHER"};
    struct gp_server *server = x->server;
    const int64_t total_ns = clock_now_ns() - x->arrived_ns;
    if (x->is_counted)
        atomic_fetch_sub_explicit(&server->metrics.n_in_flight, 1, memory_order_relaxed);
    x->is_counted = false;
    metrics_request(&server->metrics, status, total_ns);
    atomic_fetch_add_explicit(&server->metrics.sent_bytes, x->answer_bytes,
                              memory_order_relaxed);
    if (server->log.level < GP_LOG_DEBUG)
        return;
    const struct log_access access = {
        .peer = &x->connection->from,
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
    log_access(&server->log, lines, &access);
}
