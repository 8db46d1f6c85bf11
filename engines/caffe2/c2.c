/* Opens Caffe2 once per process: its library, and the bridge, which is linked with that and lies
 * beside the plug-in. */
#include "caffe2.h"

#include <dlfcn.h>

#define BRIDGE "graphpipe-caffe2-bridge.so"

static const struct gp_library library = {
    .pattern = "libtorch_cpu.so",
    .deps = "caffe2/lib",
    .remedy = "tools/setup caffe2, in an installation cmake --install BUILD --component "
              "caffe2",
    /* of what makes predictors: PyTorch's libraries of today lack it */
    .symbol = "_ZN6caffe219CPUOperatorRegistryB5cxx11Ev",
};

static const char before_remedy[] = "; to install it: ";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct c2_runtime runtime;

/* Two libraries of one name cannot be told apart by what needs them: Caffe2's would get parts of
 * PyTorch's. It does not happen where a process runs the models of one engine. */
static enum gp_status refuse_company(struct gp_error *err)
{
    static const char *const names[] = {"libc10.so", "libtorch_cpu.so"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        void *handle = dlopen(names[i], RTLD_LAZY | RTLD_NOLOAD);
        if (!handle)
            continue;
        dlclose(handle);
        return gp_error_set(err, GP_UNAVAILABLE,
                            "Caffe2 needs a process without PyTorch: a library with the "
                            "name of one of its own, %s, is already in this one",
                            names[i]);
    }
    return GP_OK;
}

static const struct c2_bridge *open_bridge(struct gp_error *err)
{
    Dl_info info;
    char path[PATH_MAX];
    if (!dladdr(&runtime, &info) || !info.dli_fname)
        info.dli_fname = "";
    const char *slash = strrchr(info.dli_fname, '/');
    const int size = slash ? (int)(slash - info.dli_fname) + 1 : 0;
    (void)snprintf(path, sizeof path, "%.*s" BRIDGE, size, info.dli_fname);
    if (access(path, F_OK) != 0) {
        gp_error_set(err, GP_UNAVAILABLE, "%s, the bridge to Caffe2, is missing%s%s",
                     path, before_remedy, library.remedy);
        return NULL;
    }
    void *handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!handle) {
        gp_error_set(err, GP_UNAVAILABLE,
                     "the Caffe2 at %s is not that of PyTorch 1.7.1: %s%s%s",
                     runtime.path, dlerror(), before_remedy, library.remedy);
        return NULL;
    }
    const struct c2_bridge *(*entry)(void);
    *(void **)&entry = dlsym(handle, C2_BRIDGE_ENTRY);
    if (!entry)
        gp_error_set(err, GP_UNAVAILABLE, "%s has no " C2_BRIDGE_ENTRY, path);
    return entry ? entry() : NULL;
}

static enum gp_status start_runtime(const struct gp_host *host,
                                    const struct gp_engine_options *options,
                                    struct gp_error *err)
{
    struct gp_error mine;
    enum gp_status status = refuse_company(err);
    if (status != GP_OK)
        return status;
    setenv("OMP_WAIT_POLICY", "passive", 0); /* docs/decisions/mxnet.md */
    if (!host->library_open(&library, options, runtime.path, sizeof runtime.path, &mine))
        return gp_error_set(err, mine.status, "Caffe2: %s", mine.message);
    const struct c2_bridge *bridge = open_bridge(err);
    if (!bridge)
        return GP_UNAVAILABLE;
    status = bridge->start(err);
    if (status == GP_OK)
        runtime.bridge = bridge;
    return status;
}

enum gp_status c2_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct c2_runtime **opened, struct gp_error *err)
{
    pthread_mutex_lock(&lock);
    const enum gp_status status =
        runtime.bridge ? GP_OK : start_runtime(host, options, err);
    pthread_mutex_unlock(&lock);
    *opened = &runtime;
    return status;
}
