/* Loads ONNX Runtime once per process: one environment serves all models, as the runtime
 * requires, and stays. Its log goes to the newest model's listener, since an environment
 * has only one logger. */
#include "ort.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct gp_library library = {
    .file = "libonnxruntime.so.1",
    .pattern = "libonnxruntime.so*",
    .deps = "onnxruntime",
    .package = "onnxruntime/capi",
    .remedy = "tools/setup onnx, or pip install onnxruntime",
    .symbol = "OrtGetApiBase",
};

struct ort_api_base {
    const void *(*get_api)(uint32_t version);
    const char *(*get_version)(void);
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ort_runtime runtime;
static struct plugin_listeners listeners = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* Copies text, with each run of blanks and line breaks as one blank. */
static void one_line(const char *text, char *line, size_t line_size)
{
    size_t n = 0;
    for (const char *c = text; *c && gp_text_has_room(*c, n, line_size); c++) {
        const int is_blank = (unsigned char)*c <= ' ';
        if (!is_blank)
            line[n++] = *c;
        else if (n > 0 && line[n - 1] != ' ')
            line[n++] = ' ';
    }
    while (n > 0 && line[n - 1] == ' ')
        n--;
    line[n] = '\0';
}

/* Behind the bracket that closes the first one. */
static char *skip_arguments(char *at)
{
    int depth = 0;
    for (at = strchr(at, '('); at && *at; at++) {
        depth += (*at == '(') - (*at == ')');
        if (depth == 0)
            return at + 1;
    }
    return NULL;
}

/* Cuts "/PATH/FILE.cc:LINE FUNCTION(ARGUMENTS) " and "FILE.cc:LINE NAME " out, which tell
 * the runtime's makers where a check of theirs failed and hide from everybody else what
 * it says. */
static void cut_locations(char *line, const char *suffix)
{
    char *at = line;
    while ((at = strstr(at, suffix)) != NULL) {
        char *begin = at, *end = at + strcspn(at, " ");
        while (begin > line && begin[-1] != ' ')
            begin--;
        char *const name = end + strspn(end, " ");
        end = *begin == '/' ? skip_arguments(name) : name + strcspn(name, " ");
        if (!end)
            return;
        end += strncmp(end, " const ", 7) == 0 ? 6 : 0;
        end += strspn(end, " ");
        memmove(begin, end, strlen(end) + 1);
        at = begin;
    }
}

/* Cuts everything from `begin` up to the end of `end` out. */
static void cut(char *line, const char *begin, const char *end)
{
    char *from = strstr(line, begin), *to = from ? strstr(from, end) : NULL;
    if (to)
        memmove(from, to + strlen(end), strlen(to + strlen(end)) + 1);
}

/* "[ONNXRuntimeError] : 1 : FAIL : what ; GPU=0 ; hostname=... ; file=...": only what. */
static void cut_frame(char *line)
{
    char *begin = strncmp(line, "[ONNXRuntimeError] : ", 21) == 0 ? line + 21 : NULL;
    for (int i = 0; i < 2 && begin; i++) {
        begin = strstr(begin, " : ");
        begin = begin ? begin + 3 : NULL;
    }
    if (begin)
        memmove(line, begin, strlen(begin) + 1);
    char *end = strstr(line, " ; GPU=");
    if (end)
        *end = '\0';
}

static void hear(void *context, int severity, const char *category, const char *id,
                 const char *location, const char *message)
{
    char line[400] = "ONNX Runtime: ";
    const size_t n = strlen(line);
    (void)context;
    (void)category;
    (void)id;
    (void)location;
    const size_t size = gp_text_cut(message, strcspn(message, "\n"), sizeof line - n - 1);
    (void)snprintf(line + n, sizeof line - n, "%.*s", (int)size, message);
    const bool is_error = severity >= ORT_LOG_ERROR;
    pthread_mutex_lock(&listeners.lock);
    struct ort_listener *listener = (struct ort_listener *)listeners.newest;
    if (listener && listener->is_opening && is_error)
        (void)snprintf(listener->error, sizeof listener->error, "%s", line);
    else if (listener && listener->base.log)
        listener->base.log(listener->base.log_context,
                           is_error ? GP_LOG_ERROR : GP_LOG_WARNING, line);
    pthread_mutex_unlock(&listeners.lock);
}

void ort_opened(struct ort_listener *listener)
{
    pthread_mutex_lock(&listeners.lock);
    if (*listener->error && listener->base.log)
        listener->base.log(listener->base.log_context, GP_LOG_ERROR, listener->error);
    listener->is_opening = false;
    pthread_mutex_unlock(&listeners.lock);
}

void ort_listen(struct ort_listener *listener)
{
    plugin_listen(&listeners, &listener->base);
}

void ort_unlisten(struct ort_listener *listener)
{
    plugin_unlisten(&listeners, &listener->base);
}

static enum gp_status fill_api(struct ort_runtime *ort, const struct ort_api_base *base,
                               struct gp_error *err)
{
    (void)snprintf(ort->version, sizeof ort->version, "%s", base->get_version());
    void *const *table = base->get_api(ORT_API);
    if (!table)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "ONNX Runtime %s at %s is too old: 1.%d or "
                            "newer is needed; to install it: %s",
                            ort->version, ort->path, ORT_API, library.remedy);
#define ORT_FILL(slot, returns, name, args) *(void **)&ort->api.name = table[slot];
    ORT_SLOTS(ORT_FILL)
#undef ORT_FILL
    return GP_OK;
}

static enum gp_status start_runtime(struct ort_runtime *ort, const struct gp_host *host,
                                    const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    const struct ort_api_base *(*get_base)(void);
    struct gp_error mine;
    /* official builds report usage over the network, unless told not to before they
     * start */
    setenv("ORT_DISABLE_TELEMETRY", "1", 1);
    void *handle =
        host->library_open(&library, options, ort->path, sizeof ort->path, &mine);
    if (!handle)
        return gp_error_set(err, mine.status, "ONNX Runtime: %s", mine.message);
    *(void **)&get_base = dlsym(handle, library.symbol);
    if (fill_api(ort, get_base(), &mine) != GP_OK)
        return gp_error_set(err, mine.status, "%s", mine.message);

    struct OrtEnv *env = NULL;
    static const char what[] = "ONNX Runtime cannot start";
    if (ort_check(ort,
                  ort->api.CreateEnvWithCustomLogger(hear, NULL, ORT_LOG_WARNING,
                                                     "graphpipe", &env),
                  what, &mine) != GP_OK ||
        ort_check(ort, ort->api.DisableTelemetryEvents(env), what, &mine) != GP_OK ||
        ort_check(ort, ort->api.GetAllocatorWithDefaultOptions(&ort->allocator), what,
                  &mine) != GP_OK ||
        ort_check(ort,
                  ort->api.CreateCpuMemoryInfo(ORT_ALLOCATOR_DEVICE, ORT_MEMORY_DEFAULT,
                                               &ort->memory),
                  what, &mine) != GP_OK)
        return gp_error_set(err, mine.status, "%s", mine.message);
    ort->env = env;
    return GP_OK;
}

enum gp_status ort_runtime_open(const struct gp_host *host,
                                const struct gp_engine_options *options,
                                const struct ort_runtime **ort, struct gp_error *err)
{
    pthread_mutex_lock(&lock);
    const enum gp_status status =
        runtime.env ? GP_OK : start_runtime(&runtime, host, options, err);
    pthread_mutex_unlock(&lock);
    *ort = &runtime;
    return status;
}

enum gp_status ort_check(const struct ort_runtime *ort, struct OrtStatus *status,
                         const char *what, struct gp_error *err)
{
    if (!status)
        return GP_OK;
    char line[1024];
    const int code = ort->api.GetErrorCode(status);
    const char *message = ort->api.GetErrorMessage(status);
    /* "Load model from PATH failed:" says what `what` has said */
    const char *failed =
        strncmp(message, "Load model ", 11) == 0 ? strstr(message, " failed:") : NULL;
    one_line(failed ? failed + strlen(" failed:") : message, line, sizeof line);
    cut_locations(line, ".cc:");
    cut_locations(line, ".h:");
    cut(line, "Exception during initialization: ", ": ");
    cut(line, "[ONNXRuntimeError] : ", "FAIL : ");
    cut(line, "ONNX Runtime only *guarantees*", "opset versions. ");
    cut(line, " and support for this is limited", "backward compatibility");
    cut_frame(line);
    ort->api.ReleaseStatus(status);
    return gp_error_set(err, code == ORT_INVALID_ARGUMENT ? GP_INVALID : GP_ENGINE,
                        "%s: %s", what, line);
}

void ort_release_value(void *value)
{
    runtime.api.ReleaseValue(value);
}

enum gp_dtype ort_dtype(int type)
{
    switch (type) {
#define ORT_CASE(symbol, number)                                                         \
    case number:                                                                         \
        return symbol;
        ORT_DTYPE_MAP(ORT_CASE)
#undef ORT_CASE
    }
    return GP_NULL;
}

int ort_type(enum gp_dtype dtype)
{
    switch ((int)dtype) {
#define ORT_CASE(symbol, number)                                                         \
    case symbol:                                                                         \
        return number;
        ORT_DTYPE_MAP(ORT_CASE)
#undef ORT_CASE
    }
    return 0;
}

const char *ort_type_name(int type)
{
    static const char *const names[] = {
        "undefined",      "float",     "uint8",        "int8",           "uint16",
        "int16",          "int32",     "int64",        "string",         "bool",
        "float16",        "double",    "uint32",       "uint64",         "complex64",
        "complex128",     "bfloat16",  "float8e4m3fn", "float8e4m3fnuz", "float8e5m2",
        "float8e5m2fnuz", "uint4",     "int4",         "float4e2m1",     "uint2",
        "int2",           "float8e8m0"};
    return type >= 0 && (size_t)type < sizeof names / sizeof names[0] ? names[type]
                                                                      : "unknown";
}
