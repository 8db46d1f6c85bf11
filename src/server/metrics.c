#include "server/metrics.h"

#include "base/clock.h"
#include "base/process.h"

/* Those of gp_status_http (a test asks for them). */
const int metrics_codes[METRICS_N_CODES] = {200, 400, 403, 404, 405, 408, 413, 417,
                                            421, 431, 499, 501, 502, 503, 504, 500};

#define US (CLOCK_MS / 1000)

const int64_t metrics_bounds_ns[METRICS_N_BUCKETS - 1] = {
    100 * US,       250 * US,       500 * US,      1 * CLOCK_MS,    5 * CLOCK_MS / 2,
    5 * CLOCK_MS,   10 * CLOCK_MS,  25 * CLOCK_MS, 50 * CLOCK_MS,   100 * CLOCK_MS,
    250 * CLOCK_MS, 500 * CLOCK_MS, 1 * CLOCK_S,   5 * CLOCK_S / 2, 5 * CLOCK_S,
    10 * CLOCK_S,   25 * CLOCK_S,   50 * CLOCK_S,  100 * CLOCK_S};

bool metrics_init(struct metrics *metrics, unsigned n_threads)
{
    metrics->started_s = process_started_s();
    return counters_init(&metrics->counters, METRICS_N, n_threads);
}

void metrics_finish(struct metrics *metrics)
{
    counters_finish(&metrics->counters);
}

static unsigned code_index(int status)
{
    unsigned i = 0;
    while (i < METRICS_N_CODES - 1 && metrics_codes[i] != status)
        i++;
    return i;
}

static void observe_time(struct counters *counters, unsigned thread, unsigned histogram,
                         int64_t ns)
{
    unsigned i = 0;
    while (i < METRICS_N_BUCKETS - 1 && ns > metrics_bounds_ns[i])
        i++;
    counters_add(counters, thread, histogram + i, 1);
    if (ns > 0)
        counters_add(counters, thread, histogram + METRICS_N_BUCKETS, (uint64_t)ns);
}

void metrics_request(struct metrics *metrics, unsigned thread, enum metrics_kind kind,
                     int status)
{
    const unsigned index = kind * METRICS_N_CODES + code_index(status);
    counters_add(&metrics->counters, thread, METRICS_REQUESTS + index, 1);
}

void metrics_inference(struct counts *counts, unsigned thread,
                       enum metrics_protocol protocol, int status, int64_t total_ns)
{
    const unsigned index = protocol * METRICS_N_CODES + code_index(status);
    counters_add(&counts->counters, thread, METRICS_INFERENCES + index, 1);
    observe_time(&counts->counters, thread, METRICS_REQUEST_TIME, total_ns);
}

void metrics_inference_run(struct counts *counts, unsigned thread, int64_t waited_ns,
                           uint64_t n_rows)
{
    observe_time(&counts->counters, thread, METRICS_WAIT_TIME, waited_ns);
    if (n_rows)
        counters_add(&counts->counters, thread, METRICS_ROWS, n_rows);
}

void metrics_run(struct counts *counts, unsigned thread, int64_t ran_ns)
{
    observe_time(&counts->counters, thread, METRICS_RUN_TIME, ran_ns);
}

void metrics_batch(struct counts *counts, unsigned thread, uint64_t n_rows,
                   enum run_reason reason)
{
    struct counters *counters = &counts->counters;
    unsigned i = 0;
    while (i < METRICS_N_BATCH_BUCKETS - 1 && n_rows > UINT64_C(1) << i)
        i++;
    counters_add(counters, thread, METRICS_BATCH_ROWS + i, 1);
    counters_add(counters, thread, METRICS_BATCH_ROWS + METRICS_N_BATCH_BUCKETS, n_rows);
    counters_add(counters, thread, METRICS_BATCHES + reason, 1);
}

void metrics_cache(struct counts *counts, unsigned thread, uint32_t n_hits,
                   uint32_t n_misses)
{
    counters_add(&counts->counters, thread, METRICS_CACHE_HITS, n_hits);
    counters_add(&counts->counters, thread, METRICS_CACHE_MISSES, n_misses);
}
