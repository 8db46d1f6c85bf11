/* model/warm_up.h - runs requests on a model that was just opened, before it is served, so that no
 * client has to wait while code is compiled, memory allocated or a file read for the first time.
 *
 * Each slot runs all requests, since it may have caches of its own; as many slots run at a time as
 * there are cores. If one request fails, the model is not served: it would fail its clients too.
 */
#ifndef GP_MODEL_WARM_UP_H
#define GP_MODEL_WARM_UP_H

#include "model/model.h"

/* Runs `what`, the warm_up of gp_model_options, and sets the model's warm_up_ns. Stops a run that takes
 * longer than limit_ns, and all of them once host->is_ending. Nobody else may use the model yet. */
enum gp_status warm_up_model(struct model *model, const char *what, int64_t limit_ns,
                             struct gp_error *err);

#endif
