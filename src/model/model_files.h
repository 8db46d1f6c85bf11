/* model/model_files.h - the contents of all files that a model is read from, as one digest, and whether
 * they are still the same.
 *
 * Of a folder these are all files in it, as the repository sees them (contents.h); symbolic links may lead
 * anywhere. A lone file may be only a part of its model, and formats differ in how they name the rest: what
 * lies beside it counts too if its name occurs in the file's bytes, as those of ONNX's external data do,
 * or differs from the file's in the extension only, as those of OpenVINO's weights do. So does what lies in
 * folders beside it, if all names on the way there occur.
 */
#ifndef GP_MODEL_MODEL_FILES_H
#define GP_MODEL_MODEL_FILES_H

#include "cache/digest.h"

#include <graphpipe/message.h>

#include <stdatomic.h>

struct model_file;

struct model_files {
    const atomic_bool *is_ending; /* the host's: stops the reading */
    struct gp_arena *arena;
    struct model_file *first;
    struct digest digest;
};

/* `path` may be NULL: no files. It does not count where they are, nor what a lone file is called. To be
 * finished if it fails, too. */
enum gp_status model_files_read(struct model_files *files, const char *path,
                                struct gp_error *err);

/* Fails if one was changed since. */
enum gp_status model_files_check(const struct model_files *files, struct gp_error *err);

void model_files_finish(struct model_files *files);

#endif
