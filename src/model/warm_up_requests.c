#include "model/warm_up_requests.h"

#include "base/mem.h"
#include "model/listing.h"
#include "model/sample.h"
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

static enum gp_status generate_message(struct warm_up_requests *requests,
                                       const struct model *model, struct gp_error *err)
{
    struct gp_tensor *tensors;
    uint32_t n;
    if (sample_shapes(model, requests->arena, 1, &tensors, &n, err) != GP_OK)
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

static enum gp_status read_bytes(int fd, unsigned char *to, size_t size_bytes,
                                 struct gp_error *err)
{
    for (size_t used = 0; used < size_bytes;) {
        const ssize_t n = read(fd, to + used, size_bytes - used);
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

static enum gp_status check_kind(const struct gp_request *request, struct gp_error *err)
{
    return request->kind == GP_REQUEST_INFER
               ? GP_OK
               : gp_error_set(err, GP_INVALID, "it asks for metadata, not for a run");
}

/* The descriptor, or -1. */
static int open_file(const char *path, size_t *size_bytes, struct gp_error *err)
{
    struct stat info = {0};
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &info) != 0)
        gp_error_set(err, GP_IO, "cannot read it: %s", strerror(errno));
    else if (!S_ISREG(info.st_mode) || !info.st_size ||
             (uint64_t)info.st_size > GP_MAX_MESSAGE_BYTES)
        gp_error_set(err, GP_INVALID, "not a file of 1 to %u bytes",
                     GP_MAX_MESSAGE_BYTES);
    else {
        *size_bytes = (size_t)info.st_size;
        return fd;
    }
    if (fd >= 0)
        (void)close(fd);
    return -1;
}

static enum gp_status read_file(const char *path, struct engine_run *run,
                                size_t *size_bytes, struct gp_error *err)
{
    const int fd = open_file(path, size_bytes, err);
    if (fd < 0)
        return err->status;
    enum gp_status status = take_body(run, *size_bytes, err);
    if (status == GP_OK)
        status = read_bytes(fd, run->body->data, *size_bytes, err);
    (void)close(fd);
    return status;
}

enum gp_status warm_up_requests_decode(const struct warm_up_requests *requests,
                                       size_t index, struct gp_arena *arena,
                                       struct gp_request *request, struct gp_error *err)
{
    size_t size_bytes = 0;
    const int fd = open_file(requests->paths[index], &size_bytes, err);
    if (fd < 0)
        return err->status;
    unsigned char *bytes = gp_arena_alloc(arena, size_bytes);
    enum gp_status status =
        bytes ? read_bytes(fd, bytes, size_bytes, err) : no_memory(err);
    (void)close(fd);
    if (status == GP_OK)
        status = gp_request_decode(arena, bytes, size_bytes, 0, request, err);
    return status == GP_OK ? check_kind(request, err) : status;
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

enum gp_status warm_up_requests_view(const struct gp_encoding *message,
                                     struct gp_arena *arena, struct engine_run *run,
                                     struct gp_request *request, struct gp_error *err)
{
    if (take_body(run, message->size_bytes, err) != GP_OK)
        return err->status;
    unsigned char *to = run->body->data;
    for (size_t i = 0; i < message->n_parts; to += message->parts[i++].iov_len)
        memcpy(to, message->parts[i].iov_base, message->parts[i].iov_len);
    return wire_view_request(arena, run->body->data, message->size_bytes, 0, request,
                             err);
}

static enum gp_status view_file(const char *path, struct gp_arena *arena,
                                struct engine_run *run, struct gp_request *request,
                                struct gp_error *err)
{
    size_t size_bytes = 0;
    enum gp_status status = read_file(path, run, &size_bytes, err);
    if (status == GP_OK)
        status = wire_view_request(arena, run->body->data, size_bytes, 0, request, err);
    return status == GP_OK ? check_kind(request, err) : status;
}

enum gp_status warm_up_requests_read(const struct warm_up_requests *requests,
                                     size_t index, struct gp_arena *arena,
                                     struct engine_run *run, struct gp_request *request,
                                     struct gp_error *err)
{
    return requests->paths
               ? view_file(requests->paths[index], arena, run, request, err)
               : warm_up_requests_view(&requests->message, arena, run, request, err);
}
