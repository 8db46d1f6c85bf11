/* cli/tune.h - the parts of graphpipe tune: it measures how fast a model runs with so many instances,
 * threads and rows a run, and shows a table.
 */
#ifndef GP_CLI_TUNE_H
#define GP_CLI_TUNE_H

#include "base/text.h"
#include "model/model.h"

/* One of them. */
struct tune_cell {
    uint32_t n_instances;
    uint32_t n_threads; /* of a run */
    uint32_t n_rows;    /* of a run */
    double rows_per_s;  /* of all instances, while they run; 0: not measured */
    int64_t p50_ns;     /* of one run */
    int64_t p99_ns;
};

struct tune_plan {
    const struct model_host *host;
    struct gp_model_options options; /* but for what is tried */
    const char *requests;            /* recorded ones; NULL: they are generated */
    bool is_whole;    /* a run is one request, whose rows are not told apart */
    int64_t open;     /* the size of dimensions that are left open */
    int64_t slice_ns; /* for one cell */
};

/* Measures cells of the same instances and threads, on one open model. `done` is called after each. */
enum gp_status tune_measure(const struct tune_plan *plan, struct tune_cell *cells,
                            size_t n, void (*done)(void *context), void *context,
                            struct gp_error *err);

/* The one with the most rows per second; of those within a twentieth of it, the one with the shortest runs.
 * None whose p99 is above most_p99_ns, unless that is 0; NULL if none is left. */
const struct tune_cell *tune_best(const struct tune_cell *cells, size_t n,
                                  int64_t most_p99_ns);

/* A table with a bar for each cell. */
void tune_write_table(struct text *text, const struct tune_cell *cells, size_t n,
                      const struct tune_cell *best);

#endif
