/* Two models for Triton, as a back end: the null model reads nothing and answers one float32, as our null
 * engine does; with GP_BENCH_ECHO the answer is what came, float32 of any shape. */
#include "triton_backend.h"

#include <stdlib.h>
#include <string.h>

/* The input's bytes, which may be in pieces, into an output of its shape. */
static struct error *copy(struct request *request, struct response *response)
{
    struct input *input;
    struct output *output;
    const char *name;
    const int64_t *shape;
    uint32_t rank, n_pieces;
    uint64_t size_bytes, at = 0;
    struct error *err;
    void *y;
    int type = 0;
    int64_t id = 0;
    if ((err = TRITONBACKEND_RequestInputByIndex(request, 0, &input)) ||
        (err = TRITONBACKEND_InputProperties(input, &name, &type, &shape, &rank,
                                             &size_bytes, &n_pieces)) ||
        (err = TRITONBACKEND_ResponseOutput(response, &output, "y", FP32, shape, rank)) ||
        (err = TRITONBACKEND_OutputBuffer(output, &y, size_bytes, &type, &id)))
        return err;
    for (uint32_t i = 0; i < n_pieces; i++) {
        const void *piece;
        uint64_t size;
        if ((err = TRITONBACKEND_InputBuffer(input, i, &piece, &size, &type, &id)))
            return err;
        memcpy((char *)y + at, piece, size);
        at += size;
    }
    return NULL;
}

static struct error *one_number(struct response *response)
{
    static const int64_t one[] = {1};
    struct output *output;
    struct error *err;
    void *y;
    int memory_type = 0; /* the processor's */
    int64_t memory_id = 0;
    if ((err = TRITONBACKEND_ResponseOutput(response, &output, "y", FP32, one, 1)) ||
        (err = TRITONBACKEND_OutputBuffer(output, &y, sizeof(float), &memory_type,
                                          &memory_id)))
        return err;
    *(float *)y = 1.0f;
    return NULL;
}

static struct error *answer(struct request *request)
{
    struct response *response;
    struct error *err;
    if ((err = TRITONBACKEND_ResponseNew(&response, request)))
        return err;
    err = getenv("GP_BENCH_ECHO") ? copy(request, response) : one_number(response);
    return err ? err : TRITONBACKEND_ResponseSend(response, FINAL_RESPONSE, NULL);
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
