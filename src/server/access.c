/* Access lines, as text or JSON, and their counts. */
#include "server/access.h"

#include "base/clock.h"

#include <arpa/inet.h>
#include <string.h>

/* Between two lines about the same kind of refusal. */
#define REFUSALS_PAUSE_NS (10 * CLOCK_S)

/* Of a target, before escaping. */
enum { MAX_TARGET_BYTES = 1024 };

/* One answered request. Times in nanoseconds, sizes in bytes. */
struct access {
    const struct sockaddr_in6 *from; /* or of another family, cut */
    const char *method;
    const char *target;
    const char *note; /* the error's message, or "" */
    int status;
    uint64_t received_bytes;
    uint64_t sent_bytes;
    int64_t total_ns;
    int64_t waited_ns; /* for a slot */
    int64_t ran_ns;    /* in the engine */
};

void access_put_client(struct text *text, const struct sockaddr_in6 *from)
{
    char host[INET6_ADDRSTRLEN] = "?";
    if (from->sin6_family == AF_INET) {
        const struct sockaddr_in *in = (const void *)from;
        const unsigned char *bytes = (const unsigned char *)&in->sin_addr;
        for (int i = 0; i < 4; i++) {
            text_number(text, bytes[i]);
            text_puts(text, i < 3 ? "." : ":");
        }
        text_number(text, ntohs(in->sin_port));
    } else if (from->sin6_family == AF_INET6) {
        inet_ntop(AF_INET6, &from->sin6_addr, host, sizeof host);
        text_printf(text, "[%s]:%u", host, ntohs(from->sin6_port));
    } else {
        text_puts(text, "unix");
    }
}

static size_t target_size(const struct access *access)
{
    return gp_text_cut(access->target, strlen(access->target), MAX_TARGET_BYTES);
}

static void put_json_access(struct log_lines *lines, const struct access *access)
{
    struct text *text = &lines->text;
    text_puts(text, "{\"time\":\"");
    log_put_time(lines);
    text_puts(text, "\",\"level\":\"debug\",\"peer\":\"");
    access_put_client(text, access->from);
    text_printf(text, "\",\"method\":\"%s\",\"target\":", access->method);
    text_json(text, access->target, target_size(access));
    text_printf(
        text,
        ",\"status\":%d,\"received_bytes\":%llu,\"sent_bytes\":%llu,\"total_ms\":%.3f,"
        "\"waited_ms\":%.3f,\"ran_ms\":%.3f",
        access->status, (unsigned long long)access->received_bytes,
        (unsigned long long)access->sent_bytes, (double)access->total_ns / 1e6,
        (double)access->waited_ns / 1e6, (double)access->ran_ns / 1e6);
    if (access->note[0]) {
        text_puts(text, ",\"error\":");
        text_json_puts(text, access->note);
    }
    text_puts(text, "}\n");
}

static void put_ms(struct text *text, const char *before, int64_t ns)
{
    const uint64_t us = ns > 0 ? (uint64_t)ns / 1000 : 0;
    const char digits[] = {'.', (char)('0' + us / 100 % 10), (char)('0' + us / 10 % 10),
                           (char)('0' + us % 10)};
    text_puts(text, before);
    text_number(text, us / 1000);
    text_add(text, digits, sizeof digits);
}

/* Without printf, with which a line took a tenth of the time of a small request. */
static void put_text_access(struct log_lines *lines, const struct access *access)
{
    struct text *text = &lines->text;
    log_put_time(lines);
    text_puts(text, " ");
    access_put_client(text, access->from);
    text_puts(text, " ");
    text_puts(text, access->method);
    text_puts(text, " ");
    text_foreign(text, access->target, target_size(access));
    text_puts(text, " ");
    text_number(text, (uint64_t)access->status);
    text_puts(text, "  in ");
    text_number(text, access->received_bytes);
    text_puts(text, "  out ");
    text_number(text, access->sent_bytes);
    put_ms(text, " bytes  ", access->total_ns);
    put_ms(text, " ms (waited ", access->waited_ns);
    put_ms(text, ", ran ", access->ran_ns);
    text_puts(text, access->note[0] ? ")  " : ")");
    text_show(text, access->note, strlen(access->note));
    text_puts(text, "\n");
}

static void log_access(struct log *log, struct log_lines *lines,
                       const struct access *access)
{
    if (log->fd <= 0)
        return;
    if (log->format == GP_LOG_JSON)
        put_json_access(lines, access);
    else
        put_text_access(lines, access);
    log_gather(log, lines);
}

static void count_answer(struct exchange *x, int status, unsigned thread,
                         int64_t total_ns)
{
    struct metrics *metrics = &x->server->metrics;
    if (x->is_counted)
        counters_add(&metrics->counters, thread, METRICS_ENDED, 1);
    x->is_counted = false;
    counters_add(&metrics->counters, thread, METRICS_SENT_BYTES, x->sent_bytes);
    if (x->kind == METRICS_INFERENCE)
        metrics_inference(x->model->counts, thread, x->protocol, status, total_ns);
    else
        metrics_request(metrics, thread, x->kind, status);
}

void access_answered(struct exchange *x, int status, unsigned thread,
                     struct log_lines *lines)
{
    struct gp_server *server = x->server;
    const int64_t total_ns = clock_now_ns() - x->arrived_ns;
    count_answer(x, status, thread, total_ns);
    if (server->log.level < GP_LOG_DEBUG)
        return;
    const struct access access = {
        .from = &x->guest->from,
        .method = x->target && x->target[0] ? http_method_name(x->http.method) : "-",
        .target = x->target && x->target[0] ? x->target : "-",
        .note = x->has_failed   ? x->error.message
                : status == 499 ? "the client left"
                                : "",
        .status = status,
        .received_bytes = x->body_size,
        .sent_bytes = x->sent_bytes,
        .total_ns = total_ns,
        .waited_ns = x->inference.waited_ns,
        .ran_ns = x->inference.ran_ns,
    };
    log_access(&server->log, lines, &access);
}

void access_refused(struct gp_server *server, enum metrics_refusal what,
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
    access_put_client(&line, from);
    text_printf(&line, " was refused: %s", why);
    if (n_unsaid)
        text_printf(&line, " (and %lu more like it since the last such line)", n_unsaid);
    if (!line.is_short)
        log_line(&server->log, GP_LOG_WARNING, "%s", line.data);
    text_finish(&line);
}
