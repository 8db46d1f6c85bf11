/* Opens MXNet once per process, and translates its types and its messages, which come with
 * places in its source and a trace of its stack. */
#include "mx.h"

#include <dlfcn.h>
#include <signal.h>

static const struct gp_library library = {
    .file = "libmxnet.so",
    .pattern = "libmxnet.so*",
    .deps = "mxnet",
    .package = "mxnet",
    .remedy = "tools/setup mxnet, in an installation cmake --install BUILD --component "
              "mxnet, or pip install mxnet==1.9.1",
    .symbol = "MXExecutorBindEX",
};

/* X(of GraphPipe, of mshadow/base.h, which is C++) */
#define DTYPE_MAP(X)                                                                     \
    X(GP_FLOAT32, 0)                                                                     \
    X(GP_FLOAT64, 1)                                                                     \
    X(GP_FLOAT16, 2)                                                                     \
    X(GP_UINT8, 3)                                                                       \
    X(GP_INT32, 4)                                                                       \
    X(GP_INT8, 5)                                                                        \
    X(GP_INT64, 6)                                                                       \
    X(GP_BOOL, 7)                                                                        \
    X(GP_INT16, 8)                                                                       \
    X(GP_UINT16, 9)                                                                      \
    X(GP_UINT32, 10)                                                                     \
    X(GP_UINT64, 11)                                                                     \
    X(GP_BFLOAT16, 12)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct mx_runtime runtime;

/* MXNet takes the signals of a crash for itself as it is loaded, to print its stack; what
 * the process did with them before goes on. */
static void *open_library(const struct gp_host *host,
                          const struct gp_engine_options *options, struct mx_runtime *mx,
                          struct gp_error *err)
{
    static const int signals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGABRT, SIGILL};
    enum { N_SIGNALS = sizeof signals / sizeof *signals };
    struct sigaction before[N_SIGNALS];
    for (size_t i = 0; i < N_SIGNALS; i++)
        (void)sigaction(signals[i], NULL, &before[i]);
    void *handle = host->library_open(&library, options, mx->path, sizeof mx->path, err);
    for (size_t i = 0; i < N_SIGNALS; i++)
        (void)sigaction(signals[i], &before[i], NULL);
    return handle;
}

/* Until its operators have been listed, MXNet lacks what the oldest of them (Pad) know of
 * shapes. Its engine greets as it begins, with the first array. */
static enum gp_status start_engine(struct mx_runtime *mx, int *version,
                                   struct gp_error *err)
{
    enum { CPU = 1 };
    static const uint32_t shape[] = {1};
    uint32_t n;
    AtomicSymbolCreator *operators;
    NDArrayHandle array;
    const int before = dup(STDERR_FILENO);
    const int nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (before >= 0 && nowhere >= 0)
        (void)dup2(nowhere, STDERR_FILENO);
    const bool is_bad = mx->api.GetVersion(version) ||
                        mx->api.SymbolListAtomicSymbolCreators(&n, &operators) ||
                        mx->api.NDArrayCreateEx(shape, 1, CPU, 0, 0, 0, &array) ||
                        mx->api.NDArrayFree(array);
    if (before >= 0 && nowhere >= 0)
        (void)dup2(before, STDERR_FILENO);
    if (before >= 0)
        (void)close(before);
    if (nowhere >= 0)
        (void)close(nowhere);
    return mx_check(mx, is_bad, GP_UNAVAILABLE, "MXNet cannot start", err);
}

static enum gp_status start_runtime(struct mx_runtime *mx, const struct gp_host *host,
                                    const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    struct gp_error mine;
    int version = 0;
    /* each run goes on in the thread that began it: with MXNet's own threads a process
     * often crashes as it ends */
    setenv("MXNET_ENGINE_TYPE", "NaiveEngine", 1);
    setenv("OMP_WAIT_POLICY", "passive", 0);  /* docs/decisions/mxnet.md */
    setenv("MXNET_SUBGRAPH_VERBOSE", "0", 0); /* or it says what it has fused */
    void *handle = open_library(host, options, mx, &mine);
    if (!handle)
        return gp_error_set(err, mine.status, "MXNet: %s", mine.message);
    const char *missing = NULL;
#define FIND(name)                                                                       \
    *(void **)&mx->api.name = dlsym(handle, "MX" #name);                                 \
    missing = mx->api.name ? missing : "MX" #name;
    MX_FUNCTIONS(FIND)
    FIND(GetLastError)
#undef FIND
    if (missing)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "MXNet at %s is another release than 1.9: it has no %s; to "
                            "install that: %s",
                            mx->path, missing, library.remedy);
    const enum gp_status status = start_engine(mx, &version, err);
    if (status == GP_OK)
        (void)snprintf(mx->version, sizeof mx->version, "%d.%d.%d", version / 10000,
                       version / 100 % 100, version % 100);
    return status;
}

enum gp_status mx_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct mx_runtime **mx, struct gp_error *err)
{
    pthread_mutex_lock(&lock);
    const enum gp_status status =
        runtime.version[0] ? GP_OK : start_runtime(&runtime, host, options, err);
    pthread_mutex_unlock(&lock);
    *mx = &runtime;
    return status;
}

/* The line that says something, without the places in MXNet's source before it. */
static void find_words(const char *message, char *line, size_t line_size)
{
    static const char *const marks[] = {"MXNetError: ", "Check failed: ", "Error: "};
    const char *begin = message;
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        const char *mark = strstr(begin, marks[i]);
        begin = mark ? mark + strlen(marks[i]) : begin;
    }
    begin += strspn(begin, " \t\n");
    const size_t size = gp_text_cut(begin, strcspn(begin, "\n"), line_size - 1);
    (void)snprintf(line, line_size, "%.*s", (int)size, begin);
    /* "Error in operator fc: [12:34:56] ../src/operator/pad.h:215: what is wrong" */
    char *place = strstr(line, "../src/");
    char *end = place ? strstr(place, ": ") : NULL;
    while (place && place > line && place[-1] != '[')
        place--;
    if (end && place > line)
        memmove(place - 1, end + 2, strlen(end + 2) + 1);
}

enum gp_status mx_check(const struct mx_runtime *mx, int failed, enum gp_status status,
                        const char *what, struct gp_error *err)
{
    char line[400];
    if (failed == 0)
        return GP_OK;
    find_words(mx->api.GetLastError(), line, sizeof line);
    return gp_error_set(err, status, "%s: %s", what, line);
}

enum gp_dtype mx_dtype(int type)
{
    switch (type) {
#define CASE(ours, theirs)                                                               \
    case theirs:                                                                         \
        return ours;
        DTYPE_MAP(CASE)
#undef CASE
    }
    return GP_NULL;
}

int mx_type(enum gp_dtype dtype)
{
    switch ((int)dtype) {
#define CASE(ours, theirs)                                                               \
    case ours:                                                                           \
        return theirs;
        DTYPE_MAP(CASE)
#undef CASE
    }
    return -1;
}
