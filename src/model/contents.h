/* model/contents.h - what one version of a model consists of: which of its files is the model, as
 * engine_guess takes it, and what tells that any of them changed.
 *
 * The model is, in this order: the folder itself where it holds a saved_model.pb; what is called
 * model.EXTENSION; the only one that an engine is known for. Triton's folders, model.savedmodel/ and
 * model.onnx/model.onnx, count as one file. A file that no engine is known for is a model only where
 * it is the only one: an engine that was named may know it. Triton's config.pbtxt never is.
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
    CONTENTS_FILE,  /* a single file, and no engine is known for it */
    CONTENTS_MODEL, /* an engine is known for it */
};

struct contents {
    enum contents_kind kind;
    const char *path;  /* of the model; NULL for CONTENTS_NONE */
    const char *rival; /* another one that might as well be meant, or NULL */
};

/* Looks at a folder of the repository. The folders in the repository's root are models of their own,
 * never parts of one. */
enum gp_status contents_find(struct gp_arena *arena, const struct listing_root *root,
                             const char *folder, struct contents *found,
                             struct gp_error *err);

/* A hash of the names, kinds, sizes, times of change and inodes of everything below the folder; never
 * 0. What is written while it is computed makes the next one differ. */
enum gp_status contents_fingerprint(struct gp_arena *arena,
                                    const struct listing_root *root, const char *folder,
                                    uint64_t *fingerprint, struct gp_error *err);

#endif
