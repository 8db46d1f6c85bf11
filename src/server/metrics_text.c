#include "server/metrics_text.h"

#include "base/clock.h"
#include "base/process.h"
#include "cache/shared.h"
#include "cache/store.h"
#include "server/metrics_models.h"

#include <inttypes.h>

static const char *const protocols[METRICS_N_PROTOCOLS] = {"graphpipe", "2018", "json"};
static const char *const kinds[METRICS_INFERENCE] = {"other", "control", "metrics",
                                                     "metadata"};

static void put_family(struct text *text, const char *name, const char *kind,
                       const char *help)
{
    text_printf(text, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind);
}

static void put_value(struct text *text, const char *name, const char *kind,
                      const char *help, uint64_t value)
{
    put_family(text, name, kind, help);
    text_printf(text, "%s %" PRIu64 "\n", name, value);
}

static void put_ns(struct text *text, uint64_t ns)
{
    text_printf(text, "%" PRIu64 ".%09" PRIu64 "\n", ns / CLOCK_S, ns % CLOCK_S);
}

static void put_histogram(struct text *text, const char *name,
                          const struct metrics_version *series, unsigned at)
{
    const struct counters *counters = &series->counts->counters;
    const char *labels = series->labels.data;
    uint64_t n = 0;
    for (unsigned i = 0; i < METRICS_N_BUCKETS - 1; i++) {
        n += counters_sum(counters, at + i);
        text_printf(text, "%s_bucket{%s,le=\"%g\"} %" PRIu64 "\n", name, labels,
                    (double)metrics_bounds_ns[i] / 1e9, n);
    }
    n += counters_sum(counters, at + METRICS_N_BUCKETS - 1);
    text_printf(text, "%s_bucket{%s,le=\"+Inf\"} %" PRIu64 "\n", name, labels, n);
    text_printf(text, "%s_count{%s} %" PRIu64 "\n", name, labels, n);
    text_printf(text, "%s_sum{%s} ", name, labels);
    put_ns(text, counters_sum(counters, at + METRICS_N_BUCKETS));
}

static void put_times(struct text *text, const struct metrics_models *all)
{
    static const struct {
        const char *name;
        const char *help;
        unsigned at;
    } times[] = {
        {"graphpipe_request_seconds",
         "Inferences from the end of the head to the last byte of the answer.",
         METRICS_REQUEST_TIME},
        {"graphpipe_wait_seconds", "How long inferences waited for a slot.",
         METRICS_WAIT_TIME},
        {"graphpipe_run_seconds", "Runs of the engine.", METRICS_RUN_TIME},
    };
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        put_family(text, times[i].name, "histogram", times[i].help);
        for (const struct metrics_version *s = all->first; s; s = s->next)
            put_histogram(text, times[i].name, s, times[i].at);
    }
}

static void put_batch_rows(struct text *text, const struct metrics_version *series)
{
    const struct counters *counters = &series->counts->counters;
    const char *labels = series->labels.data;
    uint64_t n = 0;
    for (unsigned i = 0; i < METRICS_N_BATCH_BUCKETS; i++) {
        char bound[16] = "+Inf";
        n += counters_sum(counters, METRICS_BATCH_ROWS + i);
        if (i < METRICS_N_BATCH_BUCKETS - 1)
            (void)snprintf(bound, sizeof bound, "%u", 1u << i);
        text_printf(text, "graphpipe_batch_rows_bucket{%s,le=\"%s\"} %" PRIu64 "\n",
                    labels, bound, n);
    }
    text_printf(text, "graphpipe_batch_rows_count{%s} %" PRIu64 "\n", labels, n);
    text_printf(text, "graphpipe_batch_rows_sum{%s} %" PRIu64 "\n", labels,
                counters_sum(counters, METRICS_BATCH_ROWS + METRICS_N_BATCH_BUCKETS));
}

static void put_batch_reasons(struct text *text, const struct metrics_version *series)
{
    static const char *const reasons[RUN_N_REASONS] = {"slot", "full", "delay",
                                                       "deadline"};
    for (unsigned i = 0; i < RUN_N_REASONS; i++)
        text_printf(text, "graphpipe_batches_total{%s,reason=\"%s\"} %" PRIu64 "\n",
                    series->labels.data, reasons[i],
                    counters_sum(&series->counts->counters, METRICS_BATCHES + i));
}

static void put_batches(struct text *text, const struct metrics_models *all)
{
    const struct metrics_version *s = all->first;
    while (s && !s->has_batches)
        s = s->next;
    if (!s)
        return;
    put_family(text, "graphpipe_batch_rows", "histogram",
               "Rows of a run, of all requests that ran together (--max-batch).");
    for (s = all->first; s; s = s->next)
        if (s->has_batches)
            put_batch_rows(text, s);
    put_family(text, "graphpipe_batches_total", "counter",
               "Runs, by why they began with the rows that they had.");
    for (s = all->first; s; s = s->next)
        if (s->has_batches)
            put_batch_reasons(text, s);
}

static void put_cache(struct text *text, const struct metrics_models *all)
{
    const struct metrics_version *s = all->first;
    while (s && !s->has_cache)
        s = s->next;
    if (!s)
        return;
    put_family(
        text, "graphpipe_cache_rows_total", "counter",
        "Rows of requests that were answered (--cache): hits were known or just being "
        "computed, misses had to run.");
    for (s = all->first; s; s = s->next) {
        const struct counters *counters = &s->counts->counters;
        if (s->has_cache)
            text_printf(text,
                        "graphpipe_cache_rows_total{%s,result=\"hit\"} %" PRIu64 "\n"
                        "graphpipe_cache_rows_total{%s,result=\"miss\"} %" PRIu64 "\n",
                        s->labels.data, counters_sum(counters, METRICS_CACHE_HITS),
                        s->labels.data, counters_sum(counters, METRICS_CACHE_MISSES));
    }
}

static void put_inferences(struct text *text, const struct metrics_models *all)
{
    put_family(text, "graphpipe_requests_total", "counter",
               "Inferences answered, by the protocol of the request and the HTTP status; "
               "499: the client left.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        for (unsigned i = 0; i < METRICS_N_PROTOCOLS * METRICS_N_CODES; i++) {
            const uint64_t n = counters_sum(&s->counts->counters, METRICS_INFERENCES + i);
            if (n)
                text_printf(text,
                            "graphpipe_requests_total{%s,protocol=\"%s\",code=\"%d\"} "
                            "%" PRIu64 "\n",
                            s->labels.data, protocols[i / METRICS_N_CODES],
                            metrics_codes[i % METRICS_N_CODES], n);
        }
    put_family(text, "graphpipe_rows_total", "counter",
               "Rows of inferences that succeeded: the first dimension of the first "
               "input.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        text_printf(text, "graphpipe_rows_total{%s} %" PRIu64 "\n", s->labels.data,
                    counters_sum(&s->counts->counters, METRICS_ROWS));
}

static void put_others(struct text *text, const struct metrics *metrics)
{
    put_family(text, "graphpipe_other_requests_total", "counter",
               "Requests answered that are no inferences, by what they are for and the "
               "HTTP status.");
    for (unsigned i = 0; i < METRICS_INFERENCE * METRICS_N_CODES; i++) {
        const uint64_t n = counters_sum(&metrics->counters, METRICS_REQUESTS + i);
        if (n)
            text_printf(
                text,
                "graphpipe_other_requests_total{kind=\"%s\",code=\"%d\"} %" PRIu64 "\n",
                kinds[i / METRICS_N_CODES], metrics_codes[i % METRICS_N_CODES], n);
    }
}

static void put_is_ready(const struct model_entry *entry, void *arg)
{
    struct text *text = arg;
    const struct model_version *newest = models_newest(entry);
    text_puts(text, "graphpipe_model_ready{model=");
    text_label(text, entry->name);
    text_puts(text, newest && newest->model ? "} 1\n" : "} 0\n");
}

static void put_seconds(struct text *text, const char *name,
                        const struct metrics_version *version, int64_t ns)
{
    if (!ns)
        return;
    text_printf(text, "%s{%s} ", name, version->labels.data);
    put_ns(text, (uint64_t)ns);
}

static void put_models(struct text *text, struct models *models,
                       const struct metrics_models *all)
{
    put_family(text, "graphpipe_model_ready", "gauge",
               "1 if a version of the model serves.");
    models_list(models, put_is_ready, text);
    put_family(text, "graphpipe_model_state", "gauge",
               "1 for the state that a version is in.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        for (unsigned i = MODEL_LOADING; i <= MODEL_UNLOADED && s->is_there; i++)
            text_printf(text, "graphpipe_model_state{%s,state=\"%s\"} %d\n",
                        s->labels.data, model_state_name(i), s->state == i);
    put_family(text, "graphpipe_model_load_failed", "gauge",
               "1 if the last load of a version failed; the one before may still serve.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        if (s->is_there)
            text_printf(text, "graphpipe_model_load_failed{%s} %d\n", s->labels.data,
                        s->has_failed);
    put_family(text, "graphpipe_model_load_seconds", "gauge",
               "How long it took to load the version that serves.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        put_seconds(text, "graphpipe_model_load_seconds", s, s->load_ns);
    put_family(text, "graphpipe_model_warm_up_seconds", "gauge",
               "How long its warm-up took after that, if it had one.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        put_seconds(text, "graphpipe_model_warm_up_seconds", s, s->warm_up_ns);
    put_family(text, "graphpipe_waiting", "gauge", "Inferences waiting for a slot.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        text_printf(text, "graphpipe_waiting{%s} %u\n", s->labels.data, s->n_waiting);
    put_family(text, "graphpipe_slots", "gauge", "Runs that are possible at a time.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        text_printf(text, "graphpipe_slots{%s} %u\n", s->labels.data, s->n_slots);
}

static void put_children(struct text *text, const struct metrics_models *all)
{
    static const char *const states[] = {"ready", "late", "starting", "backoff"};
    static const char *const ends[] = {"signal", "exit", "hang", "protocol"};
    put_family(text, "graphpipe_children", "gauge",
               "Processes of isolated engines, by state.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        for (int i = 0; i < 4 && s->has_children; i++)
            text_printf(text, "graphpipe_children{%s,state=\"%s\"} %u\n", s->labels.data,
                        states[i], s->children.children[i]);
    put_family(text, "graphpipe_child_restarts_total", "counter",
               "Processes started again.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        if (s->has_children)
            text_printf(text, "graphpipe_child_restarts_total{%s} %" PRIu64 "\n",
                        s->labels.data, s->children.n_restarts);
    put_family(text, "graphpipe_child_ended_total", "counter",
               "Processes that ended, by reason.");
    for (const struct metrics_version *s = all->first; s; s = s->next)
        for (int i = 0; i < 4 && s->has_children; i++)
            text_printf(text,
                        "graphpipe_child_ended_total{%s,reason=\"%s\"} %" PRIu64 "\n",
                        s->labels.data, ends[i], s->children.ended[i]);
}

static void put_pool(struct text *text, const struct pool_counts *pool)
{
    put_family(text, "graphpipe_pool_bytes", "gauge",
               "Memory of the pool, by what it is held for.");
    text_printf(text, "graphpipe_pool_bytes{state=\"used\"} %zu\n", pool->used_bytes);
    text_printf(text, "graphpipe_pool_bytes{state=\"reserved\"} %zu\n",
                pool->reserved_bytes);
    text_printf(text, "graphpipe_pool_bytes{state=\"idle\"} %zu\n", pool->idle_bytes);
    put_value(text, "graphpipe_pool_budget_bytes", "gauge", "What the pool may hold.",
              pool->budget_bytes);
    put_value(text, "graphpipe_pool_taken_total", "counter", "Buffers taken.",
              pool->n_taken);
    put_value(text, "graphpipe_pool_refused_total", "counter",
              "Requests for more than was left.", pool->n_refused);
    put_value(text, "graphpipe_pool_over_share_total", "counter",
              "Requests refused since their client held over a quarter.",
              pool->n_over_share);
    put_value(text, "graphpipe_pool_touched_bytes_total", "counter",
              "Pages put in place; constant under a steady load.", pool->touched_bytes);
    put_value(text, "graphpipe_pool_pinned_bytes", "gauge",
              "Locked in place for a device.", pool->pinned_bytes);
    put_value(text, "graphpipe_pool_unpinned_total", "counter",
              "Buffers taken that could not be pinned.", pool->n_unpinned);
}

static void put_refusals(struct text *text, const struct metrics *metrics)
{
    static const char *const names[] = {"connection", "head", "body", "waiting"};
    put_family(text, "graphpipe_refused_total", "counter",
               "Refused with 503, by what there was no room for, or no share.");
    for (int i = 0; i < METRICS_N_REFUSALS; i++)
        text_printf(text, "graphpipe_refused_total{what=\"%s\"} %lu\n", names[i],
                    atomic_load(&metrics->n_refused[i]));
    put_value(text, "graphpipe_evicted_total", "counter",
              "Connections that had idled longest, closed to make room for others.",
              atomic_load(&metrics->n_evicted));
    put_value(text, "graphpipe_revoked_total", "counter",
              "Requests that stalled, refused when others needed their memory.",
              atomic_load(&metrics->n_revoked));
}

/* Ended ones are summed first, or there might be more of them than have begun. */
static uint64_t count_in_flight(const struct counters *counters)
{
    const uint64_t n_ended = counters_sum(counters, METRICS_ENDED);
    const uint64_t n_begun = counters_sum(counters, METRICS_BEGUN);
    return n_begun > n_ended ? n_begun - n_ended : 0;
}

static void put_server(struct text *text, struct gp_server *server)
{
    const struct metrics *metrics = &server->metrics;
    struct gp_error why;
    put_family(text, "graphpipe_build_info", "gauge", "Always 1.");
    text_puts(text, "graphpipe_build_info{version=\"" GP_VERSION "\"} 1\n");
    put_value(text, "graphpipe_ready", "gauge", "1 if /control/is_ready answers 200.",
              !server_is_draining(server) && models_are_ready(&server->models, &why));
    put_value(text, "graphpipe_config_reload_failed", "gauge",
              "1 if the configuration was not taken over as a whole at the last SIGHUP.",
              atomic_load(&metrics->has_bad_config));
    put_value(text, "graphpipe_in_flight", "gauge",
              "Requests of all kinds, begun but not answered.",
              count_in_flight(&metrics->counters));
    put_value(text, "graphpipe_received_bytes_total", "counter", "Bodies received.",
              counters_sum(&metrics->counters, METRICS_RECEIVED_BYTES));
    put_value(text, "graphpipe_sent_bytes_total", "counter",
              "Answers sent, with their heads.",
              counters_sum(&metrics->counters, METRICS_SENT_BYTES));
    put_value(text, "graphpipe_accepted_connections_total", "counter",
              "Connections accepted.", atomic_load(&metrics->n_accepted));
    put_value(text, "graphpipe_connections", "gauge", "Connections open.",
              connections_count(&server->connections));
    put_value(text, "graphpipe_peers", "gauge", "Clients, told apart by their addresses.",
              connections_count_peers(&server->connections));
    put_value(text, "graphpipe_log_lines_lost_total", "counter",
              "Lines of the log that were not written: its reader is slow, or has gone.",
              atomic_load(&server->log.n_lost));
}

static void put_store(struct text *text, struct store *store)
{
    if (!store)
        return;
    const struct store_counts counts = store_count(store);
    put_value(text, "graphpipe_cache_rows", "gauge",
              "Rows on disk in the cache's folder, of all that share it.", counts.n_rows);
    put_value(text, "graphpipe_cache_bytes", "gauge", "What they take, of --cache-size.",
              counts.size_bytes);
    put_value(text, "graphpipe_cache_stored_total", "counter",
              "Rows written to disk by this process.", counts.n_stored);
    put_value(text, "graphpipe_cache_dropped_total", "counter",
              "Rows never written: the disk is full or slow, or they are too large.",
              counts.n_dropped);
    put_value(text, "graphpipe_cache_damaged_total", "counter",
              "Rows found to be other than what was stored, and not answered.",
              counts.n_damaged);
    put_value(text, "graphpipe_cache_turns_total", "counter",
              "How often the older half was forgotten to make room.", counts.n_turns);
}

static void put_shared(struct text *text, const struct shared *shared)
{
    if (!shared)
        return;
    const struct shared_counts counts = shared_count(shared);
    put_value(text, "graphpipe_cache_shared_asked_total", "counter",
              "Rows that other hosts were asked for (--cache-url).", counts.n_asked);
    put_value(text, "graphpipe_cache_shared_found_total", "counter",
              "Those that were there in time.", counts.n_found);
    put_value(text, "graphpipe_cache_shared_failed_total", "counter",
              "Looks that failed or came too late.", counts.n_failed);
    put_value(text, "graphpipe_cache_shared_stored_total", "counter",
              "Rows stored for other hosts.", counts.n_stored);
    put_value(text, "graphpipe_cache_shared_dropped_total", "counter",
              "Rows that could not be stored for them.", counts.n_dropped);
    put_value(text, "graphpipe_cache_shared_damaged_total", "counter",
              "Rows found to be other than what was stored, and not answered.",
              counts.n_damaged);
}

/* By the names that Prometheus' own libraries give them. */
static void put_process(struct text *text, double started_s)
{
    struct process_usage usage;
    if (started_s > 0) {
        put_family(text, "process_start_time_seconds", "gauge",
                   "Start of the process, in seconds since 1970.");
        text_printf(text, "process_start_time_seconds %.2f\n", started_s);
    }
    put_family(text, "process_cpu_seconds_total", "counter",
               "Time on processors, in user space and the kernel.");
    const bool is_known = process_usage(&usage);
    text_printf(text, "process_cpu_seconds_total %.6f\n", usage.cpu_s);
    if (!is_known)
        return;
    put_value(text, "process_resident_memory_bytes", "gauge",
              "Memory in place, with the pool.", usage.resident_bytes);
    put_value(text, "process_virtual_memory_bytes", "gauge", "Address space.",
              usage.virtual_bytes);
    put_value(text, "process_open_fds", "gauge", "Descriptors open.", usage.n_fds);
    put_value(text, "process_max_fds", "gauge", "The limit on descriptors.",
              usage.max_fds);
    put_value(text, "graphpipe_threads", "gauge", "Threads of the process.",
              usage.n_threads);
}

static void put_all(struct text *text, struct gp_server *server,
                    const struct metrics_models *all)
{
    const struct pool_counts pool = pool_count(server->pool);
    put_server(text, server);
    put_models(text, &server->models, all);
    put_inferences(text, all);
    put_others(text, &server->metrics);
    put_times(text, all);
    put_batches(text, all);
    put_cache(text, all);
    put_store(text, atomic_load(&server->store));
    put_shared(text, server->shared);
    put_refusals(text, &server->metrics);
    put_children(text, all);
    put_pool(text, &pool);
    put_process(text, server->metrics.started_s);
}

void metrics_write(struct gp_server *server, struct gp_arena *arena, struct text *text)
{
    struct metrics_models all;
    if (metrics_collect_models(&server->models, arena, &all))
        put_all(text, server, &all);
    else
        text->is_short = true;
    metrics_drop_models(&all);
}
