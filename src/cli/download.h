/* cli/download.h - one download by libcurl, which is opened only when there is one to do: the
 * program links libc and nothing else, and most who use it never name a URL. */
#ifndef GP_CLI_DOWNLOAD_H
#define GP_CLI_DOWNLOAD_H

#include "base/log.h"

struct download {
    const char *url;
    const char *shown; /* the URL without its secrets, for messages */
    int fd;            /* that the body is written to */
    uint64_t max_bytes;
    uint32_t timeout_ms; /* of connecting, and of coming with less than 1 kB a second */
    struct log *log;

    /* Header fields, a line each, that ask for the model only if it has changed: of the
     * copy that is there, or "". They are replaced by those for the model that came. */
    char conditions[1024];

    bool is_unchanged; /* the server says so, and nothing came */
    uint64_t n_bytes;
};

/* GP_UNAVAILABLE when the server cannot be reached, or fails, or when the body cannot be written;
 * another status when it refuses, or sends what is not taken. */
enum gp_status download_run(struct download *download, struct gp_error *err);

/* "12.3 MB" */
void download_write_size(char *text, size_t text_size, uint64_t n_bytes);

#endif
