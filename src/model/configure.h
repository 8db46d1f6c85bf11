/* model/configure.h - brings the served models in line with new options.
 *
 * All is checked before anything changes. Then models are opened beside those that serve, and last
 * those go that the options no longer name, so that an address that leads to a model all the time
 * is answered all the time. */
#ifndef GP_MODEL_CONFIGURE_H
#define GP_MODEL_CONFIGURE_H

#include "model/models.h"
#include "model/sync.h"

/* Of the options, takes the models, the repository and the default model. *is_refused: they
 * contradict themselves or each other, and nothing has changed. Else *err is of the first model
 * that does not load: what serves it stays, and the others are as the options say. Models in the
 * repository are loaded as they are found; what fails is their state. */
enum gp_status configure_models(struct models *models, const struct model_host *host,
                                struct sync *sync,
                                const struct gp_server_options *options, bool *is_refused,
                                struct gp_error *err);

#endif
