/* cli/schedule.h - when the requests of an open loop are due, whatever the server does:
 * at equal distances, or as those of many independent clients (Poisson). */
#ifndef GP_CLI_SCHEDULE_H
#define GP_CLI_SCHEDULE_H

#include "base/random.h"

#include <stdbool.h>

struct schedule {
    int64_t next_ns; /* when the next request is due */
    int64_t start_ns;
    double gap_ns; /* the mean */
    double passed; /* gaps since the start */
    bool is_poisson;
    struct random random;
};

/* The first request is due at start_ns, or if is_poisson after its first gap. */
void schedule_init(struct schedule *schedule, int64_t start_ns, double rate_per_s,
                   bool is_poisson, uint64_t seed);

/* Moves on to the next request. */
void schedule_step(struct schedule *schedule);

#endif
