/* The text format is Prometheus' exposition format 0.0.4. */
#include "server/metrics.h"

#include <assert.h>

static const double bounds[METRICS_N_BUCKETS] = {0.00005, 0.0001, 0.00025, 0.0005, 0.001,
                                                 0.0025,  0.005,  0.01,    0.025,  0.05,
                                                 0.1,     0.25,   1,       10,     100};

void metrics_observe(struct metrics_histogram *histogram, int64_t ns)
{
    const double seconds = (double)ns / 1e9;
    unsigned i = 0;
    while (i < METRICS_N_BUCKETS && seconds > bounds[i])
        i++;
    atomic_fetch_add_explicit(&histogram->buckets[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&histogram->sum_us, (unsigned long)(ns / 1000),
                              memory_order_relaxed);
}

void metrics_request(struct metrics *metrics, int status, int64_t total_ns)
{
    assert(status > 0 && status < METRICS_N_STATUSES);
    atomic_fetch_add_explicit(&metrics->requests[status], 1, memory_order_relaxed);
    metrics_observe(&metrics->request_time, total_ns);
}

static void put_help(struct text *text, const char *name, const char *kind,
                     const char *help)
{
    text_printf(text, "# HELP graphpipe_%s %s\n# TYPE graphpipe_%s %s\n", name, help,
                name, kind);
}

static void put_value(struct text *text, const char *name, const char *kind,
                      const char *help, unsigned long value)
{
    put_help(text, name, kind, help);
    text_printf(text, "graphpipe_%s %lu\n", name, value);
}

static void put_histogram(struct text *text, const char *name, const char *help,
                          struct metrics_histogram *histogram)
{
    unsigned long n = 0;
    put_help(text, name, "histogram", help);
    for (unsigned i = 0; i < METRICS_N_BUCKETS; i++) {
        n += atomic_load(&histogram->buckets[i]);
        text_printf(text, "graphpipe_%s_bucket{le=\"%g\"} %lu\n", name, bounds[i], n);
    }
    n += atomic_load(&histogram->buckets[METRICS_N_BUCKETS]);
    text_printf(text, "graphpipe_%s_bucket{le=\"+Inf\"} %lu\n", name, n);
    text_printf(text, "graphpipe_%s_sum %.6f\ngraphpipe_%s_count %lu\n", name,
                (double)atomic_load(&histogram->sum_us) / 1e6, name, n);
}

static void put_requests(struct text *text, struct metrics *metrics)
{
    put_help(text, "requests_total", "counter", "Requests answered, by HTTP status.");
    for (unsigned i = 0; i < METRICS_N_STATUSES; i++) {
        const unsigned long n = atomic_load(&metrics->requests[i]);
        if (n)
            text_printf(text, "graphpipe_requests_total{code=\"%u\"} %lu\n", i, n);
    }
}

static void put_refusals(struct text *text, struct metrics *metrics)
{
    static const char *const names[] = {"connection", "head", "body", "waiting"};
    put_help(text, "refused_total", "counter",
             "Refused with 503, by what there was no room for, or no share.");
    for (int i = 0; i < METRICS_N_REFUSALS; i++)
        text_printf(text, "graphpipe_refused_total{what=\"%s\"} %lu\n", names[i],
                    atomic_load(&metrics->n_refused[i]));
}

static void put_pool(struct text *text, const struct pool_counts *pool)
{
    put_help(text, "pool_bytes", "gauge", "Memory of the pool, by what it is held for.");
    text_printf(text, "graphpipe_pool_bytes{state=\"used\"} %zu\n", pool->used_bytes);
    text_printf(text, "graphpipe_pool_bytes{state=\"reserved\"} %zu\n",
                pool->reserved_bytes);
    text_printf(text, "graphpipe_pool_bytes{state=\"idle\"} %zu\n", pool->idle_bytes);
    put_value(text, "pool_budget_bytes", "gauge", "What the pool may hold.",
              pool->budget_bytes);
    put_value(text, "pool_taken_total", "counter", "Buffers taken.", pool->n_taken);
    put_value(text, "pool_refused_total", "counter", "Requests for more than was left.",
              pool->n_refused);
    put_value(text, "pool_over_share_total", "counter",
              "Requests refused since their client held over a quarter.",
              pool->n_over_share);
    put_value(text, "pool_touched_bytes_total", "counter",
              "Pages put in place; constant under a steady load.", pool->touched_bytes);
    put_value(text, "pool_pinned_bytes", "gauge", "Locked in place for a device.",
              pool->pinned_bytes);
    put_value(text, "pool_unpinned_total", "counter",
              "Buffers taken that could not be pinned.", pool->n_unpinned);
}

static void put_children(struct text *text, const struct isolate_counts *children)
{
    static const char *const states[] = {"ready", "late", "starting", "backoff"};
    static const char *const ends[] = {"signal", "exit", "hang", "protocol"};
    put_help(text, "children", "gauge", "Processes of the isolated engine, by state.");
    for (int i = 0; i < 4; i++)
        text_printf(text, "graphpipe_children{state=\"%s\"} %u\n", states[i],
                    children->children[i]);
    put_value(text, "child_restarts_total", "counter", "Processes started again.",
              children->n_restarts);
    put_help(text, "child_ended_total", "counter", "Processes that ended, by reason.");
    for (int i = 0; i < 4; i++)
        text_printf(text, "graphpipe_child_ended_total{reason=\"%s\"} %lu\n", ends[i],
                    (unsigned long)children->ended[i]);
}

void metrics_write(struct metrics *metrics, const struct metrics_gauges *gauges,
                   struct text *text)
{
    put_requests(text, metrics);
    put_histogram(text, "request_seconds",
                  "From the request's head to the answer's last byte.",
                  &metrics->request_time);
    put_histogram(text, "run_seconds", "Time in the engine, for each run.",
                  &metrics->run_time);
    put_value(text, "received_bytes_total", "counter", "Bodies received.",
              atomic_load(&metrics->received_bytes));
    put_value(text, "sent_bytes_total", "counter", "Answers sent, with their heads.",
              atomic_load(&metrics->sent_bytes));
    put_value(text, "connections_total", "counter", "Connections accepted.",
              atomic_load(&metrics->n_accepted));
    put_value(text, "connections", "gauge", "Connections open.", gauges->n_connections);
    put_refusals(text, metrics);
    put_value(text, "evicted_total", "counter",
              "Connections that had idled longest, closed to make room for others.",
              atomic_load(&metrics->n_evicted));
    put_value(text, "revoked_total", "counter",
              "Requests that stalled, refused when others needed their memory.",
              atomic_load(&metrics->n_revoked));
    put_value(text, "peers", "gauge", "Clients, told apart by their addresses.",
              gauges->n_peers);
    put_value(text, "in_flight", "gauge", "Requests begun and not answered.",
              atomic_load(&metrics->n_in_flight));
    put_value(text, "waiting", "gauge", "Requests waiting for a slot.",
              gauges->n_waiting);
    put_value(text, "slots", "gauge", "Runs that the model may do at a time.",
              gauges->n_slots);
    put_value(text, "ready", "gauge", "1 when serving, 0 when draining.",
              (unsigned long)gauges->is_ready);
    put_value(text, "log_lines_lost_total", "counter",
              "Lines of the log that were not written: its reader is slow, or has gone.",
              gauges->n_lines_lost);
    put_pool(text, &gauges->pool);
    if (gauges->has_children)
        put_children(text, &gauges->children);
}
