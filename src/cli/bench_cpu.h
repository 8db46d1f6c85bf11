/* cli/bench_cpu.h - the processor time that the server uses, if it runs on this
 * machine. */
#ifndef GP_CLI_BENCH_CPU_H
#define GP_CLI_BENCH_CPU_H

#include <stdint.h>
#include <time.h>

enum { BENCH_MAX_PROCESSES = 64 };

struct bench_cpu {
    clockid_t clocks[BENCH_MAX_PROCESSES]; /* of the server's processes */
    uint32_t n;                            /* 0: not known */
};

/* Finds the processes behind a connected socket, or uses `pid` unless it is 0. */
void bench_cpu_find(struct bench_cpu *cpu, int fd, int32_t pid);

/* What all of them have used so far; -1 if unknown. */
int64_t bench_cpu_ns(const struct bench_cpu *cpu);

#endif
