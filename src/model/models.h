/* model/models.h - the models that are served.
 *
 * A model is held by those who use it: find holds it under the table's lock, where the table holds
 * it too, so that one which has gone cannot come back. Any thread.
 */
#ifndef GP_MODEL_MODELS_H
#define GP_MODEL_MODELS_H

#include "model/model.h"

struct models {
    pthread_mutex_t lock; /* of what follows */
    struct model *first;
};

void models_init(struct models *models);

/* Closes all; nothing runs, and nobody holds one. */
void models_finish(struct models *models);

/* Puts an open model into the table, which owns it from then on. */
void models_add(struct models *models, struct model *model);

/* The model, held; NULL when there is none. */
struct model *models_find(struct models *models);
void models_drop(struct models *models, struct model *model);

/* Calls visit for each, which is held meanwhile. */
void models_each(struct models *models, void (*visit)(struct model *model, void *arg),
                 void *arg);

#endif
