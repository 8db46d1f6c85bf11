/* A model for row checks: a function of this process, of rows of three values, that does what a test
 * wants. */
#ifndef GP_TESTS_ROW_CHECK_FIXTURE_H
#define GP_TESTS_ROW_CHECK_FIXTURE_H

#include "kept_log.h"
#include "model/row_check.h"
#include "row_model.h"

enum { ROW_CHECK_MOST_RUNS = 32, ROW_CHECK_MOST_ROWS = 5 };

/* n rows of y for those of x. */
typedef enum gp_status row_answer(const float *x, float *y, uint32_t n,
                                  struct gp_error *err);

struct row_engine {
    row_answer *answer;
    row_answer *second;                   /* of another output, or NULL */
    unsigned second_from;                 /* which is there from this run on */
    unsigned n_runs;                      /* so far */
    uint32_t n_rows[ROW_CHECK_MOST_RUNS]; /* of each */
    float firsts[ROW_CHECK_MOST_RUNS][ROW_CHECK_MOST_ROWS]; /* values of its rows */
    int64_t width;         /* it wants, where its description leaves it open; 0: any */
    int64_t takes_ns;      /* by a clock that is turned */
    bool has_one_row_only; /* its output */
    bool is_scalar;        /* likewise */
};

extern struct row_check_fixture {
    struct row_engine engine;
    struct row_check check;
} row_checked;

/* With an engine of row_check_twice, and a folder for recorded requests. */
int row_check_begin(void **state);
int row_check_end(void **state);

/* Answers of models whose rows are independent, and of some whose are not; and of one that answers all
 * alike. */
enum gp_status row_check_twice(const float *x, float *y, uint32_t n,
                               struct gp_error *err);
enum gp_status row_check_less_mean(const float *x, float *y, uint32_t n,
                                   struct gp_error *err);
enum gp_status row_check_constant(const float *x, float *y, uint32_t n,
                                  struct gp_error *err);

/* Its model, which says nothing of outputs if the engine has a second, and has a cache if the host has a
 * store. */
struct model *row_check_open(uint32_t max_batch, const int64_t *shape);

/* Into row_checked.check. */
void row_check_it(const int64_t *shape, const char *requests);

void row_check_assert_found(enum row_verdict verdict, const char *why);

#endif
