/* What was measured: the best of it, and a table. */
#include "cli/tune.h"

#include "cli/bench.h"
#include "cli/cli.h"

const struct tune_cell *tune_best(const struct tune_cell *cells, size_t n,
                                  int64_t most_p99_ns)
{
    const struct tune_cell *best = NULL;
    double most = 0;
    for (size_t i = 0; i < n; i++)
        if ((!most_p99_ns || cells[i].p99_ns <= most_p99_ns) &&
            cells[i].rows_per_s > most)
            most = cells[i].rows_per_s;
    for (size_t i = 0; i < n; i++) {
        const struct tune_cell *cell = &cells[i];
        if ((most_p99_ns && cell->p99_ns > most_p99_ns) || cell->rows_per_s <= 0 ||
            cell->rows_per_s < 0.95 * most)
            continue;
        if (!best || cell->p50_ns < best->p50_ns)
            best = cell;
    }
    return best;
}

enum { BAR_COLUMNS = 30 };

static void write_bar(struct text *text, double part, bool is_best)
{
    const unsigned n = (unsigned)(part * BAR_COLUMNS + 0.5);
    text_puts(text, "  ");
    for (unsigned i = 0; i < n; i++)
        text_puts(text, "#");
    text_puts(text, is_best ? " best\n" : "\n");
}

void tune_write_table(struct text *text, const struct tune_cell *cells, size_t n,
                      const struct tune_cell *best)
{
    double most = 0;
    for (size_t i = 0; i < n; i++)
        most = cells[i].rows_per_s > most ? cells[i].rows_per_s : most;
    text_puts(text, "instances  threads  rows     rows/s        p50        p99\n");
    for (size_t i = 0; i < n; i++) {
        const struct tune_cell *cell = &cells[i];
        char p50[32], p99[32];
        if (cell->rows_per_s <= 0)
            continue;
        (void)bench_format_ns(p50, sizeof p50, (double)cell->p50_ns);
        (void)bench_format_ns(p99, sizeof p99, (double)cell->p99_ns);
        text_printf(text, "%9u %8u %5u %10.0f %10s %10s", cell->n_instances,
                    cell->n_threads, cell->n_rows, cell->rows_per_s, p50, p99);
        write_bar(text, cell->rows_per_s / most, cell == best);
    }
}
