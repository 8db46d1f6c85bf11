/* Files are mapped, so that a tensor of any size is sent from the page cache without a
 * copy. Pipes and terminals, which cannot be mapped, are read. */
#include "cli/file.h"

#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static enum gp_status fail_errno(const char *path, struct gp_error *err)
{
    return gp_error_set(err, errno == ENOENT ? GP_NOT_FOUND : GP_IO, "%s: %s", path,
                        strerror(errno));
}

/* Reads to the end, doubling the memory on the way. */
static enum gp_status read_all(struct file *file, int fd, const char *path,
                               size_t max_bytes, struct gp_error *err)
{
    unsigned char *data = NULL;
    size_t used = 0, capacity = 0;
    for (ssize_t n = 1; n > 0;) {
        if (used == capacity) {
            capacity = capacity ? 2 * capacity : 64u << 10;
            unsigned char *more = mem_resize(data, capacity);
            if (!more) {
                mem_free(data);
                return gp_error_set(err, GP_NO_MEMORY, "%s: out of memory", path);
            }
            data = more;
        }
        do
            n = read(fd, data + used, capacity - used);
        while (n < 0 && errno == EINTR);
        if (n < 0) {
            const enum gp_status status = fail_errno(path, err);
            mem_free(data);
            return status;
        }
        used += (size_t)n;
        if (used > max_bytes) {
            mem_free(data);
            return gp_error_set(err, GP_TOO_LARGE, "%s: more than %zu bytes", path,
                                max_bytes);
        }
    }
    *file = (struct file){data, used, false};
    return GP_OK;
}

static enum gp_status open_fd(struct file *file, int fd, const char *path,
                              size_t max_bytes, struct gp_error *err)
{
    struct stat info;
    if (fstat(fd, &info) != 0)
        return fail_errno(path, err);
    if (!S_ISREG(info.st_mode) || info.st_size == 0)
        return read_all(file, fd, path, max_bytes, err);
    void *map = mmap(NULL, (size_t)info.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (map == MAP_FAILED)
        return fail_errno(path, err);
    *file = (struct file){map, (size_t)info.st_size, true};
    return GP_OK;
}

enum gp_status file_open(struct file *file, const char *path, size_t max_bytes,
                         struct gp_error *err)
{
    *file = (struct file){0};
    if (strcmp(path, "-") == 0)
        return read_all(file, STDIN_FILENO, "standard input", max_bytes, err);
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return fail_errno(path, err);
    const enum gp_status status = open_fd(file, fd, path, max_bytes, err);
    (void)close(fd);
    return status;
}

void file_close(struct file *file)
{
    void *data = (void *)(uintptr_t)file->data;
    if (file->is_mapped)
        (void)munmap(data, file->size_bytes);
    else
        mem_free(data);
    *file = (struct file){0};
}

bool file_put(int fd, const char *bytes, size_t size_bytes)
{
    while (size_bytes) {
        const ssize_t n = write(fd, bytes, size_bytes);
        if (n < 0 && errno != EINTR)
            return false;
        bytes += n > 0 ? n : 0;
        size_bytes -= n > 0 ? (size_t)n : 0;
    }
    return true;
}

enum gp_status file_write(const char *path, const struct gp_encoding *content,
                          struct gp_error *err)
{
    const bool is_stdout = strcmp(path, "-") == 0;
    const int fd = is_stdout ? STDOUT_FILENO
                             : open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    if (fd < 0)
        return fail_errno(path, err);
    bool is_written = true;
    for (size_t i = 0; i < content->n_parts && is_written; i++)
        is_written = file_put(fd, content->parts[i].iov_base, content->parts[i].iov_len);
    const enum gp_status status =
        is_written ? GP_OK : fail_errno(is_stdout ? "standard output" : path, err);
    if (!is_stdout && close(fd) != 0 && status == GP_OK)
        return fail_errno(path, err);
    return status;
}
