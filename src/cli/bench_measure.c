/* Answers that arrive within the measured time count for the rates, whenever they were
 * requested: that is right however long one request takes. Latencies are taken of what
 * was due within it, whenever it is answered. */
#include "cli/bench_measure.h"

#include "base/clock.h"
#include "base/mem.h"

#include <time.h>

enum { SLICES_AT_LEAST = 10 };

/* How long to wait for answers at the end without --timeout. */
#define GRACE_NS (10 * CLOCK_S)

static int64_t own_cpu_ns(void)
{
    struct timespec used = {0};
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (int64_t)used.tv_sec * CLOCK_S + used.tv_nsec;
}

/* A second, or a tenth of a short run. */
static int64_t slice_length(const struct bench_settings *settings)
{
    const int64_t tenth_ns = settings->duration_ns / SLICES_AT_LEAST;
    return tenth_ns > 0 && tenth_ns < CLOCK_S ? tenth_ns : CLOCK_S;
}

void measure_begin(struct bench_measure *measure, int64_t now_ns)
{
    measure->result->slice_ns = slice_length(measure->settings);
    measure->phase = BENCH_WARMS_UP;
    measure->change_ns = now_ns + measure->settings->warm_up_ns;
}

static void slice_begin(struct bench_measure *measure, int64_t now_ns)
{
    measure->slice = (struct bench_slice){0};
    measure->latency = (struct histogram){0};
    measure->slice_start_ns = now_ns;
    measure->change_ns = now_ns + measure->result->slice_ns;
    if (measure->change_ns > measure->end_ns)
        measure->change_ns = measure->end_ns;
}

static void start_measuring(struct bench_measure *measure, int64_t now_ns)
{
    const int64_t duration_ns = measure->settings->duration_ns;
    measure->phase = BENCH_MEASURES;
    measure->start_ns = measure->shown_ns = now_ns;
    measure->end_ns = duration_ns ? now_ns + duration_ns : INT64_MAX;
    measure->server_cpu_ns = bench_cpu_ns(&measure->cpu);
    measure->client_cpu_ns = own_cpu_ns();
    slice_begin(measure, now_ns);
}

static void slice_keep(struct bench_result *result, const struct bench_slice *slice)
{
    if (result->n_slices == result->n_slices_capacity) {
        const size_t capacity = result->n_slices ? 2 * result->n_slices : 64;
        struct bench_slice *more = mem_resize(result->slices, capacity * sizeof *more);
        if (!more)
            return; /* the totals are complete without it */
        result->slices = more;
        result->n_slices_capacity = capacity;
    }
    result->slices[result->n_slices++] = *slice;
}

static void slice_end(struct bench_measure *measure, int64_t now_ns)
{
    struct bench_result *result = measure->result;
    struct bench_slice *slice = &measure->slice, *total = &result->total;
    const int64_t cpu_ns = bench_cpu_ns(&measure->cpu);
    const bool knows_cpu = cpu_ns >= 0 && measure->server_cpu_ns >= 0;
    slice->length_ns = now_ns - measure->slice_start_ns;
    slice->p50_ns = histogram_at(&measure->latency, 0.5);
    slice->p99_ns = histogram_at(&measure->latency, 0.99);
    slice->server_cpu_ns = knows_cpu ? cpu_ns - measure->server_cpu_ns : -1;
    measure->server_cpu_ns = cpu_ns;

    total->length_ns += slice->length_ns;
    total->n_answers += slice->n_answers;
    total->n_errors += slice->n_errors;
    total->n_rows += slice->n_rows;
    total->sent_bytes += slice->sent_bytes;
    total->received_bytes += slice->received_bytes;
    total->server_cpu_ns = knows_cpu && total->server_cpu_ns >= 0
                               ? total->server_cpu_ns + slice->server_cpu_ns
                               : -1;
    histogram_merge(&result->latency, &measure->latency);
    if (slice->length_ns >= result->slice_ns / 2)
        slice_keep(result, slice);
    if (measure->settings->shows_progress && now_ns - measure->shown_ns >= CLOCK_S) {
        measure->shown_ns = now_ns;
        bench_show_progress(slice, now_ns - measure->start_ns, total->n_errors);
    }
}

void measure_stop(struct bench_measure *measure, int64_t now_ns)
{
    const int64_t timeout_ns = measure->settings->timeout_ns;
    if (measure->phase == BENCH_MEASURES) {
        if (now_ns > measure->slice_start_ns)
            slice_end(measure, now_ns);
        if (measure->result->n_slices == 0)
            slice_keep(measure->result, &measure->slice);
        measure->result->client_cpu_ns = own_cpu_ns() - measure->client_cpu_ns;
        if (measure->settings->shows_progress)
            bench_clear_progress();
    }
    measure->phase = BENCH_DRAINS;
    measure->end_ns = now_ns;
    measure->change_ns = now_ns + (timeout_ns ? timeout_ns : GRACE_NS);
}

void measure_advance(struct bench_measure *measure, int64_t now_ns)
{
    while (now_ns >= measure->change_ns) {
        const int64_t change_ns = measure->change_ns;
        switch (measure->phase) {
        case BENCH_WARMS_UP:
            start_measuring(measure, now_ns);
            break;
        case BENCH_MEASURES:
            if (change_ns >= measure->end_ns) {
                measure_stop(measure, change_ns);
            } else {
                slice_end(measure, change_ns);
                slice_begin(measure, change_ns);
            }
            break;
        case BENCH_DRAINS:
        case BENCH_OVER:
            measure->phase = BENCH_OVER;
            measure->change_ns = INT64_MAX;
            break;
        }
    }
}

void measure_answer(struct bench_measure *measure, const struct bench_message *message,
                    int64_t due_ns, int64_t now_ns, uint64_t received_bytes)
{
    const bool is_whole = measure->phase != BENCH_WARMS_UP && due_ns >= measure->start_ns;
    if (measure->phase == BENCH_MEASURES) {
        measure->n_done++;
        measure->slice.n_answers++;
        measure->slice.n_rows += message->n_rows;
        measure->slice.sent_bytes += message->size_bytes;
        measure->slice.received_bytes += received_bytes;
        if (is_whole)
            histogram_add(&measure->latency, now_ns - due_ns);
    } else if (measure->phase == BENCH_DRAINS && is_whole) {
        histogram_add(&measure->result->latency, now_ns - due_ns);
    }
}

void measure_errors(struct bench_measure *measure, enum bench_error error, int status,
                    uint64_t n)
{
    if (measure->phase != BENCH_MEASURES && measure->phase != BENCH_DRAINS)
        return;
    measure->n_done += n;
    measure->result->n_errors[error] += n;
    if (error == BENCH_STATUS && status < BENCH_STATUSES)
        measure->result->n_status[status] += n;
    if (measure->phase == BENCH_MEASURES)
        measure->slice.n_errors += n;
    else
        measure->result->total.n_errors += n;
}
