/* Loads OpenVINO once per process: one core serves all models and stays. The library's
 * name includes its release (libopenvino_c.so.2640), and so do those of its dependencies,
 * which it finds in its own folder. */
#include "ov.h"

#include <dlfcn.h>
#include <pthread.h>
#include <string.h>

static const struct gp_library library = {
    .file = "libopenvino_c.so",
    .pattern = "libopenvino_c.so*",
    .deps = "openvino",
    .package = "openvino/libs",
    .remedy = "tools/setup openvino, or pip install openvino",
    .symbol = "ov_core_create",
};

/* X(ours, OpenVINO's) */
#define OV_DTYPE_MAP(X)                                                                  \
    X(GP_BOOL, OV_BOOLEAN)                                                               \
    X(GP_BFLOAT16, BF16)                                                                 \
    X(GP_FLOAT16, F16)                                                                   \
    X(GP_FLOAT32, F32)                                                                   \
    X(GP_FLOAT64, F64)                                                                   \
    X(GP_INT8, I8)                                                                       \
    X(GP_INT16, I16)                                                                     \
    X(GP_INT32, I32)                                                                     \
    X(GP_INT64, I64)                                                                     \
    X(GP_UINT8, U8)                                                                      \
    X(GP_UINT16, U16)                                                                    \
    X(GP_UINT32, U32)                                                                    \
    X(GP_UINT64, U64)

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ov_runtime runtime;

enum gp_dtype ov_dtype(ov_element_type_e type)
{
    switch ((int)type) {
#define OV_CASE(ours, theirs)                                                            \
    case theirs:                                                                         \
        return ours;
        OV_DTYPE_MAP(OV_CASE)
#undef OV_CASE
    }
    return GP_NULL;
}

ov_element_type_e ov_type(enum gp_dtype dtype)
{
    switch ((int)dtype) {
#define OV_CASE(ours, theirs)                                                            \
    case ours:                                                                           \
        return theirs;
        OV_DTYPE_MAP(OV_CASE)
#undef OV_CASE
    }
    return DYNAMIC;
}

const char *ov_type_name(ov_element_type_e type)
{
    static const char *const names[] = {
        "dynamic", "boolean", "bf16",   "f16",    "f32",   "f64", "i4",
        "i8",      "i16",     "i32",    "i64",    "u1",    "u2",  "u3",
        "u4",      "u6",      "u8",     "u16",    "u32",   "u64", "nf4",
        "f8e4m3",  "f8e5m2",  "string", "f4e2m1", "f8e8m0"};
    return (size_t)type < sizeof names / sizeof names[0] ? names[type] : "unknown";
}

/* Headings, and lines that tell OpenVINO's developers where a check failed, hide the
 * actual message from everybody else. */
static bool is_noise(const char *text, size_t size)
{
    static const char *const beginnings[] = {"Exception from ", "Check '",
                                             "Summary:", "FrontEnd API failed with"};
    static const char reading[] = "Loading input model";
    if (size == strlen(reading) && memcmp(text, reading, size) == 0)
        return true;
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        const size_t n = strlen(beginnings[i]);
        if (size >= n && memcmp(text, beginnings[i], n) == 0)
            return text[size - 1] == ':';
    }
    return false;
}

/* The rest of the message, as one line. */
static void one_line(const char *text, char *line, size_t line_size)
{
    static const char reader[] = "[TensorFlow Frontend] ";
    size_t n = 0;
    while (*text) {
        const size_t size = strcspn(text, "\n");
        const char *end = text + size;
        if (!is_noise(text, size)) {
            text += size > 3 && memcmp(text, "-- ", 3) == 0 ? 3 : 0;
            text += strncmp(text, reader, strlen(reader)) == 0 ? strlen(reader) : 0;
            for (; text < end; text++) {
                const bool is_blank = (unsigned char)*text <= ' ';
                if ((!is_blank || (n > 0 && line[n - 1] != ' ')) &&
                    gp_text_has_room(*text, n, line_size))
                    line[n++] = is_blank ? ' ' : *text;
            }
            if (n > 0 && line[n - 1] != ' ' && n + 1 < line_size)
                line[n++] = ' ';
        }
        text = end + (*end == '\n');
    }
    while (n > 0 && line[n - 1] == ' ')
        n--;
    line[n] = '\0';
    char *advice =
        strstr(line, " To facilitate the conversion of unsupported operations");
    if (advice)
        *advice = '\0';
}

enum gp_status ov_check(const struct ov_runtime *ov, ov_status_e failed,
                        enum gp_status status, const char *what, struct gp_error *err)
{
    char line[400] = "";
    if (failed == OK)
        return GP_OK;
    const char *message = ov->ov_get_last_err_msg();
    if (message)
        one_line(message, line, sizeof line);
    ov->ov_free(message);
    /* its message for external weights that are missing or too short */
    static const char weights[] =
        "Invalid usage of method for externally stored data in ";
    if (strncmp(line, weights, strlen(weights)) == 0)
        return gp_error_set(err, status, "%s: cannot read the weights in %s", what,
                            line + strlen(weights));
    return gp_error_set(err, status, "%s: %s", what,
                        *line ? line : ov->ov_get_error_info(failed));
}

enum gp_status ov_view(const struct ov_runtime *ov, enum gp_dtype dtype,
                       const int64_t *sizes, uint32_t rank, const void *data,
                       ov_tensor_t **tensor, struct gp_error *err)
{
    static char nothing[64];
    static int64_t scalar[1];
    const ov_shape_t shape = {rank, rank ? (int64_t *)(uintptr_t)sizes : scalar};
    return ov_check(
        ov,
        ov->ov_tensor_create_from_host_ptr(
            ov_type(dtype), shape, data ? (void *)(uintptr_t)data : nothing, tensor),
        GP_INVALID, "cannot make a tensor", err);
}

/* The numbers of types have changed between releases. They are right if a tensor of each
 * type has the right size. */
static enum gp_status check_types(const struct ov_runtime *ov, struct gp_error *err)
{
    static const int64_t one[] = {1};
    for (int dtype = GP_UINT8; dtype <= GP_BFLOAT16; dtype++) {
        int64_t element;
        size_t size = 0;
        ov_tensor_t *tensor;
        if (dtype == GP_STRING)
            continue;
        const enum gp_status status =
            ov_view(ov, (enum gp_dtype)dtype, one, 1, &element, &tensor, err);
        if (status != GP_OK)
            return status;
        (void)ov->ov_tensor_get_byte_size(tensor, &size);
        ov->ov_tensor_free(tensor);
        if (size != gp_dtype_size((enum gp_dtype)dtype))
            return gp_error_set(err, GP_UNSUPPORTED,
                                "OpenVINO %s at %s numbers its types in another way than "
                                "the headers that this engine was built with; to install "
                                "those: %s",
                                ov->version, ov->path, library.remedy);
    }
    return GP_OK;
}

static enum gp_status fill_table(struct ov_runtime *ov, void *handle,
                                 struct gp_error *err)
{
#define OV_FILL(name)                                                                    \
    *(void **)&ov->name = dlsym(handle, #name);                                          \
    if (!ov->name)                                                                       \
        return gp_error_set(err, GP_UNSUPPORTED,                                         \
                            "OpenVINO at %s is too old: it lacks " #name                 \
                            "; to install a newer one: %s",                              \
                            ov->path, library.remedy);
    OV_FUNCTIONS(OV_FILL)
#undef OV_FILL
    return GP_OK;
}

static enum gp_status start_runtime(struct ov_runtime *ov, const struct gp_host *host,
                                    const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    ov_version_t version;
    struct gp_error mine;
    void *handle =
        host->library_open(&library, options, ov->path, sizeof ov->path, &mine);
    if (!handle)
        return gp_error_set(err, mine.status, "OpenVINO: %s", mine.message);
    enum gp_status status = fill_table(ov, handle, err);
    if (status == GP_OK)
        status = ov_check(ov, ov->ov_get_openvino_version(&version), GP_UNAVAILABLE,
                          "OpenVINO cannot start", err);
    if (status != GP_OK)
        return status;
    (void)snprintf(ov->version, sizeof ov->version, "%.*s",
                   (int)strcspn(version.buildNumber, "-"), version.buildNumber);
    ov->ov_version_free(&version);
    status = check_types(ov, err);
    if (status != GP_OK)
        return status;
    return ov_check(ov, ov->ov_core_create(&ov->core), GP_UNAVAILABLE,
                    "OpenVINO cannot start", err);
}

enum gp_status ov_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct ov_runtime **ov, struct gp_error *err)
{
    struct ov_runtime started = {0};
    enum gp_status status = GP_OK;
    pthread_mutex_lock(&lock);
    if (!runtime.core) {
        status = start_runtime(&started, host, options, err);
        if (status == GP_OK)
            runtime = started;
    }
    pthread_mutex_unlock(&lock);
    *ov = &runtime;
    return status;
}
