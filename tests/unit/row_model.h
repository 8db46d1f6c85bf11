/* A model for checks of its rows, x float32[-1,3] -> y float32[-1,3] if not told otherwise, run by a
 * function of the test. */
#ifndef GP_TESTS_ROW_MODEL_H
#define GP_TESTS_ROW_MODEL_H

#include "model/model.h"
#include "net/poller.h"

enum { ROW_MODEL_WIDTH = 3 };

extern const int64_t row_model_any[2], row_model_two[2]; /* shapes of x: -1,3 and 2,3 */

struct row_model_host {
    struct model_host host;
    struct log log; /* kept */
    struct poller poller;
    atomic_bool is_ending;
    struct gp_error err;
};
extern struct row_model_host row_host;

/* For cmocka; a temporary folder is there, too. */
int row_model_begin(void **state);
int row_model_end(void **state);

/* Of one slot; a shape of NULL: x takes any rank. */
struct model *row_model_open(gp_infer_fn *run, uint32_t max_batch, const int64_t *shape);
void row_model_close(struct model *model);

/* The same with other options, and perhaps no outputs that it tells of (n_outputs). NULL if it fails:
 * row_host.err says why. */
struct model *row_model_try(gp_infer_fn *run, const struct gp_model_options *options,
                            const int64_t *shape, uint32_t n_outputs);

#endif
