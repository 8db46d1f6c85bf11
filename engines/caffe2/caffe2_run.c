/* Runs a model. Operators may write into their inputs, and a run's outputs are gone with the next
 * run, so both are copied once. */
#include "../cores.h"
#include "caffe2.h"

static enum gp_status copy_input(const struct c2_model *model, const char *name,
                                 const struct gp_tensor *x, struct gp_error *err)
{
    void *data = model->runtime->bridge->set_input(model->workspace, name, x->dtype,
                                                   x->shape, x->rank, err);
    if (!data)
        return err->status;
    if (x->size_bytes)
        memcpy(data, x->data, x->size_bytes);
    return GP_OK;
}

static enum gp_status give_output(const struct c2_model *model, const char *name,
                                  uint32_t index, struct gp_outputs *outputs,
                                  struct gp_error *err)
{
    struct gp_tensor y;
    const enum gp_status status =
        model->runtime->bridge->get_output(model->workspace, name, &y, err);
    if (status != GP_OK)
        return status;
    void *data = gp_outputs_alloc(outputs, index, y.dtype, y.shape, y.rank, err);
    if (!data)
        return err->status;
    if (y.size_bytes)
        memcpy(data, y.data, y.size_bytes);
    return GP_OK;
}

enum gp_status c2_run(void *self, uint32_t slot, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err)
{
    const struct c2_model *model = self;
    const uint32_t n_share =
        cores_n_runs(call, 1, model->n_cores) > 1 ? 1 : model->n_cores;
    enum gp_status status = GP_OK;
    (void)slot;
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++)
        status = copy_input(model, model->inputs[i].name, &call->inputs[i], err);
    if (status == GP_OK)
        status = model->runtime->bridge->run(
            model->workspace, model->n_threads ? model->n_threads : n_share, err);
    for (uint32_t i = 0; i < call->n_outputs && status == GP_OK; i++)
        status = give_output(model, call->output_names[i], i, outputs, err);
    return status;
}
