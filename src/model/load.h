/* model/load.h - opening one version of a model, beside what is served. */
#ifndef GP_MODEL_LOAD_H
#define GP_MODEL_LOAD_H

#include "model/models.h"

/* Opens the version's model at the path and has it take over from the one before, if any. On failure
 * nothing changes but the version's state, and the log says why. */
enum gp_status load_version(struct models *models, const struct model_host *host,
                            struct model_entry *entry, struct model_version *version,
                            const char *path, struct gp_error *err);

/* A number that is another one when the file, or a file of the folder, has changed; 0 when it cannot
 * be told. */
uint64_t load_fingerprint(const char *path);

/* Retires the version, and says so in the log. */
void load_retire(struct models *models, const struct model_host *host,
                 struct model_entry *entry, struct model_version *version);

#endif
