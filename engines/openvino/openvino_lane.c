/* How a model is compiled, and its requests. OpenVINO fixes at compile time how many runs
 * are concurrent (streams) and how many threads they share. Runs of several threads
 * answer soonest, but when all cores have runs, runs of one thread each get more done. So
 * small models without a given number of threads are compiled twice: a single run takes
 * the first lane, one stream of all cores, all others the second, where each slot has a
 * stream.
 *
 * All runs are handed to OpenVINO's own threads, one per stream. In the calling thread a
 * run would begin some 10 us sooner, but then the thread determines the stream, so that
 * two runs may wait for one stream while another is idle, and with streams of one thread
 * 2026.4 loses the errors of such runs and returns garbage. */
#include "openvino.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Weights up to this size may be in memory twice. */
enum { TWICE_LIMIT_BYTES = 256 << 20 };

static void request_destroy(struct ov_request *request)
{
    const struct ov_model *model = request->lane->model;
    for (uint32_t i = 0; request->bound && i < model->n_outputs; i++)
        model->ov->ov_tensor_free(request->bound[i].own);
    model->ov->ov_infer_request_free(request->infer);
    free(request->bound);
    free(request);
}

static struct ov_request *request_create(struct ov_lane *lane, struct gp_error *err)
{
    const struct ov_model *model = lane->model;
    const struct ov_runtime *ov = model->ov;
    struct ov_request *request = calloc(1, sizeof *request);
    struct ov_bound *bound = calloc(model->n_outputs, sizeof *bound);
    if (!request || !bound) {
        free(request);
        free(bound);
        gp_error_set(err, GP_NO_MEMORY, "no memory for a run");
        return NULL;
    }
    request->lane = lane;
    request->edition = lane->edition;
    request->bound = bound;
    enum gp_status status = ov_check(
        ov, ov->ov_compiled_model_create_infer_request(lane->compiled, &request->infer),
        GP_ENGINE, "cannot prepare a run", err);
    for (uint32_t i = 0; i < model->n_outputs && status == GP_OK; i++)
        if (openvino_io_is_fixed(&model->outputs[i]))
            status = ov_check(ov,
                              ov->ov_infer_request_get_output_tensor_by_index(
                                  request->infer, i, &bound[i].own),
                              GP_ENGINE, model->outputs[i].name, err);
    if (status == GP_OK)
        return request;
    request_destroy(request);
    return NULL;
}

struct ov_request *openvino_request_take(struct ov_lane *lane, struct gp_error *err)
{
    pthread_mutex_lock(&lane->lock);
    struct ov_request *request = lane->free;
    if (request)
        lane->free = request->next;
    pthread_mutex_unlock(&lane->lock);
    if (!request)
        request = request_create(lane, err);
    if (request) {
        atomic_store(&request->n_users, 1);
        atomic_store(&request->is_cancelled, false);
    }
    return request;
}

void openvino_request_give(void *arg)
{
    struct ov_request *request = arg;
    struct ov_lane *lane = request->lane;
    if (atomic_fetch_sub(&request->n_users, 1) > 1)
        return;
    pthread_mutex_lock(&lane->lock);
    const bool is_current = request->edition == lane->edition;
    if (is_current) {
        request->next = lane->free;
        lane->free = request;
    }
    pthread_mutex_unlock(&lane->lock);
    if (!is_current)
        request_destroy(request);
}

static uint32_t read_number(const struct ov_lane *lane, const char *key,
                            uint32_t fallback)
{
    const struct ov_runtime *ov = lane->model->ov;
    char *text = NULL;
    if (ov->ov_compiled_model_get_property(lane->compiled, key, &text) != OK || !text)
        return fallback;
    const unsigned long number = strtoul(text, NULL, 10);
    ov->ov_free(text);
    return number > 0 && number < UINT32_MAX ? (uint32_t)number : fallback;
}

/* A processor without bf16 silently gets f32. */
static enum gp_status check_precision(const struct ov_lane *lane, struct gp_error *err)
{
    const struct ov_model *model = lane->model;
    char *text = NULL;
    enum gp_status status =
        ov_check(model->ov,
                 model->ov->ov_compiled_model_get_property(
                     lane->compiled, "INFERENCE_PRECISION_HINT", &text),
                 GP_ENGINE, "cannot read the model's precision", err);
    if (status == GP_OK && strcmp(text, model->precision) != 0)
        status = gp_error_set(err, GP_UNSUPPORTED,
                              "precision=%s: OpenVINO computes with %s on this processor",
                              model->precision, text);
    model->ov->ov_free(text);
    return status;
}

/* Threads are not pinned: the server's other threads need the cores as well. */
static enum gp_status lane_compile(struct ov_lane *lane, struct gp_error *err)
{
    const struct ov_model *model = lane->model;
    const struct ov_runtime *ov = model->ov;
    char streams[16], threads[16], what[256];
    (void)snprintf(streams, sizeof streams, "%u", lane->n_streams);
    (void)snprintf(threads, sizeof threads, "%u", lane->n_threads);
    (void)snprintf(what, sizeof what, "cannot compile the model %.*s",
                   gp_cut(model->files[0], 200), model->files[0]);
    const char *const p[][2] = {{"INFERENCE_PRECISION_HINT", model->precision},
                                {"NUM_STREAMS", streams},
                                {"INFERENCE_NUM_THREADS", threads},
                                {"ENABLE_CPU_PINNING", "NO"}};
    return ov_check(ov,
                    ov->ov_core_compile_model(ov->core, model->graph, "CPU",
                                              sizeof p / sizeof p[0][0], &lane->compiled,
                                              p[0][0], p[0][1], p[1][0], p[1][1], p[2][0],
                                              p[2][1], p[3][0], p[3][1]),
                    GP_ENGINE, what, err);
}

static enum gp_status lane_open(struct ov_model *model, uint32_t n_streams,
                                uint32_t n_threads, struct gp_error *err)
{
    struct ov_lane *lane = &model->lanes[model->n_lanes];
    *lane =
        (struct ov_lane){.model = model, .n_streams = n_streams, .n_threads = n_threads};
    enum gp_status status = lane_compile(lane, err);
    if (status != GP_OK)
        return status;
    pthread_mutex_init(&lane->lock, NULL);
    model->n_lanes++;
    lane->n_streams = read_number(lane, "NUM_STREAMS", n_streams);
    return check_precision(lane, err);
}

static uint32_t least(uint32_t a, uint32_t b)
{
    return a < b ? a : b;
}

enum gp_status openvino_lanes_open(struct ov_model *model,
                                   const struct gp_engine_options *options,
                                   struct gp_error *err)
{
    const uint32_t n_cores = options->n_cores ? options->n_cores : 1;
    const uint32_t n_threads =
        options->n_threads ? least(options->n_threads, n_cores) : n_cores;
    model->n_cores = n_cores;
    model->n_slots = options->n_slots ? options->n_slots : n_cores;
    const uint32_t n_streams =
        options->n_threads ? least(model->n_slots, n_cores / n_threads) : 1;
    enum gp_status status = lane_open(model, n_streams, n_streams * n_threads, err);
    if (status == GP_OK && !options->n_threads && n_cores > 1 && model->n_slots > 1 &&
        model->size_bytes <= TWICE_LIMIT_BYTES)
        status = lane_open(model, least(model->n_slots, n_cores), n_cores, err);
    if (status == GP_OK)
        (void)snprintf(model->summary, sizeof model->summary, "cpu  %u thread%s  %s",
                       n_threads, n_threads == 1 ? "" : "s", model->precision);
    return status;
}

static void drop_requests(struct ov_lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    struct ov_request *request = lane->free, *next;
    lane->free = NULL;
    lane->edition++;
    pthread_mutex_unlock(&lane->lock);
    for (; request; request = next) {
        next = request->next;
        request_destroy(request);
    }
}

/* Answers that still hold a request of an older edition destroy it when they are done. */
enum gp_status openvino_lanes_renew(struct ov_model *model, struct gp_error *err)
{
    enum gp_status status = openvino_shapes_hold(model, err);
    for (uint32_t i = 0; i < model->n_lanes && status == GP_OK; i++) {
        struct ov_lane *lane = &model->lanes[i];
        drop_requests(lane);
        model->ov->ov_compiled_model_free(lane->compiled);
        lane->compiled = NULL;
        status = lane_compile(lane, err);
    }
    openvino_shapes_let_go(model);
    return status;
}

void openvino_lanes_close(struct ov_model *model)
{
    for (uint32_t i = 0; i < model->n_lanes; i++) {
        struct ov_lane *lane = &model->lanes[i];
        drop_requests(lane);
        pthread_mutex_destroy(&lane->lock);
        model->ov->ov_compiled_model_free(lane->compiled);
    }
}

/* --- warm-up
 * ---------------------------------------------------------------------------- */

/* Inputs of `rows` rows, all zero, over one block of memory for the largest. */
static enum gp_status set_zeros(const struct ov_model *model, struct ov_request *request,
                                int64_t rows, const void *zeros, struct gp_error *err)
{
    const struct ov_runtime *ov = model->ov;
    for (uint32_t i = 0; i < model->n_inputs; i++) {
        const struct gp_io *io = &model->inputs[i];
        int64_t sizes[GP_MAX_RANK];
        ov_tensor_t *tensor = NULL;
        for (uint32_t axis = 0; axis < io->rank; axis++)
            sizes[axis] = io->shape[axis] < 0 ? rows : io->shape[axis];
        enum gp_status status =
            ov_view(ov, io->dtype, sizes, io->rank, zeros, &tensor, err);
        if (status == GP_OK)
            status = ov_check(
                ov,
                ov->ov_infer_request_set_input_tensor_by_index(request->infer, i, tensor),
                GP_INVALID, io->name, err);
        ov->ov_tensor_free(tensor);
        if (status != GP_OK)
            return status;
    }
    return GP_OK;
}

/* All streams at once: the first run of a size is slow on each of them. */
static enum gp_status lane_warm_up(struct ov_lane *lane, int64_t rows, const void *zeros,
                                   struct gp_error *err)
{
    const struct ov_runtime *ov = lane->model->ov;
    struct ov_request *started = NULL;
    enum gp_status status = GP_OK;
    for (uint32_t i = 0; i < lane->n_streams && status == GP_OK; i++) {
        struct ov_request *request = openvino_request_take(lane, err);
        if (!request)
            status = GP_ENGINE;
        else if ((status = set_zeros(lane->model, request, rows, zeros, err)) != GP_OK)
            openvino_request_give(request);
        else {
            request->next = started;
            started = request;
            status = ov_check(ov, ov->ov_infer_request_start_async(request->infer),
                              GP_ENGINE, "warm-up", err);
        }
    }
    for (struct ov_request *next; started; started = next) {
        char what[64];
        next = started->next;
        (void)snprintf(what, sizeof what, "warm-up with %lld rows", (long long)rows);
        const ov_status_e failed = ov->ov_infer_request_wait(started->infer);
        if (status == GP_OK)
            status = ov_check(ov, failed, GP_ENGINE, what, err);
        openvino_request_give(started);
    }
    return status;
}

/* Bytes of the largest input with that many rows; only the first size may be free. */
static enum gp_status zeros_size(const struct ov_model *model, int64_t rows, size_t *size,
                                 struct gp_error *err)
{
    bool is_free = false;
    *size = 1;
    for (uint32_t i = 0; i < model->n_inputs; i++) {
        const struct gp_io *io = &model->inputs[i];
        int64_t sizes[GP_MAX_RANK];
        for (uint32_t axis = 0; axis < io->rank; axis++) {
            const bool is_rows = axis == 0 && io->shape[axis] < 0;
            if (!is_rows && io->shape[axis] < 0)
                return gp_error_set(
                    err, GP_INVALID,
                    "warm-up: input \"%s\" has a free size besides the rows", io->name);
            sizes[axis] = is_rows ? rows : io->shape[axis];
            is_free = is_free || is_rows;
        }
        const size_t bytes = gp_tensor_view(io->dtype, sizes, io->rank, NULL).size_bytes;
        *size = bytes > *size ? bytes : *size;
    }
    if (!is_free && rows != 1)
        return gp_error_set(err, GP_INVALID,
                            "warm-up: no input has a free number of rows, so it can be 1 "
                            "only, not %lld",
                            (long long)rows);
    return GP_OK;
}

enum gp_status openvino_lanes_warm_up(struct ov_model *model, const char *rows,
                                      struct gp_error *err)
{
    const char *const whole = rows;
    do {
        char *end;
        size_t size;
        errno = 0;
        const long long n = strtoll(rows, &end, 10);
        if (errno || end == rows || n < 1 || n > INT32_MAX || (*end && *end != ','))
            return gp_error_set(err, GP_INVALID,
                                "warm-up=%s: numbers of rows are wanted, as in "
                                "warm-up=1,8,32",
                                whole);
        enum gp_status status = zeros_size(model, n, &size, err);
        void *zeros = status == GP_OK ? calloc(1, size) : NULL;
        if (status == GP_OK && !zeros)
            status =
                gp_error_set(err, GP_NO_MEMORY, "warm-up: no memory for %lld rows", n);
        for (uint32_t i = 0; i < model->n_lanes && status == GP_OK; i++)
            status = lane_warm_up(&model->lanes[i], n, zeros, err);
        free(zeros);
        if (status != GP_OK)
            return status;
        rows = *end ? end + 1 : end;
    } while (*rows);
    return GP_OK;
}
