#include "model/models.h"

void models_init(struct models *models)
{
    pthread_mutex_init(&models->lock, NULL);
}

void models_finish(struct models *models)
{
    while (models->first) {
        struct model *model = models->first;
        models->first = model->next;
        model_close(model);
    }
    pthread_mutex_destroy(&models->lock);
}

void models_add(struct models *models, struct model *model)
{
    pthread_mutex_lock(&models->lock);
    model->n_users = 1;
    model->next = models->first;
    models->first = model;
    pthread_mutex_unlock(&models->lock);
}

struct model *models_find(struct models *models)
{
    pthread_mutex_lock(&models->lock);
    struct model *model = models->first;
    if (model)
        model->n_users++;
    pthread_mutex_unlock(&models->lock);
    return model;
}

void models_drop(struct models *models, struct model *model)
{
    pthread_mutex_lock(&models->lock);
    model->n_users--;
    pthread_mutex_unlock(&models->lock);
}

void models_each(struct models *models, void (*visit)(struct model *model, void *arg),
                 void *arg)
{
    for (struct model *model = models->first; model; model = model->next)
        visit(model, arg);
}
