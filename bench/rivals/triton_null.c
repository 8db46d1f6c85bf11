/* The null model for Triton, as a back end: reads nothing and answers one float32, as our null
 * engine does. Triton's headers come in no package, so the few calls are declared here
 * (tritonbackend.h, API 1.x); of the functions a back end may have, one is required. */
#include <stddef.h>
#include <stdint.h>

enum { FP32 = 11, FINAL_RESPONSE = 1, RELEASE_ALL = 1 };

struct error;
struct instance;
struct output;
struct request;
struct response;

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

static struct error *answer(struct request *request)
{
    static const int64_t one[] = {1};
    struct response *response;
    struct output *output;
    struct error *err;
    void *y;
    int memory_type = 0; /* the processor's */
    int64_t memory_id = 0;
    if ((err = TRITONBACKEND_ResponseNew(&response, request)) ||
        (err = TRITONBACKEND_ResponseOutput(response, &output, "y", FP32, one, 1)) ||
        (err = TRITONBACKEND_OutputBuffer(output, &y, sizeof(float), &memory_type,
                                          &memory_id)))
        return err;
    *(float *)y = 1.0f;
    return TRITONBACKEND_ResponseSend(response, FINAL_RESPONSE, NULL);
}

/* An error would leave the requests with Triton; without batching there is one. */
struct error *TRITONBACKEND_ModelInstanceExecute(struct instance *instance,
                                                 struct request **requests, uint32_t n)
{
    struct error *err = NULL;
    (void)instance;
    for (uint32_t i = 0; i < n && !err; i++) {
        err = answer(requests[i]);
        if (!err)
            err = TRITONBACKEND_RequestRelease(requests[i], RELEASE_ALL);
    }
    return err;
}
