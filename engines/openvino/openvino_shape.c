/* Which shapes a model with free sizes accepts together. OpenVINO would find out during
 * the run, and then it is too late: a run that ends within the graph, for whatever
 * reason, leaves shapes in it, and a later run may take them for its own and answer
 * wrongly (seen with 2026.4; the code below would do no harm if that was fixed).
 *
 * So the shapes of a call are first tried on the uncompiled graph, once for each set:
 * what does not fit is refused here and spoils nothing. That leaves models whose shapes
 * depend on values: their runs go one at a time. If a run fails all the same, the next
 * one recompiles the model before it begins. */
#include "openvino.h"

#include <string.h>

enum { N_KNOWN = 64 };

struct ov_shapes {
    pthread_mutex_t lock;
    ov_partial_shape_t *declared; /* of each input */
    ov_partial_shape_t *tried;    /* the same, of a call */
    size_t *ports;
    size_t n_sizes; /* of all inputs together */
    struct known {
        int64_t *sizes;
        bool is_used;
        bool is_fixed; /* no shape in the graph depends on values */
    } known[N_KNOWN];
};

static enum gp_status reshape(struct ov_model *model, const ov_partial_shape_t *shapes,
                              struct gp_error *err)
{
    return ov_check(model->ov,
                    model->ov->ov_model_reshape_by_port_indexes(
                        model->graph, model->shapes->ports, shapes, model->n_inputs),
                    GP_INVALID, "the model does not take these shapes together", err);
}

static enum gp_status read_declared(struct ov_model *model, uint32_t i,
                                    struct gp_error *err)
{
    const struct ov_runtime *ov = model->ov;
    struct ov_shapes *shapes = model->shapes;
    const uint32_t rank = model->inputs[i].rank;
    ov_output_const_port_t *port = NULL;
    enum gp_status status =
        ov_check(ov, ov->ov_model_const_input_by_index(model->graph, i, &port), GP_ENGINE,
                 model->inputs[i].name, err);
    if (status == GP_OK)
        status = ov_check(ov, ov->ov_port_get_partial_shape(port, &shapes->declared[i]),
                          GP_ENGINE, model->inputs[i].name, err);
    ov->ov_output_const_port_free(port);
    shapes->ports[i] = i;
    shapes->n_sizes += rank;
    shapes->tried[i] = (ov_partial_shape_t){
        {rank, rank}, plugin_keep(&model->blocks, rank * sizeof(ov_dimension_t), err)};
    return status == GP_OK && !shapes->tried[i].dims ? GP_NO_MEMORY : status;
}

enum gp_status openvino_shapes_open(struct ov_model *model, struct gp_error *err)
{
    const size_t n = model->n_inputs;
    if (!model->ov->ov_model_is_dynamic(model->graph))
        return GP_OK;
    struct ov_shapes *shapes = plugin_keep(&model->blocks, sizeof *shapes, err);
    if (!shapes)
        return GP_NO_MEMORY;
    pthread_mutex_init(&shapes->lock, NULL);
    model->shapes = shapes;
    shapes->declared = plugin_keep(&model->blocks, n * sizeof *shapes->declared, err);
    shapes->tried = plugin_keep(&model->blocks, n * sizeof *shapes->tried, err);
    shapes->ports = plugin_keep(&model->blocks, n * sizeof *shapes->ports, err);
    if (!shapes->declared || !shapes->tried || !shapes->ports)
        return GP_NO_MEMORY;
    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < n && status == GP_OK; i++)
        status = read_declared(model, i, err);
    for (size_t i = 0; i < N_KNOWN && status == GP_OK; i++) {
        shapes->known[i].sizes =
            plugin_keep(&model->blocks, shapes->n_sizes * sizeof(int64_t), err);
        status = shapes->known[i].sizes ? GP_OK : GP_NO_MEMORY;
    }
    return status;
}

void openvino_shapes_close(struct ov_model *model)
{
    struct ov_shapes *shapes = model->shapes;
    if (!shapes)
        return;
    for (uint32_t i = 0; shapes->declared && i < model->n_inputs; i++)
        model->ov->ov_partial_shape_free(&shapes->declared[i]);
    pthread_mutex_destroy(&shapes->lock);
}

enum gp_status openvino_shapes_hold(struct ov_model *model, struct gp_error *err)
{
    pthread_mutex_lock(&model->shapes->lock);
    return reshape(model, model->shapes->declared, err);
}

void openvino_shapes_let_go(struct ov_model *model)
{
    pthread_mutex_unlock(&model->shapes->lock);
}

/* The index of the call's shapes among the known ones. */
static struct known *find(struct ov_shapes *shapes, const struct gp_call *call)
{
    uint64_t hash = 14695981039346656037u; /* FNV-1a */
    for (uint32_t i = 0; i < call->n_inputs; i++)
        for (uint32_t axis = 0; axis < call->inputs[i].rank; axis++)
            hash = (hash ^ (uint64_t)call->inputs[i].shape[axis]) * 1099511628211u;
    return &shapes->known[(hash ^ hash >> 32) % N_KNOWN];
}

static bool is_same(const struct known *known, const struct gp_call *call)
{
    const int64_t *sizes = known->sizes;
    for (uint32_t i = 0; i < call->n_inputs && known->is_used; i++)
        for (uint32_t axis = 0; axis < call->inputs[i].rank; axis++)
            if (*sizes++ != call->inputs[i].shape[axis])
                return false;
    return known->is_used;
}

static enum gp_status learn(struct ov_model *model, struct known *known,
                            const struct gp_call *call, struct gp_error *err)
{
    int64_t *sizes = known->sizes;
    known->is_used = false;
    for (uint32_t i = 0; i < call->n_inputs; i++)
        for (uint32_t axis = 0; axis < call->inputs[i].rank; axis++) {
            const int64_t size = *sizes++ = call->inputs[i].shape[axis];
            model->shapes->tried[i].dims[axis] = (ov_dimension_t){size, size};
        }
    const enum gp_status status = reshape(model, model->shapes->tried, err);
    known->is_used = status == GP_OK;
    known->is_fixed = status == GP_OK && !model->ov->ov_model_is_dynamic(model->graph);
    return status;
}

enum gp_status openvino_shapes_check(struct ov_model *model, const struct gp_call *call,
                                     bool *is_fixed, struct gp_error *err)
{
    enum gp_status status = GP_OK;
    *is_fixed = true;
    if (!model->shapes)
        return GP_OK;
    pthread_mutex_lock(&model->shapes->lock);
    struct known *known = find(model->shapes, call);
    if (!is_same(known, call))
        status = learn(model, known, call, err);
    *is_fixed = known->is_fixed;
    pthread_mutex_unlock(&model->shapes->lock);
    return status;
}
