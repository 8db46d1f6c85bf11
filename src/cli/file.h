/* cli/file.h - whole files: mapped into memory for reading, and written. "-" is standard
 * input or output. */
#ifndef GP_CLI_FILE_H
#define GP_CLI_FILE_H

#include <graphpipe/message.h>

#include <stdbool.h>

struct file {
    const unsigned char
        *data; /* never NULL in an open one; aligned to a page or for any type */
    size_t size_bytes;
    bool is_mapped;
};

/* Opens it; the message of an error begins with the path. */
enum gp_status file_open(struct file *file, const char *path, struct gp_error *err);

/* Gives its memory back; ignores one that is zeroed. */
void file_close(struct file *file);

/* Writes the parts as the whole new content. */
enum gp_status file_write(const char *path, const struct gp_encoding *content,
                          struct gp_error *err);

/* All of the bytes, in as many writes as it takes; false with errno. */
bool file_put(int fd, const char *bytes, size_t size_bytes);

#endif
