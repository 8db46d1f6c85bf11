/* base/clock.h - the one clock of deadlines and timers: CLOCK_MONOTONIC in
 * nanoseconds. */
#ifndef GP_BASE_CLOCK_H
#define GP_BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_MS INT64_C(1000000)
#define CLOCK_S INT64_C(1000000000)

int64_t clock_now_ns(void);

#endif
