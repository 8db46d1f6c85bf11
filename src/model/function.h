/* model/function.h - a function of this process as an engine. */
#ifndef GP_MODEL_FUNCTION_H
#define GP_MODEL_FUNCTION_H

#include <graphpipe/server.h>

extern const struct gp_engine function_engine;

/* The handle of a model that is a function; NULL if memory is short. The metadata is borrowed
 * for as long as the handle lives. */
void *function_create(gp_infer_fn *call, void *self, uint32_t n_slots,
                      const struct gp_metadata *metadata);

#endif
