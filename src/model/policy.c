#include "model/policy.h"

#include <inttypes.h>
#include <string.h>

/* "3, 4, 5", cut if it does not fit. */
static void add_number(char *list, size_t list_size, uint64_t number)
{
    const size_t n = strlen(list);
    if (list_size - n > sizeof ", 18446744073709551615, ...")
        (void)snprintf(list + n, list_size - n, "%s%" PRIu64, n ? ", " : "", number);
    else if (list_size - n > sizeof ", ..." &&
             (n < 3 || strcmp(list + n - 3, "...") != 0))
        (void)snprintf(list + n, list_size - n, ", ...");
}

/* True if the model has that version. */
static bool choose_number(struct catalog_model *model, uint64_t number)
{
    for (size_t i = 0; i < model->n_versions; i++)
        if (model->versions[i].number == number)
            return model->versions[i].is_wanted = true;
    return false;
}

static enum gp_status choose_named(const struct model_policy *policy,
                                   struct catalog_model *model, struct gp_error *err)
{
    char missing[128] = "", there[128] = "";
    for (size_t i = 0; i < policy->n_versions; i++)
        if (!choose_number(model, policy->versions[i]))
            add_number(missing, sizeof missing, policy->versions[i]);
    if (!*missing)
        return GP_OK;
    for (size_t i = model->n_versions; i > 0; i--)
        add_number(there, sizeof there, model->versions[i - 1].number);
    return gp_error_set(err, GP_NOT_FOUND,
                        "of the model %s these versions are to be served, but are not in "
                        "the repository: %s; there are: %s",
                        model->name, missing, there);
}

enum gp_status policy_choose(const struct model_policy *policy,
                             struct catalog_model *model, struct gp_error *err)
{
    const size_t n = policy->kind == POLICY_NEWEST     ? 1
                     : policy->kind == POLICY_NEWEST_N ? policy->n
                                                       : 0;
    for (size_t i = 0; i < model->n_versions; i++)
        model->versions[i].is_wanted = model->n_versions - i <= n;
    if (policy->kind == POLICY_NAMED && policy->n_versions)
        return choose_named(policy, model, err);
    return n ? GP_OK
             : gp_error_set(err, GP_INVALID,
                            "the policy for the model %s serves no version: wanted the "
                            "newest, the newest 1 or more, or numbers of versions",
                            model->name);
}
