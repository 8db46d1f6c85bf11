/* One run: the request's memory becomes the runtime's inputs as it lies, the runtime's
 * outputs become the answer as they lie. Only strings are copied, both ways, as the
 * runtime has a type of its own for them. A run is stopped between two operators, through
 * its slot's options. */
#include "onnx.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static bool reserve(struct onnx_slot *slot, size_t n)
{
    if (n <= slot->capacity)
        return true;
    free(slot->values);
    free(slot->input_names);
    slot->values = calloc(n, sizeof *slot->values);
    slot->input_names = calloc(n, sizeof *slot->input_names);
    slot->capacity = slot->values && slot->input_names ? n : 0;
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

static enum gp_status make_input(const struct ort_runtime *ort,
                                 const struct gp_tensor *tensor, struct OrtValue **value,
                                 struct gp_error *err)
{
    static char nothing[64];
    static const int64_t scalar[1];
    const int64_t *shape = tensor->shape ? tensor->shape : scalar;
    const int type = ort_type(tensor->dtype);
    if (tensor->dtype != GP_STRING) {
        void *data = tensor->size_bytes ? (void *)(uintptr_t)tensor->data : nothing;
        return ort_check(
            ort,
            ort->api.CreateTensorWithDataAsOrtValue(ort->memory, data, tensor->size_bytes,
                                                    shape, tensor->rank, type, value),
            tensor->name, err);
    }
    const enum gp_status status = ort_check(
        ort,
        ort->api.CreateTensorAsOrtValue(ort->allocator, shape, tensor->rank, type, value),
        tensor->name, err);
    return status == GP_OK ? fill_strings(ort, *value, tensor, err) : status;
}

/* An output of strings, copied: the runtime gives them end to end, with the start of
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

/* Hands output `index` over; *value is empty afterwards when the host has it now. */
static enum gp_status give_output(const struct ort_runtime *ort, struct OrtValue **value,
                                  uint32_t index, const char *name,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
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

/* Why a run that was stopped was stopped. */
static enum gp_status stopped(const struct gp_call *call, struct gp_error *err)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (call->deadline_ns && now_ns >= call->deadline_ns)
        return gp_error_set(err, GP_DEADLINE, "the run was stopped at its deadline");
    return gp_error_set(err, GP_CANCELLED, "the run was cancelled");
}

static enum gp_status run_session(struct onnx_model *model, struct onnx_slot *slot,
                                  const struct gp_call *call, struct OrtValue **outputs,
                                  struct gp_error *err)
{
    const struct ort_api *api = &model->ort->api;
    atomic_store(&slot->is_cancelled, false);
    enum gp_status status =
        ort_check(model->ort, api->RunOptionsUnsetTerminate(slot->options), "run", err);
    if (status != GP_OK)
        return status;
    if (gp_call_on_cancel(call, stop, slot) != GP_OK)
        return stopped(call, err);
    struct OrtSession *session = onnx_session_take(model);
    struct OrtStatus *failed =
        api->Run(session, slot->options, slot->input_names,
                 (const struct OrtValue *const *)slot->values, call->n_inputs,
                 call->output_names, call->n_outputs, outputs);
    onnx_session_give(model);
    status = ort_check(model->ort, failed, "the model failed", err);
    return status != GP_OK && atomic_load(&slot->is_cancelled) ? stopped(call, err)
                                                               : status;
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
    struct OrtValue **results = slot->values + call->n_inputs;

    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++) {
        slot->input_names[i] = call->inputs[i].name;
        status = make_input(ort, &call->inputs[i], &slot->values[i], err);
    }
    if (status == GP_OK)
        status = run_session(model, slot, call, results, err);
    for (uint32_t i = 0; i < call->n_outputs && status == GP_OK; i++)
        status = give_output(ort, &results[i], i, call->output_names[i], outputs, err);

    for (size_t i = 0; i < n_values; i++) {
        ort->api.ReleaseValue(slot->values[i]);
        slot->values[i] = NULL;
    }
    return status;
}
