/* The fingerprint reads no contents: a repository may hold terabytes, and is checked every few
 * seconds. The inode reveals a file that was replaced by one of the same size and time, as from
 * archives with one time for all files. */
#include "model/contents.h"

#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

/* How likely a file is the model, from least to most. */
enum rank {
    RANK_NONE,
    RANK_FILE,
    RANK_CALLED_MODEL, /* but without a known engine */
    RANK_KNOWN,
    RANK_KNOWN_CALLED_MODEL,
    RANK_FOLDER /* the whole folder is the model */
};

/* --- the model ------------------------------------------------------------------------ */

/* "model.onnx", but not the "model.onnx.data" beside it. */
static bool is_called_model(const char *name)
{
    return strncmp(name, "model.", 6) == 0 && !strchr(name + 6, '.');
}

static bool is_known(const char *path)
{
    const char *engine;
    return engine_guess(path, &engine, NULL) == GP_OK;
}

static enum gp_status rank_file(const char *path, const char *name, enum rank *rank,
                                struct gp_error *err)
{
    if (strcmp(name, "config.pbtxt") == 0)
        *rank = RANK_NONE;
    else if (is_known(path))
        *rank = is_called_model(name) ? RANK_KNOWN_CALLED_MODEL : RANK_KNOWN;
    else if (faccessat(AT_FDCWD, path, R_OK, AT_EACCESS) != 0 && errno != ENOENT)
        return listing_refuse(path, errno, err);
    else
        *rank = is_called_model(name) ? RANK_CALLED_MODEL : RANK_FILE;
    return GP_OK;
}

static bool is_saved_model_folder(const char *path, const char *name)
{
    static const char end[] = ".savedmodel";
    const size_t n = strlen(name), n_end = sizeof end - 1;
    return n > n_end && strcmp(name + n - n_end, end) == 0 && is_known(path);
}

/* Ranks Triton's folders: NAME.savedmodel, and one with a file of its own name, which *path
 * becomes. */
static enum gp_status rank_folder(struct gp_arena *arena, const struct listing_root *root,
                                  const char *name, const char **path, enum rank *rank,
                                  struct gp_error *err)
{
    const char *inner;
    struct stat info;
    *rank = is_called_model(name) ? RANK_KNOWN_CALLED_MODEL : RANK_KNOWN;
    if (is_saved_model_folder(*path, name))
        return GP_OK;
    enum gp_status status = listing_join(arena, *path, name, &inner, err);
    if (status == GP_OK)
        status = listing_stat(root, inner, &info, err);
    if (status == GP_OK && S_ISREG(info.st_mode) && is_known(inner))
        *path = inner;
    else
        *rank = RANK_NONE;
    return status == GP_NOT_FOUND ? GP_OK : status;
}

static enum gp_status rank_entry(struct gp_arena *arena, const struct listing_root *root,
                                 const char *folder, const char *name, const char **path,
                                 enum rank *rank, struct gp_error *err)
{
    struct stat info;
    *rank = RANK_NONE;
    enum gp_status status = listing_join(arena, folder, name, path, err);
    if (status == GP_OK)
        status = listing_stat(root, *path, &info, err);
    if (status != GP_OK)
        return status == GP_NOT_FOUND ? GP_OK : status;
    if (S_ISREG(info.st_mode) && strcmp(name, "saved_model.pb") == 0) {
        *path = folder;
        *rank = RANK_FOLDER;
    } else if (S_ISREG(info.st_mode)) {
        return rank_file(*path, name, rank, err);
    } else if (S_ISDIR(info.st_mode) && strcmp(folder, root->path) != 0) {
        return rank_folder(arena, root, name, path, rank, err);
    }
    return GP_OK;
}

/* An entry that cannot be read matters only if there is no model beside it. */
static enum gp_status find_best(struct gp_arena *arena, const struct listing_root *root,
                                const char *folder, const struct listing *listing,
                                struct contents *found, enum rank *best,
                                struct gp_error *err)
{
    enum gp_status trouble = GP_OK;
    for (size_t i = 0; i < listing->n_names; i++) {
        const char *path;
        enum rank rank;
        const enum gp_status status =
            rank_entry(arena, root, folder, listing->names[i], &path, &rank,
                       trouble == GP_OK ? err : NULL);
        if (status == GP_NO_MEMORY)
            return listing_no_memory(err);
        if (trouble == GP_OK)
            trouble = status;
        if (rank > *best) {
            *best = rank;
            found->path = path;
            found->rival = NULL;
        } else if (rank && rank == *best && !found->rival) {
            found->rival = path;
        }
    }
    return *best >= RANK_KNOWN ? GP_OK : trouble;
}

enum gp_status contents_find(struct gp_arena *arena, const struct listing_root *root,
                             const char *folder, struct contents *found,
                             struct gp_error *err)
{
    struct listing listing;
    enum rank best = RANK_NONE;
    *found = (struct contents){0};
    enum gp_status status = listing_read(arena, folder, &listing, err);
    if (status == GP_OK)
        status = find_best(arena, root, folder, &listing, found, &best, err);
    if (best >= RANK_KNOWN)
        found->kind = CONTENTS_MODEL;
    else if (best && !found->rival)
        found->kind = CONTENTS_FILE;
    else
        *found = (struct contents){0};
    return status;
}

/* --- all files ------------------------------------------------------------------------ */

struct folder_walk {
    struct gp_arena *arena;
    const struct listing_root *root;
    const char *top;
    unsigned n_files;
    contents_visit *visit;
    void *context;
};

static enum gp_status walk_folder(struct folder_walk *walk, const char *folder,
                                  unsigned depth, struct gp_error *err);

static enum gp_status walk_entry(struct folder_walk *walk, const char *path,
                                 unsigned depth, struct gp_error *err)
{
    struct stat info;
    enum gp_status status = listing_stat(walk->root, path, &info, err);
    if (status != GP_OK)
        return status == GP_NOT_FOUND ? GP_OK : status;
    if (++walk->n_files > CONTENTS_MAX_FILES)
        return gp_error_set(err, GP_TOO_LARGE, "%s holds more than %d files", walk->top,
                            CONTENTS_MAX_FILES);
    status = walk->visit(walk->context, path, &info, err);
    return status == GP_OK && S_ISDIR(info.st_mode)
               ? walk_folder(walk, path, depth + 1, err)
               : status;
}

static enum gp_status walk_folder(struct folder_walk *walk, const char *folder,
                                  unsigned depth, struct gp_error *err)
{
    struct listing listing;
    if (depth > CONTENTS_MAX_DEPTH)
        return gp_error_set(err, GP_TOO_LARGE,
                            "%s holds folders more than %d deep: does a symbolic link "
                            "lead back to one of them?",
                            walk->top, CONTENTS_MAX_DEPTH);
    enum gp_status status = listing_read(walk->arena, folder, &listing, err);
    for (size_t i = 0; i < listing.n_names && status == GP_OK; i++) {
        const char *path;
        status = listing_join(walk->arena, folder, listing.names[i], &path, err);
        if (status == GP_OK)
            status = walk_entry(walk, path, depth, err);
    }
    return status;
}

enum gp_status contents_walk(struct gp_arena *arena, const struct listing_root *root,
                             const char *folder, contents_visit *visit, void *context,
                             struct gp_error *err)
{
    struct folder_walk walk = {
        .arena = arena, .root = root, .top = folder, .visit = visit, .context = context};
    return walk_folder(&walk, folder, 0, err);
}

/* --- the fingerprint ------------------------------------------------------------------ */

struct fingerprint {
    size_t top_size;
    uint64_t hash;
};

/* FNV-1a, 64 bits. */
static void hash_bytes(struct fingerprint *f, const void *bytes, size_t size_bytes)
{
    const unsigned char *at = bytes;
    for (size_t i = 0; i < size_bytes; i++)
        f->hash = (f->hash ^ at[i]) * UINT64_C(0x100000001b3);
}

static void hash_number(struct fingerprint *f, uint64_t number)
{
    hash_bytes(f, &number, sizeof number);
}

static enum gp_status hash_entry(void *context, const char *path, const struct stat *info,
                                 struct gp_error *err)
{
    struct fingerprint *f = context;
    const char *name = path + f->top_size;
    (void)err;
    hash_bytes(f, name, strlen(name) + 1);
    hash_number(f, info->st_mode & S_IFMT);
    if (!S_ISREG(info->st_mode))
        return GP_OK;
    hash_number(f, (uint64_t)info->st_size);
    hash_number(f, (uint64_t)info->st_ino);
    hash_number(f, (uint64_t)info->st_mtim.tv_sec);
    hash_number(f, (uint64_t)info->st_mtim.tv_nsec);
    return GP_OK;
}

enum gp_status contents_fingerprint(struct gp_arena *arena,
                                    const struct listing_root *root, const char *folder,
                                    uint64_t *fingerprint, struct gp_error *err)
{
    struct fingerprint f = {.top_size = strlen(folder),
                            .hash = UINT64_C(0xcbf29ce484222325)};
    const enum gp_status status = contents_walk(arena, root, folder, hash_entry, &f, err);
    *fingerprint = f.hash ? f.hash : 1;
    return status;
}
