/* What our back ends need of Triton's tritonbackend.h (API 1.x), which comes in no package. Of the functions
 * that a back end may have, TRITONBACKEND_ModelInstanceExecute is required. Errors are Triton's own. */
#ifndef GP_BENCH_TRITON_BACKEND_H
#define GP_BENCH_TRITON_BACKEND_H

#include <stddef.h>
#include <stdint.h>

enum { FP32 = 11, FINAL_RESPONSE = 1, RELEASE_ALL = 1 };

struct error;
struct instance;
struct input;
struct output;
struct request;
struct response;

struct error *TRITONBACKEND_RequestInputByIndex(struct request *request, uint32_t index,
                                                struct input **input);
struct error *TRITONBACKEND_InputProperties(struct input *input, const char **name,
                                            int *datatype, const int64_t **shape,
                                            uint32_t *rank, uint64_t *size_bytes,
                                            uint32_t *n_buffers);
struct error *TRITONBACKEND_InputBuffer(struct input *input, uint32_t index,
                                        const void **buffer, uint64_t *size_bytes,
                                        int *memory_type, int64_t *memory_id);
struct error *TRITONBACKEND_ResponseNew(struct response **response,
                                        struct request *request);
struct error *TRITONBACKEND_ResponseOutput(struct response *response,
                                           struct output **output, const char *name,
                                           int datatype, const int64_t *shape,
                                           uint32_t rank);
struct error *TRITONBACKEND_OutputBuffer(struct output *output, void **buffer,
                                         uint64_t size_bytes, int *memory_type,
                                         int64_t *memory_id);
struct error *TRITONBACKEND_ResponseSend(struct response *response, uint32_t flags,
                                         struct error *err);
struct error *TRITONBACKEND_RequestRelease(struct request *request, uint32_t flags);
struct error *TRITONBACKEND_ModelInstanceExecute(struct instance *instance,
                                                 struct request **requests, uint32_t n);

#endif
