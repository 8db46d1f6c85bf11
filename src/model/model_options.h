/* model/model_options.h - the options of a model, kept for as long as its name. */
#ifndef GP_MODEL_MODEL_OPTIONS_H
#define GP_MODEL_MODEL_OPTIONS_H

#include <graphpipe/server.h>

/* A deep copy, whatever version of the struct is given; NULL if memory is short. */
struct gp_model_options *model_options_copy(struct gp_arena *arena,
                                            const struct gp_model_options *given);

/* The options of a lone model, which are fields of the server's. Borrows them. */
struct gp_model_options model_options_of(const struct gp_server_options *server);

#endif
