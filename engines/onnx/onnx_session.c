/* The sessions of a model, and which of them runs a call. All slots share them, so that
 * the weights are in memory once, or twice: a run of several threads answers soonest, but
 * when all cores have runs, runs of one thread each get more done. So small models that
 * are free to choose have a wide and a narrow session; docs/decisions/onnx-threads.md has
 * the figures. Both give the same bits. */
#include "onnx.h"

#include <pthread.h>

/* What weights may lie in memory twice for. */
enum { NARROW_LIMIT_BYTES = 256 << 20 };

struct opening {
    const struct ort_runtime *ort;
    const char *path;
    uint32_t n_threads;
    int least_severity; /* of what it logs */
    struct OrtSession *session;
    enum gp_status status;
    struct gp_error err;
};

static void open_one(struct opening *opening)
{
    const struct ort_api *api = &opening->ort->api;
    struct OrtSessionOptions *options = NULL;
    char what[256];
    struct OrtStatus *failed = api->CreateSessionOptions(&options);
    if (!failed)
        failed = api->SetIntraOpNumThreads(options, (int)opening->n_threads);
    if (!failed)
        failed = api->SetInterOpNumThreads(options, 1);
    if (!failed)
        failed = api->SetSessionLogSeverityLevel(options, opening->least_severity);
    if (!failed)
        failed = api->SetSessionGraphOptimizationLevel(options, ORT_OPTIMIZE_ALL);
    /* threads that spin while they wait take the cores from whoever has work */
    if (!failed)
        failed =
            api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0");
    if (!failed)
        failed = api->CreateSession(opening->ort->env, opening->path, options,
                                    &opening->session);
    (void)snprintf(what, sizeof what, "cannot load the model %.200s", opening->path);
    opening->status = ort_check(opening->ort, failed, what, &opening->err);
    api->ReleaseSessionOptions(options);
}

static void *open_beside(void *opening)
{
    open_one(opening);
    return NULL;
}

enum gp_status onnx_session_open(struct onnx_model *model,
                                 const struct gp_engine_options *options,
                                 struct gp_error *err)
{
    const uint32_t n_cores = options->n_cores ? options->n_cores : 1;
    model->n_threads = options->n_threads ? options->n_threads : n_cores;
    model->n_slots = options->n_slots ? options->n_slots : n_cores;
    model->n_wide = n_cores / 2;

    struct opening wide = {.ort = model->ort,
                           .path = options->model_path,
                           .n_threads = model->n_threads,
                           .least_severity = ORT_LOG_WARNING};
    struct opening narrow = wide;
    narrow.n_threads = 1;
    narrow.least_severity = ORT_LOG_FATAL; /* the wide one says it all */
    pthread_t thread;
    const bool has_narrow = options->n_threads == 0 && model->n_threads > 1 &&
                            model->n_slots > model->n_wide &&
                            model->size_bytes <= NARROW_LIMIT_BYTES &&
                            pthread_create(&thread, NULL, open_beside, &narrow) == 0;
    open_one(&wide);
    if (has_narrow)
        pthread_join(thread, NULL);
    model->session = wide.session;
    model->narrow = narrow.session;
    if (wide.status != GP_OK)
        return gp_error_set(err, wide.status, "%s", wide.err.message);
    return GP_OK;
}

struct OrtSession *onnx_session_take(struct onnx_model *model)
{
    const uint32_t n_running = atomic_fetch_add(&model->n_running, 1) + 1;
    return model->narrow && n_running > model->n_wide ? model->narrow : model->session;
}

void onnx_session_give(struct onnx_model *model)
{
    atomic_fetch_sub(&model->n_running, 1);
}
