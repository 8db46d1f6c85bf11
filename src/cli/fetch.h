/* cli/fetch.h - models named by a URL: fetched into a folder of the user's, and served from
 * there. */
#ifndef GP_CLI_FETCH_H
#define GP_CLI_FETCH_H

#include "base/log.h"

#include <limits.h>

/* Zero means the default, in every field. */
struct fetch {
    const char *cache_dir; /* default: graphpipe in $XDG_CACHE_HOME or ~/.cache */
    uint64_t max_bytes;    /* of a model; default 4 GiB */
    uint32_t timeout_ms;   /* of connecting, and of standing still; default 30 000 */
};

/* http:// or https:// */
bool fetch_is_url(const char *word);

/* A model that was fetched. */
struct fetched {
    const char *url;
    char path[PATH_MAX]; /* of the copy: what to open */
    char shown[200];     /* the URL without its secrets, for messages */
    bool has_gone_back;  /* to the copy before this one */

    /* Of fetch.c. */
    char name[151];        /* of the model's file */
    char conditions[1024]; /* that ask for a newer one */
    int folder;
    int lock;
    bool is_on_trial; /* a new copy, and the last one is kept aside until it has opened */
};

/* Asks the URL's server for the model unless the copy of an earlier start is as new as its, and
 * gives the path of the copy; lines of the log tell what was done. Where the server cannot be
 * reached, or the disk is full, an earlier copy is taken, with a warning. */
enum gp_status fetch_model(const struct fetch *fetch, const char *url, struct log *log,
                           struct fetched *fetched, struct gp_error *err);

/* The copy does not open: puts the one before it in its place. False when there is none, or when
 * it is not a new one. */
bool fetch_go_back(struct fetched *fetched);

/* After fetch_model that succeeded: whether what lies at the path opened. Other starts wait for
 * this while a new copy is tried. */
void fetch_end(struct fetched *fetched, bool has_opened);

#endif
