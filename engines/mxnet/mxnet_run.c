/* Runs a model. An executor of MXNet is for one set of input shapes, and takes some
 * milliseconds to make, so those of the latest runs are kept. They share the parameters,
 * and some of the memory between operators. Inputs and outputs are copied once each: an
 * executor has memory of its own for them. */
#include "mxnet.h"

#include "../cores.h"

#include <assert.h>

enum { CPU = 1, FEW_BYTES = 16 << 20 };

/* --- executors --- */

static void free_executor(const struct mx_model *model, struct mx_executor *executor)
{
    const struct mx_api *api = &model->mx->api;
    if (executor->handle)
        (void)api->ExecutorFree(executor->handle);
    for (uint32_t i = 0; i < executor->n_own; i++)
        (void)api->NDArrayFree(executor->inputs[i]);
    free(executor->inputs);
    free(executor->shapes);
    *executor = (struct mx_executor){0};
}

void mx_executors_free(struct mx_model *model)
{
    for (uint32_t i = 0; i < model->n_executors; i++)
        free_executor(model, &model->executors[i]);
    model->n_executors = 0;
}

static bool has_shapes(const struct mx_executor *executor, const struct gp_call *call)
{
    size_t n = 0;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const struct gp_tensor *x = &call->inputs[i];
        if (executor->shapes[n++] != x->rank)
            return false;
        for (uint32_t j = 0; j < x->rank; j++)
            if (executor->shapes[n++] != x->shape[j])
                return false;
    }
    return true;
}

static bool keep_shapes(struct mx_executor *executor, const struct gp_call *call)
{
    size_t n = 0;
    for (uint32_t i = 0; i < call->n_inputs; i++)
        n += 1 + call->inputs[i].rank;
    executor->shapes = malloc((n + 1) * sizeof *executor->shapes);
    if (!executor->shapes)
        return false;
    n = 0;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const struct gp_tensor *x = &call->inputs[i];
        executor->shapes[n++] = x->rank;
        for (uint32_t j = 0; j < x->rank; j++)
            executor->shapes[n++] = x->shape[j];
        executor->n_bytes += x->size_bytes;
    }
    return true;
}

/* Memory for an input or a label, zeroed. */
static enum gp_status make_own(const struct mx_model *model, const char *name,
                               const int *sizes, int rank, int type, NDArrayHandle *made,
                               struct gp_error *err)
{
    const struct mx_api *api = &model->mx->api;
    const size_t stride = gp_dtype_size(mx_dtype(type));
    uint32_t shape[GP_MAX_RANK];
    size_t n = 1;
    if (rank < 0 || rank > (int)GP_MAX_RANK)
        return gp_error_set(err, GP_ENGINE, "\"%.*s\" has a shape of rank %d",
                            gp_cut(name, 100), name, rank);
    for (int i = 0; i < rank; i++) {
        shape[i] = (uint32_t)sizes[i];
        n *= shape[i];
    }
    void *zeros = calloc(n + 1, stride);
    enum gp_status status =
        !zeros
            ? gp_error_set(err, GP_NO_MEMORY, "no memory for \"%.*s\"", gp_cut(name, 100),
                           name)
            : mx_check(model->mx,
                       api->NDArrayCreateEx(shape, (uint32_t)rank, CPU, 0, 0, type, made),
                       GP_NO_MEMORY, "no memory for an input", err);
    if (status == GP_OK && n)
        status = mx_check(model->mx, api->NDArraySyncCopyFromCPU(*made, zeros, n),
                          GP_ENGINE, "an input", err);
    free(zeros);
    return status;
}

/* The one whose memory between operators a new one may use too. */
static const struct mx_executor *largest(const struct mx_model *model)
{
    const struct mx_executor *found = NULL;
    for (uint32_t i = 0; i < model->n_executors; i++)
        if (!found || model->executors[i].n_bytes > found->n_bytes)
            found = &model->executors[i];
    return found;
}

/* All arguments in the symbol's order, the executor's own among them. */
static enum gp_status fill_arguments(const struct mx_model *model,
                                     struct mx_executor *executor,
                                     NDArrayHandle *arguments, struct gp_error *err)
{
    struct mx_shapes shapes;
    enum gp_status status = mx_query_infer(model, true, &shapes, NULL, err);
    for (uint32_t i = 0; i < model->n_arguments && status == GP_OK; i++) {
        const struct mx_argument *argument = &model->arguments[i];
        arguments[i] = argument->array;
        if (argument->role == MX_PARAMETER)
            continue;
        const enum gp_dtype dtype = argument->role == MX_INPUT
                                        ? model->inputs[argument->input].dtype
                                        : GP_FLOAT32;
        status = make_own(model, argument->name, shapes.sizes[i], shapes.ranks[i],
                          mx_type(dtype), &executor->inputs[executor->n_own], err);
        if (status == GP_OK)
            arguments[i] = executor->inputs[executor->n_own++];
    }
    return status;
}

static enum gp_status bind_arguments(const struct mx_model *model,
                                     struct mx_executor *executor, struct gp_error *err)
{
    const uint32_t n = model->n_arguments;
    NDArrayHandle *arguments = calloc(n + 1, sizeof *arguments);
    NDArrayHandle *gradients = calloc(n + 1, sizeof *gradients); /* none */
    const struct mx_executor *most = largest(model);
    uint32_t *wanted = calloc(n + 1, sizeof *wanted); /* 0: no gradient */
    executor->inputs = calloc(n + 1, sizeof *executor->inputs);
    enum gp_status status =
        arguments && gradients && wanted && executor->inputs
            ? fill_arguments(model, executor, arguments, err)
            : gp_error_set(err, GP_NO_MEMORY, "no memory for %u arguments", n);
    if (status == GP_OK)
        status = mx_check(model->mx,
                          model->mx->api.ExecutorBindEX(
                              model->symbol, CPU, 0, 0, NULL, NULL, NULL, n, arguments,
                              gradients, wanted, model->n_auxiliaries, model->auxiliaries,
                              most ? most->handle : NULL, &executor->handle),
                          GP_ENGINE, "MXNet cannot run the symbol", err);
    free(arguments);
    free(gradients);
    free(wanted);
    return status;
}

static enum gp_status make_executor(struct mx_model *model, const struct gp_call *call,
                                    struct mx_executor *executor, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    model->query.n = model->query.n_parameters;
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++) {
        const struct gp_tensor *x = &call->inputs[i];
        if (x->size_bytes == 0 && !model->has_numpy_shapes)
            return gp_error_set(err, GP_INVALID,
                                "input \"%.*s\" has no elements, which this symbol of "
                                "MXNet cannot have",
                                gp_cut(model->inputs[i].name, 100),
                                model->inputs[i].name);
        status = mx_query_add(model, model->inputs[i].name, x->shape, x->rank, err);
    }
    if (status == GP_OK && !keep_shapes(executor, call))
        status = gp_error_set(err, GP_NO_MEMORY, "no memory for an executor");
    return status == GP_OK ? bind_arguments(model, executor, err) : status;
}

static size_t count_bytes(const struct mx_model *model)
{
    size_t n_bytes = 0;
    for (uint32_t i = 0; i < model->n_executors; i++)
        n_bytes += model->executors[i].n_bytes;
    return n_bytes;
}

static void drop_oldest(struct mx_model *model)
{
    struct mx_executor *oldest = &model->executors[0];
    for (uint32_t i = 1; i < model->n_executors; i++)
        if (model->executors[i].used < oldest->used)
            oldest = &model->executors[i];
    free_executor(model, oldest);
    *oldest = model->executors[--model->n_executors];
}

/* Makes room for one more, which was made already: a request that has no shapes for the model
 * drops nothing. What an executor needs is in proportion to its inputs, some thirty times
 * as much for pictures, so those of small batches are kept together, and of large ones
 * what is twice the largest. */
static struct mx_executor *find_place(struct mx_model *model, size_t n_bytes)
{
    const struct mx_executor *most = largest(model);
    const size_t twice = 2 * (most && most->n_bytes > n_bytes ? most->n_bytes : n_bytes);
    const size_t limit = twice > FEW_BYTES ? twice : FEW_BYTES;
    while (model->n_executors == MX_MOST_EXECUTORS ||
           (model->n_executors && count_bytes(model) + n_bytes > limit))
        drop_oldest(model);
    return &model->executors[model->n_executors++];
}

static struct mx_executor *find_executor(struct mx_model *model,
                                         const struct gp_call *call, struct gp_error *err)
{
    struct mx_executor made = {0};
    for (uint32_t i = 0; i < model->n_executors; i++)
        if (has_shapes(&model->executors[i], call))
            return &model->executors[i];
    if (make_executor(model, call, &made, err) != GP_OK) {
        free_executor(model, &made);
        return NULL;
    }
    struct mx_executor *place = find_place(model, made.n_bytes);
    *place = made;
    return place;
}

/* --- a run --- */

static enum gp_status copy_inputs(const struct mx_model *model,
                                  const struct mx_executor *executor,
                                  const struct gp_call *call, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    assert(executor->inputs);
    for (uint32_t i = 0, own = 0; i < model->n_arguments && status == GP_OK; i++) {
        const struct mx_argument *argument = &model->arguments[i];
        if (argument->role == MX_PARAMETER)
            continue;
        NDArrayHandle array = executor->inputs[own++];
        if (argument->role == MX_LABEL)
            continue;
        const struct gp_tensor *x = &call->inputs[argument->input];
        const size_t size = gp_dtype_size(x->dtype);
        assert(size > 0); /* mx_type knows it */
        const size_t n = x->size_bytes / size;
        if (n)
            status = mx_check(model->mx,
                              model->mx->api.NDArraySyncCopyFromCPU(array, x->data, n),
                              GP_ENGINE, argument->name, err);
    }
    return status;
}

static enum gp_status give_output(const struct mx_model *model, NDArrayHandle array,
                                  const char *name, uint32_t index,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    const struct mx_api *api = &model->mx->api;
    int type = 0, storage = 0, rank = 0;
    const int *sizes = NULL;
    int64_t shape[GP_MAX_RANK];
    if (mx_check(model->mx,
                 api->NDArrayGetDType(array, &type) ||
                     api->NDArrayGetStorageType(array, &storage) ||
                     api->NDArrayGetShapeEx(array, &rank, &sizes),
                 GP_ENGINE, name, err) != GP_OK)
        return err->status;
    const enum gp_dtype dtype = mx_dtype(type);
    if (dtype == GP_NULL || storage != 0 || rank < 0 || rank > (int)GP_MAX_RANK)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "output \"%.*s\" came with type %d, storage %d and rank %d, "
                            "which cannot be sent",
                            gp_cut(name, 100), name, type, storage, rank);
    size_t n = 1;
    for (int i = 0; i < rank; i++) {
        shape[i] = sizes[i];
        n *= (size_t)(sizes[i] > 0 ? sizes[i] : 0);
    }
    void *data = gp_outputs_alloc(outputs, index, dtype, shape, (uint32_t)rank, err);
    if (!data)
        return err->status;
    return n ? mx_check(model->mx, api->NDArraySyncCopyToCPU(array, data, n), GP_ENGINE,
                        name, err)
             : GP_OK;
}

static uint32_t find_output(const struct mx_model *model, const char *name)
{
    uint32_t i = 0;
    while (i < model->n_outputs && strcmp(model->outputs[i].name, name) != 0)
        i++;
    return i;
}

static enum gp_status give_outputs(const struct mx_model *model,
                                   const struct mx_executor *executor,
                                   const struct gp_call *call, struct gp_outputs *outputs,
                                   struct gp_error *err)
{
    const struct mx_api *api = &model->mx->api;
    uint32_t n = 0;
    NDArrayHandle *lent, arrays[GP_MAX_TENSORS];
    enum gp_status status =
        mx_check(model->mx, api->ExecutorOutputs(executor->handle, &n, &lent), GP_ENGINE,
                 "the outputs", err);
    if (status != GP_OK)
        return status;
    n = n < GP_MAX_TENSORS ? n : GP_MAX_TENSORS;
    memcpy(arrays, lent,
           n * sizeof *arrays); /* the list is MXNet's, what it lists ours */
    for (uint32_t i = 0; i < call->n_outputs && status == GP_OK; i++) {
        const uint32_t at = find_output(model, call->output_names[i]);
        status = at < n ? give_output(model, arrays[at], call->output_names[i], i,
                                      outputs, err)
                        : gp_error_set(err, GP_ENGINE, "the symbol gave %u outputs", n);
    }
    for (uint32_t i = 0; i < n; i++)
        (void)api->NDArrayFree(arrays[i]);
    return status;
}

enum gp_status mx_run(void *self, uint32_t slot, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err)
{
    struct mx_model *model = self;
    const struct mx_runtime *mx = model->mx;
    const uint32_t n_runs = cores_n_runs(call, 1, model->n_cores);
    const uint32_t n_share = n_runs > 1 ? 1 : model->n_cores;
    (void)slot;
    (void)mx->api.SetNumOMPThreads((int)(model->n_threads ? model->n_threads : n_share));
    struct mx_executor *executor = find_executor(model, call, err);
    if (!executor)
        return err->status;
    executor->used = ++model->n_runs;
    enum gp_status status = copy_inputs(model, executor, call, err);
    if (status == GP_OK)
        status = mx_check(mx, mx->api.ExecutorForward(executor->handle, 0), GP_ENGINE,
                          "the model failed", err);
    return status == GP_OK ? give_outputs(model, executor, call, outputs, err) : status;
}
