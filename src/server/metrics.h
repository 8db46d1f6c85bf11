/* server/metrics.h - counters of a server, and their text for Prometheus. */
#ifndef GP_SERVER_METRICS_H
#define GP_SERVER_METRICS_H

#include "base/pool.h"
#include "base/text.h"
#include "engine/isolate.h"

#include <stdatomic.h>
#include <stdint.h>

enum { METRICS_N_STATUSES = 600, METRICS_N_BUCKETS = 15 };

/* Seconds: from 50 microseconds to 100 seconds. */
struct metrics_histogram {
    atomic_ulong buckets[METRICS_N_BUCKETS + 1];
    atomic_ulong sum_us;
};

/* What a client is refused for lack of room, or of a share of it. */
enum metrics_refusal {
    METRICS_REFUSED_CONNECTION,
    METRICS_REFUSED_HEAD,    /* the received part of a request, kept until more comes */
    METRICS_REFUSED_BODY,    /* with its answer */
    METRICS_REFUSED_WAITING, /* a place in the queue */
    METRICS_N_REFUSALS
};

struct metrics {
    atomic_ulong requests[METRICS_N_STATUSES]; /* by HTTP status */
    struct metrics_histogram request_time;     /* from the head to the last byte sent */
    struct metrics_histogram run_time;         /* in the engine */
    atomic_ulong received_bytes;
    atomic_ulong sent_bytes;
    atomic_ulong n_accepted;
    atomic_ulong n_evicted;
    atomic_ulong n_revoked;
    atomic_ulong n_refused[METRICS_N_REFUSALS]; /* by what lacked room */
    atomic_uint n_in_flight;                    /* requests between head and answer */
};

void metrics_request(struct metrics *metrics, int status, int64_t total_ns);
void metrics_observe(struct metrics_histogram *histogram, int64_t ns);

/* Current values that are known elsewhere. */
struct metrics_gauges {
    unsigned n_connections;
    unsigned n_peers;
    unsigned n_waiting;
    unsigned n_slots;
    struct pool_counts pool;
    int is_ready;
    unsigned long n_lines_lost; /* of the log */
    bool has_children;          /* an engine is isolated */
    struct isolate_counts children;
};
void metrics_write(struct metrics *metrics, const struct metrics_gauges *gauges,
                   struct text *text);

#endif
