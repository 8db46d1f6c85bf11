/* Runs a model. CNTK's C interface takes one sequence at a time: one row of a network with
 * rows, all of a request's elements where the network has none, or has a free size for
 * them. What it gives is copied once. */
#include "cntk.h"

#include <assert.h>

/* --- one evaluation --- */

enum gp_status ck_evaluate(struct ck_model *model, const struct ck_variable *outputs,
                           uint32_t n_outputs, struct ck_value **values,
                           struct gp_error *err)
{
    FILE *before = plugin_mute(); /* no other thread of the process prints to it */
    if (model->ck->api.set_n_threads)
        model->ck->api.set_n_threads((int)model->n_threads); /* of this thread's runs */
    *values = NULL;                                          /* CNTK makes them */
    const struct ck_status result = model->ck->api.EvaluateSequence(
        model->network, model->inputs, model->x, model->begins, model->n_inputs, outputs,
        n_outputs, values);
    plugin_unmute(before);
    return ck_check(&result, GP_ENGINE, "the model failed", err);
}

void ck_values_free(const struct ck_model *model, struct ck_value *values, uint32_t n)
{
    for (uint32_t i = 0; values && i < n; i++)
        model->ck->api.CleanValue(&values[i]);
    if (values)
        model->ck->api.ReleaseArray(values);
}

/* --- inputs --- */

/* The rows that go one by one: 1 if no input has any. */
static enum gp_status count_rows(const struct ck_model *model, const struct gp_call *call,
                                 int64_t *n_rows, struct gp_error *err)
{
    const char *first = NULL;
    *n_rows = 1;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const struct gp_tensor *x = &call->inputs[i];
        const char *name = model->ios[i].name;
        if (x->size_bytes == 0)
            return gp_error_set(err, GP_INVALID,
                                "input \"%.*s\" has no elements, which CNTK cannot run",
                                gp_cut(name, 100), name);
        if (model->n_axes[i] == 0)
            continue;
        if (first && x->shape[0] != *n_rows)
            return gp_error_set(err, GP_INVALID,
                                "input \"%.*s\" has %lld rows, and \"%.*s\" has %lld",
                                gp_cut(name, 80), name, (long long)x->shape[0],
                                gp_cut(first, 80), first, (long long)*n_rows);
        first = name;
        *n_rows = x->shape[0];
    }
    return GP_OK;
}

static void set_input(struct ck_model *model, uint32_t i, const struct gp_tensor *x,
                      int64_t row, int64_t n_rows)
{
    struct ck_value *value = &model->x[i];
    const uint32_t n_axes = model->n_axes[i], rank = x->rank - n_axes;
    const size_t row_bytes = n_axes ? x->size_bytes / (size_t)n_rows : 0;
    assert(rank + 1 == value->shape.rank); /* the host has compared the shapes */
    for (uint32_t j = 0; j < rank; j++)
        value->shape.sizes[j] = (uint32_t)x->shape[x->rank - 1 - j];
    value->shape.sizes[rank] = n_axes > 1 ? (uint32_t)x->shape[1] : 1;
    /* read only, though CNTK's type does not say so */
    value->data = (float *)((uintptr_t)x->data + (size_t)row * row_bytes);
}

/* --- outputs --- */

/* The outputs of a run, as far as they have come. */
struct ck_answer {
    const struct gp_call *call;
    struct gp_outputs *outputs;
    struct ck_variable *variables; /* those that were asked for */
    char **data;                   /* of each */
    struct ck_shape *shapes;       /* of each for one row */
    int64_t n_rows;
};

static bool is_same_shape(const struct ck_shape *a, const struct ck_shape *b)
{
    return a->rank == b->rank &&
           memcmp(a->sizes, b->sizes, a->rank * sizeof *a->sizes) == 0;
}

static size_t count_bytes(const struct ck_shape *shape)
{
    size_t n = sizeof(float);
    for (uint32_t i = 0; i < shape->rank; i++)
        n *= shape->sizes[i];
    return n;
}

/* With room for all rows. */
static enum gp_status begin_output(struct ck_answer *answer, uint32_t i,
                                   const struct ck_shape *one, struct gp_error *err)
{
    int64_t shape[GP_MAX_RANK];
    const char *name = answer->call->output_names[i];
    const bool has_rows = one->rank > answer->variables[i].shape.rank;
    if (one->rank > GP_MAX_RANK)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "output \"%.*s\" came with %u dimensions", gp_cut(name, 100),
                            name, one->rank);
    for (uint32_t j = 0; j < one->rank; j++)
        shape[j] = one->sizes[one->rank - 1 - j];
    if (answer->n_rows > 1) {
        if (!has_rows || shape[0] != 1)
            return gp_error_set(err, GP_INVALID,
                                "output \"%.*s\" does not have one row for each row of "
                                "the inputs; send them one by one",
                                gp_cut(name, 100), name);
        shape[0] = answer->n_rows;
    }
    answer->data[i] =
        gp_outputs_alloc(answer->outputs, i, GP_FLOAT32, shape, one->rank, err);
    return answer->data[i] ? GP_OK : err->status;
}

static enum gp_status give_row(struct ck_answer *answer, int64_t row,
                               struct ck_value *values, struct gp_error *err)
{
    for (uint32_t i = 0; i < answer->call->n_outputs; i++) {
        const char *name = answer->call->output_names[i];
        const struct ck_shape *shape = &values[i].shape;
        const size_t n_bytes = count_bytes(shape);
        if (row == 0) {
            if (begin_output(answer, i, shape, err) != GP_OK)
                return err->status;
            answer->shapes[i] = *shape;
        } else if (!is_same_shape(shape, &answer->shapes[i])) {
            return gp_error_set(
                err, GP_INVALID,
                "output \"%.*s\" has another length for row %lld than for "
                "row 0; send them one by one",
                gp_cut(name, 100), name, (long long)row);
        }
        assert(answer->data[i]); /* since row 0 */
        memcpy(answer->data[i] + (size_t)row * n_bytes, values[i].data, n_bytes);
    }
    return GP_OK;
}

/* --- a run --- */

static void stop(void *arg)
{
    atomic_store((atomic_bool *)arg, true);
}

/* The values of the first row are kept to its end, for their shapes. */
static enum gp_status run_rows(struct ck_model *model, struct ck_answer *answer,
                               struct gp_error *err)
{
    const struct gp_call *call = answer->call;
    struct ck_value *first = NULL;
    enum gp_status status = GP_OK;
    for (int64_t row = 0; row < answer->n_rows && status == GP_OK; row++) {
        struct ck_value *values;
        if (atomic_load(&model->is_stopped)) {
            status = plugin_stopped(call, err);
            break;
        }
        for (uint32_t i = 0; i < call->n_inputs; i++)
            set_input(model, i, &call->inputs[i], row, answer->n_rows);
        status = ck_evaluate(model, answer->variables, call->n_outputs, &values, err);
        if (status == GP_OK)
            status = give_row(answer, row, values, err);
        if (row == 0)
            first = values;
        else
            ck_values_free(model, values, call->n_outputs);
    }
    ck_values_free(model, first, call->n_outputs);
    return status;
}

static const struct ck_variable *find_output(const struct ck_model *model,
                                             const char *name)
{
    const struct gp_io *ios = model->ios + model->n_inputs;
    uint32_t i = 0;
    while (i + 1 < model->n_outputs && strcmp(ios[i].name, name) != 0)
        i++; /* the host has looked it up */
    return &model->outputs[i];
}

static void finish_answer(struct ck_answer *answer)
{
    free(answer->variables);
    free(answer->data);
    free(answer->shapes);
}

static bool init_answer(const struct ck_model *model, struct ck_answer *answer)
{
    const size_t n = answer->call->n_outputs;
    answer->variables = calloc(n + 1, sizeof *answer->variables);
    answer->data = calloc(n + 1, sizeof *answer->data);
    answer->shapes = calloc(n + 1, sizeof *answer->shapes);
    if (!answer->variables || !answer->data || !answer->shapes)
        return false;
    for (uint32_t i = 0; i < n; i++)
        answer->variables[i] = *find_output(model, answer->call->output_names[i]);
    return true;
}

enum gp_status ck_run(void *self, uint32_t slot, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err)
{
    struct ck_model *model = self;
    struct ck_answer answer = {.call = call, .outputs = outputs};
    enum gp_status status = count_rows(model, call, &answer.n_rows, err);
    (void)slot;
    atomic_store(&model->is_stopped, false);
    if (status == GP_OK && !init_answer(model, &answer))
        status =
            gp_error_set(err, GP_NO_MEMORY, "no memory for %u outputs", call->n_outputs);
    if (status == GP_OK && gp_call_on_cancel(call, stop, &model->is_stopped) != GP_OK)
        status = plugin_stopped(call, err);
    if (status == GP_OK)
        status = run_rows(model, &answer, err);
    (void)gp_call_on_cancel(call, NULL, NULL);
    finish_answer(&answer);
    return status;
}
