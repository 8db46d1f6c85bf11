/* cli/download.h - one download by libcurl, which is only loaded when there is one to do:
 * the program links nothing but libc, and most users never name a URL. */
#ifndef GP_CLI_DOWNLOAD_H
#define GP_CLI_DOWNLOAD_H

#include "base/log.h"

#include <stdatomic.h>

struct download {
    const char *url;
    const char *shown; /* the URL without its secrets, for messages */
    int fd;            /* gets the body */
    uint64_t max_bytes;
    uint32_t timeout_ms; /* for connecting, and for receiving less than 1 kB a second */
    struct log *log;
    const atomic_bool *is_ending; /* when set, give up; NULL: never */

    /* Header fields, one per line, that request the model only if it differs from the
     * local copy, or "". Replaced by those for the model that came. */
    char conditions[1024];

    bool is_unchanged; /* the server says so, and nothing came */
    uint64_t n_bytes;
};

/* GP_UNAVAILABLE if the server cannot be reached or fails, or if the body cannot be
 * written; another status if it refuses, or if its answer is not acceptable. */
enum gp_status download_run(struct download *download, struct gp_error *err);

/* "12.3 MB" */
void download_write_size(char *text, size_t text_size, uint64_t n_bytes);

#endif
