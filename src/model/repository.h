/* model/repository.h - which models and versions a folder holds.
 *
 *     struct gp_arena *arena = gp_arena_create(); // not the arena of the look before
 *     struct catalog now;
 *     repository_look(arena, "/srv/models", NULL, &now, &err);
 *     for each model of now.models
 *         policy_choose(&policy, model, &err);
 *         for each wanted version
 *             repository_examine(&now, version, &err);
 *             if (catalog_is_settled(&before, model->name, version))
 *                 it can be served; it has changed if its fingerprint has
 *
 * docs/repository.md describes the layouts. A look only reads names; the files of a version are
 * looked at when it is examined, so a hundred old versions cost nothing. No state is kept: a look
 * is compared with the one before.
 *
 * Threads: none; a catalog belongs to one thread at a time.
 */
#ifndef GP_MODEL_REPOSITORY_H
#define GP_MODEL_REPOSITORY_H

#include "model/catalog.h"

/* Looks at the folder. If the folder itself is one model, it is called `name`, or "model" for NULL.
 * Fails if the folder cannot be read, is empty, is ambiguous, or was replaced meanwhile: then
 * nothing is known about it, and what is served should stay. May find nothing but problems. */
enum gp_status repository_look(struct gp_arena *arena, const char *path, const char *name,
                               struct catalog *catalog, struct gp_error *err);

/* Finds a version's model and fingerprint. */
enum gp_status repository_examine(const struct catalog *catalog,
                                  struct catalog_version *version, struct gp_error *err);

#endif
