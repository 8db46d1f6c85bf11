/* The limit of serving a model: the same runtime called in this process, with no server.
 *
 * Closed loop: callers that ask again as soon as they have their answer, of which so many
 * run at a time. Open loop (--rate): requests at random (Poisson) times, done in order by
 * as many threads as runs; a thread takes the next request before it is due and sleeps
 * until then, so that nothing is handed from thread to thread; latency counts from when
 * the request was due. Prints one line of JSON. */
#include "ort_bench.h"

#include <getopt.h>
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/prctl.h>

enum { MAX_CALLERS = 256, MAX_LATENCIES = 1 << 22, MAX_SESSIONS = 1024 };

struct settings {
    const char *library, *model;
    long n_rows, n_callers, n_threads, n_runs, n_sessions, seed;
    int is_spinning;
    double rate, seconds, warm_up;
};

struct caller {
    pthread_t thread;
    double last; /* when its last run ended */
    float *data;
    float *latencies;
    size_t n;
    long turn; /* of the sessions */
};

static struct OrtSession *sessions[MAX_SESSIONS];
static long n_sessions;
static struct caller callers[MAX_CALLERS];
static float latencies[MAX_LATENCIES];
static sem_t slots;
static double end;  /* of a closed loop */
static double *due; /* the requests of an open loop */
static size_t n_due;
static atomic_size_t next_due;

static void die(const char *what)
{
    (void)fprintf(stderr, "inprocess: %s\n", what);
    exit(1);
}

static void run_once(struct caller *caller, double since)
{
    run_model(sessions[caller->turn++ % n_sessions], caller->data);
    caller->last = now();
    if (caller->n < MAX_LATENCIES)
        caller->latencies[caller->n++] = (float)(caller->last - since);
}

static void *ask_again(void *arg)
{
    for (double begin = now(); begin < end; begin = now()) {
        sem_wait(&slots);
        run_once(arg, begin);
        sem_post(&slots);
    }
    return NULL;
}

static void sleep_until(double time)
{
    const struct timespec at = {.tv_sec = (time_t)time,
                                .tv_nsec = (long)((time - (double)(time_t)time) * 1e9)};
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL) != 0)
        ;
}

static void *take_due(void *arg)
{
    prctl(PR_SET_TIMERSLACK, 1UL); /* else it wakes 50 us late */
    for (size_t i; (i = atomic_fetch_add(&next_due, 1)) < n_due;) {
        sleep_until(due[i]);
        run_once(arg, due[i]);
    }
    return NULL;
}

/* Times of requests from `begin` on, at distances that are exponential. */
static void plan(double begin, const struct settings *settings)
{
    const size_t most = (size_t)(settings->rate * settings->seconds * 2) + 1000;
    unsigned short state[3] = {0x330e, (unsigned short)settings->seed,
                               (unsigned short)(settings->seed >> 16)};
    due = calloc(most, sizeof *due);
    if (!due)
        die("out of memory");
    double at = begin;
    while (n_due < most) {
        at -= log(1 - erand48(state)) / settings->rate;
        if (at >= begin + settings->seconds)
            break;
        due[n_due++] = at;
    }
}

/* Runs the callers to their end; the rate of runs, of each caller until its last. */
static double run_callers(long n_callers, void *(*work)(void *), double begin)
{
    double rate = 0;
    for (long i = 0; i < n_callers; i++) {
        callers[i].n = 0;
        if (pthread_create(&callers[i].thread, NULL, work, &callers[i]) != 0)
            die("no thread");
    }
    for (long i = 0; i < n_callers; i++) {
        pthread_join(callers[i].thread, NULL);
        if (callers[i].n)
            rate += (double)callers[i].n / (callers[i].last - begin);
    }
    return rate;
}

static double run_closed(const struct settings *settings, double seconds)
{
    const double begin = now();
    end = begin + seconds;
    return run_callers(settings->n_callers, ask_again, begin);
}

static double run_open(const struct settings *settings)
{
    const double begin = now() + 1e-3;
    plan(begin, settings);
    return run_callers(settings->n_runs, take_due, begin);
}

/* Puts all latencies in order; how many. */
static size_t gather(void)
{
    size_t n = 0;
    for (int i = 0; i < MAX_CALLERS; i++)
        for (size_t j = 0; j < callers[i].n && n < MAX_LATENCIES; j++)
            latencies[n++] = callers[i].latencies[j];
    qsort(latencies, n, sizeof *latencies, ascending);
    return n;
}

static void measure(const struct settings *settings)
{
    const long n =
        settings->n_callers > settings->n_runs ? settings->n_callers : settings->n_runs;
    for (long i = 0; i < n; i++) {
        callers[i].data = make_input();
        callers[i].latencies = calloc(MAX_LATENCIES, sizeof(float));
        if (!callers[i].data || !callers[i].latencies)
            die("out of memory");
    }
    sem_init(&slots, 0, (unsigned)settings->n_runs);
    (void)run_closed(settings, settings->warm_up);
    const double cpu_begin = seconds_of(CLOCK_PROCESS_CPUTIME_ID);
    const double rate =
        settings->rate > 0 ? run_open(settings) : run_closed(settings, settings->seconds);
    const double cpu = seconds_of(CLOCK_PROCESS_CPUTIME_ID) - cpu_begin;
    const size_t n_runs = gather();
    if (n_runs == 0)
        die("not one run");
    (void)printf("{\"runs\":%zu,\"runs_per_s\":%.3f,\"rows_per_s\":%.3f,"
                 "\"p50_us\":%.3f,\"p99_us\":%.3f,\"cpu_us\":%.3f,\"row_bytes\":%zu}\n",
                 n_runs, rate, rate * (double)shape[0],
                 (double)latencies[n_runs / 2] * 1e6,
                 (double)latencies[n_runs * 99 / 100] * 1e6, cpu * 1e6 / (double)n_runs,
                 n_values / (size_t)shape[0] * sizeof(float));
}

static const char usage[] =
    "usage: inprocess [OPTIONS] LIBRARY MODEL.onnx   (LIBRARY: libonnxruntime.so.1)\n"
    "  --rows N     of a request, where the model leaves it open (1)\n"
    "  --callers N  in a closed loop (1)\n"
    "  --threads N  of a run (1)\n"
    "  --runs N     at a time (1)\n"
    "  --sessions N of the model, asked in turn (1)\n"
    "  --spin       threads spin while they wait\n"
    "  --rate R     an open loop instead: requests a second, at Poisson's times\n"
    "  --seed N     of those (1)\n"
    "  --for S      seconds (1)\n"
    "  --warm-up S  seconds (0.2)\n";

static int parse(int argc, char **argv, struct settings *settings)
{
    static const struct option options[] = {
        {"rows", 1, NULL, 'n'},    {"callers", 1, NULL, 'c'},  {"threads", 1, NULL, 't'},
        {"runs", 1, NULL, 'r'},    {"spin", 0, NULL, 's'},     {"rate", 1, NULL, 'R'},
        {"seed", 1, NULL, 'S'},    {"sessions", 1, NULL, 'm'}, {"for", 1, NULL, 'f'},
        {"warm-up", 1, NULL, 'w'}, {NULL, 0, NULL, 0},
    };
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (c) {
        case 'n':
            settings->n_rows = atol(optarg);
            break;
        case 'c':
            settings->n_callers = atol(optarg);
            break;
        case 't':
            settings->n_threads = atol(optarg);
            break;
        case 'r':
            settings->n_runs = atol(optarg);
            break;
        case 'm':
            settings->n_sessions = atol(optarg);
            break;
        case 's':
            settings->is_spinning = 1;
            break;
        case 'R':
            settings->rate = atof(optarg);
            break;
        case 'S':
            settings->seed = atol(optarg);
            break;
        case 'f':
            settings->seconds = atof(optarg);
            break;
        case 'w':
            settings->warm_up = atof(optarg);
            break;
        default:
            return 0;
        }
    settings->library = argv[optind];
    settings->model = argc - optind == 2 ? argv[optind + 1] : NULL;
    return settings->model && settings->n_rows > 0 && settings->n_threads > 0 &&
           settings->n_callers > 0 && settings->n_callers <= MAX_CALLERS &&
           settings->n_runs > 0 && settings->n_runs <= MAX_CALLERS &&
           settings->n_sessions > 0 && settings->n_sessions <= MAX_SESSIONS &&
           settings->seconds > 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {.n_rows = 1,
                                .n_callers = 1,
                                .n_threads = 1,
                                .n_runs = 1,
                                .n_sessions = 1,
                                .seed = 1,
                                .seconds = 1,
                                .warm_up = 0.2};
    if (!parse(argc, argv, &settings)) {
        (void)fputs(usage, stderr);
        return 2;
    }
    load_runtime(settings.library);
    for (n_sessions = 0; n_sessions < settings.n_sessions; n_sessions++)
        sessions[n_sessions] =
            open_session(settings.model, (int)settings.n_threads, settings.is_spinning);
    read_model(sessions[0], settings.n_rows);
    measure(&settings);
    return 0;
}
