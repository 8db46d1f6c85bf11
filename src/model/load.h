/* model/load.h - opens one version of a model while others are served. */
#ifndef GP_MODEL_LOAD_H
#define GP_MODEL_LOAD_H

#include "model/models.h"

/* Runs the warm-up of a model that was just opened, or NULL, which is returned again, and checks its rows
 * if it should have batches. If the warm-up fails the model is closed, and the result is NULL and *err. */
struct model *load_try(struct model *model, const struct gp_model_options *options,
                       struct gp_error *err);

/* Opens the version's model at the path; it replaces the one being served, if any. On failure
 * only the version's state changes, and the log says why. */
enum gp_status load_version(struct models *models, const struct model_host *host,
                            struct model_entry *entry, struct model_version *version,
                            const char *path, struct gp_error *err);

/* The same for version 1, the only one that a model outside of a repository has. */
enum gp_status load_entry(struct models *models, const struct model_host *host,
                          struct model_entry *entry, struct gp_error *err);

/* The same if the files at the model's path are others than those last loaded. */
enum gp_status load_changed(struct models *models, const struct model_host *host,
                            struct model_entry *entry, struct gp_error *err);

/* A version to be loaded. */
struct load {
    struct model_entry *entry;
    struct model_version *version;
    const char *path;
};

/* The same for n versions, on at most n_threads threads, each for itself. */
void load_several(struct models *models, const struct model_host *host,
                  const struct load *loads, size_t n, unsigned n_threads);

/* Opens n versions likewise, and serves all of them once all are open; or none, if one fails: *err is
 * that of the first. Neither their states nor the log tell of it. */
enum gp_status load_together(struct models *models, const struct model_host *host,
                             const struct load *loads, size_t n, unsigned n_threads,
                             struct gp_error *err);

/* A number that changes when the file, or a file of the folder, changes; 0 if it is unknown. */
uint64_t load_fingerprint(const char *path);

/* Retires the version and logs it. */
void load_retire(struct models *models, const struct model_host *host,
                 struct model_entry *entry, struct model_version *version);
void load_retire_all(struct models *models, const struct model_host *host,
                     struct model_entry *entry);

#endif
