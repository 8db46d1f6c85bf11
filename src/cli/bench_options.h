/* cli/bench_options.h - the command line of bench. */
#ifndef GP_CLI_BENCH_OPTIONS_H
#define GP_CLI_BENCH_OPTIONS_H

#include "cli/options.h"

struct bench_values {
    uint32_t in_flight;
    const char *rate;
    bool is_poisson;
    uint32_t connections;
    uint32_t for_ms;
    uint32_t requests;
    uint32_t warm_up_ms;
    uint32_t timeout_ms;
    struct option_list inputs;
    struct option_list outputs;
    struct option_list shapes;
    struct option_list records;
    uint32_t rows;
    uint32_t distinct;
    const char *config;
    uint32_t seed;
    uint32_t pid;
    const char *json;
    bool is_compare;
};

enum { BENCH_N_OPTIONS = 19 };

extern const struct option bench_options[BENCH_N_OPTIONS];

#endif
