/* model/policy.h - which versions of a model are served. */
#ifndef GP_MODEL_POLICY_H
#define GP_MODEL_POLICY_H

#include "model/catalog.h"

enum policy_kind {
    POLICY_NEWEST,   /* the highest number */
    POLICY_NEWEST_N, /* the n highest, or as many as there are */
    POLICY_NAMED     /* those listed */
};

struct model_policy {
    enum policy_kind kind;
    uint32_t n;
    const uint64_t *versions;
    size_t n_versions;
};

/* Sets is_wanted of each version. GP_NOT_FOUND if some of those listed are missing; the message
 * says which, and the others are wanted all the same. */
enum gp_status policy_choose(const struct model_policy *policy,
                             struct catalog_model *model, struct gp_error *err);

#endif
