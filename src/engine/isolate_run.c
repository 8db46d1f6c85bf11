/* One run in a child: it is sent the offsets of the inputs, is handed buffers for outputs while
 * it runs, and what it says about outputs is checked against what it was handed. Past the
 * deadline, or if a cancelled run does not stop, the caller goes on, and the child keeps the
 * buffers that it may still read and write. */
#include "engine/isolate_child.h"

#include "base/arena.h"
#include "base/clock.h"
#include "base/mem.h"

#include <assert.h>
#include <limits.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>

#define CANCEL_GRACE_NS (200 * CLOCK_MS)

enum { ALIGNMENT = 64, MOST_TAKEN = 2 * GP_MAX_TENSORS };

/* How waiting for a child can end. */
enum outcome { ANSWERED, ENDED, BROKEN, LATE };

void isolate_give_buffers(struct child *child)
{
    struct pool *pool = child->isolate->pool;
    pool_give(pool, &child->body);
    gp_arena_destroy(child->copies);
    child->copies = NULL;
    for (uint32_t i = 0; i < child->n_taken; i++)
        pool_give(pool, &child->taken[i]);
    child->n_taken = 0;
}

bool isolate_send(struct child *child)
{
    child->n_unsent = child->out.size_bytes;
    return isolate_send_rest(child);
}

bool isolate_send_rest(struct child *child)
{
    return record_send(child->link.fd, &child->out, &child->n_unsent);
}

/* --- inputs --- */

/* A place for inputs that a child cannot read where they lie: strings, and tensors outside the
 * arena. They are measured first, then copied. */
struct stage {
    const struct pool_range *arena;
    unsigned char *data; /* NULL while measuring */
    size_t used;
};

static uint64_t place_bytes(struct stage *stage, const void *data, size_t size_bytes)
{
    const uintptr_t offset = (uintptr_t)data - (uintptr_t)stage->arena->base;
    if (!size_bytes)
        return 0;
    if (offset < stage->arena->size_bytes &&
        size_bytes <= stage->arena->size_bytes - offset)
        return offset;
    const size_t at = stage->used;
    stage->used += (size_bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (!stage->data)
        return 0;
    memcpy(stage->data + at, data, size_bytes);
    return (size_t)(stage->data - stage->arena->base) + at;
}

static uint64_t place_strings(struct stage *stage, const struct gp_tensor *tensor)
{
    const struct gp_string *strings = tensor->data;
    const size_t n = tensor->size_bytes / sizeof *strings;
    const size_t at = stage->used;
    stage->used +=
        (n * sizeof(struct record_string) + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    for (size_t i = 0; i < n; i++) {
        const struct record_string string = {
            place_bytes(stage, strings[i].data, strings[i].size_bytes),
            strings[i].size_bytes};
        if (stage->data)
            memcpy(stage->data + at + i * sizeof string, &string, sizeof string);
    }
    return n && stage->data ? (size_t)(stage->data - stage->arena->base) + at : 0;
}

static uint64_t place_tensor(struct stage *stage, const struct gp_tensor *tensor)
{
    return tensor->dtype == GP_STRING
               ? place_strings(stage, tensor)
               : place_bytes(stage, tensor->data, tensor->size_bytes);
}

/* Makes room for the inputs to stage. */
static enum gp_status open_stage(struct engine_run *run, struct stage *stage,
                                 struct gp_error *err)
{
    for (uint32_t i = 0; i < run->call.n_inputs; i++)
        (void)place_tensor(stage, &run->call.inputs[i]);
    const size_t size = stage->used + ALIGNMENT;
    stage->used = 0;
    if (size == ALIGNMENT)
        return GP_OK;
    struct gp_arena *copies = engine_run_copies(run);
    unsigned char *data = copies ? gp_arena_alloc(copies, size) : NULL;
    if (!data)
        return gp_error_set(err, GP_NO_MEMORY,
                            "the pool (--pool) has no room for inputs as a child process "
                            "reads them: %zu bytes; try again later",
                            size);
    stage->data = data + (-(uintptr_t)data & (ALIGNMENT - 1));
    return GP_OK;
}

static enum gp_status write_run(struct child *child, struct engine_run *run,
                                struct gp_error *err)
{
    const struct gp_call *call = &run->call;
    struct text *out = &child->out;
    struct stage stage = {
        .arena = pool_range(child->isolate->pool, child->isolate->memory.inputs)};
    if (open_stage(run, &stage, err) != GP_OK)
        return err->status;
    record_begin(out, RECORD_RUN, ++child->run_id);
    record_put_u64(out, (uint64_t)call->deadline_ns);
    record_put_u32(out, call->n_free_cores);
    record_put_text(out, call->config);
    record_put_u32(out, call->n_outputs);
    for (uint32_t i = 0; i < call->n_outputs; i++)
        record_put_text(out, call->output_names[i]);
    record_put_u32(out, call->n_inputs);
    for (uint32_t i = 0; i < call->n_inputs; i++)
        record_put_tensor(out, &call->inputs[i], place_tensor(&stage, &call->inputs[i]));
    if (!record_end(out))
        return gp_error_set(err, out->is_short ? GP_NO_MEMORY : GP_TOO_LARGE,
                            "the request's names, shapes and config are over what an "
                            "isolated engine takes: %d bytes",
                            RECORD_MAX_BYTES);
    return GP_OK;
}

/* --- outputs --- */

/* Takes one more buffer for an output; NULL when memory is short, or there are too many. */
static struct pool_buffer *take_output(struct child *child, struct engine_run *run,
                                       uint64_t size_bytes)
{
    struct pool *pool = child->isolate->pool;
    if (child->n_taken == child->capacity) {
        const uint32_t capacity = child->capacity ? 2 * child->capacity : 16;
        struct pool_buffer *taken =
            capacity > MOST_TAKEN
                ? NULL
                : mem_resize(child->taken, capacity * sizeof *child->taken);
        if (!taken)
            return NULL;
        child->taken = taken;
        child->capacity = capacity;
    }
    struct pool_buffer *buffer = &child->taken[child->n_taken];
    if (!pool_take(pool, child->isolate->memory.outputs, size_bytes, &run->promise,
                   buffer))
        return NULL;
    const bool is_touched = child->isolate->description.flags & GP_WRITES_OUTPUTS
                                ? pool_touch(pool, buffer, size_bytes)
                                : pool_touch_zeroed(pool, buffer, size_bytes);
    if (is_touched) {
        child->n_taken++;
        return buffer;
    }
    pool_give(pool, buffer);
    return NULL;
}

/* Answers ALLOC; false if the child is broken. */
static bool answer_alloc(struct child *child, struct engine_run *run,
                         struct record *record)
{
    const uint64_t size_bytes = record_u64(record);
    if (record->is_bad)
        return false;
    const struct pool_buffer *buffer = take_output(child, run, size_bytes);
    record_begin(&child->out, buffer ? RECORD_PLACE : RECORD_FAILED, child->run_id);
    if (buffer) {
        record_put_u64(&child->out, pool_offset(buffer));
    } else {
        record_put_u32(&child->out, GP_NO_MEMORY);
        record_put_text(&child->out, "no memory for an output");
    }
    return record_end(&child->out) && isolate_send(child);
}

/* The buffer that was handed out at this offset and is no output yet, or NULL. */
static struct pool_buffer *find_taken(struct child *child, uint64_t offset)
{
    for (uint32_t i = 0; i < child->n_taken; i++)
        if (child->taken[i].data && pool_offset(&child->taken[i]) == offset)
            return &child->taken[i];
    return NULL;
}

/* Reads the child's strings, each of which must lie inside `buffer`. Their places are read only
 * once, since the child might change them; the bytes stay where it can write. */
static bool read_strings(struct engine_run *run, const struct pool_buffer *buffer,
                         uint64_t offset, struct gp_tensor *tensor, struct gp_error *err)
{
    const volatile struct record_string *places = (const volatile void *)buffer->data;
    const size_t n = tensor->size_bytes / sizeof(struct gp_string);
    struct gp_string *strings = gp_arena_alloc(run->arena, tensor->size_bytes);
    for (size_t i = 0; strings && i < n; i++) {
        const uint64_t from = places[i].offset, size = places[i].size_bytes;
        const uint64_t at = from - offset;
        if (size &&
            (from < offset || at > buffer->size_bytes || size > buffer->size_bytes - at))
            return false;
        strings[i].data = size ? (const char *)buffer->data + at : "";
        strings[i].size_bytes = size;
    }
    tensor->data = strings;
    if (!strings)
        gp_error_set(err, GP_NO_MEMORY, "no memory for the strings of an output");
    return strings;
}

/* Copies a small output out of the record. */
static bool copy_bytes(struct engine_run *run, struct record *record,
                       struct gp_tensor *tensor, struct gp_error *err)
{
    const void *bytes = record_bytes(record, tensor->size_bytes);
    if (!bytes || tensor->dtype == GP_STRING)
        return false;
    void *copy = gp_arena_alloc(run->arena, tensor->size_bytes);
    if (copy)
        memcpy(copy, bytes, tensor->size_bytes);
    else
        gp_error_set(err, GP_NO_MEMORY, "no memory for a small output");
    tensor->data = copy;
    return copy;
}

/* False if it is not what was handed out. */
static bool set_output(struct child *child, struct engine_run *run, uint32_t index,
                       struct record *record, struct gp_error *err)
{
    static const char empty[1];
    struct gp_tensor tensor;
    struct pool_buffer none = {0}, *buffer = &none;
    uint64_t offset;
    if (!record_tensor(record, run->arena, &tensor, &offset)) {
        if (record->is_short)
            gp_error_set(err, GP_NO_MEMORY, "no memory for the shape of output %u",
                         index);
        return false;
    }
    tensor.data = empty;
    if (tensor.size_bytes && offset == RECORD_INLINE) {
        if (!copy_bytes(run, record, &tensor, err))
            return false;
    } else if (tensor.size_bytes) {
        buffer = find_taken(child, offset);
        if (!buffer || tensor.size_bytes > buffer->size_bytes)
            return false;
        tensor.data = buffer->data;
        if (tensor.dtype == GP_STRING && !read_strings(run, buffer, offset, &tensor, err))
            return false;
    }
    return engine_run_set(run, index, &tensor, buffer, err) == GP_OK;
}

static bool set_outputs(struct child *child, struct engine_run *run,
                        struct record *record, struct gp_error *err)
{
    const uint32_t n = record_u32(record);
    const uint32_t wanted = run->call.n_outputs;
    if (record->is_bad || n > GP_MAX_TENSORS || (wanted && n != wanted))
        return false;
    for (uint32_t i = 0; i < n; i++)
        if (!set_output(child, run, i, record, err))
            return false;
    return true;
}

/* --- the run --- */

/* Called by the watcher at any time: must not wait. */
static void cancel_run(void *arg)
{
    struct child *child = arg;
    if (atomic_exchange(&child->is_told, true))
        return;
    (void)eventfd_write(child->cancel_fd, child->run_id);
    (void)eventfd_write(child->wake_fd, 1);
}

/* Drops a cancellation that was meant for an earlier run. */
static void forget_cancel(struct child *child)
{
    eventfd_t count;
    if (!atomic_exchange(&child->is_told, false))
        return;
    (void)eventfd_read(child->cancel_fd, &count); /* unless the child has */
    (void)eventfd_read(child->wake_fd, &count);
}

void isolate_pass_log(const struct isolate *isolate, struct record *record)
{
    const uint32_t level = record_u32(record);
    const char *message = record_text(record);
    if (!record->is_bad && level <= GP_LOG_DEBUG)
        isolate_log(isolate, (enum gp_log_level)level, "%.*s", gp_cut(message, 512),
                    message);
}

/* Handles one record; ANSWERED with *is_over false if more are expected. */
static enum outcome take_record(struct child *child, struct engine_run *run,
                                struct record *record, bool *is_over,
                                struct gp_error *err)
{
    *is_over = record->type == RECORD_DONE || record->type == RECORD_FAILED;
    if (record->type == RECORD_LOG) {
        isolate_pass_log(child->isolate, record);
        return ANSWERED;
    }
    /* A child cannot answer a record that it has not read. */
    if (record->id != child->run_id || child->n_unsent)
        return BROKEN;
    err->status = GP_OK;
    switch (record->type) {
    case RECORD_ALLOC:
        return answer_alloc(child, run, record) ? ANSWERED : BROKEN;
    case RECORD_DONE:
        return set_outputs(child, run, record, err) ? ANSWERED : BROKEN;
    case RECORD_FAILED:
        (void)record_failure(record, err);
        return record->is_bad ? BROKEN : ANSWERED;
    default:
        return BROKEN;
    }
}

/* For poll, rounded up so that the deadline is over when it returns. */
static int until_ms(int64_t deadline_ns)
{
    if (!deadline_ns)
        return -1;
    const int64_t left = (deadline_ns - clock_now_ns() + CLOCK_MS - 1) / CLOCK_MS;
    return left < 0 ? 0 : left > INT_MAX ? INT_MAX : (int)left;
}

/* A child that sends much, or does not read, cannot delay the deadline: the clock is checked
 * after each record, and a record that found no room is sent as the child reads. */
static enum outcome wait_answer(struct child *child, struct engine_run *run,
                                struct gp_error *err)
{
    struct pollfd set[] = {{.fd = child->link.fd},
                           {.fd = child->wake_fd, .events = POLLIN}};
    int64_t until_ns = run->call.deadline_ns;
    enum record_got got = RECORD_NONE;
    do {
        struct record record;
        bool is_over = false;
        set[0].events = child->n_unsent ? POLLIN | POLLOUT : POLLIN;
        if (got == RECORD_NONE && poll(set, 2, until_ms(until_ns)) > 0 &&
            set[1].revents) {
            const int64_t grace_ns = clock_now_ns() + CANCEL_GRACE_NS;
            until_ns = until_ns && until_ns < grace_ns ? until_ns : grace_ns;
            set[1].fd = -1;
        }
        const bool is_there = isolate_send_rest(child);
        got = record_receive(&child->link, &record);
        if (got == RECORD_ENDED || !is_there)
            return ENDED;
        if (got == RECORD_NONSENSE)
            return BROKEN;
        if (got == RECORD_WHOLE) {
            const enum outcome outcome = take_record(child, run, &record, &is_over, err);
            if (is_over || outcome != ANSWERED)
                return outcome;
        }
    } while (!until_ns || clock_now_ns() < until_ns);
    cancel_run(child);
    return LATE;
}

/* Leaves a late child with its buffers; the request does not wait for it. */
static enum gp_status leave_child(struct child *child, struct engine_run *run,
                                  struct gp_error *err)
{
    struct pool *pool = child->isolate->pool;
    if (run->body) {
        child->body = *run->body;
        *run->body = (struct pool_buffer){0};
        pool_disown(pool, &child->body);
    }
    child->copies = run->copies;
    run->copies = NULL;
    if (child->copies)
        arena_disown(child->copies);
    for (uint32_t i = 0; i < child->n_taken; i++)
        pool_disown(pool, &child->taken[i]);
    child->is_late = true;
    return run->call.deadline_ns && clock_now_ns() >= run->call.deadline_ns
               ? gp_error_set(err, GP_DEADLINE, "the deadline was over during the run")
               : gp_error_set(err, GP_CANCELLED, "the run was stopped");
}

enum gp_status isolate_run(void *model, uint32_t slot, const struct gp_call *call,
                           struct gp_outputs *outputs, struct gp_error *err)
{
    struct isolate *isolate = model;
    struct child *child = &isolate->children[slot];
    struct engine_run *run = (struct engine_run *)(void *)outputs; /* its first member */
    enum outcome outcome = ENDED;
    assert(run->memory.inputs ==
           isolate->memory.inputs); /* else the child cannot see them */
    forget_cancel(child);
    enum gp_status status = write_run(child, run, err);
    if (status == GP_OK)
        status = gp_call_on_cancel(call, cancel_run, child);
    if (status != GP_OK) {
        isolate_give_buffers(child);
        return status;
    }
    err->status = GP_OK;
    if (isolate_send(child))
        outcome = wait_answer(child, run, err);
    if (outcome == LATE)
        return leave_child(child, run, err);
    if (outcome == BROKEN && err->status != GP_NO_MEMORY)
        spawn_reap(child, ISOLATE_PROTOCOL);
    else if (outcome == ENDED)
        spawn_reap(child, ISOLATE_EXIT);
    isolate_give_buffers(child);
    if (child->ended.message[0])
        return gp_error_set(err, GP_UNAVAILABLE,
                            "the process of slot %u ended (%s) during the run; it starts "
                            "again",
                            slot, child->ended.message);
    return err->status;
}
