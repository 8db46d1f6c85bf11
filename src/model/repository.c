/* The contents of the folder tell whether it is a repository or one model. A subfolder with
 * numbered folders certainly is a model. One with a model file most likely is, but may also be
 * part of a model around it: then the look fails, since a wrong guess would retire what is
 * served. */
#include "model/repository.h"

#include "model/contents.h"
#include "model/model_name.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- one model ------------------------------------------------------------------------ */

static bool is_number(const char *name)
{
    return *name && name[strspn(name, "0123456789")] == '\0';
}

static enum gp_status parse_version(const char *path, const char *digits,
                                    uint64_t *number, struct gp_error *err)
{
    errno = 0;
    *number = strtoull(digits, NULL, 10);
    return errno ? gp_error_set(err, GP_INVALID,
                                "%s: the largest version is 18446744073709551615", path)
                 : GP_OK;
}

/* A numbered folder is a version; any other that holds a model was probably meant to be one. */
static enum gp_status read_subfolder(struct catalog *catalog, struct catalog_model *model,
                                     const char *path, const char *name,
                                     struct gp_error *err)
{
    uint64_t number;
    struct contents contents;
    if (is_number(name)) {
        const enum gp_status status = parse_version(path, name, &number, err);
        return status == GP_OK ? catalog_add_version(catalog, model, path, number, err)
                               : status;
    }
    const enum gp_status status =
        contents_find(catalog->arena, &catalog->root, path, &contents, err);
    if (status == GP_NO_MEMORY || contents.kind != CONTENTS_MODEL)
        return status == GP_NO_MEMORY ? status : GP_OK;
    return gp_error_set(err, GP_INVALID,
                        "%s holds a model, but is no version: call the folder by a "
                        "number",
                        path);
}

static enum gp_status read_entry(struct catalog *catalog, struct catalog_model *model,
                                 const char *folder, const char *name,
                                 struct gp_error *err)
{
    struct stat info;
    struct gp_error reason;
    const char *path;
    uint64_t number;
    enum gp_status status = listing_join(catalog->arena, folder, name, &path, &reason);
    if (status == GP_OK)
        status = listing_stat(&catalog->root, path, &info, &reason);
    if (status != GP_OK && status != GP_NO_MEMORY && !is_number(name))
        return GP_OK; /* nothing to serve */
    if (status == GP_OK && S_ISDIR(info.st_mode))
        status = read_subfolder(catalog, model, path, name, &reason);
    const bool has_number =
        is_number(name) && parse_version(name, name, &number, NULL) == GP_OK;
    return catalog_add_problem(catalog, model->name, has_number ? &number : NULL, status,
                               &reason, err);
}

static enum gp_status read_versions(struct catalog *catalog, struct catalog_model *model,
                                    const char *folder, const struct listing *listing,
                                    struct gp_error *err)
{
    enum gp_status status = GP_OK;
    for (size_t i = 0; i < listing->n_names && status == GP_OK; i++)
        status = read_entry(catalog, model, folder, listing->names[i], err);
    return status == GP_OK ? catalog_sort_versions(catalog, model, err) : status;
}

/* Counts the numbered folders and symbolic links. */
static enum gp_status count_numbered(const struct catalog *catalog, const char *folder,
                                     const struct listing *listing, size_t *n,
                                     struct gp_error *err)
{
    enum gp_status status = GP_OK;
    *n = 0;
    for (size_t i = 0; i < listing->n_names && status == GP_OK; i++) {
        const char *path;
        struct stat info;
        if (!is_number(listing->names[i]))
            continue;
        status = listing_join(catalog->arena, folder, listing->names[i], &path, err);
        if (status == GP_OK && lstat(path, &info) == 0 && !S_ISREG(info.st_mode))
            ++*n;
    }
    if (status == GP_OK && *n > CATALOG_MAX_VERSIONS)
        return gp_error_set(err, GP_TOO_LARGE,
                            "%s holds more than %d versions: remove old ones", folder,
                            CATALOG_MAX_VERSIONS);
    return status;
}

/* The model in a folder without numbered folders is version 1. */
static enum gp_status read_unversioned(struct catalog *catalog,
                                       struct catalog_model *model, const char *folder,
                                       const struct listing *listing,
                                       struct gp_error *err)
{
    struct contents contents;
    const size_t n_problems = catalog->n_problems;
    enum gp_status status =
        contents_find(catalog->arena, &catalog->root, folder, &contents, err);
    if (status != GP_OK)
        return status;
    if (contents.kind == CONTENTS_MODEL)
        return catalog_add_version(catalog, model, folder, 1, err);
    status = read_versions(catalog, model, folder, listing, err); /* misnamed ones */
    if (status != GP_OK || catalog->n_problems > n_problems)
        return status;
    return gp_error_set(
        err, GP_INVALID,
        "%s holds no model: wanted numbered folders with a model each, as "
        "%s/1/model.onnx",
        folder, model->name);
}

/* A failure concerns the whole model. */
static enum gp_status read_model(struct catalog *catalog, const char *folder,
                                 struct catalog_model *model, bool *has_numbered,
                                 struct gp_error *err)
{
    struct listing listing;
    size_t n_numbered = 0;
    enum gp_status status = listing_read(catalog->arena, folder, &listing, err);
    if (status == GP_OK)
        status = count_numbered(catalog, folder, &listing, &n_numbered, err);
    if (n_numbered)
        *has_numbered = true;
    if (status != GP_OK)
        return status;
    return n_numbered ? read_versions(catalog, model, folder, &listing, err)
                      : read_unversioned(catalog, model, folder, &listing, err);
}

/* Reads a model and adds it, or its problem. */
static enum gp_status add_model(struct catalog *catalog, const char *folder,
                                const char *name, bool *has_numbered,
                                struct gp_error *err)
{
    struct gp_error reason;
    struct catalog_model model = {.name = name};
    enum gp_status status = read_model(catalog, folder, &model, has_numbered, &reason);
    if (status == GP_OK)
        status = model_name_check(name, &reason);
    if (status != GP_OK || model.n_versions == 0)
        return catalog_add_problem(catalog, name, NULL, status, &reason, err);
    return catalog_add_model(catalog, &model, err);
}

/* --- the repository ------------------------------------------------------------------- */

/* Reads a name in the repository's own folder, where files and numbered folders are not models. */
static enum gp_status read_top(struct catalog *catalog, const char *name,
                               bool *has_numbered, struct gp_error *err)
{
    struct stat info;
    struct gp_error reason;
    const char *path;
    enum gp_status status =
        listing_join(catalog->arena, catalog->root.path, name, &path, &reason);
    if (status == GP_OK)
        status = listing_stat(&catalog->root, path, &info, &reason);
    if (status != GP_OK)
        return catalog_add_problem(catalog, name, NULL, status, &reason, err);
    if (!S_ISDIR(info.st_mode) || is_number(name))
        return GP_OK;
    return add_model(catalog, path, name, has_numbered, err);
}

static enum gp_status add_stray(struct catalog *catalog, const char *name,
                                struct gp_error *err)
{
    struct gp_error reason;
    gp_error_set(
        &reason, GP_INVALID,
        "%s/%s lies beside the folders of models: move it into the folder of its "
        "model, as NAME/1",
        catalog->root.path, name);
    return catalog_add_problem(catalog, name, NULL, GP_INVALID, &reason, err);
}

/* Adds problems for what would be a model by itself, or a version of one. */
static enum gp_status add_strays(struct catalog *catalog, const struct listing *listing,
                                 const char *file, struct gp_error *err)
{
    enum gp_status status = file ? add_stray(catalog, file, err) : GP_OK;
    for (size_t i = 0; i < listing->n_names && status == GP_OK; i++)
        if (is_number(listing->names[i]))
            status = add_stray(catalog, listing->names[i], err);
    return status;
}

/* The name of the file that makes the repository a model, or NULL. */
static const char *own_file(const struct catalog *catalog, const struct contents *own)
{
    const char *root = catalog->root.path;
    if (own->kind != CONTENTS_MODEL)
        return NULL;
    return strcmp(own->path, root) == 0 ? "saved_model.pb" : strrchr(own->path, '/') + 1;
}

static enum gp_status read_as_one_model(struct catalog *catalog, const char *name,
                                        struct gp_error *err)
{
    bool ignored;
    catalog->n_models = 0;
    catalog->n_problems = 0; /* for example that a part of the model is not a model */
    return add_model(catalog, catalog->root.path, name ? name : "model", &ignored, err);
}

static enum gp_status refuse_both(const struct catalog *catalog, const char *own,
                                  struct gp_error *err)
{
    const char *folder = catalog->models[0].name, *root = catalog->root.path;
    return gp_error_set(err, GP_INVALID,
                        "the repository %s holds %s, as if it were one model, and the "
                        "model %s/: move the former to NAME/1/, or the latter elsewhere",
                        root, own, folder);
}

static enum gp_status read_all(struct catalog *catalog, const char *name,
                               struct gp_error *err)
{
    struct listing listing;
    struct contents own;
    bool has_numbered = false;
    size_t n_numbered = 0;
    const char *path = catalog->root.path;
    enum gp_status status = listing_read(catalog->arena, path, &listing, err);
    for (size_t i = 0; i < listing.n_names && status == GP_OK; i++)
        status = read_top(catalog, listing.names[i], &has_numbered, err);
    if (status == GP_OK)
        status = count_numbered(catalog, path, &listing, &n_numbered, err);
    if (status == GP_OK &&
        contents_find(catalog->arena, &catalog->root, path, &own, err) == GP_NO_MEMORY)
        status = GP_NO_MEMORY;
    if (status != GP_OK)
        return status;
    const char *file = own_file(catalog, &own);
    if (has_numbered)
        return add_strays(catalog, &listing, file, err);
    if (!n_numbered && !file)
        return GP_OK;
    if (catalog->n_models)
        return refuse_both(catalog, file ? file : "numbered folders", err);
    return read_as_one_model(catalog, name, err);
}

/* A folder that was unmounted or replaced during a look seems to have lost its models. */
static enum gp_status check_same(const struct stat *before, const char *path,
                                 struct gp_error *err)
{
    struct stat now;
    if (stat(path, &now) == 0 && now.st_dev == before->st_dev &&
        now.st_ino == before->st_ino)
        return GP_OK;
    return gp_error_set(err, GP_UNAVAILABLE,
                        "the repository %s was removed or replaced while it was read: it "
                        "will be read again",
                        path);
}

enum gp_status repository_look(struct gp_arena *arena, const char *path, const char *name,
                               struct catalog *catalog, struct gp_error *err)
{
    struct stat info;
    *catalog = (struct catalog){.arena = arena};
    enum gp_status status = listing_open(arena, path, &catalog->root, &info, err);
    if (status == GP_OK)
        status = read_all(catalog, name, err);
    if (status == GP_OK)
        status = check_same(&info, catalog->root.path, err);
    if (status == GP_OK && !catalog->n_models && !catalog->n_problems)
        status =
            gp_error_set(err, GP_NOT_FOUND,
                         "the repository %s holds no model: wanted a folder for each, "
                         "as NAME/1/model.onnx",
                         path);
    return status;
}

enum gp_status repository_examine(const struct catalog *catalog,
                                  struct catalog_version *version, struct gp_error *err)
{
    struct contents contents;
    struct gp_arena *arena = catalog->arena;
    enum gp_status status = contents_fingerprint(arena, &catalog->root, version->folder,
                                                 &version->fingerprint, err);
    if (status == GP_OK)
        status = contents_find(arena, &catalog->root, version->folder, &contents, err);
    version->path = status == GP_OK ? contents.path : NULL;
    if (status != GP_OK)
        return status;
    if (contents.rival)
        return gp_error_set(err, GP_INVALID,
                            "%.*s and %.*s are both models: call the one to be served "
                            "model.EXTENSION, or move the other elsewhere",
                            gp_cut(contents.path, 180), contents.path,
                            gp_cut(contents.rival, 180), contents.rival);
    if (contents.kind == CONTENTS_NONE)
        return gp_error_set(
            err, GP_NOT_FOUND,
            "%s holds no model: wanted a saved_model.pb, a model.EXTENSION, "
            "or only one file that is a model",
            version->folder);
    return GP_OK;
}
