/* model/catalog.h - what one look at a repository found: models, their versions, and what cannot be
 * served.
 *
 * Something with a problem is not gone: what is served of it stays served. It was removed if two
 * successful looks in a row neither list it nor have a problem with it.
 */
#ifndef GP_MODEL_CATALOG_H
#define GP_MODEL_CATALOG_H

#include "model/listing.h"

#include <stdbool.h>

enum {
    CATALOG_MAX_MODELS = 1024,
    CATALOG_MAX_VERSIONS = 1024, /* of one model */
    CATALOG_MAX_PROBLEMS = 4096
};

struct catalog_version {
    uint64_t number;
    const char *folder;
    bool is_wanted; /* set by policy_choose */
    /* Set by repository_examine: the model's path, for engine_guess and engines, and a number
     * other than 0 that changes when a file is changed, added or removed. */
    const char *path;
    uint64_t fingerprint;
};

struct catalog_model {
    const char *name;
    struct catalog_version *versions; /* by number, at least one */
    size_t n_versions;
};

/* A folder that cannot be served. */
struct catalog_problem {
    const char *name; /* of the model, or of what is not one; may hold any bytes */
    bool has_version; /* otherwise the whole model has the problem */
    uint64_t version;
    enum gp_status status;
    const char *message;
};

struct catalog {
    struct gp_arena *arena; /* owns all of it */
    struct listing_root root;
    struct catalog_model *models; /* by name */
    size_t n_models;
    struct catalog_problem *problems;
    size_t n_problems;
};

/* NULL if there is no version of that name and number. */
const struct catalog_version *catalog_find(const struct catalog *catalog,
                                           const char *name, uint64_t number);

/* True if the version, which was examined, was the same at the previous look: nobody is still
 * copying it. `before` may be NULL. */
bool catalog_is_settled(const struct catalog *before, const char *name,
                        const struct catalog_version *version);

/* --- for repository.c, which fills it ---------------------------------------------------- */

/* Records a failure as a problem of one model, or of one of its versions, so that the others go
 * on. Fails only if it cannot: no memory, or too many problems. GP_OK is not a problem, and
 * neither is GP_NOT_FOUND: the file vanished after its name was read. */
enum gp_status catalog_add_problem(struct catalog *catalog, const char *name,
                                   const uint64_t *version, enum gp_status status,
                                   const struct gp_error *reason, struct gp_error *err);

enum gp_status catalog_add_version(struct catalog *catalog, struct catalog_model *model,
                                   const char *folder, uint64_t number,
                                   struct gp_error *err);

/* Sorts the versions; equal numbers, such as "1" and "01", become a problem. */
enum gp_status catalog_sort_versions(struct catalog *catalog, struct catalog_model *model,
                                     struct gp_error *err);

enum gp_status catalog_add_model(struct catalog *catalog,
                                 const struct catalog_model *model, struct gp_error *err);

#endif
