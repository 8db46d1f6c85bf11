/* A catalog is small and rarely read: searches are linear. */
#include "model/catalog.h"

#include <stdlib.h>
#include <string.h>

enum gp_status catalog_add_problem(struct catalog *catalog, const char *name,
                                   const uint64_t *version, enum gp_status status,
                                   const struct gp_error *reason, struct gp_error *err)
{
    if (status == GP_OK || status == GP_NOT_FOUND)
        return GP_OK;
    if (catalog->n_problems == CATALOG_MAX_PROBLEMS)
        return gp_error_set(err, GP_TOO_LARGE,
                            "more than %d folders of the repository cannot be served; "
                            "the last: %s",
                            CATALOG_MAX_PROBLEMS, reason->message);
    struct catalog_problem *all =
        listing_grow(catalog->arena, catalog->problems, catalog->n_problems,
                     sizeof *catalog->problems);
    const char *message = listing_copy(catalog->arena, reason->message);
    if (!all || !message || status == GP_NO_MEMORY)
        return listing_no_memory(err);
    catalog->problems = all;
    all[catalog->n_problems++] =
        (struct catalog_problem){.name = name,
                                 .has_version = version,
                                 .version = version ? *version : 0,
                                 .status = status,
                                 .message = message};
    return GP_OK;
}

enum gp_status catalog_add_version(struct catalog *catalog, struct catalog_model *model,
                                   const char *folder, uint64_t number,
                                   struct gp_error *err)
{
    model->versions = listing_grow(catalog->arena, model->versions, model->n_versions,
                                   sizeof *model->versions);
    if (!model->versions)
        return listing_no_memory(err);
    model->versions[model->n_versions++] =
        (struct catalog_version){.number = number, .folder = folder};
    return GP_OK;
}

static int compare_versions(const void *left, const void *right)
{
    const struct catalog_version *a = left, *b = right;
    return a->number < b->number   ? -1
           : a->number > b->number ? 1
                                   : strcmp(a->folder, b->folder);
}

enum gp_status catalog_sort_versions(struct catalog *catalog, struct catalog_model *model,
                                     struct gp_error *err)
{
    struct catalog_version *all = model->versions;
    size_t n_kept = 0, n = model->n_versions;
    enum gp_status status = GP_OK;
    if (n)
        qsort(all, n, sizeof *all, compare_versions);
    for (size_t i = 0, next; i < n && status == GP_OK; i = next) {
        struct gp_error reason;
        for (next = i + 1; next < n && all[next].number == all[i].number; next++)
            ;
        if (next == i + 1) {
            all[n_kept++] = all[i];
            continue;
        }
        gp_error_set(&reason, GP_INVALID,
                     "%.*s and %.*s are the same version: remove one of them",
                     gp_cut(all[i].folder, 200), all[i].folder,
                     gp_cut(all[i + 1].folder, 200), all[i + 1].folder);
        status = catalog_add_problem(catalog, model->name, &all[i].number, GP_INVALID,
                                     &reason, err);
    }
    model->n_versions = n_kept;
    return status;
}

enum gp_status catalog_add_model(struct catalog *catalog,
                                 const struct catalog_model *model, struct gp_error *err)
{
    if (catalog->n_models == CATALOG_MAX_MODELS)
        return gp_error_set(err, GP_TOO_LARGE,
                            "the repository %s holds more than %d models",
                            catalog->root.path, CATALOG_MAX_MODELS);
    catalog->models = listing_grow(catalog->arena, catalog->models, catalog->n_models,
                                   sizeof *catalog->models);
    if (!catalog->models)
        return listing_no_memory(err);
    catalog->models[catalog->n_models++] = *model;
    return GP_OK;
}

const struct catalog_version *catalog_find(const struct catalog *catalog,
                                           const char *name, uint64_t number)
{
    for (size_t i = 0; i < catalog->n_models; i++) {
        const struct catalog_model *model = &catalog->models[i];
        for (size_t k = 0; k < model->n_versions && strcmp(model->name, name) == 0; k++)
            if (model->versions[k].number == number)
                return &model->versions[k];
    }
    return NULL;
}

bool catalog_is_settled(const struct catalog *before, const char *name,
                        const struct catalog_version *version)
{
    const struct catalog_version *last =
        before ? catalog_find(before, name, version->number) : NULL;
    return last && version->path && last->path &&
           strcmp(version->path, last->path) == 0 &&
           version->fingerprint == last->fingerprint;
}
