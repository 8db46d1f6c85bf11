/* model/sync.h - keeps the served models in step with the repository (docs/repository.md). */
#ifndef GP_MODEL_SYNC_H
#define GP_MODEL_SYNC_H

#include "model/catalog.h"
#include "model/models.h"
#include "model/repository_watch.h"

/* Belongs to one thread at a time. Zeroed: there is no repository. */
struct sync {
    struct models *models;
    const struct model_host *host;
    const char *path;
    struct gp_arena *arena;           /* of the defaults */
    struct gp_model_options defaults; /* of models that are not declared */
    struct repository_watch watch;
    struct gp_arena *arenas[2]; /* of the previous and the current look, in turn */
    struct catalog looks[2];
    unsigned n_looks;
    int64_t looked_ns;       /* the present one */
    struct gp_error trouble; /* last logged about the repository as a whole */
};

/* Looks at the repository and opens what it serves; fails if it cannot be read. */
enum gp_status sync_init(struct sync *sync, struct models *models,
                         const struct model_host *host, const char *path,
                         const struct gp_model_options *defaults, struct gp_error *err);
void sync_finish(struct sync *sync);

/* Replaces the path and the defaults; NULL: there is no repository any more. It looks at once, unless
 * it is the same path. On failure nothing changes. */
enum gp_status sync_move(struct sync *sync, struct models *models,
                         const struct model_host *host, const char *path,
                         const struct gp_model_options *defaults, struct gp_error *err);

/* How long to wait for sync->watch.fd before the next look; -1: forever, 0: look now. */
int sync_wait_ms(struct sync *sync);

/* Looks again, and loads and retires versions accordingly, which may remove entries. Versions of
 * `at_once`, if not NULL, need not be settled, and it stays even without any. Fails, which is logged, if the repository cannot be
 * read; err may be NULL. */
enum gp_status sync_look(struct sync *sync, const struct model_entry *at_once,
                         struct gp_error *err);

#endif
