/* model/catalog.h - what one look at a repository found: models, their versions, and what cannot be
 * served.
 *
 * What has a problem is not gone: who serves it goes on serving what there is of it. What a look that
 * went well, and the next one too, neither lists nor has a problem with was removed.
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
    const char *name; /* of the model, or of what is none; may hold any bytes */
    bool has_version; /* else it is the whole model's */
    uint64_t version;
    enum gp_status status;
    const char *message;
};

struct catalog {
    struct gp_arena *arena; /* where all of it lives */
    struct listing_root root;
    struct catalog_model *models; /* by name */
    size_t n_models;
    struct catalog_problem *problems;
    size_t n_problems;
};

/* NULL when there is none of that name and number. */
const struct catalog_version *catalog_find(const struct catalog *catalog,
                                           const char *name, uint64_t number);

/* True when the version, which was examined, was the same at the look before: nobody is still copying
 * it. `before` may be NULL. */
bool catalog_is_settled(const struct catalog *before, const char *name,
                        const struct catalog_version *version);

/* --- for those who fill it (repository.c) ------------------------------------------------ */

/* Keeps a failure as a problem of one model, or of one version of it, so that the others go on. Fails
 * only when that cannot be: no memory, or too many. GP_OK is no problem; nor is GP_NOT_FOUND: what
 * vanished since its name was read is gone. */
enum gp_status catalog_add_problem(struct catalog *catalog, const char *name,
                                   const uint64_t *version, enum gp_status status,
                                   const struct gp_error *reason, struct gp_error *err);

enum gp_status catalog_add_version(struct catalog *catalog, struct catalog_model *model,
                                   const char *folder, uint64_t number,
                                   struct gp_error *err);

/* Brings versions in order; those that are the same number, as "1" and "01", become a problem. */
enum gp_status catalog_sort_versions(struct catalog *catalog, struct catalog_model *model,
                                     struct gp_error *err);

enum gp_status catalog_add_model(struct catalog *catalog,
                                 const struct catalog_model *model, struct gp_error *err);

#endif
