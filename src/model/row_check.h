/* model/row_check.h - finds out whether the rows of a model's requests depend on each other: rows are
 * run one by one and then together, in several orders and numbers, and the answers compared.
 *
 * That shows that they depend on each other, or that nothing was seen of it: a model that mixes rows
 * for other values only is not found out.
 */
#ifndef GP_MODEL_ROW_CHECK_H
#define GP_MODEL_ROW_CHECK_H

#include "model/model.h"

/* Slow models are checked in fewer runs than others: none begins later than this, but for the first
 * ones, which are needed. */
#define ROW_CHECK_NS (3 * CLOCK_S)

enum row_verdict {
    ROWS_UNKNOWN, /* what was tried does not tell */
    ROWS_INDEPENDENT,
    ROWS_DEPENDENT
};

struct row_check {
    enum row_verdict verdict;
    unsigned n_rows;
    unsigned n_runs;
    int64_t open; /* the size of dimensions left open, of rows that were generated */
    /* The largest between a row alone and among others, as a part of the largest value that its output
     * has; not of those that differ by more than they may. */
    double difference;
    char why[512]; /* it is not independent, in words */
};

/* Runs on slot 0 of a model that nobody else uses yet and that takes batches, or would. `requests` is a file
 * or folder of recorded ones, whose rows are taken; NULL: rows are generated. Fails only if it cannot be
 * done at all. */
enum gp_status row_check_model(struct model *model, const char *requests,
                               struct row_check *check, struct gp_error *err);

#endif
