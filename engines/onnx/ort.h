/* The part of ONNX Runtime's C interface that this plug-in uses. Its header comes with no
 * package, but the interface is a table of functions that only grows at its end: a
 * function is identified by its slot, which never changes, and its arguments.
 * OrtGetApiBase()->GetApi(15) gives the table; every release from 1.15 on supports it.
 *
 * A call that fails returns a status that the caller must release; NULL means success. */
#ifndef GP_ONNX_ORT_H
#define GP_ONNX_ORT_H

#include "../plugin.h"

#include <stdbool.h>

#include <stddef.h>
#include <stdint.h>

enum { ORT_API = 15 };

struct OrtAllocator;
struct OrtCUDAProviderOptionsV2;
struct OrtEnv;
struct OrtMemoryInfo;
struct OrtModelMetadata;
struct OrtRunOptions;
struct OrtSession;
struct OrtSessionOptions;
struct OrtStatus;
struct OrtTypeInfo;
struct OrtShapeInfo; /* OrtTensorTypeAndShapeInfo */
struct OrtValue;

typedef void ort_log_fn(void *context, int severity, const char *category, const char *id,
                        const char *location, const char *message);

/* X(slot, what it returns, name, arguments) */
#define ORT_SLOTS(X)                                                                     \
    X(1, int, GetErrorCode, (const struct OrtStatus *))                                  \
    X(2, const char *, GetErrorMessage, (const struct OrtStatus *))                      \
    X(4, struct OrtStatus *, CreateEnvWithCustomLogger,                                  \
      (ort_log_fn *, void *context, int severity, const char *id, struct OrtEnv **))     \
    X(6, struct OrtStatus *, DisableTelemetryEvents, (const struct OrtEnv *))            \
    X(7, struct OrtStatus *, CreateSession,                                              \
      (const struct OrtEnv *, const char *path, const struct OrtSessionOptions *,        \
       struct OrtSession **))                                                            \
    X(9, struct OrtStatus *, Run,                                                        \
      (struct OrtSession *, const struct OrtRunOptions *,                                \
       const char *const *input_names, const struct OrtValue *const *inputs,             \
       size_t n_inputs, const char *const *output_names, size_t n_outputs,               \
       struct OrtValue **outputs))                                                       \
    X(10, struct OrtStatus *, CreateSessionOptions, (struct OrtSessionOptions **))       \
    X(22, struct OrtStatus *, SetSessionLogSeverityLevel,                                \
      (struct OrtSessionOptions *, int))                                                 \
    X(23, struct OrtStatus *, SetSessionGraphOptimizationLevel,                          \
      (struct OrtSessionOptions *, int level))                                           \
    X(24, struct OrtStatus *, SetIntraOpNumThreads, (struct OrtSessionOptions *, int n)) \
    X(25, struct OrtStatus *, SetInterOpNumThreads, (struct OrtSessionOptions *, int n)) \
    X(30, struct OrtStatus *, SessionGetInputCount,                                      \
      (const struct OrtSession *, size_t *n))                                            \
    X(31, struct OrtStatus *, SessionGetOutputCount,                                     \
      (const struct OrtSession *, size_t *n))                                            \
    X(32, struct OrtStatus *, SessionGetOverridableInitializerCount,                     \
      (const struct OrtSession *, size_t *n))                                            \
    X(33, struct OrtStatus *, SessionGetInputTypeInfo,                                   \
      (const struct OrtSession *, size_t index, struct OrtTypeInfo **))                  \
    X(34, struct OrtStatus *, SessionGetOutputTypeInfo,                                  \
      (const struct OrtSession *, size_t index, struct OrtTypeInfo **))                  \
    X(35, struct OrtStatus *, SessionGetOverridableInitializerTypeInfo,                  \
      (const struct OrtSession *, size_t index, struct OrtTypeInfo **))                  \
    X(36, struct OrtStatus *, SessionGetInputName,                                       \
      (const struct OrtSession *, size_t index, struct OrtAllocator *, char **name))     \
    X(37, struct OrtStatus *, SessionGetOutputName,                                      \
      (const struct OrtSession *, size_t index, struct OrtAllocator *, char **name))     \
    X(38, struct OrtStatus *, SessionGetOverridableInitializerName,                      \
      (const struct OrtSession *, size_t index, struct OrtAllocator *, char **name))     \
    X(39, struct OrtStatus *, CreateRunOptions, (struct OrtRunOptions **))               \
    X(41, struct OrtStatus *, RunOptionsSetRunLogSeverityLevel,                          \
      (struct OrtRunOptions *, int))                                                     \
    X(46, struct OrtStatus *, RunOptionsSetTerminate, (struct OrtRunOptions *))          \
    X(47, struct OrtStatus *, RunOptionsUnsetTerminate, (struct OrtRunOptions *))        \
    X(48, struct OrtStatus *, CreateTensorAsOrtValue,                                    \
      (struct OrtAllocator *, const int64_t *shape, size_t rank, int type,               \
       struct OrtValue **))                                                              \
    X(49, struct OrtStatus *, CreateTensorWithDataAsOrtValue,                            \
      (const struct OrtMemoryInfo *, void *data, size_t size_bytes,                      \
       const int64_t *shape, size_t rank, int type, struct OrtValue **))                 \
    X(51, struct OrtStatus *, GetTensorMutableData, (struct OrtValue *, void **data))    \
    X(53, struct OrtStatus *, GetStringTensorDataLength,                                 \
      (const struct OrtValue *, size_t *size_bytes))                                     \
    X(54, struct OrtStatus *, GetStringTensorContent,                                    \
      (const struct OrtValue *, void *bytes, size_t size_bytes, size_t *offsets,         \
       size_t n))                                                                        \
    X(55, struct OrtStatus *, CastTypeInfoToTensorInfo,                                  \
      (const struct OrtTypeInfo *, const struct OrtShapeInfo **))                        \
    X(56, struct OrtStatus *, GetOnnxTypeFromTypeInfo,                                   \
      (const struct OrtTypeInfo *, int *kind))                                           \
    X(60, struct OrtStatus *, GetTensorElementType,                                      \
      (const struct OrtShapeInfo *, int *type))                                          \
    X(61, struct OrtStatus *, GetDimensionsCount,                                        \
      (const struct OrtShapeInfo *, size_t *rank))                                       \
    X(62, struct OrtStatus *, GetDimensions,                                             \
      (const struct OrtShapeInfo *, int64_t *shape, size_t rank))                        \
    X(63, struct OrtStatus *, GetSymbolicDimensions,                                     \
      (const struct OrtShapeInfo *, const char **names, size_t rank))                    \
    X(65, struct OrtStatus *, GetTensorTypeAndShape,                                     \
      (const struct OrtValue *, struct OrtShapeInfo **))                                 \
    X(69, struct OrtStatus *, CreateCpuMemoryInfo,                                       \
      (int allocator_kind, int memory_kind, struct OrtMemoryInfo **))                    \
    X(76, struct OrtStatus *, AllocatorFree, (struct OrtAllocator *, void *))            \
    X(78, struct OrtStatus *, GetAllocatorWithDefaultOptions, (struct OrtAllocator **))  \
    X(93, void, ReleaseStatus, (struct OrtStatus *))                                     \
    X(94, void, ReleaseMemoryInfo, (struct OrtMemoryInfo *))                             \
    X(95, void, ReleaseSession, (struct OrtSession *))                                   \
    X(96, void, ReleaseValue, (struct OrtValue *))                                       \
    X(97, void, ReleaseRunOptions, (struct OrtRunOptions *))                             \
    X(98, void, ReleaseTypeInfo, (struct OrtTypeInfo *))                                 \
    X(99, void, ReleaseTensorTypeAndShapeInfo, (struct OrtShapeInfo *))                  \
    X(100, void, ReleaseSessionOptions, (struct OrtSessionOptions *))                    \
    X(111, struct OrtStatus *, SessionGetModelMetadata,                                  \
      (const struct OrtSession *, struct OrtModelMetadata **))                           \
    X(112, struct OrtStatus *, ModelMetadataGetProducerName,                             \
      (const struct OrtModelMetadata *, struct OrtAllocator *, char **))                 \
    X(113, struct OrtStatus *, ModelMetadataGetGraphName,                                \
      (const struct OrtModelMetadata *, struct OrtAllocator *, char **))                 \
    X(115, struct OrtStatus *, ModelMetadataGetDescription,                              \
      (const struct OrtModelMetadata *, struct OrtAllocator *, char **))                 \
    X(117, struct OrtStatus *, ModelMetadataGetVersion,                                  \
      (const struct OrtModelMetadata *, int64_t *))                                      \
    X(118, void, ReleaseModelMetadata, (struct OrtModelMetadata *))                      \
    X(125, struct OrtStatus *, GetAvailableProviders, (char ***names, int *n))           \
    X(126, struct OrtStatus *, ReleaseAvailableProviders, (char **names, int n))         \
    X(130, struct OrtStatus *, AddSessionConfigEntry,                                    \
      (struct OrtSessionOptions *, const char *key, const char *value))                  \
    X(204, struct OrtStatus *, SessionOptionsAppendExecutionProvider_CUDA_V2,            \
      (struct OrtSessionOptions *, const struct OrtCUDAProviderOptionsV2 *))             \
    X(205, struct OrtStatus *, CreateCUDAProviderOptions,                                \
      (struct OrtCUDAProviderOptionsV2 **))                                              \
    X(206, struct OrtStatus *, UpdateCUDAProviderOptions,                                \
      (struct OrtCUDAProviderOptionsV2 *, const char *const *keys,                       \
       const char *const *values, size_t n))                                             \
    X(208, void, ReleaseCUDAProviderOptions, (struct OrtCUDAProviderOptionsV2 *))        \
    X(252, struct OrtStatus *, GetResizedStringTensorElementBuffer,                      \
      (struct OrtValue *, size_t index, size_t size_bytes, char **bytes))

struct ort_api {
#define ORT_MEMBER(slot, returns, name, args) returns(*name) args;
    ORT_SLOTS(ORT_MEMBER)
#undef ORT_MEMBER
};

/* ONNX's numbers for the element types of GraphPipe. X(symbol, number) */
#define ORT_DTYPE_MAP(X)                                                                 \
    X(GP_FLOAT32, 1)                                                                     \
    X(GP_UINT8, 2)                                                                       \
    X(GP_INT8, 3)                                                                        \
    X(GP_UINT16, 4)                                                                      \
    X(GP_INT16, 5)                                                                       \
    X(GP_INT32, 6)                                                                       \
    X(GP_INT64, 7)                                                                       \
    X(GP_STRING, 8)                                                                      \
    X(GP_BOOL, 9)                                                                        \
    X(GP_FLOAT16, 10)                                                                    \
    X(GP_FLOAT64, 11)                                                                    \
    X(GP_UINT32, 12)                                                                     \
    X(GP_UINT64, 13)                                                                     \
    X(GP_BFLOAT16, 16)

enum { ORT_KIND_TENSOR = 1 }; /* enum ONNXType */
enum { ORT_LOG_WARNING = 2, ORT_LOG_ERROR = 3, ORT_LOG_FATAL = 4 };
enum { ORT_INVALID_ARGUMENT = 2 }; /* enum OrtErrorCode */
enum { ORT_OPTIMIZE_ALL = 99, ORT_ALLOCATOR_DEVICE = 0, ORT_MEMORY_DEFAULT = 0 };

/* The runtime, once per process. */
struct ort_runtime {
    struct ort_api api;
    struct OrtEnv *env;
    struct OrtAllocator *allocator; /* for strings that it returns */
    struct OrtMemoryInfo *memory;   /* "ordinary memory" */
    char version[32];
    char path[512];
};

struct ort_listener {
    struct plugin_listener base; /* first, so that a pointer to it is one to the whole */
    bool is_opening;
    /* Held back while opening: if that fails the status says the same. */
    char error[400];
};

/* Loads the runtime on the first call. */
enum gp_status ort_runtime_open(const struct gp_host *host,
                                const struct gp_engine_options *options,
                                const struct ort_runtime **ort, struct gp_error *err);

void ort_listen(struct ort_listener *listener);
void ort_unlisten(struct ort_listener *listener);

/* The model is open. */
void ort_opened(struct ort_listener *listener);

/* Consumes a status: NULL is GP_OK; otherwise it is released and its message goes to
 * *err, as one line after `what`, which says what failed. */
enum gp_status ort_check(const struct ort_runtime *ort, struct OrtStatus *status,
                         const char *what, struct gp_error *err);

/* ReleaseValue, as a release function for gp_outputs_adopt. */
void ort_release_value(void *value);

/* GraphPipe's type for ONNX's number, GP_NULL if there is none; and ONNX's number, 0 if
 * there is none. The name is ONNX's, a static string. */
enum gp_dtype ort_dtype(int type);
int ort_type(enum gp_dtype dtype);
const char *ort_type_name(int type);

#endif
