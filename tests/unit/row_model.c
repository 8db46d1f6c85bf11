#include "row_model.h"

#include "kept_log.h"
#include "temp_tree.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

const int64_t row_model_any[2] = {-1, ROW_MODEL_WIDTH};
const int64_t row_model_two[2] = {2, ROW_MODEL_WIDTH};

struct row_model_host row_host;

int row_model_begin(void **state)
{
    struct row_model_host *h = &row_host;
    *h = (struct row_model_host){0};
    kept_log_begin(&h->log);
    assert_int_equal(poller_init(&h->poller, &h->log, 1, &h->err), GP_OK);
    h->host = (struct model_host){.pool = pool_create((size_t)64 << 20),
                                  .poller = &h->poller,
                                  .log = &h->log,
                                  .n_cores = 1,
                                  .max_waiting = 4,
                                  .is_ending = &h->is_ending};
    assert_non_null(h->host.pool);
    return tree_make(state);
}

int row_model_end(void **state)
{
    struct row_model_host *h = &row_host;
    const struct pool_counts counts = pool_count(h->host.pool);
    assert_int_equal(counts.used_bytes + counts.reserved_bytes, 0);
    pool_destroy(h->host.pool);
    poller_finish(&h->poller);
    kept_log_end(&h->log);
    return tree_remove(state);
}

struct model *row_model_try(gp_infer_fn *run, const struct gp_model_options *options,
                            const int64_t *shape, uint32_t n_outputs)
{
    static struct gp_io x = {.name = "x", .description = ""},
                        y = {.name = "y", .description = ""};
    static struct gp_metadata metadata; /* for as long as the model */
    x.dtype = y.dtype = GP_FLOAT32;
    x.rank = y.rank = 2;
    x.shape = shape;
    x.flags = shape ? 0 : GP_IO_ANY_RANK;
    y.shape = shape == row_model_two ? row_model_two : row_model_any;
    metadata = (struct gp_metadata){
        .name = "m", .inputs = &x, .n_inputs = 1, .outputs = &y, .n_outputs = n_outputs};
    return model_open_function(&row_host.host, run, NULL, options, &metadata,
                               &row_host.err);
}

struct model *row_model_open(gp_infer_fn *run, uint32_t max_batch, const int64_t *shape)
{
    const struct gp_model_options options = {
        .size_bytes = sizeof options, .n_slots = 1, .max_batch = max_batch};
    struct model *model = row_model_try(run, &options, shape, 1);
    assert_non_null(model);
    return model;
}

void row_model_close(struct model *model)
{
    atomic_store(&model->n_users, 0);
    model_close(model);
}
