/* ONNX Runtime for Triton, as a back end: a batch of requests of one float32 row each is gathered into
 * one buffer, run at once, and given out row by row. Triton's own is in no package; this one does what it
 * does with less around it, on the runtime and the file that ours has. The library, the model, the threads
 * of a run and the values of a row's output come by GP_BENCH_LIBRARY, _MODEL, _THREADS and _VALUES. */
#include "../ort_bench.h"
#include "triton_backend.h"

#include <pthread.h>
#include <string.h>

enum { MOST_ROWS = 64 };

static struct OrtSession *session;
static int64_t n_outputs; /* values of a row */

static void open_model(void)
{
    load_runtime(getenv("GP_BENCH_LIBRARY"));
    session = open_session(getenv("GP_BENCH_MODEL"), atoi(getenv("GP_BENCH_THREADS")), 0);
    read_model(session, 1);
    n_outputs = atoi(getenv("GP_BENCH_VALUES"));
}

/* Appends the row of a request, which may be in pieces. */
static struct error *gather(struct request *request, char *row)
{
    struct input *input;
    size_t have = 0;
    struct error *err = TRITONBACKEND_RequestInputByIndex(request, 0, &input);
    for (uint32_t i = 0; !err && have < n_values * sizeof(float); i++) {
        const void *piece;
        uint64_t size;
        int type = 0;
        int64_t id = 0;
        err = TRITONBACKEND_InputBuffer(input, i, &piece, &size, &type, &id);
        if (!err)
            memcpy(row + have, piece, size);
        have += err ? 0 : size;
    }
    return err;
}

static void run_rows(float *in, float *out, int64_t n)
{
    const char *inputs[] = {input_name}, *outputs[] = {output_name};
    const int64_t in_shape[] = {n, (int64_t)n_values}, out_shape[] = {n, n_outputs};
    struct OrtValue *x, *y;
    need(api.CreateTensorWithDataAsOrtValue(memory, in, (size_t)n * n_values * sizeof *in,
                                            in_shape, 2, FLOAT32, &x));
    need(api.CreateTensorWithDataAsOrtValue(
        memory, out, (size_t)(n * n_outputs) * sizeof *out, out_shape, 2, FLOAT32, &y));
    need(api.Run(session, NULL, inputs, (const struct OrtValue *const *)&x, 1, outputs, 1,
                 &y));
    api.ReleaseValue(x);
    api.ReleaseValue(y);
}

static struct error *answer(struct request *request, const float *row)
{
    const int64_t shape_of_row[] = {1, n_outputs};
    const uint64_t size = (uint64_t)n_outputs * sizeof *row;
    struct response *response;
    struct output *output;
    struct error *err;
    void *y;
    int type = 0;
    int64_t id = 0;
    if ((err = TRITONBACKEND_ResponseNew(&response, request)) ||
        (err = TRITONBACKEND_ResponseOutput(response, &output, output_name, FP32,
                                            shape_of_row, 2)) ||
        (err = TRITONBACKEND_OutputBuffer(output, &y, size, &type, &id)))
        return err;
    memcpy(y, row, size);
    if ((err = TRITONBACKEND_ResponseSend(response, FINAL_RESPONSE, NULL)))
        return err;
    return TRITONBACKEND_RequestRelease(request, RELEASE_ALL);
}

struct error *TRITONBACKEND_ModelInstanceExecute(struct instance *instance,
                                                 struct request **requests, uint32_t n)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    static _Thread_local float *in, *out; /* an instance has a thread of its own */
    struct error *err = NULL;
    (void)instance;
    (void)pthread_once(&once, open_model);
    if (!in) {
        in = malloc(MOST_ROWS * n_values * sizeof *in);
        out = malloc(MOST_ROWS * (size_t)n_outputs * sizeof *out);
    }
    if (!in || !out || n > MOST_ROWS)
        abort();
    for (uint32_t i = 0; i < n && !err; i++)
        err = gather(requests[i], (char *)(in + i * n_values));
    if (!err)
        run_rows(in, out, n);
    for (uint32_t i = 0; i < n && !err; i++)
        err = answer(requests[i], out + (size_t)n_outputs * i);
    return err;
}
