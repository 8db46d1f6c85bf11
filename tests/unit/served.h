/* More models in the table of a server, as its loader would put them there. */
#ifndef GP_TESTS_SERVED_H
#define GP_TESTS_SERVED_H

#include "server/server.h"

/* A name without versions. */
struct model_entry *served_entry(struct gp_server *server,
                                 const struct gp_model_options *options);

/* A version of it that is not ready: failed if there is a reason. */
void served_state(struct gp_server *server, struct model_entry *entry, uint64_t number,
                  enum model_state state, const char *why);

/* A version that is ready, with so many slots: a function without inputs. */
struct model *served_version(struct gp_server *server, struct model_entry *entry,
                             uint64_t number, uint32_t n_slots);

#endif
