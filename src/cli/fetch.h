/* cli/fetch.h - models named by a URL: fetched into a folder of the user's, and served from
 * there. */
#ifndef GP_CLI_FETCH_H
#define GP_CLI_FETCH_H

#include "server/log.h"

/* Zero means the default, in every field. */
struct fetch {
    const char *cache_dir; /* default: graphpipe in $XDG_CACHE_HOME or ~/.cache */
    uint64_t max_bytes;    /* of a model; default 4 GiB */
    uint32_t timeout_ms;   /* of connecting, and of standing still; default 30 000 */
};

/* http:// or https:// */
bool fetch_is_url(const char *word);

/* Asks the URL's server for the model unless the copy of an earlier start is as new as its, and
 * gives the path of the copy; lines of the log tell what was done. Where the server cannot be
 * reached an earlier copy is taken, with a warning. */
enum gp_status fetch_model(const struct fetch *fetch, const char *url,
                           const struct log *log, char *path, size_t path_size,
                           struct gp_error *err);

#endif
