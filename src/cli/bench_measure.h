/* cli/bench_measure.h - the phases of a run and their counts: warm-up, which is not
 * counted; slices of time; and the wait for what is still in flight at the end. */
#ifndef GP_CLI_BENCH_MEASURE_H
#define GP_CLI_BENCH_MEASURE_H

#include "cli/bench.h"
#include "cli/bench_cpu.h"

enum bench_phase { BENCH_WARMS_UP, BENCH_MEASURES, BENCH_DRAINS, BENCH_OVER };

struct bench_measure {
    const struct bench_settings *settings;
    struct bench_result *result;
    struct bench_cpu cpu; /* filled in by the caller */
    enum bench_phase phase;
    int64_t change_ns; /* measure_advance has nothing to do before this */
    int64_t start_ns;
    int64_t end_ns;
    uint64_t n_done; /* answers and errors since the start */
    bool has_good;   /* an answer has come, even if only in the warm-up */

    /* Of the current slice. */
    int64_t slice_start_ns;
    int64_t server_cpu_ns; /* at its start */
    struct bench_slice slice;
    struct histogram latency;

    int64_t client_cpu_ns; /* at the start */
    int64_t shown_ns;      /* when progress was last shown */
};

void measure_begin(struct bench_measure *measure, int64_t now_ns);

/* Moves the phases on. Must be called before anything is counted at that time. */
void measure_advance(struct bench_measure *measure, int64_t now_ns);

/* Ends the measurement: from now on answers are only waited for. */
void measure_stop(struct bench_measure *measure, int64_t now_ns);

void measure_answer(struct bench_measure *measure, const struct bench_message *message,
                    int64_t due_ns, int64_t now_ns, uint64_t received_bytes);

/* `n` of a kind; for BENCH_STATUS, `status` says which. */
void measure_errors(struct bench_measure *measure, enum bench_error error, int status,
                    uint64_t n);

#endif
