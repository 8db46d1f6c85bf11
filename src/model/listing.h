/* model/listing.h - what the folders of a model repository hold: names in order, and no way out of
 * the repository.
 *
 * Left out are names that begin with a dot, under which Kubernetes and copying programs keep their
 * own files; __pycache__, which Python writes beside a model that it has loaded; and lost+found, of
 * the root of a volume. A symbolic link may lead to anything below the repository, as those of a
 * ConfigMap do, and nowhere else. That keeps accidents out: whoever may write to the repository may
 * run code in the server anyway, since a model is code.
 */
#ifndef GP_MODEL_LISTING_H
#define GP_MODEL_LISTING_H

#include <graphpipe/message.h>

#include <sys/stat.h>

enum { LISTING_MAX_NAMES = 10000 }; /* in one folder */

/* The repository's own folder. */
struct listing_root {
    const char *path; /* as it was named, without slashes at its end */
    /* What `path` is without symbolic links. "" where that has no name here, as behind
     * /proc/N/root: then all links are refused. */
    const char *real;
};

struct listing {
    const char **names; /* sorted by their bytes */
    size_t n_names;
};

/* Fails when there is no such folder. *info tells it from another one of its path. */
enum gp_status listing_open(struct gp_arena *arena, const char *path,
                            struct listing_root *root, struct stat *info,
                            struct gp_error *err);

/* Reads the names in a folder, or none when that fails. GP_NOT_FOUND: it is not there. */
enum gp_status listing_read(struct gp_arena *arena, const char *folder,
                            struct listing *listing, struct gp_error *err);

/* As stat(). GP_NOT_FOUND: there is nothing of that name any more. GP_FORBIDDEN: a symbolic link
 * leads out of the repository. */
enum gp_status listing_stat(const struct listing_root *root, const char *path,
                            struct stat *info, struct gp_error *err);

/* "folder/name" in the arena. */
enum gp_status listing_join(struct gp_arena *arena, const char *folder, const char *name,
                            const char **path, struct gp_error *err);

/* The array of n items, or a copy with room for more, as long as it is only ever grown by this and
 * one item at a time. NULL when memory is short. */
void *listing_grow(struct gp_arena *arena, void *items, size_t n, size_t item_bytes);

/* A copy of the string; NULL when memory is short. */
char *listing_copy(struct gp_arena *arena, const char *string);

/* What these, and their callers, fail with where `path` cannot be read: errno says why. */
enum gp_status listing_refuse(const char *path, int reason, struct gp_error *err);

/* What all of these, and their callers, fail with when memory is short. */
enum gp_status listing_no_memory(struct gp_error *err);

#endif
