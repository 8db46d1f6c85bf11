#include "model/warm_up_requests.h"

#include "base/checked.h"
#include "base/mem.h"
#include "model/listing.h"
#include "wire/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- generated --- */

static enum gp_status no_memory(struct gp_error *err)
{
    return gp_error_set(err, GP_NO_MEMORY, "warm-up: no memory for the requests");
}

/* Sets everything but the data. */
static enum gp_status make_tensor(struct gp_arena *arena, const struct gp_io *io,
                                  struct gp_tensor *tensor, struct gp_error *err)
{
    const uint32_t rank = io->flags & GP_IO_ANY_RANK ? 1 : io->rank;
    const enum gp_dtype dtype = io->dtype == GP_NULL ? GP_FLOAT32 : io->dtype;
    int64_t *shape = gp_arena_alloc(arena, rank * sizeof *shape);
    if (!shape)
        return no_memory(err);
    for (uint32_t i = 0; i < rank; i++)
        shape[i] = io->flags & GP_IO_ANY_RANK || io->shape[i] < 0 ? 1 : io->shape[i];
    *tensor = (struct gp_tensor){.shape = shape, .dtype = dtype, .rank = rank};
    const int64_t n = gp_shape_count(shape, rank);
    if (n < 0 || !checked_mul((size_t)n, gp_dtype_stride(dtype), &tensor->size_bytes) ||
        tensor->size_bytes > GP_MAX_MESSAGE_BYTES) {
        char text[128];
        return gp_error_set(err, GP_TOO_LARGE,
                            "warm-up: input \"%.*s\" is %s, too large for a request",
                            gp_cut(io->name, 64), io->name,
                            gp_shape_format(dtype, shape, rank, text, sizeof text));
    }
    return GP_OK;
}

static const struct gp_string *make_strings(struct gp_arena *arena, size_t size_bytes)
{
    struct gp_string *strings = gp_arena_alloc(arena, size_bytes);
    for (size_t i = 0; strings && i < size_bytes / sizeof *strings; i++)
        strings[i] = (struct gp_string){.data = ""};
    return strings;
}

/* All numeric tensors share the zeros, which take hardly any memory since they are never written. */
static enum gp_status fill_tensors(struct warm_up_requests *requests,
                                   struct gp_tensor *tensors, uint32_t n,
                                   struct gp_error *err)
{
    size_t most = 1;
    for (uint32_t i = 0; i < n; i++)
        if (tensors[i].dtype != GP_STRING && tensors[i].size_bytes > most)
            most = tensors[i].size_bytes;
    requests->zeros = mem_zalloc(most);
    if (!requests->zeros)
        return no_memory(err);
    for (uint32_t i = 0; i < n; i++) {
        tensors[i].data =
            tensors[i].dtype == GP_STRING
                ? (const void *)make_strings(requests->arena, tensors[i].size_bytes)
                : requests->zeros;
        if (!tensors[i].data)
            return no_memory(err);
    }
    return GP_OK;
}

/* An engine that takes anything and describes nothing gets one tensor: most models need something. */
static const struct gp_io any_input = {.name = "", .flags = GP_IO_ANY_RANK};

static enum gp_status generate_message(struct warm_up_requests *requests,
                                       const struct model *model, struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    const bool is_unknown = d->flags & GP_ANY_INPUTS && !model->n_default_inputs;
    const uint32_t n = is_unknown ? 1 : model->n_default_inputs;
    struct gp_tensor *tensors = gp_arena_alloc(requests->arena, n * sizeof *tensors);
    if (!tensors)
        return no_memory(err);
    for (uint32_t i = 0; i < n; i++)
        if (make_tensor(requests->arena,
                        is_unknown ? &any_input : &d->inputs[model->default_inputs[i]],
                        &tensors[i], err) != GP_OK)
            return err->status;
    const struct gp_call call = {
        .size_bytes = sizeof call, .inputs = tensors, .n_inputs = n};
    const enum gp_status status = fill_tensors(requests, tensors, n, err);
    return status == GP_OK
               ? gp_request_encode(requests->arena, &call, &requests->message, err)
               : status;
}

/* --- recorded --- */

static enum gp_status list_files(struct warm_up_requests *requests, const char *path,
                                 struct gp_error *err)
{
    struct gp_arena *arena = requests->arena;
    struct listing listing = {.names = &path, .n_names = 1};
    struct stat info;
    if (stat(path, &info) != 0)
        return gp_error_set(err, GP_INVALID,
                            "warm-up: cannot read \"%.*s\": %s; wanted a number of "
                            "requests, or a file or folder of recorded ones",
                            gp_cut(path, 100), path, strerror(errno));
    if (S_ISDIR(info.st_mode) && listing_read(arena, path, &listing, err) != GP_OK)
        return err->status;
    if (!listing.n_names)
        return gp_error_set(err, GP_INVALID, "warm-up: there is no file in %.*s",
                            gp_cut(path, 150), path);
    requests->n = listing.n_names;
    requests->paths = gp_arena_alloc(arena, requests->n * sizeof *requests->paths);
    if (!requests->paths)
        return no_memory(err);
    for (size_t i = 0; i < requests->n; i++) {
        requests->paths[i] = path;
        if (S_ISDIR(info.st_mode) && listing_join(arena, path, listing.names[i],
                                                  &requests->paths[i], err) != GP_OK)
            return err->status;
    }
    return GP_OK;
}

static enum gp_status read_body(int fd, struct pool_buffer *body, size_t size_bytes,
                                struct gp_error *err)
{
    for (size_t used = 0; used < size_bytes;) {
        const ssize_t n = read(fd, body->data + used, size_bytes - used);
        if (n == 0)
            return gp_error_set(err, GP_IO, "it became shorter while it was read");
        if (n < 0 && errno != EINTR)
            return gp_error_set(err, GP_IO, "cannot read it: %s", strerror(errno));
        used += n > 0 ? (size_t)n : 0;
    }
    return GP_OK;
}

static enum gp_status take_body(struct engine_run *run, size_t size_bytes,
                                struct gp_error *err)
{
    if (pool_take(run->pool, run->memory.inputs, size_bytes, &run->unplanned,
                  run->body) &&
        pool_touch(run->pool, run->body, size_bytes))
        return GP_OK;
    return gp_error_set(err, GP_NO_MEMORY,
                        "the pool (--pool) has no room for its %zu bytes", size_bytes);
}

static enum gp_status read_file(const char *path, struct engine_run *run,
                                size_t *size_bytes, struct gp_error *err)
{
    struct stat info = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    enum gp_status status = GP_OK;
    if (fd < 0 || fstat(fd, &info) != 0)
        status = gp_error_set(err, GP_IO, "cannot read it: %s", strerror(errno));
    else if (!S_ISREG(info.st_mode) || !info.st_size ||
             (uint64_t)info.st_size > GP_MAX_MESSAGE_BYTES)
        status = gp_error_set(err, GP_INVALID, "not a file of 1 to %u bytes",
                              GP_MAX_MESSAGE_BYTES);
    if (status == GP_OK) {
        *size_bytes = (size_t)info.st_size;
        status = take_body(run, *size_bytes, err);
    }
    if (status == GP_OK)
        status = read_body(fd, run->body, *size_bytes, err);
    if (fd >= 0)
        (void)close(fd);
    return status;
}

/* --- both --- */

enum gp_status warm_up_requests_init(struct warm_up_requests *requests,
                                     const struct model *model, const char *what,
                                     struct gp_error *err)
{
    *requests = (struct warm_up_requests){.arena = gp_arena_create()};
    if (!requests->arena)
        return no_memory(err);
    if (!*what || what[strspn(what, "0123456789")])
        return list_files(requests, what, err);
    requests->n = strtoul(what, NULL, 10); /* ULONG_MAX if it overflows */
    if (requests->n > WARM_UP_MAX_REQUESTS)
        return gp_error_set(err, GP_INVALID, "warm-up: at most %d requests, not %.*s",
                            WARM_UP_MAX_REQUESTS, gp_cut(what, 30), what);
    return requests->n ? generate_message(requests, model, err) : GP_OK;
}

void warm_up_requests_finish(struct warm_up_requests *requests)
{
    gp_arena_destroy(requests->arena);
    mem_free(requests->zeros);
}

static enum gp_status copy_message(const struct gp_encoding *message,
                                   struct engine_run *run, struct gp_error *err)
{
    if (take_body(run, message->size_bytes, err) != GP_OK)
        return err->status;
    unsigned char *to = run->body->data;
    for (size_t i = 0; i < message->n_parts; to += message->parts[i++].iov_len)
        memcpy(to, message->parts[i].iov_base, message->parts[i].iov_len);
    return GP_OK;
}

enum gp_status warm_up_requests_read(const struct warm_up_requests *requests,
                                     size_t index, struct gp_arena *arena,
                                     struct engine_run *run, struct gp_request *request,
                                     struct gp_error *err)
{
    size_t size_bytes = requests->message.size_bytes;
    enum gp_status status = requests->paths
                                ? read_file(requests->paths[index], run, &size_bytes, err)
                                : copy_message(&requests->message, run, err);
    if (status == GP_OK)
        status = wire_view_request(arena, run->body->data, size_bytes, 0, request, err);
    if (status == GP_OK && request->kind != GP_REQUEST_INFER)
        status = gp_error_set(err, GP_INVALID, "it asks for metadata, not for a run");
    return status;
}
