/* MXNet's C interface, opened at run time: the functions that this plug-in uses, with the
 * types of MXNet's own header. Each returns 0, or another number and keeps the message for
 * the thread; what it returns as a list belongs to MXNet until the thread's next call. */
#ifndef GP_MXNET_MX_H
#define GP_MXNET_MX_H

#include "../plugin.h"

#include <mxnet/c_api.h>

#include <limits.h>

#define MX_FUNCTIONS(X)                                                                  \
    X(ExecutorBindEX)                                                                    \
    X(ExecutorForward)                                                                   \
    X(ExecutorFree)                                                                      \
    X(ExecutorOutputs)                                                                   \
    X(GetVersion)                                                                        \
    X(NDArrayCreateEx)                                                                   \
    X(NDArrayFree)                                                                       \
    X(NDArrayGetDType)                                                                   \
    X(NDArrayGetShapeEx)                                                                 \
    X(NDArrayGetStorageType)                                                             \
    X(NDArraySyncCopyFromCPU)                                                            \
    X(NDArraySyncCopyToCPU)                                                              \
    X(SetIsNumpyShape)                                                                   \
    X(SetNumOMPThreads)                                                                  \
    X(SymbolCreateFromJSON)                                                              \
    X(SymbolFree)                                                                        \
    X(SymbolInferShapeEx)                                                                \
    X(SymbolInferShapePartialEx)                                                         \
    X(SymbolInferTypePartial)                                                            \
    X(SymbolListArguments)                                                               \
    X(SymbolListAtomicSymbolCreators)                                                    \
    X(SymbolListAttr)                                                                    \
    X(SymbolListAuxiliaryStates)                                                         \
    X(SymbolListOutputs)

struct mx_api {
#define MX_MEMBER(name) __typeof__(&MX##name) name;
    MX_FUNCTIONS(MX_MEMBER)
#undef MX_MEMBER
    __typeof__(&MXGetLastError) GetLastError;
};

struct mx_runtime {
    struct mx_api api;
    char version[16];
    char path[PATH_MAX];
};

/* Loads the runtime on the first call. */
enum gp_status mx_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct mx_runtime **mx, struct gp_error *err);

/* GP_OK if a call returned 0; otherwise `status`, and *err says "WHAT: why" in one line. */
enum gp_status mx_check(const struct mx_runtime *mx, int failed, enum gp_status status,
                        const char *what, struct gp_error *err);

/* GP_NULL for a type that GraphPipe does not have, -1 for one that MXNet lacks. */
enum gp_dtype mx_dtype(int type);
int mx_type(enum gp_dtype dtype);

#endif
