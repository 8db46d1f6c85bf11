/* Opens TensorFlow once per process, and translates its types and its messages, which
 * include places in its source and in the graph. */
#include "tf.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const struct gp_library library = {
    .file = "libtensorflow_cc.so.2",
    .pattern = "libtensorflow_cc.so*",
    .deps = "tensorflow",
    .package = "tensorflow",
    .remedy = "tools/setup tensorflow, or pip install tensorflow_cpu",
    .symbol = "TF_LoadSessionFromSavedModel",
};

/* X(of GraphPipe, of TensorFlow) */
#define DTYPE_MAP(X)                                                                     \
    X(GP_UINT8, TF_UINT8)                                                                \
    X(GP_INT8, TF_INT8)                                                                  \
    X(GP_UINT16, TF_UINT16)                                                              \
    X(GP_INT16, TF_INT16)                                                                \
    X(GP_UINT32, TF_UINT32)                                                              \
    X(GP_INT32, TF_INT32)                                                                \
    X(GP_UINT64, TF_UINT64)                                                              \
    X(GP_INT64, TF_INT64)                                                                \
    X(GP_FLOAT16, TF_HALF)                                                               \
    X(GP_FLOAT32, TF_FLOAT)                                                              \
    X(GP_FLOAT64, TF_DOUBLE)                                                             \
    X(GP_STRING, TF_STRING)                                                              \
    X(GP_BOOL, TF_BOOL)                                                                  \
    X(GP_BFLOAT16, TF_BFLOAT16)

enum { FIRST_REFERENCE = 101 }; /* DT_FLOAT_REF in types.proto */

#define LEVEL "TF_CPP_MIN_LOG_LEVEL"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct tf_runtime runtime;
static struct plugin_listeners listeners = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void hear(const char *message)
{
    char line[400];
    const size_t size = gp_text_cut(message, strcspn(message, "\n"), sizeof line - 32);
    (void)snprintf(line, sizeof line, "the model prints: %.*s", (int)size, message);
    pthread_mutex_lock(&listeners.lock);
    const struct plugin_listener *listener = listeners.newest;
    if (listener && listener->log)
        listener->log(listener->log_context, GP_LOG_INFO, line);
    pthread_mutex_unlock(&listeners.lock);
}

void tf_listen(struct plugin_listener *listener)
{
    plugin_listen(&listeners, listener);
}

void tf_unlisten(struct plugin_listener *listener)
{
    plugin_unlisten(&listeners, listener);
}

static enum gp_status start_runtime(struct tf_runtime *tf, const struct gp_host *host,
                                    const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    struct gp_error mine;
    /* it writes to stderr by itself; what matters also comes back as a status */
    tf->is_quiet = !getenv(LEVEL);
    setenv(LEVEL, "3", 0);
    /* a part of it logs through an Abseil that ignores the environment, while loading and
     * while a model is opened */
    FILE *const before = tf->is_quiet ? plugin_mute() : stderr;
    void *handle =
        host->library_open(&library, options, tf->path, sizeof tf->path, &mine);
    plugin_unmute(before);
    if (!handle)
        return gp_error_set(err, mine.status, "TensorFlow: %s", mine.message);
    const char *missing = NULL;
#define FIND(name)                                                                       \
    *(void **)&tf->api.name = dlsym(handle, "TF_" #name);                                \
    missing = tf->api.name ? missing : "TF_" #name;
    TF_FUNCTIONS(FIND)
#undef FIND
    if (missing)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "TensorFlow at %s is too old: it has no %s; to install "
                            "another: %s",
                            tf->path, missing, library.remedy);
    /* tensorflow::IsGoogleCudaEnabled(), which has no C name */
    *(void **)&tf->has_cuda = dlsym(handle, "_ZN10tensorflow19IsGoogleCudaEnabledEv");
    tf->api.RegisterLogListener(hear);
    tf->version = tf->api.Version();
    return GP_OK;
}

enum gp_status tf_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct tf_runtime **tf, struct gp_error *err)
{
    pthread_mutex_lock(&lock);
    const enum gp_status status =
        runtime.version ? GP_OK : start_runtime(&runtime, host, options, err);
    pthread_mutex_unlock(&lock);
    *tf = &runtime;
    return status;
}

static enum gp_status status_of(TF_Code code)
{
    switch (code) {
    case TF_OK:
        return GP_OK;
    case TF_INVALID_ARGUMENT:
    case TF_OUT_OF_RANGE:
        return GP_INVALID;
    case TF_RESOURCE_EXHAUSTED:
        return GP_NO_MEMORY;
    case TF_UNIMPLEMENTED:
        return GP_UNSUPPORTED;
    case TF_DEADLINE_EXCEEDED:
        return GP_DEADLINE;
    case TF_CANCELLED:
        return GP_CANCELLED;
    default:
        return GP_ENGINE;
    }
}

/* The first line that says something: after "2 root error(s) found." comes "  (0) CODE:
 * what". What follows is where in the graph, or how to read the advice on the web. */
static void first_line(const char *message, char *line, size_t line_size)
{
    static const char several[] = "root error(s) found.";
    const char *begin = strstr(message, several);
    if (begin && begin < message + 8) {
        begin += strlen(several);
        const char *code = strstr(begin, ": ");
        begin = code ? code + 2 : begin;
    } else {
        begin = message;
    }
    begin += strspn(begin, " \t\n");
    const size_t size = gp_text_cut(begin, strcspn(begin, "\n"), line_size - 1);
    (void)snprintf(line, line_size, "%.*s", (int)size, begin);
    /* "Op type not registered 'X' in binary running on HOST. Make sure ..." */
    char *host = strstr(line, " in binary running on ");
    if (host)
        (void)snprintf(host, line_size - (size_t)(host - line), " in this TensorFlow");
    /* "Could not find meta graph def matching supplied tags: { serve }. To inspect
     * ..." */
    char *advice = strstr(line, ". To inspect available tag-sets");
    if (advice)
        *advice = '\0';
}

enum gp_status tf_check(const struct tf_runtime *tf, const TF_Status *status,
                        const char *what, struct gp_error *err)
{
    const TF_Code code = tf->api.GetCode(status);
    char line[480];
    if (code == TF_OK)
        return GP_OK;
    first_line(tf->api.Message(status), line, sizeof line);
    return gp_error_set(err, status_of(code), "%s: %s", what, line);
}

void tf_release_tensor(void *tensor)
{
    runtime.api.DeleteTensor(tensor);
}

enum gp_dtype tf_dtype(TF_DataType type)
{
    const int value = (int)type >= FIRST_REFERENCE ? (int)type - 100 : (int)type;
    switch (value) {
#define CASE(ours, theirs)                                                               \
    case theirs:                                                                         \
        return ours;
        DTYPE_MAP(CASE)
#undef CASE
    }
    return GP_NULL;
}

TF_DataType tf_type(enum gp_dtype dtype)
{
    switch ((int)dtype) {
#define CASE(ours, theirs)                                                               \
    case ours:                                                                           \
        return theirs;
        DTYPE_MAP(CASE)
#undef CASE
    }
    return (TF_DataType)0;
}

const char *tf_type_name(TF_DataType type)
{
    static const char *const names[] = {
        "unknown",     "float",        "double",   "int32",   "uint8",   "int16",
        "int8",        "string",       "complex",  "int64",   "bool",    "qint8",
        "quint8",      "qint32",       "bfloat16", "qint16",  "quint16", "uint16",
        "complex128",  "half",         "resource", "variant", "uint32",  "uint64",
        "float8_e5m2", "float8_e4m3fn"};
    const int value = (int)type >= FIRST_REFERENCE ? (int)type - 100 : (int)type;
    return value >= 0 && (size_t)value < sizeof names / sizeof names[0] ? names[value]
                                                                        : names[0];
}
