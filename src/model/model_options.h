/* model/model_options.h - the options of a model, kept for as long as its name. */
#ifndef GP_MODEL_MODEL_OPTIONS_H
#define GP_MODEL_MODEL_OPTIONS_H

#include <graphpipe/server.h>

#include <stdbool.h>

/* A deep copy, whatever version of the struct is given; NULL if memory is short. */
struct gp_model_options *model_options_copy(struct gp_arena *arena,
                                            const struct gp_model_options *given);

/* How many models the options name, and the one at an index, whatever version of the struct is
 * given. Borrows it. */
size_t model_options_count(const struct gp_server_options *server);
struct gp_model_options model_options_at(const struct gp_server_options *server,
                                         size_t index);

/* Those of models in the repository that are not listed. */
struct gp_model_options model_options_defaults(const struct gp_server_options *server);

/* True if a model that was opened with the first options has to be opened anew for the second: they
 * differ in more than its name, the versions to serve and their aliases. Both are whole, as copied
 * or from model_options_at. */
bool model_options_need_opening(const struct gp_model_options *was,
                                const struct gp_model_options *wanted);

#endif
