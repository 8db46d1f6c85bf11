/* Opens CNTK once per process, and makes lines of its messages, which come with a trace of
 * its stack. */
#include "ck.h"

#include <dlfcn.h>

static const struct gp_library library = {
    .file = "libCntk.Core-2.7.so",
    .pattern = "libCntk.Core-*.so",
    .deps = "cntk",
    .remedy =
        "tools/setup cntk, in an installation cmake --install BUILD --component cntk",
    .symbol = "CNTK_EvaluateSequence",
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct ck_runtime runtime;

/* "2.7" of ".../libCntk.Core-2.7.so" */
static void find_version(struct ck_runtime *ck)
{
    const char *dash = strrchr(ck->path, '-'), *end = strrchr(ck->path, '.');
    const int size = dash && end && end > dash ? (int)(end - dash - 1) : 0;
    (void)snprintf(ck->version, sizeof ck->version, "%.*s", size, dash ? dash + 1 : "");
}

static enum gp_status start_runtime(struct ck_runtime *ck, const struct gp_host *host,
                                    const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    struct gp_error mine;
    setenv("KMP_BLOCKTIME", "0", 0); /* idle threads sleep: docs/decisions/cntk.md */
    void *handle =
        host->library_open(&library, options, ck->path, sizeof ck->path, &mine);
    if (!handle)
        return gp_error_set(err, mine.status, "CNTK: %s", mine.message);
    const char *missing = NULL;
#define FIND(name, result, arguments)                                                    \
    *(void **)&ck->api.name = dlsym(handle, "CNTK_" #name);                              \
    missing = ck->api.name ? missing : "CNTK_" #name;
    CK_FUNCTIONS(FIND)
#undef FIND
    *(void **)&ck->api.set_n_threads = dlsym(handle, "omp_set_num_threads");
    if (missing)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "CNTK at %s is another release than 2.7: it has no %s; to "
                            "install that: %s",
                            ck->path, missing, library.remedy);
    find_version(ck);
    return GP_OK;
}

enum gp_status ck_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct ck_runtime **ck, struct gp_error *err)
{
    pthread_mutex_lock(&lock);
    const enum gp_status status =
        runtime.version[0] ? GP_OK : start_runtime(&runtime, host, options, err);
    pthread_mutex_unlock(&lock);
    *ck = &runtime;
    return status;
}

enum gp_status ck_check(const struct ck_status *result, enum gp_status status,
                        const char *what, struct gp_error *err)
{
    static const char mark[] = "Exception occurred: '";
    if (result->value == 0)
        return GP_OK;
    const char *begin = result->message;
    size_t size = strnlen(begin, CK_MESSAGE_BYTES);
    const bool is_marked = strncmp(begin, mark, sizeof mark - 1) == 0;
    if (is_marked) {
        begin += sizeof mark - 1;
        size -= sizeof mark - 1;
    }
    const char *end = memmem(begin, size, "'\n, CallStack", strlen("'\n, CallStack"));
    size = end ? (size_t)(end - begin) : size;
    const char *newline = memchr(begin, '\n', size);
    size = newline ? (size_t)(newline - begin) : size;
    return gp_error_set(err, status, "%s: %.*s", what, (int)gp_text_cut(begin, size, 400),
                        begin);
}
