/* model/model.h - a model that is open: what it is, how requests are bound to it, its slots. */
#ifndef GP_MODEL_MODEL_H
#define GP_MODEL_MODEL_H

#include "base/log.h"
#include "base/pool.h"
#include "model/slots.h"

#include <graphpipe/server.h>

/* What models are opened in, which outlives them. */
struct model_host {
    struct pool *pool;
    struct log *log;
    struct poller *poller;
    unsigned n_cores;
    unsigned max_waiting; /* of each model */
    int64_t hang_ns;
};

struct model {
    struct model *next; /* in the table, under its lock */
    unsigned n_users;   /* likewise */
    struct model_host host;
    struct gp_arena *arena; /* of what lives as long as the model */
    const struct gp_engine *engine;
    void *handle;
    struct isolate *isolate; /* the handle, where the engine runs in children; or NULL */
    const char *engine_version; /* as installed */
    struct gp_description description;
    struct gp_metadata metadata;
    uint32_t n_default_inputs;
    const uint32_t *default_inputs; /* indexes into the description, in order */
    const char *const *default_outputs;
    uint32_t n_default_outputs;
    struct slots slots;
};

/* Settles what the options leave open: which engine it is, and that one which is a Python program
 * is isolated. */
enum gp_status model_choose(struct gp_server_options *options, struct gp_error *err);

/* Opens what the options name, once they are settled, and prepares its slots; NULL and *err. */
struct model *model_open(const struct model_host *host,
                         const struct gp_server_options *options, struct gp_error *err);

/* The same for a function of this process. */
struct model *model_open_function(const struct model_host *host, gp_infer_fn *function,
                                  void *self, const struct gp_server_options *options,
                                  struct gp_error *err);

/* Makes the threads that the slots ask for; ends them. */
enum gp_status model_start(struct model *model, struct gp_error *err);
void model_stop(struct model *model);

/* Closes it; nothing runs. Takes NULL. */
void model_close(struct model *model);

/* Matches the request's inputs and outputs with the model's; fills the run's call. Copies nothing:
 * the inputs are still views (wire.h). On failure the inference's error says what was wanted and
 * what came. */
bool model_bind(struct inference *inference);

/* Copies of the bound inputs what the engine could not read where it lies, into memory that the
 * client's share pays for; false: the inference's error says what there was no room for. Done when
 * its run has a slot, so that requests that wait, or never run, hold no copies. */
bool model_settle(struct inference *inference);

#endif
