/* base/counters.h - counters that many threads add to and that are seldom read.
 *
 * Each thread adds to a row of its own, so that threads share no cache line; a reader sums the rows.
 * Threads beyond the number of rows share some of them, which costs time but no count. */
#ifndef GP_BASE_COUNTERS_H
#define GP_BASE_COUNTERS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct counters {
    _Atomic uint64_t *rows;
    size_t row_size; /* in counters, with what keeps the rows apart */
    unsigned last_row;
};

/* n counters at 0, for about that many threads at a time; false if memory is short. */
bool counters_init(struct counters *counters, unsigned n, unsigned n_threads);
void counters_finish(struct counters *counters);

/* Threads are numbered from 0. */
static inline void counters_add(struct counters *counters, unsigned thread,
                                unsigned index, uint64_t n)
{
    _Atomic uint64_t *row =
        counters->rows + (thread & counters->last_row) * counters->row_size;
    atomic_fetch_add_explicit(&row[index], n, memory_order_relaxed);
}

/* Never less than before. */
uint64_t counters_sum(const struct counters *counters, unsigned index);

#endif
