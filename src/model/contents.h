/* model/contents.h - the files of one version of a model: which of them is the model, for
 * engine_guess, and whether any has changed.
 *
 * The model is, in this order: the folder itself if it holds a saved_model.pb; the file called
 * model.EXTENSION; the only file with a known engine. Triton's folders, model.savedmodel/ and
 * model.onnx/model.onnx, count as one file. A file without a known engine is the model only if
 * it is the only file: an engine chosen by name may know it. Triton's config.pbtxt never is.
 */
#ifndef GP_MODEL_CONTENTS_H
#define GP_MODEL_CONTENTS_H

#include "model/listing.h"

enum {
    CONTENTS_MAX_FILES = 10000, /* of one version, with its folders */
    CONTENTS_MAX_DEPTH = 16
};

enum contents_kind {
    CONTENTS_NONE,
    CONTENTS_FILE,  /* a single file without a known engine */
    CONTENTS_MODEL, /* with a known engine */
};

struct contents {
    enum contents_kind kind;
    const char *path;  /* of the model; NULL for CONTENTS_NONE */
    const char *rival; /* another that might be meant as well, or NULL */
};

/* Looks at a folder of the repository. Folders in the root of the repository are models, never
 * parts of one. */
enum gp_status contents_find(struct gp_arena *arena, const struct listing_root *root,
                             const char *folder, struct contents *found,
                             struct gp_error *err);

/* Calls visit for everything below the folder, in the order of the names; a folder comes before what
 * it holds. A path begins with the folder. What vanishes meanwhile is left out. */
typedef enum gp_status contents_visit(void *context, const char *path,
                                      const struct stat *info, struct gp_error *err);
enum gp_status contents_walk(struct gp_arena *arena, const struct listing_root *root,
                             const char *folder, contents_visit *visit, void *context,
                             struct gp_error *err);

/* A hash of the names, kinds, sizes, times of change and inodes of everything below the folder;
 * never 0. Anything written while it is computed makes the next one differ. */
enum gp_status contents_fingerprint(struct gp_arena *arena,
                                    const struct listing_root *root, const char *folder,
                                    uint64_t *fingerprint, struct gp_error *err);

#endif
