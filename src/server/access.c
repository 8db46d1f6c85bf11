/* Counting and logging what was answered, and what was refused. */
#include "base/clock.h"
#include "server/server.h"

/* Between two lines about refusals of one kind. */
#define REFUSALS_PAUSE_NS (10 * CLOCK_S)

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

void server_count_refusal(struct gp_server *server, enum metrics_refusal what,
                          const struct sockaddr_in6 *from, const char *why)
{
    struct refusals *refusals = &server->refusals[what];
    const int64_t now = clock_now_ns();
    long long said = atomic_load(&refusals->said_ns);
    atomic_fetch_add_explicit(&server->metrics.n_refused[what], 1, memory_order_relaxed);
    if ((said && now - said < REFUSALS_PAUSE_NS) ||
        !atomic_compare_exchange_strong(&refusals->said_ns, &said, now)) {
        atomic_fetch_add(&refusals->n_unsaid, 1);
        return;
    }
    struct text line = {0};
    const unsigned long n_unsaid = atomic_exchange(&refusals->n_unsaid, 0);
    log_put_peer(&line, from);
    text_printf(&line, " was refused: %s", why);
    if (n_unsaid)
        text_printf(&line, " (and %lu more like it since the last such line)", n_unsaid);
    if (!line.is_short)
        log_line(&server->log, GP_LOG_WARNING, "%s", line.data);
    text_finish(&line);
}
