/* plugin.h - what the plug-ins of frameworks share. They check a model's file before the
 * framework opens it: the frameworks' messages for a path that is not a file are long and
 * change from release to release, and some hang on a pipe or abort on a file that is too
 * large. */
#ifndef GP_ENGINES_PLUGIN_H
#define GP_ENGINES_PLUGIN_H

#include <graphpipe/engine.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* The value of "KEY=VALUE" when the option has this key, otherwise NULL. */
static inline const char *plugin_option(const char *option, const char *key)
{
    const size_t n = strlen(key);
    return strncmp(option, key, n) == 0 && option[n] == '=' ? option + n + 1 : NULL;
}

/* Memory that lives as long as a model, for its description. Blocks form a list, newest
 * first; a block's bytes follow its head. */
union plugin_block {
    union plugin_block *next;
    max_align_t alignment;
};

/* Allocates size_bytes + 1 zeroed bytes; NULL and *err when memory is short. */
static inline void *plugin_keep(union plugin_block **blocks, size_t size_bytes,
                                struct gp_error *err)
{
    union plugin_block *block =
        (union plugin_block *)calloc(1, sizeof *block + size_bytes + 1);
    if (!block) {
        gp_error_set(err, GP_NO_MEMORY, "no memory for what the model says of itself");
        return NULL;
    }
    block->next = *blocks;
    *blocks = block;
    return block + 1;
}

/* Copies the bytes and terminates them with a zero. */
static inline const char *plugin_keep_bytes(union plugin_block **blocks,
                                            const void *bytes, size_t size_bytes,
                                            struct gp_error *err)
{
    char *copy = (char *)plugin_keep(blocks, size_bytes, err);
    if (copy && size_bytes)
        memcpy(copy, bytes, size_bytes);
    return copy;
}

static inline const char *plugin_keep_text(union plugin_block **blocks, const char *text,
                                           struct gp_error *err)
{
    return plugin_keep_bytes(blocks, text, strlen(text), err);
}

static inline void plugin_free(union plugin_block *blocks)
{
    for (union plugin_block *next; blocks; blocks = next) {
        next = blocks->next;
        free(blocks);
    }
}

/* The bytes of a model's file, mapped. */
struct plugin_file {
    const unsigned char *bytes;
    size_t size_bytes;
};

/* `wanted` says what the path should have been: "the onnx engine needs a .onnx file". */
static inline enum gp_status plugin_map(const char *path, const char *wanted,
                                        struct plugin_file *file, struct gp_error *err)
{
    struct stat info;
    void *bytes = MAP_FAILED;
    /* O_NONBLOCK: opening a pipe without a writer does not block */
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    const bool is_open = fd >= 0 && fstat(fd, &info) == 0;
    const bool is_file = is_open && S_ISREG(info.st_mode);
    if (is_file && info.st_size > 0)
        bytes = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    const int reason = errno;
    if (fd >= 0)
        close(fd);
    file->bytes = NULL;
    file->size_bytes = 0;
    if (is_open && !is_file)
        return gp_error_set(err, GP_INVALID, "%s is %s; %s", path,
                            S_ISDIR(info.st_mode) ? "a folder" : "not a file", wanted);
    if (is_file && info.st_size == 0)
        return gp_error_set(err, GP_INVALID, "the model %s is empty", path);
    if (bytes == MAP_FAILED)
        return gp_error_set(err, reason == ENOENT ? GP_NOT_FOUND : GP_INVALID,
                            "cannot open the model %s: %s", path, strerror(reason));
    file->bytes = (const unsigned char *)bytes;
    file->size_bytes = (size_t)info.st_size;
    return GP_OK;
}

static inline void plugin_unmap(struct plugin_file *file)
{
    if (file->bytes)
        munmap((void *)(uintptr_t)file->bytes, file->size_bytes);
    file->bytes = NULL;
}

/* Discards what the process prints to stderr until plugin_unmute gets the result back. For
 * opening a model only: output of other threads is lost as well. */
static inline FILE *plugin_mute(void)
{
    static FILE *nowhere; /* never closed: another thread may be using it */
    FILE *before = stderr;
    if (!nowhere)
        nowhere = fopen("/dev/null", "we");
    if (nowhere)
        stderr = nowhere;
    return before;
}

static inline void plugin_unmute(FILE *before)
{
    stderr = before;
}

/* Prefixes *err with the model's path unless the message has it. Returns the status. */
static inline enum gp_status plugin_blame(enum gp_status status, const char *path,
                                          struct gp_error *err)
{
    if (!err || strstr(err->message, path))
        return status;
    const struct gp_error inner = *err;
    return gp_error_set(err, status, "%s: %s", path, inner.message);
}

/* The log of an open model, and those of the models that were opened before it. */
struct plugin_listener {
    void (*log)(void *log_context, enum gp_log_level level, const char *message);
    void *log_context;
    struct plugin_listener *older;
};

/* A framework has one log for the whole process; the model that was opened last gets it. */
struct plugin_listeners {
    pthread_mutex_t lock;
    struct plugin_listener *newest;
};

static inline void plugin_listen(struct plugin_listeners *listeners,
                                 struct plugin_listener *listener)
{
    pthread_mutex_lock(&listeners->lock);
    listener->older = listeners->newest;
    listeners->newest = listener;
    pthread_mutex_unlock(&listeners->lock);
}

/* A listener that was never added is ignored. */
static inline void plugin_unlisten(struct plugin_listeners *listeners,
                                   const struct plugin_listener *listener)
{
    pthread_mutex_lock(&listeners->lock);
    struct plugin_listener **at = &listeners->newest;
    while (*at && *at != listener)
        at = &(*at)->older;
    if (*at)
        *at = listener->older;
    pthread_mutex_unlock(&listeners->lock);
}

/* The summary of a model on a CPU: "cpu", and "cpu  2 threads" where a run has that many, not
 * as many as are free. */
static inline void plugin_say_cpu(char *summary, size_t size, uint32_t n_threads)
{
    (void)snprintf(summary, size, "cpu");
    if (n_threads)
        (void)snprintf(summary, size, "cpu  %u thread%s", n_threads,
                       n_threads == 1 ? "" : "s");
}

/* Why a run was stopped: its deadline, or else the client. */
static inline enum gp_status plugin_stopped(const struct gp_call *call,
                                            struct gp_error *err)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    const int64_t now_ns = (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
    if (call->deadline_ns && now_ns >= call->deadline_ns)
        return gp_error_set(err, GP_DEADLINE, "the run was stopped at its deadline");
    return gp_error_set(err, GP_CANCELLED, "the run was cancelled");
}

#endif
