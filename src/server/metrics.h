/* server/metrics.h - what a server counts; metrics_text.h writes it.
 *
 * What each request adds to is in rows by thread (base/counters.h): inferences in those of their
 * model's version, everything else in the server's. */
#ifndef GP_SERVER_METRICS_H
#define GP_SERVER_METRICS_H

#include "model/counts.h"
#include "model/inference.h"

enum {
    METRICS_N_CODES = 16,   /* of HTTP, that answers have; 499: the client left */
    METRICS_N_BUCKETS = 20, /* of a histogram, with the one that has no bound */
    METRICS_N_HISTOGRAM = METRICS_N_BUCKETS + 1, /* and the sum, in nanoseconds */
    METRICS_N_BATCH_BUCKETS = 12                 /* 1 row, 2, 4 to 1024, and more */
};

/* What a request is for. */
enum metrics_kind {
    METRICS_OTHER, /* no such path or model, or no complete head */
    METRICS_CONTROL,
    METRICS_SCRAPE,
    METRICS_METADATA,
    METRICS_INFERENCE,
    METRICS_N_KINDS
};

/* What inferences are asked for in. */
enum metrics_protocol {
    METRICS_GRAPHPIPE,
    METRICS_2018,
    METRICS_JSON,
    METRICS_N_PROTOCOLS
};

/* Counters of a server. */
enum {
    METRICS_BEGUN, /* requests whose head is complete */
    METRICS_ENDED, /* of those */
    METRICS_RECEIVED_BYTES,
    METRICS_SENT_BYTES,
    METRICS_REQUESTS, /* that are no inferences, by kind and code */
    METRICS_N = METRICS_REQUESTS + METRICS_INFERENCE * METRICS_N_CODES
};

/* Counters of a model's version. */
enum {
    METRICS_ROWS = COUNTS_OTHERS,
    METRICS_INFERENCES, /* by protocol and code */
    METRICS_REQUEST_TIME = METRICS_INFERENCES + METRICS_N_PROTOCOLS * METRICS_N_CODES,
    METRICS_WAIT_TIME = METRICS_REQUEST_TIME + METRICS_N_HISTOGRAM,
    METRICS_RUN_TIME = METRICS_WAIT_TIME + METRICS_N_HISTOGRAM,
    METRICS_BATCH_ROWS = METRICS_RUN_TIME + METRICS_N_HISTOGRAM,        /* buckets, sum */
    METRICS_BATCHES = METRICS_BATCH_ROWS + METRICS_N_BATCH_BUCKETS + 1, /* by reason */
    METRICS_CACHE_HITS = METRICS_BATCHES + RUN_N_REASONS,               /* rows */
    METRICS_CACHE_MISSES,
    METRICS_CACHE_END,
    METRICS_N_OF_MODEL = METRICS_CACHE_END - COUNTS_OTHERS
};

/* Why a client is refused: there was no room, or its share of it is used up. */
enum metrics_refusal {
    METRICS_REFUSED_CONNECTION,
    METRICS_REFUSED_HEAD, /* the received part of a request, to be kept until more comes */
    METRICS_REFUSED_BODY,    /* with its answer */
    METRICS_REFUSED_WAITING, /* a place in the queue */
    METRICS_N_REFUSALS
};

struct metrics {
    struct counters counters;
    double started_s;           /* when the process did, since 1970; 0: not known */
    atomic_bool has_bad_config; /* since the last SIGHUP, which could not take it over */
    atomic_ulong n_accepted;
    atomic_ulong n_evicted;
    atomic_ulong n_revoked;
    atomic_ulong n_refused[METRICS_N_REFUSALS];
};

extern const int metrics_codes[METRICS_N_CODES];
extern const int64_t metrics_bounds_ns[METRICS_N_BUCKETS - 1];

/* For about that many threads; false if memory is short. */
bool metrics_init(struct metrics *metrics, unsigned n_threads);
void metrics_finish(struct metrics *metrics);

/* Any of the threads, which are numbered from 0. */
void metrics_request(struct metrics *metrics, unsigned thread, enum metrics_kind kind,
                     int status);
void metrics_inference(struct counts *counts, unsigned thread,
                       enum metrics_protocol protocol, int status, int64_t total_ns);
void metrics_inference_run(struct counts *counts, unsigned thread, int64_t waited_ns,
                           uint64_t n_rows);
/* Once for all that ran together. */
void metrics_run(struct counts *counts, unsigned thread, int64_t ran_ns);
void metrics_batch(struct counts *counts, unsigned thread, uint64_t n_rows,
                   enum run_reason reason);
/* Rows that a request did not have to run, and those that it had. */
void metrics_cache(struct counts *counts, unsigned thread, uint32_t n_hits,
                   uint32_t n_misses);

#endif
