/* plugin.h - what the plug-ins of frameworks do alike. A model's file is looked at before
 * the framework sees it: frameworks' words for a path that is no file are long and differ
 * by release, and some wait for ever on a pipe, or abort on what is too large. */
#ifndef GP_ENGINES_PLUGIN_H
#define GP_ENGINES_PLUGIN_H

#include <graphpipe/engine.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

/* Memory that lives as long as a model: what it says of itself. The newest block knows the one
 * before it; a block's bytes come after its head. */
union plugin_block {
    union plugin_block *next;
    max_align_t alignment;
};

/* size_bytes, zeroed, and one more; NULL and *err when memory is short. */
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

/* A copy with a zero behind it. */
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

/* `wanted` says what it should have been: "the onnx engine needs a .onnx file". */
static inline enum gp_status plugin_map(const char *path, const char *wanted,
                                        struct plugin_file *file, struct gp_error *err)
{
    struct stat info;
    void *bytes = MAP_FAILED;
    /* a pipe that nobody writes to is open at once */
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

/* From here on what the process prints to stderr goes nowhere; give the result back. Only
 * while a model is opened: others who print at that time are not heard either. */
static inline FILE *plugin_mute(void)
{
    static FILE *nowhere; /* stays open: another thread may have seen it */
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

/* Has *err name the model's file, which what was wrong inside of it does not always do.
 * Returns the status. */
static inline enum gp_status plugin_blame(enum gp_status status, const char *path,
                                          struct gp_error *err)
{
    if (!err || strstr(err->message, path))
        return status;
    const struct gp_error inner = *err;
    return gp_error_set(err, status, "%s: %s", path, inner.message);
}

#endif
