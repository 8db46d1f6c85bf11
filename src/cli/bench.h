/* cli/bench.h - the interface between the parts of graphpipe bench: what to send, how,
 * and the result. bench.c reads the command line, bench_message.c makes the messages,
 * bench_loop.c sends them, bench_report.c and bench_json.c write the result. */
#ifndef GP_CLI_BENCH_H
#define GP_CLI_BENCH_H

#include "cli/histogram.h"

#include <graphpipe/message.h>

#include <stdbool.h>

/* One request as it goes over the connection: the HTTP head and the body. */
struct bench_message {
    struct iovec *parts;
    size_t n_parts;
    size_t size_bytes;
    uint64_t n_rows; /* the first dimension of the first input */
    enum gp_request_kind kind;
};

/* The messages, sent in turn. */
struct bench_messages {
    const struct bench_message *items;
    uint32_t n;
    const char *about; /* of the first: "image float32[1,3,224,224]" */
};

/* How they are sent. With a rate the loop is open. */
struct bench_settings {
    const char *address;
    double rate_per_s;      /* 0: closed loop */
    uint32_t n_connections; /* closed: all are always in flight; open: at most */
    bool is_poisson;
    bool shows_progress;
    int64_t warm_up_ns;
    int64_t duration_ns; /* 0: until n_requests are answered */
    uint64_t n_requests; /* 0: until duration_ns have passed */
    int64_t timeout_ns;  /* 0: none */
    uint64_t seed;
    int32_t server_pid; /* 0: to be detected */
};

enum bench_error {
    BENCH_CONNECT,    /* no connection */
    BENCH_RESET,      /* it ended before the answer did */
    BENCH_TIMEOUT,    /* no answer in time */
    BENCH_BAD_ANSWER, /* not HTTP, or not a GraphPipe message */
    BENCH_UNSENT,     /* due, but never sent: all connections were busy until the end */
    BENCH_STATUS,     /* another HTTP status than 200 */
    BENCH_ERRORS
};

/* The counts of a stretch of time: the whole run, or a second of it. */
struct bench_slice {
    int64_t length_ns;
    uint64_t n_answers; /* good ones */
    uint64_t n_errors;
    uint64_t n_rows;
    uint64_t sent_bytes;     /* of successful answers */
    uint64_t received_bytes; /* heads included */
    int64_t p50_ns, p99_ns;
    int64_t server_cpu_ns; /* -1: not known */
};

enum { BENCH_STATUSES = 600 };

struct bench_result {
    struct bench_slice total;
    /* On the heap. If the last one is shorter than half the length it is left out. */
    struct bench_slice *slices;
    size_t n_slices;
    size_t n_slices_capacity;
    int64_t slice_ns;

    /* Latencies of the successful answers to requests that were due in the measured time,
     * counted from then. Those still awaited at the end are included, so that a stall
     * there is not lost; they are in no slice. */
    struct histogram latency;
    uint64_t n_errors[BENCH_ERRORS];
    uint64_t n_status[BENCH_STATUSES];
    uint64_t n_late; /* sent over 1 ms after they were due */
    int64_t client_cpu_ns;
    bool is_interrupted;
    struct gp_error first_error; /* the first failure */
};

/* Sends the messages according to the settings. Fails when nothing can be measured at
 * all: there is no server, or it refuses the first request. */
enum gp_status bench_load(const struct bench_settings *settings,
                          const struct bench_messages *messages,
                          struct bench_result *result, struct gp_error *err);

void bench_result_finish(struct bench_result *result);

/* "http 503", "timeout" ... */
const char *bench_error_name(enum bench_error error);

double bench_seconds(int64_t ns);

/* Writes a duration in the unit that suits it: "5.21 ms". */
int bench_format_ns(char *out, size_t size, double ns);

struct text;

/* The table. */
void bench_write(struct text *text, const struct bench_settings *settings,
                 const struct bench_messages *messages,
                 const struct bench_result *result);

/* One line on the terminal, over the previous one. */
void bench_show_progress(const struct bench_slice *last, int64_t elapsed_ns,
                         uint64_t n_errors);
void bench_clear_progress(void);

/* The same as JSON, which bench_compare reads. */
void bench_write_json(struct text *text, const struct bench_settings *settings,
                      const struct bench_messages *messages,
                      const struct bench_result *result);

/* Two saved results side by side. */
enum gp_status bench_compare(struct text *text, struct gp_arena *arena,
                             const char *path_a, const char *path_b,
                             struct gp_error *err);

#endif
