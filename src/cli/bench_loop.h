/* cli/bench_loop.h - the state of the load while it runs, shared by bench_load.c, which
 * sets it up, bench_loop.c, which sends and receives, and bench_check.c, which checks
 * answers. */
#ifndef GP_CLI_BENCH_LOOP_H
#define GP_CLI_BENCH_LOOP_H

#include "cli/bench_link.h"
#include "cli/bench_measure.h"
#include "cli/schedule.h"

#include "client/link.h"

struct bench_loop {
    const struct bench_settings *settings;
    const struct bench_messages *messages;
    struct bench_result *result;
    struct bench_measure measure;
    struct bench_net net;
    struct client_link origin; /* the first connection: finds the server */
    struct gp_arena *arena;    /* of samples */
    struct bench_link *links;
    uint32_t n_links; /* used so far, of settings->n_connections */
    uint32_t n_in_flight;
    uint32_t n_resting;
    struct bench_link *idle;         /* a stack */
    struct bench_link *first, *last; /* busy ones, in the order in which they were sent */
    uint64_t n_begun;
    uint64_t n_sent; /* of them since the start of the measured time */
    struct schedule schedule;
    int timer;
    int64_t armed_ns;
    int64_t rest_until_ns;
    bool is_all_sent; /* of what was due before the end */
    bool is_refused;  /* the first answer was a failure: there is nothing to measure */
};

/* Sends and receives until the time is over. */
void bench_loop_run(struct bench_loop *load);

/* Counts a finished request. */
void bench_count(struct bench_loop *load, const struct bench_link *link,
                 enum bench_step step, enum bench_error error, int64_t now_ns);

#endif
