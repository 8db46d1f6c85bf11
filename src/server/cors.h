/* server/cors.h - the web pages that may ask this server: those of the origins that --cors-origin
 * names. A browser lets a page of another origin read an answer only if the answer has these fields
 * (Fetch standard, "CORS protocol"), and asks with OPTIONS first whether it may send a request. */
#ifndef GP_SERVER_CORS_H
#define GP_SERVER_CORS_H

#include "base/arena.h"

#include <graphpipe/status.h>

#include <stdbool.h>
#include <stddef.h>

struct cors {
    const char *const *origins; /* "https://app.example:8443", or "*" for all */
    const char **fields;        /* of answers to each */
    size_t n;
};

/* Copies the origins into the arena. */
enum gp_status cors_init(struct cors *cors, struct gp_arena *arena,
                         const char *const *origins, size_t n, struct gp_error *err);

/* The fields of an answer to this origin (NULL: the request named none), each with its "\r\n"; NULL if
 * it gets none. *is_allowed: a page of that origin may read the answer. */
const char *cors_find(const struct cors *cors, const char *origin, size_t size_bytes,
                      bool *is_allowed);

/* Further fields of an answer to OPTIONS where it is allowed. */
extern const char cors_preflight[];

#endif
