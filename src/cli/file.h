/* cli/file.h - whole files: mapped into memory for reading, and written. "-" is standard
 * input or output. */
#ifndef GP_CLI_FILE_H
#define GP_CLI_FILE_H

#include <graphpipe/message.h>

#include <stdbool.h>

struct file {
    /* Never NULL while open; aligned to a page, or for any type. */
    const unsigned char *data;
    size_t size_bytes;
    bool is_mapped;
};

/* Opens it; error messages begin with the path. Of what has no size of its own, such as a pipe or a device,
 * at most max_bytes are read: more is an error. */
enum gp_status file_open(struct file *file, const char *path, size_t max_bytes,
                         struct gp_error *err);

/* Frees its memory; ignores a zeroed one. */
void file_close(struct file *file);

/* Writes the parts as the whole new content. */
enum gp_status file_write(const char *path, const struct gp_encoding *content,
                          struct gp_error *err);

/* Writes all of the bytes, with as many calls as it takes; false with errno. */
bool file_put(int fd, const char *bytes, size_t size_bytes);

#endif
