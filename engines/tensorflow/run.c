/* One run: the request's memory becomes TensorFlow's inputs in place, and TensorFlow's
 * results become the answer in place. Copied are strings, both ways, inputs that are not
 * aligned (by TensorFlow), and inputs that the model may keep.
 *
 * A run stays on its slot's thread, which only the parallel loops inside operations leave
 * for the pool of n_threads: handing operations from thread to thread costs more than it
 * gains while all cores have runs. But TensorFlow only watches a deadline while other
 * threads do the work, so a run with a deadline uses its second pool. */
#include "model.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

/* Limits of a warm-up. */
enum { WARM_UP_LIMIT_BYTES = 64 << 20 };

static bool reserve(struct tf_slot *slot, size_t n)
{
    if (n <= slot->capacity)
        return true;
    free(slot->places);
    free(slot->values);
    slot->places = calloc(n, sizeof *slot->places);
    slot->values = calloc(n, sizeof(TF_Tensor *));
    slot->capacity = slot->places && slot->values ? n : 0;
    return slot->capacity > 0;
}

/* --- which tensors ---------------------------------------------------------------------
 */

/* "float32[-1,3]", cut to fit. */
static const char *format(char *text, size_t text_size, enum gp_dtype dtype,
                          const int64_t *shape, uint32_t rank, uint32_t flags)
{
    int used = snprintf(text, text_size, "%s", gp_dtype_name(dtype));
    if (flags & GP_IO_ANY_RANK)
        return text;
    for (uint32_t i = 0; i < rank && (size_t)used + 24 < text_size; i++)
        used += snprintf(text + used, text_size - (size_t)used, "%s%lld", i ? "," : "[",
                         (long long)shape[i]);
    if (rank > 0)
        (void)snprintf(text + used, text_size - (size_t)used, "]");
    return text;
}

/* The host has checked what it knows; this resolves what only the engine can. */
static enum gp_status check_input(const struct gp_io *io, const struct gp_tensor *tensor,
                                  struct gp_error *err)
{
    char wanted[160], came[160];
    bool fits = io->dtype == tensor->dtype;
    if (!(io->flags & GP_IO_ANY_RANK)) {
        fits = fits && io->rank == tensor->rank;
        for (uint32_t i = 0; fits && i < io->rank; i++)
            fits = io->shape[i] < 0 || io->shape[i] == tensor->shape[i];
    }
    if (fits)
        return GP_OK;
    return gp_error_set(
        err, GP_INVALID, "input \"%.*s\" is %s; the model wants %s",
        gp_cut(io->name, 100), io->name,
        format(came, sizeof came, tensor->dtype, tensor->shape, tensor->rank, 0),
        format(wanted, sizeof wanted, io->dtype, io->shape, io->rank, io->flags));
}

static const struct gp_io *find(const struct tf_ends *ends, const char *name,
                                TF_Output *place)
{
    for (uint32_t i = 0; i < ends->n; i++)
        if (strcmp(ends->ios[i].name, name) == 0) {
            *place = ends->places[i];
            return &ends->ios[i];
        }
    return NULL;
}

/* An input by its name in the signature, or by its place in the graph. */
static enum gp_status find_input(const struct tf_model *model, struct tf_slot *slot,
                                 const struct tf_signature *signature,
                                 const struct gp_tensor *tensor, TF_Output *place,
                                 struct gp_error *err)
{
    int64_t shape[GP_MAX_RANK];
    struct gp_io there = {.name = tensor->name};
    const struct gp_io *io = find(&signature->inputs, tensor->name, place);
    if (io)
        return check_input(io, tensor, err);
    if (!tf_place_find(model, tensor->name, place))
        return gp_error_set(err, GP_INVALID,
                            "no input, and no operation of the graph, is named \"%.*s\"",
                            gp_cut(tensor->name, 100), tensor->name);
    const enum gp_status status =
        tf_place_describe(model, *place, slot->status, &there, shape, err);
    return status == GP_OK ? check_input(&there, tensor, err) : status;
}

static enum gp_status find_inputs(const struct tf_model *model, struct tf_slot *slot,
                                  const struct tf_signature *signature,
                                  const struct gp_call *call, struct gp_error *err)
{
    const bool is_named =
        call->n_inputs && call->inputs[0].name && call->inputs[0].name[0];
    enum gp_status status = GP_OK;
    if (!is_named && call->n_inputs != signature->inputs.n)
        return gp_error_set(err, GP_INVALID,
                            "%u tensors came without names; signature \"%.*s\" has %u "
                            "inputs",
                            call->n_inputs, gp_cut(signature->name, 100), signature->name,
                            signature->inputs.n);
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++) {
        if (is_named) {
            status = find_input(model, slot, signature, &call->inputs[i],
                                &slot->places[i], err);
        } else {
            slot->places[i] = signature->inputs.places[i];
            status = check_input(&signature->inputs.ios[i], &call->inputs[i], err);
        }
    }
    return status;
}

/* Sets *is_known if all are outputs of the signature. */
static enum gp_status find_outputs(const struct tf_model *model, TF_Output *places,
                                   const struct tf_signature *signature,
                                   const struct gp_call *call, bool *is_known,
                                   struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    *is_known = true;
    if (call->n_outputs == 0)
        memcpy(places, signature->outputs.places, signature->outputs.n * sizeof *places);
    for (uint32_t i = 0; i < call->n_outputs; i++) {
        const char *name = call->output_names[i];
        if (find(&signature->outputs, name, &places[i]))
            continue;
        *is_known = false;
        if (!tf_place_find(model, name, &places[i]))
            return gp_error_set(err, GP_INVALID,
                                "no output, and no operation of the graph, is named "
                                "\"%.*s\"",
                                gp_cut(name, 100), name);
        const TF_DataType type = api->OperationOutputType(places[i]);
        if (tf_dtype(type) == GP_NULL)
            return gp_error_set(err, GP_UNSUPPORTED,
                                "\"%.*s\" is of type %s, which GraphPipe does not have",
                                gp_cut(name, 100), name, tf_type_name(type));
    }
    return GP_OK;
}

/* --- the run ---------------------------------------------------------------------------
 */

/* RunOptions: timeout_in_ms, or inter_op_thread_pool -1, the calling thread. */
static enum gp_status run_options(const struct gp_call *call, unsigned char *proto,
                                  TF_Buffer *options, struct gp_error *err)
{
    enum { TIMEOUT = 2 << 3, POOL = 3 << 3 };
    uint64_t value = UINT64_MAX;
    size_t n = 0;
    if (call && call->deadline_ns) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        const int64_t left_ns =
            call->deadline_ns - ((int64_t)now.tv_sec * 1000000000 + now.tv_nsec);
        if (left_ns <= 0)
            return gp_error_set(err, GP_DEADLINE, "the deadline was over before the run");
        value = (uint64_t)left_ns / 1000000 + 1;
    }
    proto[n++] = value == UINT64_MAX ? POOL : TIMEOUT;
    for (; value >= 0x80; value >>= 7)
        proto[n++] = (unsigned char)(value | 0x80);
    proto[n++] = (unsigned char)value;
    *options = (TF_Buffer){proto, n, NULL};
    return GP_OK;
}

/* The signature that the request's config names, or the chosen one. */
static const struct tf_signature *signature_of(const struct tf_model *model,
                                               const struct gp_call *call,
                                               struct gp_error *err)
{
    static const char key[] = "signature=";
    if (!call->config || !*call->config)
        return model->chosen;
    if (strncmp(call->config, key, sizeof key - 1) == 0)
        return tf_signature_find(model, call->config + sizeof key - 1, err);
    gp_error_set(err, GP_INVALID,
                 "the config \"%.*s\" is not understood; it may be signature=NAME",
                 gp_cut(call->config, 100), call->config);
    return NULL;
}

static enum gp_status run_call(const struct tf_model *model, struct tf_slot *slot,
                               const struct tf_signature *signature,
                               const struct gp_call *call, struct gp_outputs *outputs,
                               struct gp_error *err)
{
    const struct tf_api *api = &model->tf->api;
    const uint32_t n_outputs = call->n_outputs ? call->n_outputs : signature->outputs.n;
    TF_Output *wanted = slot->places + call->n_inputs;
    TF_Tensor **results = slot->values + call->n_inputs;
    unsigned char proto[16];
    TF_Buffer options;
    bool is_known;
    enum gp_status status = find_inputs(model, slot, signature, call, err);
    if (status == GP_OK)
        status = find_outputs(model, wanted, signature, call, &is_known, err);
    for (uint32_t i = 0; i < call->n_inputs && status == GP_OK; i++) {
        const bool is_lent = is_known && !signature->keeps_inputs;
        slot->values[i] = tf_tensor_make(api, &call->inputs[i], is_lent, err);
        status = slot->values[i] ? GP_OK : GP_NO_MEMORY;
    }
    if (status == GP_OK)
        status = run_options(call, proto, &options, err);
    if (status != GP_OK)
        return status;
    api->SessionRun(model->session, &options, slot->places, slot->values,
                    (int)call->n_inputs, wanted, results, (int)n_outputs, NULL, 0, NULL,
                    slot->status);
    status = tf_check(model->tf, slot->status, "the model failed", err);
    for (uint32_t i = 0; i < n_outputs && status == GP_OK; i++)
        status = tf_tensor_give(api, &results[i], i, outputs, err);
    return status;
}

static void drop_values(const struct tf_api *api, struct tf_slot *slot, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (slot->values[i])
            api->DeleteTensor(slot->values[i]);
        slot->values[i] = NULL;
    }
}

enum gp_status tf_run(void *self, uint32_t slot_number, const struct gp_call *call,
                      struct gp_outputs *outputs, struct gp_error *err)
{
    const struct tf_model *model = self;
    struct tf_slot *slot = &model->slots[slot_number];
    const struct tf_signature *signature = signature_of(model, call, err);
    if (!signature)
        return err->status;
    const size_t n = (size_t)call->n_inputs +
                     (call->n_outputs ? call->n_outputs : signature->outputs.n);
    if (!reserve(slot, n))
        return gp_error_set(err, GP_NO_MEMORY, "no memory for %zu tensors", n);
    const enum gp_status status = run_call(model, slot, signature, call, outputs, err);
    drop_values(&model->tf->api, slot, n);
    return status;
}

/* --- warm-up ---------------------------------------------------------------------------
 */

/* Zeros for an input of which only the number of rows is free; NULL for any other. */
static TF_Tensor *make_zeros(const struct tf_api *api, const struct gp_io *io)
{
    int64_t shape[GP_MAX_RANK];
    for (uint32_t i = 0; i < io->rank; i++)
        shape[i] = io->shape[i] < 0 && i == 0 ? 1 : io->shape[i];
    const int64_t n = gp_shape_count(shape, io->rank);
    const size_t stride = gp_dtype_size(io->dtype); /* 0 for strings */
    if (stride == 0 || io->flags & GP_IO_ANY_RANK || n < 0 ||
        (uint64_t)n > WARM_UP_LIMIT_BYTES / stride)
        return NULL;
    TF_Tensor *value =
        api->AllocateTensor(tf_type(io->dtype), shape, (int)io->rank, (size_t)n * stride);
    if (value && n > 0)
        memset(api->TensorData(value), 0, (size_t)n * stride);
    return value;
}

void tf_run_warm_up(struct tf_model *model)
{
    const struct tf_api *api = &model->tf->api;
    const struct tf_signature *signature = model->chosen;
    const uint32_t n_inputs = signature->inputs.n;
    const uint32_t n_outputs = signature->outputs.n;
    struct tf_slot slot = {.status = model->status};
    unsigned char proto[16];
    TF_Buffer options;
    bool is_whole = !signature->keeps_inputs && n_outputs > 0 &&
                    reserve(&slot, (size_t)n_inputs + n_outputs) && slot.places;
    for (uint32_t i = 0; i < n_inputs && is_whole; i++) {
        slot.places[i] = signature->inputs.places[i];
        slot.values[i] = make_zeros(api, &signature->inputs.ios[i]);
        is_whole = slot.values[i] != NULL;
    }
    if (is_whole && run_options(NULL, proto, &options, NULL) == GP_OK) {
        memcpy(slot.places + n_inputs, signature->outputs.places,
               n_outputs * sizeof *slot.places);
        /* a model that fails on zeros does without */
        api->SessionRun(model->session, &options, slot.places, slot.values, (int)n_inputs,
                        slot.places + n_inputs, slot.values + n_inputs, (int)n_outputs,
                        NULL, 0, NULL, slot.status);
    }
    if (slot.values)
        drop_values(api, &slot, slot.capacity);
    free(slot.places);
    free(slot.values);
}
