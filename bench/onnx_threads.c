/* How many threads and runs at a time suit ONNX Runtime, measured without a server:
 * callers that ask for one row each, again and again, through each way of limiting what
 * runs at once. The machine is shared, so the ways are interleaved in short rounds, and
 * of each figure the best of all rounds is printed: what the way can do undisturbed.
 *
 *   cc -O2 -std=c11 -D_GNU_SOURCE -Iinclude -Iengines/onnx bench/onnx_threads.c \
 *      -pthread -ldl -o build/onnx_threads
 *   build/onnx_threads .deps/onnxruntime/libonnxruntime.so.1 ROUNDS MODEL.onnx...
 *
 * The ways: wide: a session of as many threads as cores; narrow: of one thread, so that a
 * run stays on its caller; then the runs at a time; spin: threads spin while they wait;
 * hybrid: both sessions, the wide one for runs that begin while at most half of the cores
 * have one. */
#include "ort.h"

#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_CALLERS = 64, MAX_RUNS = 1 << 20 };

static struct ort_api api;
static struct OrtEnv *env;
static struct OrtMemoryInfo *memory;
static double seconds = 0.3;
static int n_cores;

struct way {
    const char *name;
    int has_wide, has_narrow;
    int is_spinning;
    unsigned n_runs; /* at a time; 0: as many as cores */
    struct OrtSession *wide, *narrow;
    sem_t slots;
    int n_running;
};

static struct way ways[] = {
    {.name = "wide 1", .has_wide = 1, .n_runs = 1},
    {.name = "wide cores", .has_wide = 1},
    {.name = "spin 1", .has_wide = 1, .n_runs = 1, .is_spinning = 1},
    {.name = "narrow cores", .has_narrow = 1},
    {.name = "hybrid cores", .has_wide = 1, .has_narrow = 1},
};

enum { N_WAYS = sizeof ways / sizeof ways[0] };

static void need(struct OrtStatus *status)
{
    if (status) {
        fprintf(stderr, "%s\n", api.GetErrorMessage(status));
        exit(1);
    }
}

static void quiet(void *context, int severity, const char *category, const char *id,
                  const char *location, const char *message)
{
    (void)context, (void)severity, (void)category, (void)id, (void)location,
        (void)message;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

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

/* One row for the model's one input. */
static char input_name[256], output_name[256];
static int64_t shape[8];
static size_t rank, n_values;

static void read_model(struct OrtSession *session)
{
    struct OrtAllocator *allocator;
    struct OrtTypeInfo *info;
    const struct OrtShapeInfo *tensor;
    char *name;
    need(api.GetAllocatorWithDefaultOptions(&allocator));
    need(api.SessionGetInputName(session, 0, allocator, &name));
    snprintf(input_name, sizeof input_name, "%s", name);
    need(api.SessionGetOutputName(session, 0, allocator, &name));
    snprintf(output_name, sizeof output_name, "%s", name);
    need(api.SessionGetInputTypeInfo(session, 0, &info));
    need(api.CastTypeInfoToTensorInfo(info, &tensor));
    need(api.GetDimensionsCount(tensor, &rank));
    need(api.GetDimensions(tensor, shape, rank));
    api.ReleaseTypeInfo(info);
    n_values = 1;
    for (size_t i = 0; i < rank; i++) {
        shape[i] = shape[i] < 0 ? 1 : shape[i];
        n_values *= (size_t)shape[i];
    }
}

struct caller {
    struct way *way;
    pthread_t thread;
    double end;
    size_t n;
    float *latencies;
};

static void run_once(struct way *way, float *data)
{
    const char *inputs[] = {input_name}, *outputs[] = {output_name};
    struct OrtValue *in, *out = NULL;
    sem_wait(&way->slots);
    const int n_running = __atomic_add_fetch(&way->n_running, 1, __ATOMIC_RELAXED);
    struct OrtSession *session =
        !way->has_narrow || (way->has_wide && n_running <= n_cores / 2) ? way->wide
                                                                        : way->narrow;
    need(api.CreateTensorWithDataAsOrtValue(memory, data, n_values * sizeof *data, shape,
                                            rank, 1, &in));
    need(api.Run(session, NULL, inputs, (const struct OrtValue *const *)&in, 1, outputs,
                 1, &out));
    __atomic_sub_fetch(&way->n_running, 1, __ATOMIC_RELAXED);
    sem_post(&way->slots);
    api.ReleaseValue(in);
    api.ReleaseValue(out);
}

static void *call(void *arg)
{
    struct caller *c = arg;
    float *data = malloc(n_values * sizeof *data);
    for (size_t i = 0; i < n_values; i++)
        data[i] = (float)(i % 17) / 17;
    while (c->n < MAX_RUNS / 8) {
        const double begin = now();
        if (begin >= c->end)
            break;
        run_once(c->way, data);
        c->latencies[c->n++] = (float)(now() - begin);
    }
    free(data);
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    const float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

struct figures {
    float rate, p50_ms, cpu_ms; /* processor time of one run */
};

static struct figures measure(struct way *way, unsigned n_callers)
{
    static struct caller callers[MAX_CALLERS];
    static float all[MAX_RUNS * 2];
    size_t n = 0;
    struct timespec cpu;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    const double cpu_begin = (double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9,
                 begin = now();
    for (unsigned i = 0; i < n_callers; i++) {
        callers[i] = (struct caller){.way = way,
                                     .end = begin + seconds,
                                     .latencies = calloc(MAX_RUNS / 8, sizeof(float))};
        pthread_create(&callers[i].thread, NULL, call, &callers[i]);
    }
    for (unsigned i = 0; i < n_callers; i++) {
        pthread_join(callers[i].thread, NULL);
        memcpy(all + n, callers[i].latencies, callers[i].n * sizeof *all);
        n += callers[i].n;
        free(callers[i].latencies);
    }
    const double spent = now() - begin;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
    qsort(all, n, sizeof *all, ascending);
    return (struct figures){
        (float)((double)n / spent), all[n / 2] * 1e3f,
        (float)(((double)cpu.tv_sec + (double)cpu.tv_nsec * 1e-9 - cpu_begin) * 1e3 /
                (double)n)};
}

static void compare(unsigned n_callers, unsigned n_rounds)
{
    struct figures best[N_WAYS];
    for (unsigned r = 0; r < n_rounds; r++)
        for (int w = 0; w < N_WAYS; w++) {
            const struct figures f = measure(&ways[w], n_callers);
            struct figures *b = &best[w];
            b->rate = r && b->rate > f.rate ? b->rate : f.rate;
            b->p50_ms = r && b->p50_ms < f.p50_ms ? b->p50_ms : f.p50_ms;
            b->cpu_ms = r && b->cpu_ms < f.cpu_ms ? b->cpu_ms : f.cpu_ms;
        }
    for (int w = 0; w < N_WAYS; w++)
        printf("%7u  %-13s %9.1f %9.3f %9.3f\n", n_callers, ways[w].name,
               (double)best[w].rate, (double)best[w].p50_ms, (double)best[w].cpu_ms);
    fflush(stdout);
}

static void bench_model(const char *path, unsigned n_rounds)
{
    static const unsigned callers[] = {1, 2, 4, 16};
    for (int w = 0; w < N_WAYS; w++) {
        ways[w].wide =
            ways[w].has_wide ? open_session(path, n_cores, ways[w].is_spinning) : NULL;
        ways[w].narrow = ways[w].has_narrow ? open_session(path, 1, 0) : NULL;
        sem_init(&ways[w].slots, 0, ways[w].n_runs ? ways[w].n_runs : (unsigned)n_cores);
    }
    read_model(ways[0].wide);
    for (int w = 0; w < N_WAYS; w++) /* warm up */
        (void)measure(&ways[w], 2);
    printf(
        "%s, %d cores, %u rounds\ncallers  way              rate/s    p50 ms    cpu ms\n",
        path, n_cores, n_rounds);
    for (size_t i = 0; i < sizeof callers / sizeof callers[0]; i++)
        compare(callers[i], n_rounds);
    for (int w = 0; w < N_WAYS; w++) {
        api.ReleaseSession(ways[w].wide);
        api.ReleaseSession(ways[w].narrow);
    }
}

/* That this process may use: taskset makes it fewer. */
static int cores(void)
{
    cpu_set_t set;
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int main(int argc, char **argv)
{
    struct base {
        void *const *(*get_api)(uint32_t version);
    };
    const struct base *(*get_base)(void);
    const unsigned n_rounds = argc > 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    void *library = n_rounds ? dlopen(argv[1], RTLD_NOW) : NULL;
    if (!library) {
        fprintf(stderr, "usage: onnx_threads LIBRARY ROUNDS MODEL.onnx...\n");
        return 2;
    }
    n_cores = cores();
    *(void **)&get_base = dlsym(library, "OrtGetApiBase");
    void *const *table = get_base()->get_api(ORT_API);
#define FILL(slot, returns, name, args) *(void **)&api.name = table[slot];
    ORT_SLOTS(FILL)
#undef FILL
    need(api.CreateEnvWithCustomLogger(quiet, NULL, ORT_LOG_ERROR, "bench", &env));
    need(api.DisableTelemetryEvents(env));
    need(api.CreateCpuMemoryInfo(ORT_ALLOCATOR_DEVICE, ORT_MEMORY_DEFAULT, &memory));
    for (int i = 3; i < argc; i++)
        bench_model(argv[i], n_rounds);
    return 0;
}
