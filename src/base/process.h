/* base/process.h - what this process uses of the machine. */
#ifndef GP_BASE_PROCESS_H
#define GP_BASE_PROCESS_H

#include <stdbool.h>
#include <stdint.h>

struct process_usage {
    double cpu_s;
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t n_threads;
    uint64_t n_fds;
    uint64_t max_fds;
};

/* False without /proc, or where it cannot be opened for want of descriptors. */
bool process_usage(struct process_usage *usage);

/* When the process started, in seconds since 1970; 0 without /proc. */
double process_started_s(void);

#endif
