/* cli/fetch.h - models named by a URL: fetched into a folder of the user, and served from
 * there. */
#ifndef GP_CLI_FETCH_H
#define GP_CLI_FETCH_H

#include "base/log.h"

#include <limits.h>
#include <stdatomic.h>

/* Zero means the default, in every field. */
struct fetch {
    const char *cache_dir;        /* default: graphpipe in $XDG_CACHE_HOME or ~/.cache */
    uint64_t max_bytes;           /* of a model; default 4 GiB */
    uint32_t timeout_ms;          /* for connecting, and for stalling; default 30 000 */
    const atomic_bool *is_ending; /* when set, give up; NULL: never */
};

/* http:// or https:// */
bool fetch_is_url(const char *word);

/* A model that was fetched. */
struct fetched {
    const char *url;
    char path[PATH_MAX]; /* of the copy, to be opened */
    char shown[200];     /* the URL without its secrets, for messages */
    bool has_gone_back;  /* to the copy before this one */

    /* Private to fetch.c. */
    char name[151];        /* of the model's file */
    char conditions[1024]; /* conditions for a newer one */
    int folder;
    int lock;
    bool is_on_trial; /* a new copy; the previous one is kept aside until it has opened */
};

/* Fetches the model unless the copy of an earlier start is still current, and returns the
 * path of the copy; lines of the log say what was done. If the server cannot be reached
 * or the disk is full, uses an earlier copy, with a warning. */
enum gp_status fetch_model(const struct fetch *fetch, const char *url, struct log *log,
                           struct fetched *fetched, struct gp_error *err);

/* Called when the copy does not open: brings back the previous one. False if there is
 * none, or if the copy is not a new one. */
bool fetch_go_back(struct fetched *fetched);

/* Must follow a successful fetch_model: says whether the file at the path opened. Other
 * starts wait for this while a new copy is on trial. */
void fetch_end(struct fetched *fetched, bool has_opened);

#endif
