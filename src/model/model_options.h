/* model/model_options.h - what a model is opened with, kept for as long as its name is. */
#ifndef GP_MODEL_MODEL_OPTIONS_H
#define GP_MODEL_MODEL_OPTIONS_H

#include <graphpipe/server.h>

/* A copy with all that it points at, whatever version of the struct it is; NULL when memory is
 * short. */
struct gp_model_options *model_options_copy(struct gp_arena *arena,
                                            const struct gp_model_options *given);

/* Those of a lone model, which are fields of the server's. Borrows them. */
struct gp_model_options model_options_of(const struct gp_server_options *server);

#endif
