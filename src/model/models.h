/* model/models.h - the served models, by name and version.
 *
 * An entry is a name; its versions are numbers, each with a model while it is served. A request is
 * for a name (its highest ready version), a name and a number, or a name and an alias; without a
 * name it is for the default model. models_find holds the model under the table's lock, while the
 * table holds it too. A model taken out of the table is closed after its last user drops it.
 *
 * Threads: any may find and list; only one at a time changes the table (loader.h).
 */
#ifndef GP_MODEL_MODELS_H
#define GP_MODEL_MODELS_H

#include "model/model.h"
#include "model/model_options.h"

enum model_state { MODEL_LOADING, MODEL_READY, MODEL_FAILED, MODEL_UNLOADED };

/* "loading", "ready", "failed" or "unloaded". */
const char *model_state_name(enum model_state state);

struct model_version {
    uint64_t number;
    enum model_state state;
    struct model *model;   /* while it is served, even while its successor loads */
    struct gp_error error; /* why the last load failed; GP_OK if it did not */
    uint64_t fingerprint;  /* of the files last loaded, or that failed to; 0: none */
    struct counts *counts; /* held */
    bool is_wanted;
    struct model_version *next; /* the next lower */
};

struct model_entry {
    struct gp_arena *arena;           /* of the options */
    struct gp_model_options *options; /* a copy */
    const char *name;                 /* the options' */
    struct model_version *versions;   /* the highest first */
    struct counts *counts;            /* of its versions, and of some that have gone */
    struct gp_error error;            /* why it has no version; GP_OK: see the versions */
    bool is_declared; /* by options: it stays even if the repository lacks it */
    bool is_unloaded; /* by control: until it is loaded again */
    bool is_unnamed;  /* the options gave no name, so it has its model's */
    /* It came while others served: they stay ready until its first load is over. */
    bool is_joining;
};

struct models {
    /* All paths lead to the default model; set before any is found. */
    bool takes_any_path;
    bool is_serving; /* what is added from now on joins those that serve */

    pthread_mutex_t lock;         /* of what follows */
    bool has_repository;          /* there may be more models at any time */
    const char *default_name;     /* of the model for "/", which may be gone; or NULL */
    struct model *open;           /* all, even those that no name leads to any more */
    struct model_entry **entries; /* by name */
    size_t n_entries;
    struct model_entry *by_default; /* of that name, while there is one */
    unsigned n_counters;            /* of each version, beside those of counts.h */
    unsigned n_counting;            /* threads, about */
};

void models_init(struct models *models);

/* Closes all models; nothing may be running. */
void models_finish(struct models *models);

/* Adds a name and copies its options; NULL and *err if it is taken or memory is short. */
struct model_entry *models_add(struct models *models,
                               const struct gp_model_options *options,
                               struct gp_error *err);

/* Replaces the entry's options by a copy of these, of the same name. On failure nothing changes. */
enum gp_status models_set_options(struct models *models, struct model_entry *entry,
                                  const struct gp_model_options *options,
                                  struct gp_error *err);

/* Sets the model for the address "/" by name; NULL: the only one, if there is just one. If it is
 * removed, the next one of its name takes its place. On failure nothing changes. */
enum gp_status models_set_default(struct models *models, const char *name,
                                  struct gp_error *err);

void models_set_repository(struct models *models, bool has_repository);

/* Removes a name without versions. */
void models_remove(struct models *models, struct model_entry *entry);

/* The entry of that name; NULL if there is none. */
struct model_entry *models_entry(struct models *models, const char *name);

/* The same under the table's lock, of a name of `size` bytes. */
struct model_entry *models_named(const struct models *models, const char *name,
                                 size_t size);

/* The entry's version of that number, created if it is new; NULL if memory is short. */
struct model_version *models_version(struct models *models, struct model_entry *entry,
                                     uint64_t number);

void models_set_state(struct models *models, struct model_version *version,
                      enum model_state state, const struct gp_error *why);

/* Says why the entry, or a version that its policy names, is missing; NULL or GP_OK: it is not. */
void models_set_error(struct models *models, struct model_entry *entry,
                      const struct gp_error *why);

/* Says whether the model was unloaded on request: then nothing but a request loads it. */
void models_set_unloaded(struct models *models, struct model_entry *entry,
                         bool is_unloaded);

/* Serves the version by this model from now on, instead of the previous one, if any. The table
 * takes over the caller's hold. */
void models_publish(struct models *models, struct model_version *version,
                    struct model *model);

/* The entry's first load is over. */
void models_end_joining(struct models *models, struct model_entry *entry);

/* The version is no longer served, and no longer there. */
void models_retire(struct models *models, struct model_entry *entry,
                   struct model_version *version);

/* The model for an address "/", "/NAME", "/NAME/versions/N" or "/NAME/versions/ALIAS", whose path
 * may end in a query; held. NULL and *err: which models or versions there are, or why it is not
 * ready. */
struct model *models_find(struct models *models, const char *path, struct gp_error *err);

/* The version that answers for the name alone: the highest that is ready, else the highest; NULL:
 * there is none. Under the table's lock. */
const struct model_version *models_newest(const struct model_entry *entry);

/* True when every name has a version that is ready, but for those that are joining. *err says which
 * has not. */
bool models_are_ready(struct models *models, struct gp_error *err);

/* True when there is one model, which is the default, and no repository. */
bool models_is_lone(struct models *models);

/* Calls visit for each entry, which may be removed by it. For whoever changes the table. */
void models_each_entry(struct models *models,
                       void (*visit)(struct model_entry *entry, void *arg), void *arg);

/* Calls visit for each entry, by name, under the table's lock: for whoever tells about it. */
void models_list(struct models *models,
                 void (*visit)(const struct model_entry *entry, void *arg), void *arg);

/* Calls visit for each model that is open and not about to be closed, held meanwhile. */
void models_each(struct models *models, void (*visit)(struct model *model, void *arg),
                 void *arg);

/* The same for those with a run, which the watcher asks for a thousand times a second. */
void models_each_busy(struct models *models,
                      void (*visit)(struct model *model, void *arg), void *arg);

/* Takes a model that nobody holds off the list of open ones, and closes it. */
void models_close(struct models *models, struct model *model);

#endif
