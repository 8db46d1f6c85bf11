#include "base/counters.h"

#include "base/mem.h"

/* No more rows than this. Two lines, as processors fetch lines in pairs. */
enum { MAX_ROWS = 64, APART_BYTES = 128 };

bool counters_init(struct counters *counters, unsigned n, unsigned n_threads)
{
    const size_t apart = APART_BYTES / sizeof *counters->rows;
    unsigned n_rows = 1;
    while (n_rows < n_threads && n_rows < MAX_ROWS)
        n_rows *= 2;
    counters->row_size = n + apart;
    counters->last_row = n_rows - 1;
    counters->rows = mem_array(n_rows, counters->row_size * sizeof *counters->rows);
    return counters->rows;
}

void counters_finish(struct counters *counters)
{
    mem_free(counters->rows);
}

uint64_t counters_sum(const struct counters *counters, unsigned index)
{
    uint64_t sum = 0;
    for (size_t row = 0; row <= counters->last_row; row++)
        sum += atomic_load_explicit(&counters->rows[row * counters->row_size + index],
                                    memory_order_relaxed);
    return sum;
}
