/* How many threads and runs at a time suit ONNX Runtime, measured without a server:
 * callers that ask for one row each, again and again, through each way of limiting what
 * runs at once. The machine is shared, so the ways are interleaved in short rounds, and
 * of each figure the best of all rounds is printed: what the way can do undisturbed.
 *
 *   build/release/bench/onnx_threads .deps/onnxruntime/libonnxruntime.so.1 ROUNDS MODEL.onnx...
 *
 * The ways: wide: a session of as many threads as cores; narrow: of one thread, so that a
 * run stays on its caller; then the runs at a time; spin: threads spin while they wait;
 * hybrid: both sessions, the wide one for runs that begin while at most half of the cores
 * have one. */
#include "ort_bench.h"

#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <string.h>

enum { MAX_CALLERS = 64, MAX_RUNS = 1 << 20 };

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

struct caller {
    struct way *way;
    pthread_t thread;
    double end;
    size_t n;
    float *latencies;
};

static void run_once(struct way *way, float *data)
{
    sem_wait(&way->slots);
    const int n_running = __atomic_add_fetch(&way->n_running, 1, __ATOMIC_RELAXED);
    struct OrtSession *session =
        !way->has_narrow || (way->has_wide && n_running <= n_cores / 2) ? way->wide
                                                                        : way->narrow;
    run_model(session, data);
    __atomic_sub_fetch(&way->n_running, 1, __ATOMIC_RELAXED);
    sem_post(&way->slots);
}

static void *call(void *arg)
{
    struct caller *c = arg;
    float *data = make_input();
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

struct figures {
    float rate, p50_ms, cpu_ms; /* processor time of one run */
};

static struct figures measure(struct way *way, unsigned n_callers)
{
    static struct caller callers[MAX_CALLERS];
    static float all[MAX_RUNS * 2];
    size_t n = 0;
    const double cpu_begin = seconds_of(CLOCK_PROCESS_CPUTIME_ID), begin = now();
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
    const double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_begin;
    qsort(all, n, sizeof *all, ascending);
    return (struct figures){(float)((double)n / spent), all[n / 2] * 1e3f,
                            (float)(cpu * 1e3 / (double)n)};
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
    read_model(ways[0].wide, 1);
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
    const unsigned n_rounds = argc > 3 ? (unsigned)strtoul(argv[2], NULL, 10) : 0;
    if (!n_rounds) {
        fprintf(stderr, "usage: onnx_threads LIBRARY ROUNDS MODEL.onnx...\n");
        return 2;
    }
    n_cores = cores();
    load_runtime(argv[1]);
    for (int i = 3; i < argc; i++)
        bench_model(argv[i], n_rounds);
    return 0;
}
