/* Paths are opened as given, and realpath() is only asked about symbolic links: a path without
 * links need not be one that this process can open. */
#include "model/listing.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum gp_status listing_no_memory(struct gp_error *err)
{
    return gp_error_set(err, GP_NO_MEMORY, "no memory to look at the repository");
}

enum gp_status listing_refuse(const char *path, int reason, struct gp_error *err)
{
    if (reason == ENOMEM)
        return listing_no_memory(err);
    return gp_error_set(err, reason == ENOENT ? GP_NOT_FOUND : GP_IO,
                        "cannot read %s: %s%s", path, strerror(reason),
                        reason == EACCES ? ": let the server's user read it" : "");
}

void *listing_grow(struct gp_arena *arena, void *items, size_t n, size_t item_bytes)
{
    if (n & (n - 1)) /* there is room up to the next power of two */
        return items;
    void *larger = gp_arena_alloc(arena, (n ? 2 * n : 1) * item_bytes);
    if (larger && n)
        memcpy(larger, items, n * item_bytes);
    return larger;
}

char *listing_copy(struct gp_arena *arena, const char *string)
{
    const size_t size = strlen(string) + 1;
    char *copy = gp_arena_alloc(arena, size);
    return copy ? memcpy(copy, string, size) : NULL;
}

enum gp_status listing_join(struct gp_arena *arena, const char *folder, const char *name,
                            const char **path, struct gp_error *err)
{
    const size_t n = strlen(folder), size = n + 1 + strlen(name) + 1;
    if (size > PATH_MAX)
        return gp_error_set(err, GP_TOO_LARGE,
                            "a path below %.*s... has more than %d bytes",
                            gp_cut(folder, 200), folder, PATH_MAX - 1);
    char *joined = gp_arena_alloc(arena, size);
    if (!joined)
        return listing_no_memory(err);
    (void)snprintf(joined, size, "%s/%s", folder, name);
    *path = joined;
    return GP_OK;
}

/* --- the repository itself ------------------------------------------------------------ */

static enum gp_status check_root(const char *path, struct stat *info,
                                 struct gp_error *err)
{
    const int rc = stat(path, info);
    if (rc != 0 && errno == ENOENT)
        return gp_error_set(err, GP_NOT_FOUND,
                            "the repository %s is not there: create the folder, mount "
                            "it, or correct the path",
                            path);
    if (rc != 0)
        return listing_refuse(path, errno, err);
    if (!S_ISDIR(info->st_mode))
        return gp_error_set(err, GP_INVALID,
                            "the repository %s is a file, not a folder: name the folder "
                            "that holds the models, or serve the file by its own path",
                            path);
    return GP_OK;
}

enum gp_status listing_open(struct gp_arena *arena, const char *path,
                            struct listing_root *root, struct stat *info,
                            struct gp_error *err)
{
    char real[PATH_MAX];
    if (!path || !*path)
        return gp_error_set(err, GP_INVALID, "no folder was named as the repository");
    size_t n = strlen(path);
    if (n >= PATH_MAX)
        return gp_error_set(err, GP_TOO_LARGE,
                            "the repository's path has %zu bytes, the limit is %d", n,
                            PATH_MAX - 1);
    char *own = listing_copy(arena, path);
    while (own && n > 1 && own[n - 1] == '/')
        own[--n] = '\0';
    root->path = own;
    const enum gp_status status = own ? check_root(own, info, err) : GP_OK;
    if (status != GP_OK)
        return status;
    root->real = own ? listing_copy(arena, realpath(own, real) ? real : "") : NULL;
    return root->real ? GP_OK : listing_no_memory(err);
}

/* --- folders -------------------------------------------------------------------------- */

static bool is_folder_itself(const char *name)
{
    return strcmp(name, ".") == 0 || strcmp(name, "..") == 0;
}

static bool is_left_out(const char *name)
{
    return name[0] == '.' || strcmp(name, "__pycache__") == 0 ||
           strcmp(name, "lost+found") == 0;
}

static enum gp_status read_names(struct gp_arena *arena, DIR *dir, const char *folder,
                                 bool (*is_skipped)(const char *name),
                                 struct listing *listing, struct gp_error *err)
{
    for (const struct dirent *entry; errno = 0, (entry = readdir(dir));) {
        if (is_skipped(entry->d_name))
            continue;
        if (listing->n_names == LISTING_MAX_NAMES)
            return gp_error_set(err, GP_TOO_LARGE,
                                "%s holds more than %d files and folders", folder,
                                LISTING_MAX_NAMES);
        listing->names =
            listing_grow(arena, listing->names, listing->n_names, sizeof *listing->names);
        const char *name = listing->names ? listing_copy(arena, entry->d_name) : NULL;
        if (!name)
            return listing_no_memory(err);
        listing->names[listing->n_names++] = name;
    }
    return errno ? listing_refuse(folder, errno, err) : GP_OK;
}

static int compare_names(const void *left, const void *right)
{
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static enum gp_status read_folder(struct gp_arena *arena, const char *folder,
                                  bool (*is_skipped)(const char *name),
                                  struct listing *listing, struct gp_error *err)
{
    *listing = (struct listing){0};
    DIR *dir = opendir(folder);
    if (!dir)
        return listing_refuse(folder, errno, err);
    const enum gp_status status =
        read_names(arena, dir, folder, is_skipped, listing, err);
    closedir(dir);
    if (status != GP_OK)
        *listing = (struct listing){0};
    if (listing->n_names)
        qsort(listing->names, listing->n_names, sizeof *listing->names, compare_names);
    return status;
}

enum gp_status listing_read(struct gp_arena *arena, const char *folder,
                            struct listing *listing, struct gp_error *err)
{
    return read_folder(arena, folder, is_left_out, listing, err);
}

enum gp_status listing_read_all(struct gp_arena *arena, const char *folder,
                                struct listing *listing, struct gp_error *err)
{
    return read_folder(arena, folder, is_folder_itself, listing, err);
}

/* True for anything below the repository, but not for the repository itself. */
static bool is_inside(const struct listing_root *root, const char *real)
{
    const size_t n = strcmp(root->real, "/") == 0 ? 0 : strlen(root->real);
    return *root->real && strncmp(real, root->real, n) == 0 && real[n] == '/' &&
           real[n + 1];
}

static enum gp_status check_link(const struct listing_root *root, const char *path,
                                 struct gp_error *err)
{
    char real[PATH_MAX];
    if (!realpath(path, real))
        return gp_error_set(err, errno == ENOMEM ? GP_NO_MEMORY : GP_INVALID,
                            "the symbolic link %s leads nowhere: %s", path,
                            strerror(errno));
    if (is_inside(root, real))
        return GP_OK;
    return gp_error_set(err, GP_FORBIDDEN,
                        "the symbolic link %.*s leads out of the repository, to %.*s: "
                        "copy or mount that into the repository",
                        gp_cut(path, 200), path, gp_cut(real, 200), real);
}

enum gp_status listing_stat(const struct listing_root *root, const char *path,
                            struct stat *info, struct gp_error *err)
{
    if (lstat(path, info) != 0)
        return listing_refuse(path, errno, err);
    if (!S_ISLNK(info->st_mode))
        return GP_OK;
    const enum gp_status status = check_link(root, path, err);
    if (status != GP_OK)
        return status;
    return stat(path, info) == 0 ? GP_OK : listing_refuse(path, errno, err);
}
