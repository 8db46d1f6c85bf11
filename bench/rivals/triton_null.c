/* The null model for Triton, as a back end: reads nothing and answers one float32, as our null
 * engine does. */
#include "triton_backend.h"

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
