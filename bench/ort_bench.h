/* bench/ort_bench.h - what the programs share that call ONNX Runtime without a server:
 * the runtime, a session, and one run on a float32 input that was made up. They measure,
 * so what fails ends the program. */
#ifndef GP_BENCH_ORT_BENCH_H
#define GP_BENCH_ORT_BENCH_H

#include "ort.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <time.h>

static struct ort_api api;
static struct OrtEnv *env;
static struct OrtMemoryInfo *memory;

/* The model's one input and one output. */
static char input_name[256], output_name[256];
static int64_t shape[8];
static size_t rank, n_values;

enum { FLOAT32 = 1 }; /* ONNX's number of it */

static void need(struct OrtStatus *status)
{
    if (status) {
        (void)fprintf(stderr, "%s\n", api.GetErrorMessage(status));
        exit(1);
    }
}

static void quiet(void *context, int severity, const char *category, const char *id,
                  const char *location, const char *message)
{
    (void)context, (void)severity, (void)category, (void)id, (void)location,
        (void)message;
}

static void load_runtime(const char *path)
{
    struct base {
        void *const *(*get_api)(uint32_t version);
    };
    const struct base *(*get_base)(void);
    void *library = dlopen(path, RTLD_NOW);
    if (!library) {
        (void)fprintf(stderr, "%s\n", dlerror());
        exit(1);
    }
    *(void **)&get_base = dlsym(library, "OrtGetApiBase");
    void *const *table = get_base()->get_api(ORT_API);
#define FILL(slot, returns, name, args) *(void **)&api.name = table[slot];
    ORT_SLOTS(FILL)
#undef FILL
    need(api.CreateEnvWithCustomLogger(quiet, NULL, ORT_LOG_ERROR, "bench", &env));
    need(api.DisableTelemetryEvents(env));
    need(api.CreateCpuMemoryInfo(ORT_ALLOCATOR_DEVICE, ORT_MEMORY_DEFAULT, &memory));
}

/* As engines/onnx opens it, but for the threads that may spin while they wait. */
static struct OrtSession *open_session(const char *path, int n_threads, int is_spinning)
{
    struct OrtSessionOptions *options;
    struct OrtSession *session;
    need(api.CreateSessionOptions(&options));
    need(api.SetIntraOpNumThreads(options, n_threads));
    need(api.SetInterOpNumThreads(options, 1));
    need(api.SetSessionGraphOptimizationLevel(options, ORT_OPTIMIZE_ALL));
    need(api.AddSessionConfigEntry(options, "session.intra_op.allow_spinning",
                                   is_spinning ? "1" : "0"));
    need(api.CreateSession(env, path, options, &session));
    api.ReleaseSessionOptions(options);
    return session;
}

/* Sizes that the model leaves open: the first is n_rows, the others are 1. */
static void read_model(struct OrtSession *session, int64_t n_rows)
{
    struct OrtAllocator *allocator;
    struct OrtTypeInfo *info;
    const struct OrtShapeInfo *tensor;
    char *name;
    int type;
    need(api.GetAllocatorWithDefaultOptions(&allocator));
    need(api.SessionGetInputName(session, 0, allocator, &name));
    (void)snprintf(input_name, sizeof input_name, "%s", name);
    need(api.SessionGetOutputName(session, 0, allocator, &name));
    (void)snprintf(output_name, sizeof output_name, "%s", name);
    need(api.SessionGetInputTypeInfo(session, 0, &info));
    need(api.CastTypeInfoToTensorInfo(info, &tensor));
    need(api.GetTensorElementType(tensor, &type));
    need(api.GetDimensionsCount(tensor, &rank));
    if (type != FLOAT32 || rank > sizeof shape / sizeof *shape) {
        (void)fprintf(stderr, "input %s: only float32 of a low rank\n", input_name);
        exit(1);
    }
    need(api.GetDimensions(tensor, shape, rank));
    api.ReleaseTypeInfo(info);
    n_values = 1;
    for (size_t i = 0; i < rank; i++) {
        if (shape[i] < 0)
            shape[i] = i == 0 ? n_rows : 1;
        n_values *= (size_t)shape[i];
    }
}

static float *make_input(void)
{
    float *data = malloc(n_values * sizeof *data);
    for (size_t i = 0; data && i < n_values; i++)
        data[i] = (float)(i % 17) / 17;
    return data;
}

static void run_model(struct OrtSession *session, float *data)
{
    const char *inputs[] = {input_name}, *outputs[] = {output_name};
    struct OrtValue *in, *out = NULL;
    need(api.CreateTensorWithDataAsOrtValue(memory, data, n_values * sizeof *data, shape,
                                            rank, FLOAT32, &in));
    need(api.Run(session, NULL, inputs, (const struct OrtValue *const *)&in, 1, outputs,
                 1, &out));
    api.ReleaseValue(in);
    api.ReleaseValue(out);
}

static double seconds_of(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double now(void)
{
    return seconds_of(CLOCK_MONOTONIC);
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

#endif
