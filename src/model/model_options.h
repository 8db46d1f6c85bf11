/* model/model_options.h - the options of a model, kept for as long as its name. */
#ifndef GP_MODEL_MODEL_OPTIONS_H
#define GP_MODEL_MODEL_OPTIONS_H

#include <graphpipe/server.h>

/* A deep copy, whatever version of the struct is given; NULL if memory is short. */
struct gp_model_options *model_options_copy(struct gp_arena *arena,
                                            const struct gp_model_options *given);

/* The options of a lone model, or of those in a repository, which are fields of the server's.
 * Borrows them. */
struct gp_model_options model_options_of(const struct gp_server_options *server);

/* How many models the options name, and the one at an index, whatever version of the struct is
 * given. Borrows it. */
size_t model_options_count(const struct gp_server_options *server);
struct gp_model_options model_options_at(const struct gp_server_options *server,
                                         size_t index);

#endif
