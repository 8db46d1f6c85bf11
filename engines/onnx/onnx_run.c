/* One run: the request's memory is the runtime's input, in place. Outputs of known shape
 * are bound: the runtime writes them into the host's memory. It allocates the others, and
 * they become the answer in place. Only strings are copied, both ways, as the runtime has
 * its own type for them.
 *
 * If a run with bound outputs fails, it is repeated without, whatever the error: its
 * words differ by release, and no request should fail because of our optimisation.
 *
 * A run is stopped between two operators, through its slot's options. */
#include "onnx.h"

#include <stdlib.h>
#include <string.h>

static bool reserve(struct onnx_slot *slot, size_t n)
{
    if (n <= slot->capacity)
        return true;
    free(slot->values);
    free(slot->input_names);
    free(slot->asked);
    slot->values = calloc(n, sizeof *slot->values);
    slot->input_names = calloc(n, sizeof *slot->input_names);
    slot->asked = calloc(n, sizeof *slot->asked);
    slot->capacity = slot->values && slot->input_names && slot->asked ? n : 0;
    return slot->capacity > 0;
}

static enum gp_status fill_strings(const struct ort_runtime *ort, struct OrtValue *value,
                                   const struct gp_tensor *tensor, struct gp_error *err)
{
    const struct gp_string *strings = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *strings;
    for (size_t i = 0; i < n; i++) {
        char *bytes;
        const enum gp_status status =
            ort_check(ort,
                      ort->api.GetResizedStringTensorElementBuffer(
                          value, i, strings[i].size_bytes, &bytes),
                      tensor->name, err);
        if (status != GP_OK)
            return status;
        if (strings[i].size_bytes)
            memcpy(bytes, strings[i].data, strings[i].size_bytes);
    }
    return GP_OK;
}

/* A value of the runtime over the tensor's memory; not for strings. */
static enum gp_status make_view(const struct ort_runtime *ort,
                                const struct gp_tensor *tensor, struct OrtValue **value,
                                struct gp_error *err)
{
    static char nothing[64];
    static const int64_t scalar[1];
    void *data = tensor->size_bytes ? (void *)(uintptr_t)tensor->data : nothing;
    return ort_check(ort,
                     ort->api.CreateTensorWithDataAsOrtValue(
                         ort->memory, data, tensor->size_bytes,
                         tensor->shape ? tensor->shape : scalar, tensor->rank,
                         ort_type(tensor->dtype), value),
                     tensor->name, err);
}

static enum gp_status make_input(const struct ort_runtime *ort,
                                 const struct gp_tensor *tensor, struct OrtValue **value,
                                 struct gp_error *err)
{
    static const int64_t scalar[1];
    if (tensor->dtype != GP_STRING)
        return make_view(ort, tensor, value, err);
    const enum gp_status status =
        ort_check(ort,
                  ort->api.CreateTensorAsOrtValue(
                      ort->allocator, tensor->shape ? tensor->shape : scalar,
                      tensor->rank, ort_type(tensor->dtype), value),
                  tensor->name, err);
    return status == GP_OK ? fill_strings(ort, *value, tensor, err) : status;
}

/* An output of strings, copied: the runtime returns them concatenated, with the start of
 * each. */
static enum gp_status give_strings(const struct ort_runtime *ort, struct OrtValue *value,
                                   uint32_t index, const struct gp_tensor *shape,
                                   struct gp_outputs *outputs, struct gp_error *err)
{
    const size_t n = shape->size_bytes / sizeof(struct gp_string);
    size_t size_bytes;
    struct gp_string *strings =
        gp_outputs_alloc(outputs, index, GP_STRING, shape->shape, shape->rank, err);
    if (!strings)
        return err->status;
    if (n == 0)
        return GP_OK;
    enum gp_status status = ort_check(
        ort, ort->api.GetStringTensorDataLength(value, &size_bytes), "output", err);
    if (status != GP_OK)
        return status;
    size_t *starts = gp_outputs_memory(outputs, n * sizeof *starts, err);
    char *bytes = starts ? gp_outputs_memory(outputs, size_bytes + 1, err) : NULL;
    if (!bytes)
        return err->status;
    status = ort_check(
        ort, ort->api.GetStringTensorContent(value, bytes, size_bytes, starts, n),
        "output", err);
    for (size_t i = 0; status == GP_OK && i < n; i++) {
        const size_t end = i + 1 < n ? starts[i + 1] : size_bytes;
        strings[i] = (struct gp_string){bytes + starts[i], end - starts[i]};
    }
    return status;
}

/* Hands output `index` over; *value is empty afterwards if the host took it. */
static enum gp_status give_output(const struct ort_runtime *ort, struct OrtValue **value,
                                  uint32_t index, struct onnx_shape *known,
                                  const struct gp_call *call, struct gp_outputs *outputs,
                                  struct gp_error *err)
{
    const char *name = call->output_names[index];
    struct OrtShapeInfo *info;
    int64_t shape[GP_MAX_RANK];
    size_t rank = 0;
    int type = 0;
    void *data = NULL;
    enum gp_status status =
        ort_check(ort, ort->api.GetTensorTypeAndShape(*value, &info), name, err);
    if (status != GP_OK)
        return status;
    status = ort_check(ort, ort->api.GetTensorElementType(info, &type), name, err);
    if (status == GP_OK)
        status = ort_check(ort, ort->api.GetDimensionsCount(info, &rank), name, err);
    if (status == GP_OK && rank <= GP_MAX_RANK)
        status = ort_check(ort, ort->api.GetDimensions(info, shape, rank), name, err);
    ort->api.ReleaseTensorTypeAndShapeInfo(info);
    if (status != GP_OK)
        return status;
    const enum gp_dtype dtype = ort_dtype(type);
    if (rank > GP_MAX_RANK || dtype == GP_NULL)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "output \"%s\" came as %s of rank %zu, which "
                            "cannot be sent",
                            name, ort_type_name(type), rank);

    if (known)
        onnx_shape_learn(known, call, shape, rank);
    struct gp_tensor tensor = gp_tensor_view(dtype, shape, (uint32_t)rank, NULL);
    if (dtype == GP_STRING)
        return give_strings(ort, *value, index, &tensor, outputs, err);
    status = ort_check(ort, ort->api.GetTensorMutableData(*value, &data), name, err);
    tensor.data = data;
    if (status == GP_OK)
        status =
            gp_outputs_adopt(outputs, index, &tensor, ort_release_value, *value, err);
    if (status == GP_OK)
        *value = NULL;
    return status;
}

static void stop(void *arg)
{
    struct onnx_slot *slot = arg;
    atomic_store(&slot->is_cancelled, true);
    (void)ort_check(slot->ort, slot->ort->api.RunOptionsSetTerminate(slot->options), "",
                    NULL);
}

/* Looks up what is known of the outputs; false if one is requested twice, which no host
 * does: of two such values the runtime would write only one. */
static bool find_shapes(const struct onnx_model *model, struct onnx_slot *slot,
                        const struct gp_call *call)
{
    bool is_unique = true;
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        struct onnx_shape *shape = NULL;
        for (uint32_t k = 0; k < model->n_outputs && !shape; k++) {
            const uint32_t at = (i + k) % model->n_outputs; /* mostly the first */
            if (strcmp(model->outputs[at].name, call->output_names[i]) == 0)
                shape = &model->shapes[at];
        }
        for (uint32_t k = 0; k < i; k++)
            is_unique = is_unique && slot->asked[k].shape != shape;
        slot->asked[i] = (struct onnx_asked){shape, false};
    }
    return is_unique;
}

/* Gives the runtime host memory for the outputs of known shape. If there is no memory for
 * one, it is left to the runtime, which may have some. */
static bool bind_outputs(const struct onnx_model *model, struct onnx_slot *slot,
                         const struct gp_call *call, struct gp_outputs *outputs)
{
    const struct ort_runtime *ort = model->ort;
    bool is_any_bound = false;
    if (!find_shapes(model, slot, call))
        return false;
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        struct onnx_asked *asked = &slot->asked[i];
        int64_t sizes[GP_MAX_RANK];
        if (!asked->shape || !onnx_shape_predict(asked->shape, call, sizes))
            continue;
        const struct gp_io *io = asked->shape->io;
        struct gp_tensor tensor = gp_tensor_view(io->dtype, sizes, io->rank, NULL);
        tensor.name = io->name;
        tensor.data = gp_outputs_alloc(outputs, i, io->dtype, sizes, io->rank, NULL);
        asked->is_bound =
            tensor.data &&
            make_view(ort, &tensor, &slot->values[call->n_inputs + i], NULL) == GP_OK;
        is_any_bound = is_any_bound || asked->is_bound;
    }
    return is_any_bound;
}

static enum gp_status run_session(struct onnx_model *model, struct onnx_slot *slot,
                                  const struct gp_call *call, struct gp_error *err)
{
    struct OrtSession *session =
        onnx_session_take(model, (uint32_t)(slot - model->slots), call);
    struct OrtStatus *failed = model->ort->api.Run(
        session, slot->options, slot->input_names,
        (const struct OrtValue *const *)slot->values, call->n_inputs, call->output_names,
        call->n_outputs, slot->values + call->n_inputs);
    onnx_session_give(model);
    const enum gp_status status = ort_check(model->ort, failed, "the model failed", err);
    return status != GP_OK && atomic_load(&slot->is_cancelled) ? plugin_stopped(call, err)
                                                               : status;
}

/* Repeats a failed run without bound outputs; if that works they are never bound again.
 * The host's memory is released when the outputs are set anew. */
static enum gp_status run_unbound(struct onnx_model *model, struct onnx_slot *slot,
                                  const struct gp_call *call, struct gp_error *err)
{
    struct OrtValue **results = slot->values + call->n_inputs;
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        model->ort->api.ReleaseValue(results[i]);
        results[i] = NULL;
    }
    const enum gp_status status = run_session(model, slot, call, err);
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        if (slot->asked[i].is_bound && status == GP_OK)
            onnx_shape_refute(slot->asked[i].shape);
        slot->asked[i].is_bound = false;
    }
    return status;
}

/* Sets the call's outputs. */
static enum gp_status run_call(struct onnx_model *model, struct onnx_slot *slot,
                               const struct gp_call *call, struct gp_outputs *outputs,
                               struct gp_error *err)
{
    const struct ort_runtime *ort = model->ort;
    atomic_store(&slot->is_cancelled, false);
    enum gp_status status =
        ort_check(ort, ort->api.RunOptionsUnsetTerminate(slot->options), "run", err);
    if (status != GP_OK)
        return status;
    if (gp_call_on_cancel(call, stop, slot) != GP_OK)
        return plugin_stopped(call, err);
    const bool is_bound = bind_outputs(model, slot, call, outputs);
    status = run_session(model, slot, call, err);
    if (status != GP_OK && is_bound && !atomic_load(&slot->is_cancelled))
        status = run_unbound(model, slot, call, err);
    for (uint32_t i = 0; i < call->n_outputs && status == GP_OK; i++)
        if (!slot->asked[i].is_bound)
            status = give_output(ort, &slot->values[call->n_inputs + i], i,
                                 slot->asked[i].shape, call, outputs, err);
    return status;
}

enum gp_status onnx_run(void *self, uint32_t slot_number, const struct gp_call *call,
                        struct gp_outputs *outputs, struct gp_error *err)
{
    struct onnx_model *model = self;
    const struct ort_runtime *ort = model->ort;
    struct onnx_slot *slot = &model->slots[slot_number];
    const size_t n_values = (size_t)call->n_inputs + call->n_outputs;
    if (!reserve(slot, n_values))
        return gp_error_set(err, GP_NO_MEMORY, "no memory for %zu tensors", n_values);

    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++) {
        slot->input_names[i] = call->inputs[i].name;
        status = make_input(ort, &call->inputs[i], &slot->values[i], err);
    }
    if (status == GP_OK)
        status = run_call(model, slot, call, outputs, err);

    for (size_t i = 0; i < n_values; i++) {
        ort->api.ReleaseValue(slot->values[i]);
        slot->values[i] = NULL;
    }
    return status;
}
