/* TensorFlow's C interface, opened at run time: the functions that this plug-in uses,
 * with the types of TensorFlow's own headers. */
#ifndef GP_TENSORFLOW_TF_H
#define GP_TENSORFLOW_TF_H

#include "../plugin.h"

#include <tensorflow/c/c_api.h>

#include <limits.h>
#include <stdbool.h>

#define TF_FUNCTIONS(X)                                                                  \
    X(AllocateTensor)                                                                    \
    X(CloseSession)                                                                      \
    X(DeleteBuffer)                                                                      \
    X(DeleteDeviceList)                                                                  \
    X(DeleteFunction)                                                                    \
    X(DeleteGraph)                                                                       \
    X(DeleteImportGraphDefOptions)                                                       \
    X(DeleteSession)                                                                     \
    X(DeleteSessionOptions)                                                              \
    X(DeleteStatus)                                                                      \
    X(DeleteTensor)                                                                      \
    X(DeviceListCount)                                                                   \
    X(DeviceListType)                                                                    \
    X(Dim)                                                                               \
    X(FinishOperation)                                                                   \
    X(FunctionName)                                                                      \
    X(FunctionToFunctionDef)                                                             \
    X(GetCode)                                                                           \
    X(GraphGetFunctions)                                                                 \
    X(GraphGetOpDef)                                                                     \
    X(GraphGetTensorNumDims)                                                             \
    X(GraphGetTensorShape)                                                               \
    X(GraphImportGraphDef)                                                               \
    X(GraphNextOperation)                                                                \
    X(GraphNumFunctions)                                                                 \
    X(GraphOperationByName)                                                              \
    X(LoadSessionFromSavedModel)                                                         \
    X(Message)                                                                           \
    X(NewBuffer)                                                                         \
    X(NewGraph)                                                                          \
    X(NewImportGraphDefOptions)                                                          \
    X(NewOperation)                                                                      \
    X(NewSession)                                                                        \
    X(NewSessionOptions)                                                                 \
    X(NewStatus)                                                                         \
    X(NewTensor)                                                                         \
    X(NumDims)                                                                           \
    X(OperationGetControlInputs)                                                         \
    X(OperationInput)                                                                    \
    X(OperationInputType)                                                                \
    X(OperationName)                                                                     \
    X(OperationNumControlInputs)                                                         \
    X(OperationNumControlOutputs)                                                        \
    X(OperationNumInputs)                                                                \
    X(OperationNumOutputs)                                                               \
    X(OperationOpType)                                                                   \
    X(OperationOutputNumConsumers)                                                       \
    X(OperationOutputType)                                                               \
    X(OperationToNodeDef)                                                                \
    X(RegisterLogListener)                                                               \
    X(SessionListDevices)                                                                \
    X(SessionRun)                                                                        \
    X(SetStatus)                                                                         \
    X(SetConfig)                                                                         \
    X(TensorByteSize)                                                                    \
    X(TensorData)                                                                        \
    X(TensorType)                                                                        \
    X(Version)

struct tf_api {
#define TF_MEMBER(name) __typeof__(&TF_##name) name;
    TF_FUNCTIONS(TF_MEMBER)
#undef TF_MEMBER
};

struct tf_runtime {
    struct tf_api api;
    const char *version;
    char path[PATH_MAX];
    bool is_quiet;          /* nobody has asked for its log */
    bool (*has_cuda)(void); /* true if built with CUDA; NULL: unknown */
};

/* Loads the runtime on the first call. */
enum gp_status tf_runtime_open(const struct gp_host *host,
                               const struct gp_engine_options *options,
                               const struct tf_runtime **tf, struct gp_error *err);

/* Gets what models print (tf.print). */
void tf_listen(struct plugin_listener *listener);
void tf_unlisten(struct plugin_listener *listener);

/* GP_OK, or the failure with *err saying "WHAT: why" in one line. Leaves the status as it
 * is. */
enum gp_status tf_check(const struct tf_runtime *tf, const TF_Status *status,
                        const char *what, struct gp_error *err);

/* A tensor's deallocator, as a release function for gp_outputs_adopt. */
void tf_release_tensor(void *tensor);

/* GP_NULL for a type that GraphPipe does not have. A reference to a type counts as that
 * type. */
enum gp_dtype tf_dtype(TF_DataType type);
TF_DataType tf_type(enum gp_dtype dtype);
const char *tf_type_name(TF_DataType type);

#endif
