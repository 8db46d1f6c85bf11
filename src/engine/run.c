/* One run of an engine. Outputs go to the pool, small ones to the arena. Outputs are
 * checked when the engine sets them, so that after the run only their completeness
 * remains to be checked.
 *
 * Stopping: engine_run_cancel may come from any thread at any time, and the engine's
 * function must be called at most once and never after its run has returned. The lock is
 * held during that call, and the run's thread takes it when the engine returns, which
 * decides the race. */
#include "engine/engine.h"

#include "base/arena.h"
#include "base/checked.h"

#include <string.h>

enum {
    ALIGNMENT = 64,
    FIRST_CAPACITY = 8,
    STRING_HEAP_BYTES = 64 /* an object of the framework, beside the bytes */
};

static struct engine_run *run_of(struct gp_outputs *outputs)
{
    return (struct engine_run *)(void *)outputs; /* face is the first member */
}

static void output_drop(struct engine_run *run, struct engine_output *output)
{
    if (output->release)
        output->release(output->release_arg);
    pool_give(run->pool, &output->buffer);
    *output = (struct engine_output){0};
}

/* The element of `index`, added if it is new and emptied if it is not; NULL and *err if
 * it cannot be set. */
static struct engine_output *output_at(struct engine_run *run, uint32_t index,
                                       struct gp_error *err)
{
    const uint32_t limit = run->call.n_outputs ? run->call.n_outputs : GP_MAX_TENSORS;
    if (index >= limit) {
        gp_error_set(err, GP_INTERNAL, "the engine sets output %u of %u", index, limit);
        return NULL;
    }
    if (index >= run->capacity) {
        uint32_t capacity = run->capacity ? run->capacity : FIRST_CAPACITY;
        while (capacity <= index)
            capacity *= 2;
        const size_t size = capacity * sizeof *run->outputs;
        struct engine_output *outputs = gp_arena_alloc(run->arena, size);
        if (!outputs) {
            gp_error_set(err, GP_NO_MEMORY, "no memory for %u outputs", capacity);
            return NULL;
        }
        memset(outputs, 0, size);
        if (run->n_outputs)
            memcpy(outputs, run->outputs, run->n_outputs * sizeof *outputs);
        run->outputs = outputs;
        run->capacity = capacity;
    }
    output_drop(run, &run->outputs[index]);
    return &run->outputs[index];
}

/* A tensor of this type and shape, without data; the shape is copied into the arena. */
static enum gp_status tensor_shape(struct engine_run *run, uint32_t index,
                                   enum gp_dtype dtype, const int64_t *shape,
                                   uint32_t rank, struct gp_tensor *tensor,
                                   struct gp_error *err)
{
    const size_t stride = gp_dtype_stride(dtype);
    if (stride == 0)
        return gp_error_set(err, GP_INTERNAL,
                            "the engine gives output %u the unknown type %u", index,
                            (unsigned)dtype);
    if (rank > GP_MAX_RANK)
        return gp_error_set(err, GP_UNSUPPORTED,
                            "output %u has rank %u, over the limit of %u", index, rank,
                            GP_MAX_RANK);
    const int64_t n = gp_shape_count(shape, rank);
    size_t size_bytes;
    if (n < 0 || !checked_mul((size_t)n, stride, &size_bytes)) {
        char text[128];
        return gp_error_set(err, GP_INTERNAL, "output %u cannot have the shape %s", index,
                            gp_shape_format(dtype, shape, rank, text, sizeof text));
    }
    int64_t *copy = NULL;
    if (rank > 0) {
        copy = gp_arena_alloc(run->arena, rank * sizeof *copy);
        if (!copy)
            return gp_error_set(err, GP_NO_MEMORY, "no memory for the shape of output %u",
                                index);
        memcpy(copy, shape, rank * sizeof *copy);
    }
    *tensor = (struct gp_tensor){NULL, copy, NULL, size_bytes, dtype, rank};
    return GP_OK;
}

static void output_keep(struct engine_run *run, uint32_t index,
                        const struct engine_output *output)
{
    run->outputs[index] = *output;
    run->outputs[index].is_set = true;
    if (run->n_outputs <= index)
        run->n_outputs = index + 1;
}

/* Aligned memory of the arena. */
static void *arena_aligned(struct gp_arena *arena, size_t size_bytes)
{
    unsigned char *block = gp_arena_alloc(arena, size_bytes + ALIGNMENT - 1);
    return block ? block + (-(uintptr_t)block & (ALIGNMENT - 1)) : NULL;
}

/* Its pages are put in place at once: the engine is about to write them. */
static void *take_buffer(struct engine_run *run, size_t size, struct pool_buffer *buffer)
{
    if (!pool_take(run->pool, run->memory.outputs, size, &run->promise, buffer))
        return NULL;
    const bool is_touched = run->writes_outputs
                                ? pool_touch(run->pool, buffer, size)
                                : pool_touch_zeroed(run->pool, buffer, size);
    if (!is_touched)
        pool_give(run->pool, buffer);
    return buffer->data;
}

static void *outputs_alloc(struct gp_outputs *outputs, uint32_t index,
                           enum gp_dtype dtype, const int64_t *shape, uint32_t rank,
                           struct gp_error *err)
{
    struct engine_run *run = run_of(outputs);
    struct engine_output output = {0};
    void *data;
    if (!output_at(run, index, err) ||
        tensor_shape(run, index, dtype, shape, rank, &output.tensor, err) != GP_OK)
        return NULL;
    const size_t size = output.tensor.size_bytes;
    if (size <= ENGINE_SMALL_BYTES || (run->take && dtype == GP_STRING))
        data = arena_aligned(run->arena, size);
    else if (run->take)
        data = run->take(run, size);
    else
        data = take_buffer(run, size, &output.buffer);
    if (!data) {
        gp_error_set(err, GP_NO_MEMORY, "no memory for output %u: %zu bytes", index,
                     size);
        return NULL;
    }
    /* Strings that are never set are empty; buffers were cleared when they were taken. */
    if (dtype == GP_STRING || (!run->writes_outputs && size <= ENGINE_SMALL_BYTES))
        memset(data, 0, size);
    output.tensor.data = data;
    output_keep(run, index, &output);
    return data;
}

static enum gp_status outputs_adopt(struct gp_outputs *outputs, uint32_t index,
                                    const struct gp_tensor *tensor,
                                    void (*release)(void *arg), void *arg,
                                    struct gp_error *err)
{
    struct engine_run *run = run_of(outputs);
    struct engine_output output = {.release = release, .release_arg = arg};
    struct gp_error mine; /* err may be NULL, so its status cannot be used */
    if (!output_at(run, index, &mine) ||
        tensor_shape(run, index, tensor->dtype, tensor->shape, tensor->rank,
                     &output.tensor, &mine) != GP_OK)
        return gp_error_set(err, mine.status, "%s", mine.message);
    const size_t size = output.tensor.size_bytes;
    if (tensor->size_bytes != size || (size > 0 && !tensor->data)) {
        char text[128];
        return gp_error_set(err, GP_INTERNAL,
                            "the engine gives output %u %zu bytes%s, %s needs "
                            "%zu",
                            index, tensor->size_bytes, tensor->data ? "" : " at NULL",
                            gp_shape_format(tensor->dtype, tensor->shape, tensor->rank,
                                            text, sizeof text),
                            size);
    }
    output.tensor.data = tensor->data;
    output_keep(run, index, &output);
    return GP_OK;
}

enum gp_status engine_run_set(struct engine_run *run, uint32_t index,
                              const struct gp_tensor *tensor, struct pool_buffer *buffer,
                              struct gp_error *err)
{
    const enum gp_status status =
        outputs_adopt(&run->face, index, tensor, NULL, NULL, err);
    if (status == GP_OK) {
        run->outputs[index].buffer = *buffer;
        *buffer = (struct pool_buffer){0};
    }
    return status;
}

static void *outputs_memory(struct gp_outputs *outputs, size_t size_bytes,
                            struct gp_error *err)
{
    void *memory = gp_arena_alloc(run_of(outputs)->arena, size_bytes);
    if (!memory)
        gp_error_set(err, GP_NO_MEMORY, "no memory for %zu bytes of an output",
                     size_bytes);
    else if (!run_of(outputs)->writes_outputs)
        memset(memory, 0, size_bytes);
    return memory;
}

static enum gp_status call_on_cancel(const struct gp_call *call, void (*fn)(void *arg),
                                     void *arg)
{
    struct engine_run *run =
        (struct engine_run *)((uintptr_t)call - offsetof(struct engine_run, call));
    pthread_mutex_lock(&run->lock);
    const bool is_late = run->is_cancelled;
    if (!is_late) {
        run->cancel = fn;
        run->cancel_arg = arg;
    }
    pthread_mutex_unlock(&run->lock);
    return is_late ? GP_CANCELLED : GP_OK;
}

const struct gp_host engine_host = {
    .size_bytes = sizeof(struct gp_host),
    .abi = GP_ENGINE_ABI,
    .library_open = engine_library_open,
    .outputs_alloc = outputs_alloc,
    .outputs_adopt = outputs_adopt,
    .outputs_memory = outputs_memory,
    .call_on_cancel = call_on_cancel,
};

void engine_run_init(struct engine_run *run, struct pool *pool, struct gp_arena *arena)
{
    *run = (struct engine_run){.face.host = &engine_host, .pool = pool, .arena = arena};
    pthread_mutex_init(&run->lock, NULL);
    arena_pay_from(arena, pool, &run->unplanned);
    engine_run_begin(run);
}

struct gp_arena *engine_run_copies(struct engine_run *run)
{
    if (!run->copies)
        run->copies = arena_create_shared();
    if (run->copies)
        arena_share_from(run->copies, run->pool, run->memory.inputs, &run->unplanned);
    return run->copies;
}

bool engine_run_reserve_strings(struct engine_run *run, size_t n_strings,
                                size_t size_bytes)
{
    size_t total;
    return checked_mul(n_strings, STRING_HEAP_BYTES, &total) &&
           checked_add(total, size_bytes, &total) &&
           pool_reserve(run->pool, &run->heap, total, 0) == POOL_GRANTED;
}

void engine_outputs_drop(struct engine_outputs *outputs, struct engine_run *run)
{
    for (uint32_t i = 0; i < outputs->n; i++)
        output_drop(run, &outputs->all[i]);
    *outputs = (struct engine_outputs){0};
}

struct engine_outputs engine_run_take_outputs(struct engine_run *run)
{
    const struct engine_outputs outputs = {run->outputs, run->n_outputs, run->capacity};
    run->outputs = NULL; /* the arena that contains it may be reset now */
    run->n_outputs = 0;
    run->capacity = 0;
    return outputs;
}

void engine_run_put_outputs(struct engine_run *run, struct engine_outputs *outputs)
{
    engine_run_drop_outputs(run);
    run->outputs = outputs->all;
    run->n_outputs = outputs->n;
    run->capacity = outputs->capacity;
    *outputs = (struct engine_outputs){0};
}

void engine_run_drop_outputs(struct engine_run *run)
{
    struct engine_outputs outputs = engine_run_take_outputs(run);
    engine_outputs_drop(&outputs, run);
}

void engine_run_begin(struct engine_run *run)
{
    engine_run_drop_outputs(run);
    run->call = (struct gp_call){.size_bytes = sizeof run->call, .host = &engine_host};
    pthread_mutex_lock(&run->lock);
    run->is_cancelled = false;
    pthread_mutex_unlock(&run->lock);
}

/* Checks that all requested outputs are set, or without names all up to the last. */
static enum gp_status check_outputs(const struct engine_run *run, struct gp_error *err)
{
    const uint32_t n = run->call.n_outputs ? run->call.n_outputs : run->n_outputs;
    for (uint32_t i = 0; i < n; i++)
        if (i >= run->n_outputs || !run->outputs[i].is_set)
            return gp_error_set(err, GP_INTERNAL,
                                "the engine left output %u of %u unset%s%s%s", i, n,
                                run->call.n_outputs ? ": \"" : "",
                                run->call.n_outputs ? run->call.output_names[i] : "",
                                run->call.n_outputs ? "\"" : "");
    return GP_OK;
}

/* The error of an engine that failed, whatever it did to *err. */
static enum gp_status failure(enum gp_status status, const struct gp_error *said,
                              struct gp_error *err)
{
    if (strcmp(gp_status_name(status), "unknown") == 0)
        status = GP_ENGINE;
    gp_error_set(err, status, "%s",
                 said->message[0] ? said->message
                                  : "the engine failed without saying why");
    return status;
}

void engine_run_complete(struct engine_run *run)
{
    pool_unreserve(run->pool, &run->heap);
    /* The rest of the promise pays for the answer's message. */
    arena_pay_from(run->arena, run->pool, &run->promise);
}

enum gp_status engine_run_execute(struct engine_run *run, const struct gp_engine *engine,
                                  void *model, uint32_t slot, struct gp_error *err)
{
    /* callers set run->call as a whole */
    run->call.size_bytes = sizeof run->call;
    run->call.host = &engine_host;
    if (!run->call.config)
        run->call.config = "";

    pthread_mutex_lock(&run->lock);
    const bool is_late = run->is_cancelled;
    run->is_running = !is_late;
    pthread_mutex_unlock(&run->lock);
    if (is_late)
        return gp_error_set(err, GP_CANCELLED, "cancelled before it ran");

    struct gp_error said = {.message = ""};
    enum gp_status status = engine->run(model, slot, &run->call, &run->face, &said);

    pthread_mutex_lock(&run->lock);
    run->is_running = false;
    run->cancel = NULL;
    pthread_mutex_unlock(&run->lock);

    if (status == GP_OK)
        status = check_outputs(run, &said);
    if (status == GP_OK) {
        engine_run_complete(run);
        return GP_OK;
    }
    engine_run_drop(run);
    return failure(status, &said, err);
}

void engine_run_cancel(struct engine_run *run)
{
    pthread_mutex_lock(&run->lock);
    run->is_cancelled = true;
    void (*fn)(void *arg) = run->is_running ? run->cancel : NULL;
    run->cancel = NULL;
    if (fn)
        fn(run->cancel_arg);
    pthread_mutex_unlock(&run->lock);
}

void engine_run_drop(struct engine_run *run)
{
    pool_unreserve(run->pool, &run->promise);
    pool_unreserve(run->pool, &run->heap);
    arena_pay_from(run->arena, run->pool, &run->unplanned);
    engine_run_drop_outputs(run);
    if (run->copies)
        gp_arena_reset(run->copies);
}

void engine_run_finish(struct engine_run *run)
{
    engine_run_drop(run);
    gp_arena_destroy(run->copies);
    pthread_mutex_destroy(&run->lock);
}
