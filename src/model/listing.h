/* model/listing.h - the sorted names in the folders of a model repository, without a way out of
 * the repository.
 *
 * Names that begin with a dot are left out: Kubernetes and copying programs keep their own files
 * there. So are __pycache__, which Python writes beside a model that it has loaded, and
 * lost+found in the root of a volume. A symbolic link may lead anywhere below the repository, as
 * in a ConfigMap, and nowhere else. That prevents accidents, not attacks: anyone who can write to
 * the repository can run code in the server, since a model is code.
 */
#ifndef GP_MODEL_LISTING_H
#define GP_MODEL_LISTING_H

#include <graphpipe/message.h>

#include <sys/stat.h>

enum { LISTING_MAX_NAMES = 10000 }; /* in one folder */

/* The repository's own folder. */
struct listing_root {
    const char *path; /* as given, without trailing slashes */
    /* `path` without symbolic links. "" if that has no name here, as behind /proc/N/root: then
     * all links are refused. */
    const char *real;
};

struct listing {
    const char **names; /* sorted by bytes */
    size_t n_names;
};

/* Fails if there is no such folder. *info tells it from another folder at the same path. */
enum gp_status listing_open(struct gp_arena *arena, const char *path,
                            struct listing_root *root, struct stat *info,
                            struct gp_error *err);

/* Reads the names in a folder, or none on failure. GP_NOT_FOUND if the folder does not exist. */
enum gp_status listing_read(struct gp_arena *arena, const char *folder,
                            struct listing *listing, struct gp_error *err);

/* The same with the names that are left out otherwise. */
enum gp_status listing_read_all(struct gp_arena *arena, const char *folder,
                                struct listing *listing, struct gp_error *err);

/* Like stat(). GP_NOT_FOUND if the file is gone; GP_FORBIDDEN if a symbolic link leads out of the
 * repository. */
enum gp_status listing_stat(const struct listing_root *root, const char *path,
                            struct stat *info, struct gp_error *err);

/* "folder/name" in the arena. */
enum gp_status listing_join(struct gp_arena *arena, const char *folder, const char *name,
                            const char **path, struct gp_error *err);

/* The array of n items, or a copy with room for one more. An array must only ever be grown by this,
 * one item at a time. NULL if memory is short. */
void *listing_grow(struct gp_arena *arena, void *items, size_t n, size_t item_bytes);

/* A copy of the string; NULL if memory is short. */
char *listing_copy(struct gp_arena *arena, const char *string);

/* The failure of these, and of their callers, if `path` cannot be read; errno says why. */
enum gp_status listing_refuse(const char *path, int reason, struct gp_error *err);

/* The failure of these, and of their callers, if memory is short. */
enum gp_status listing_no_memory(struct gp_error *err);

#endif
