/* model/repository.h - which models and versions a folder holds.
 *
 *     struct gp_arena *arena = gp_arena_create(); // another one than that of the look before
 *     struct catalog now;
 *     repository_look(arena, "/srv/models", NULL, &now, &err);
 *     for each model of now.models
 *         policy_choose(&policy, model, &err);
 *         for each version that is wanted
 *             repository_examine(&now, version, &err);
 *             if (catalog_is_settled(&before, model->name, version))
 *                 it can be served; it is another one than before if its fingerprint is
 *
 * docs/repository.md describes the layouts. A look reads names only; the files of a version are looked
 * at when it is examined, so that a hundred old versions cost nothing. No state is kept: a look is
 * compared with the one before.
 *
 * Threads: none; a catalog belongs to one thread at a time.
 */
#ifndef GP_MODEL_REPOSITORY_H
#define GP_MODEL_REPOSITORY_H

#include "model/catalog.h"

/* Looks at the folder. Where that is itself one model, it is called `name`, or "model" for NULL. Fails
 * when the folder cannot be looked at, is empty, may be read in two ways, or was replaced meanwhile:
 * then nothing is known of it, and nothing that is served should be changed. May find nothing but
 * problems. */
enum gp_status repository_look(struct gp_arena *arena, const char *path, const char *name,
                               struct catalog *catalog, struct gp_error *err);

/* Finds a version's model and fingerprint. */
enum gp_status repository_examine(const struct catalog *catalog,
                                  struct catalog_version *version, struct gp_error *err);

#endif
