/* cli/bench.h - what the parts of graphpipe bench tell each other: what to send, how, and
 * what came of it. bench.c reads the command line, bench_message.c makes the messages,
 * bench_loop.c sends them, bench_report.c and bench_json.c say what was measured. */
#ifndef GP_CLI_BENCH_H
#define GP_CLI_BENCH_H

#include "cli/histogram.h"

#include <graphpipe/message.h>

#include <stdbool.h>

/* One request as it goes over the connection: the HTTP head and what follows. */
struct bench_message {
    struct iovec *parts;
    size_t n_parts;
    size_t size_bytes;
    uint64_t n_rows; /* the first dimension of the first input */
    enum gp_request_kind kind;
};

/* What is sent, in turn. */
struct bench_messages {
    const struct bench_message *items;
    uint32_t n;
    const char *about; /* of the first: "image float32[1,3,224,224]" */
};

/* How it is sent. With a rate the loop is open. */
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
    int32_t server_pid; /* 0: to be found out */
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

/* What happened in a stretch of time: the whole run, or a second of it. */
struct bench_slice {
    int64_t length_ns;
    uint64_t n_answers; /* good ones */
    uint64_t n_errors;
    uint64_t n_rows;
    uint64_t sent_bytes;     /* of those that were answered well */
    uint64_t received_bytes; /* heads included */
    int64_t p50_ns, p99_ns;
    int64_t server_cpu_ns; /* -1: not known */
};

enum { BENCH_STATUSES = 600 };

struct bench_result {
    struct bench_slice total;
    struct bench_slice *slices; /* on the heap; a last one of under half the length is
                                   left out */
    size_t n_slices;
    size_t n_slices_capacity;
    int64_t slice_ns;

    /* Latencies of the good answers to what was due in the measured time, from when it
     * was due. Those that were still awaited at the end are in it too, so that a stall
     * there is not lost; they are in no slice. */
    struct histogram latency;
    uint64_t n_errors[BENCH_ERRORS];
    uint64_t n_status[BENCH_STATUSES];
    uint64_t n_late; /* sent over 1 ms after they were due */
    int64_t client_cpu_ns;
    bool is_interrupted;
    struct gp_error first_error; /* what the first failure was */
};

/* Sends the messages as the settings say. A failure when nothing can be measured at all:
 * no server there, or one that refuses the first request. */
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

/* One line on the terminal, over the last one. */
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
