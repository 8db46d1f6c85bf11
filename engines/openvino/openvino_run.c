/* One run: the request's memory becomes the inputs, in place. Outputs of fixed shape are
 * written into the host's memory; for others OpenVINO has the memory, and the answer is
 * sent from there, so the answer keeps the request that owns it (openvino.h). We copy
 * nothing, and OpenVINO only where its graph cannot work in place.
 *
 * A run is stopped between two operators, but only if all shapes are fixed:
 * openvino_shape.c explains what an unfinished run leaves behind. */
#include "openvino.h"

#include "../cores.h"

#include <string.h>

static void stop(void *arg)
{
    struct ov_request *request = arg;
    atomic_store(&request->is_cancelled, true);
    (void)request->lane->model->ov->ov_infer_request_cancel(request->infer);
}

static enum gp_status set_inputs(const struct ov_request *request,
                                 const struct gp_call *call, struct gp_error *err)
{
    const struct ov_runtime *ov = request->lane->model->ov;
    for (uint32_t i = 0; i < call->n_inputs; i++) {
        const struct gp_tensor *x = &call->inputs[i];
        ov_tensor_t *tensor = NULL;
        enum gp_status status = ov_view(ov, x->dtype, x->shape, x->rank,
                                        x->size_bytes ? x->data : NULL, &tensor, err);
        if (status == GP_OK)
            status = ov_check(
                ov,
                ov->ov_infer_request_set_input_tensor_by_index(request->infer, i, tensor),
                GP_INVALID, x->name, err);
        ov->ov_tensor_free(tensor);
        if (status != GP_OK)
            return status;
    }
    return GP_OK;
}

/* The model's output with that name; the host has resolved the names. */
static uint32_t find_output(const struct ov_model *model, const char *name,
                            uint32_t first)
{
    for (uint32_t k = 0; k < model->n_outputs; k++) {
        const uint32_t at = (first + k) % model->n_outputs; /* mostly the first */
        if (strcmp(model->outputs[at].name, name) == 0)
            return at;
    }
    return 0;
}

/* The request's own memory for an output that the last run had in the host's. */
static enum gp_status unbind(struct ov_request *request, uint32_t output,
                             struct gp_error *err)
{
    const struct ov_model *model = request->lane->model;
    struct ov_bound *bound = &request->bound[output];
    bound->is_host = false;
    return ov_check(model->ov,
                    model->ov->ov_infer_request_set_output_tensor_by_index(
                        request->infer, output, bound->own),
                    GP_ENGINE, model->outputs[output].name, err);
}

static enum gp_status bind(struct ov_request *request, uint32_t output, uint32_t index,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    const struct ov_model *model = request->lane->model;
    const struct ov_runtime *ov = model->ov;
    const struct gp_io *io = &model->outputs[output];
    ov_tensor_t *tensor = NULL;
    void *data = gp_outputs_alloc(outputs, index, io->dtype, io->shape, io->rank, err);
    if (!data)
        return GP_NO_MEMORY;
    request->bound[output].is_host = true;
    enum gp_status status =
        ov_view(ov, io->dtype, io->shape, io->rank, data, &tensor, err);
    if (status == GP_OK)
        status = ov_check(ov,
                          ov->ov_infer_request_set_output_tensor_by_index(request->infer,
                                                                          output, tensor),
                          GP_ENGINE, io->name, err);
    ov->ov_tensor_free(tensor);
    return status;
}

/* First detaches unused outputs, so that none points into memory of an answer that has
 * gone. */
static enum gp_status bind_outputs(struct ov_request *request, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    const struct ov_model *model = request->lane->model;
    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < model->n_outputs && status == GP_OK; i++)
        if (request->bound[i].is_host)
            status = unbind(request, i, err);
    for (uint32_t i = 0; i < call->n_outputs && status == GP_OK; i++) {
        const uint32_t output = find_output(model, call->output_names[i], i);
        if (request->bound[output].own && !request->bound[output].is_host)
            status = bind(request, output, i, outputs, err);
    }
    return status;
}

/* Lends an output that OpenVINO has allocated. */
static enum gp_status lend(struct ov_request *request, const struct gp_io *io,
                           uint32_t index, const ov_tensor_t *tensor,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    const struct ov_runtime *ov = request->lane->model->ov;
    ov_shape_t shape = {0, NULL};
    void *data = NULL;
    enum gp_status status =
        ov_check(ov, ov->ov_tensor_get_shape(tensor, &shape), GP_ENGINE, io->name, err);
    if (status == GP_OK && shape.rank > GP_MAX_RANK)
        status = gp_error_set(err, GP_UNSUPPORTED,
                              "output \"%s\" came with rank %lld, over the limit of %u",
                              io->name, (long long)shape.rank, GP_MAX_RANK);
    if (status == GP_OK)
        status =
            ov_check(ov, ov->ov_tensor_data(tensor, &data), GP_ENGINE, io->name, err);
    if (status == GP_OK) {
        const struct gp_tensor view =
            gp_tensor_view(io->dtype, shape.dims, (uint32_t)shape.rank, data);
        atomic_fetch_add(&request->n_users, 1);
        status =
            gp_outputs_adopt(outputs, index, &view, openvino_request_give, request, err);
        if (status != GP_OK)
            atomic_fetch_sub(&request->n_users, 1);
    }
    ov->ov_shape_free(&shape);
    return status;
}

static enum gp_status lend_outputs(struct ov_request *request, const struct gp_call *call,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    const struct ov_model *model = request->lane->model;
    const struct ov_runtime *ov = model->ov;
    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < call->n_outputs && status == GP_OK; i++) {
        const uint32_t output = find_output(model, call->output_names[i], i);
        ov_tensor_t *tensor = NULL;
        if (request->bound[output].is_host)
            continue;
        status = ov_check(ov,
                          ov->ov_infer_request_get_output_tensor_by_index(
                              request->infer, output, &tensor),
                          GP_ENGINE, model->outputs[output].name, err);
        if (status == GP_OK)
            status = lend(request, &model->outputs[output], i, tensor, outputs, err);
        ov->ov_tensor_free(tensor);
    }
    return status;
}

static enum gp_status infer(struct ov_request *request, const struct gp_call *call,
                            struct gp_error *err)
{
    struct ov_model *model = request->lane->model;
    const struct ov_runtime *ov = model->ov;
    const bool can_stop = !model->shapes;
    ov_status_e failed = ov->ov_infer_request_start_async(request->infer);
    if (failed == OK && can_stop && gp_call_on_cancel(call, stop, request) != GP_OK)
        stop(request);
    if (failed == OK)
        failed = ov->ov_infer_request_wait(request->infer);
    if (can_stop) /* the request soon belongs to another run */
        (void)gp_call_on_cancel(call, NULL, NULL);
    if (failed != OK && atomic_load(&request->is_cancelled))
        return plugin_stopped(call, err);
    if (failed != OK && model->shapes)
        atomic_store(&model->is_spoilt, true);
    return ov_check(ov, failed, GP_ENGINE, "the model failed", err);
}

/* Waits until the run may begin: beside others, or alone if it may fail midway. */
static enum gp_status enter(struct ov_model *model, bool is_fixed, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    if (is_fixed) {
        pthread_rwlock_rdlock(&model->gate);
        if (!atomic_load(&model->is_spoilt))
            return GP_OK;
        pthread_rwlock_unlock(&model->gate);
    }
    pthread_rwlock_wrlock(&model->gate);
    if (atomic_load(&model->is_spoilt)) {
        if (model->log)
            model->log(model->log_context, GP_LOG_WARNING,
                       "openvino: a run has failed, so the model is compiled anew");
        status = openvino_lanes_renew(model, err);
        atomic_store(&model->is_spoilt, status != GP_OK);
    }
    return status;
}

static enum gp_status run_request(struct ov_request *request, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    enum gp_status status = set_inputs(request, call, err);
    if (status == GP_OK)
        status = bind_outputs(request, call, outputs, err);
    if (status == GP_OK)
        status = infer(request, call, err);
    if (status == GP_OK)
        status = lend_outputs(request, call, outputs, err);
    return status;
}

enum gp_status openvino_run(void *self, uint32_t slot, const struct gp_call *call,
                            struct gp_outputs *outputs, struct gp_error *err)
{
    struct ov_model *model = self;
    bool is_fixed;
    (void)slot;
    enum gp_status status = openvino_shapes_check(model, call, &is_fixed, err);
    if (status != GP_OK)
        return status;
    const uint32_t n_own = atomic_fetch_add(&model->n_running, 1) + 1;
    const bool is_alone = cores_n_runs(call, n_own, model->n_cores) == 1;
    status = enter(model, is_fixed, err);
    struct ov_request *request = NULL;
    if (status == GP_OK) {
        request =
            openvino_request_take(&model->lanes[is_alone ? 0 : model->n_lanes - 1], err);
        status = request ? run_request(request, call, outputs, err) : GP_ENGINE;
    }
    if (request)
        openvino_request_give(request);
    pthread_rwlock_unlock(&model->gate);
    atomic_fetch_sub(&model->n_running, 1);
    return status;
}
