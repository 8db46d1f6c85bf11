/* The sessions of a model, and which of them runs a call. All slots share them, so that
 * the weights are in memory once, or twice: a run of several threads answers soonest, but
 * when all cores have runs, runs of one thread each get more done. So small models
 * without a given number of threads have a wide and a narrow session; the cores that runs of
 * other models use count too (gp_call.n_free_cores). A session's threads are settled when it is
 * opened: the runtime has no option of a single run for them.
 * docs/decisions/onnx-threads.md has the figures. Both give the same bits.
 *
 * On GPUs there is a session per device. The runtime copies inputs there in place, and
 * outputs to where they are needed; operators without a kernel there run on the CPU. */
#include "onnx.h"

#include "../cores.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* Weights up to this size may be in memory twice. */
enum { NARROW_LIMIT_BYTES = 256 << 20 };

struct opening {
    const struct ort_runtime *ort;
    const char *path;
    uint32_t n_threads;
    int device;         /* -1: the CPU */
    int least_severity; /* name in its log */
    struct OrtSession *session;
    enum gp_status status;
    struct gp_error err;
};

static struct OrtStatus *add_device(const struct ort_api *api, int device,
                                    struct OrtSessionOptions *options)
{
    struct OrtCUDAProviderOptionsV2 *cuda = NULL;
    char number[16];
    const char *const keys[] = {"device_id"}, *const values[] = {number};
    (void)snprintf(number, sizeof number, "%d", device);
    struct OrtStatus *failed = api->CreateCUDAProviderOptions(&cuda);
    if (!failed)
        failed = api->UpdateCUDAProviderOptions(cuda, keys, values, 1);
    if (!failed)
        failed = api->SessionOptionsAppendExecutionProvider_CUDA_V2(options, cuda);
    if (cuda)
        api->ReleaseCUDAProviderOptions(cuda);
    return failed;
}

static struct OrtStatus *set_options(const struct opening *opening,
                                     struct OrtSessionOptions *options)
{
    const struct ort_api *api = &opening->ort->api;
    struct OrtStatus *failed =
        api->SetIntraOpNumThreads(options, (int)opening->n_threads);
    if (!failed)
        failed = api->SetInterOpNumThreads(options, 1);
    if (!failed)
        failed = api->SetSessionLogSeverityLevel(options, opening->least_severity);
    if (!failed)
        failed = api->SetSessionGraphOptimizationLevel(options, ORT_OPTIMIZE_ALL);
    /* threads that spin while they wait take cores from those that have work */
    if (!failed)
        failed =
            api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0");
    return failed;
}

static void open_one(struct opening *opening)
{
    const struct ort_api *api = &opening->ort->api;
    struct OrtSessionOptions *options = NULL;
    char what[256];
    struct OrtStatus *failed = api->CreateSessionOptions(&options);
    (void)snprintf(what, sizeof what, "cannot load the model %.*s",
                   gp_cut(opening->path, 200), opening->path);
    if (!failed)
        failed = set_options(opening, options);
    if (!failed && opening->device >= 0) {
        failed = add_device(api, opening->device, options);
        if (failed)
            (void)snprintf(what, sizeof what, "cannot use cuda:%d", opening->device);
    }
    if (!failed)
        failed = api->CreateSession(opening->ort->env, opening->path, options,
                                    &opening->session);
    opening->status = ort_check(opening->ort, failed, what, &opening->err);
    api->ReleaseSessionOptions(options);
}

static void *open_beside(void *opening)
{
    open_one(opening);
    return NULL;
}

/* A runtime without GPUs would report that too, but not the remedy. */
static enum gp_status check_provider(const struct ort_runtime *ort, struct gp_error *err)
{
    char **names;
    int n;
    bool has_cuda = false;
    const enum gp_status status = ort_check(
        ort, ort->api.GetAvailableProviders(&names, &n), "ONNX Runtime's providers", err);
    if (status != GP_OK)
        return status;
    for (int i = 0; i < n; i++)
        has_cuda = has_cuda || strcmp(names[i], "CUDAExecutionProvider") == 0;
    (void)ort_check(ort, ort->api.ReleaseAvailableProviders(names, n), "", NULL);
    if (has_cuda)
        return GP_OK;
    return gp_error_set(err, GP_UNSUPPORTED,
                        "this ONNX Runtime (%s) has no CUDA provider; pip install "
                        "onnxruntime-gpu and --engine-option library=PATH",
                        ort->path);
}

/* On failure the open ones are closed with the model. */
static enum gp_status open_devices(struct onnx_model *model, struct opening opening,
                                   struct gp_error *err)
{
    enum gp_status status = check_provider(model->ort, err);
    const uint32_t n = device_n_used(&model->devices, model->n_slots);
    for (uint32_t i = 0; i < n && status == GP_OK; i++) {
        opening.device = model->devices.numbers[i];
        open_one(&opening);
        status = opening.status;
        if (status == GP_OK)
            model->sessions[model->n_sessions++] = opening.session;
        else
            gp_error_set(err, status, "%s", opening.err.message);
    }
    return status;
}

static enum gp_status open_cpu(struct onnx_model *model, struct opening wide,
                               bool may_be_narrow, struct gp_error *err)
{
    struct opening narrow = wide;
    narrow.n_threads = 1;
    narrow.least_severity = ORT_LOG_FATAL; /* the wide one has reported everything */
    pthread_t thread;
    const bool has_narrow = may_be_narrow && model->n_threads > 1 &&
                            model->n_slots > model->n_wide &&
                            model->size_bytes <= NARROW_LIMIT_BYTES &&
                            pthread_create(&thread, NULL, open_beside, &narrow) == 0;
    open_one(&wide);
    if (has_narrow)
        pthread_join(thread, NULL);
    if (wide.session)
        model->sessions[model->n_sessions++] = wide.session;
    if (narrow.session)
        model->sessions[model->n_sessions++] = narrow.session;
    if (wide.status != GP_OK)
        return gp_error_set(err, wide.status, "%s", wide.err.message);
    return GP_OK;
}

enum gp_status onnx_session_open(struct onnx_model *model,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err)
{
    const uint32_t n_cores = options->n_cores ? options->n_cores : 1;
    model->n_threads = options->n_threads ? options->n_threads : n_cores;
    model->n_slots = device_n_slots(&model->devices, options);
    model->n_cores = n_cores;
    model->n_wide = n_cores / 2;
    model->sessions = calloc(model->devices.n + 2, sizeof *model->sessions);
    if (!model->sessions)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for sessions");

    const struct opening opening = {.ort = model->ort,
                                    .path = options->model_path,
                                    .n_threads = model->n_threads,
                                    .device = -1,
                                    .least_severity = ORT_LOG_WARNING};
    if (model->devices.n)
        return open_devices(model, opening, err);
    return open_cpu(model, opening, options->n_threads == 0, err);
}

struct OrtSession *onnx_session_take(struct onnx_model *model, uint32_t slot,
                                     const struct gp_call *call)
{
    const uint32_t n_own = atomic_fetch_add(&model->n_running, 1) + 1;
    if (model->devices.n)
        return model->sessions[slot % model->n_sessions];
    const uint32_t n_runs = cores_n_runs(call, n_own, model->n_cores);
    return model->sessions[n_runs > model->n_wide ? model->n_sessions - 1 : 0];
}

void onnx_session_give(struct onnx_model *model)
{
    atomic_fetch_sub(&model->n_running, 1);
}
