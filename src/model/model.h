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
    const char *engine_dir; /* these two as in gp_server_options */
    const char *worker;
    unsigned n_cores;
    unsigned max_waiting; /* these, where a model's options do not say */
    uint32_t hang_timeout_ms;
    /* Takes a model that nobody holds any more, to be closed by another thread than this. */
    void (*left)(void *context, struct model *model);
    void *left_context;
};

struct model {
    const struct model_host *host;
    struct model *next;      /* of all that are open */
    struct model *next_left; /* of those to be closed */
    atomic_uint n_users;
    uint64_t version;       /* its number */
    int64_t load_ns;        /* that opening took */
    struct gp_arena *arena; /* of what lives as long as the model */
    const struct gp_engine *engine;
    void *handle;
    struct isolate *isolate; /* the handle, where the engine runs in children; or NULL */
    struct pool_pair memory; /* the isolate's, or its own where it pins */
    const char *engine_version; /* as installed */
    struct gp_description description;
    struct gp_metadata metadata;
    uint32_t n_default_inputs;
    const uint32_t *default_inputs; /* indexes into the description, in order */
    const char *const *default_outputs;
    uint32_t n_default_outputs;
    unsigned n_threads; /* that are needed for its runs */
    struct slots slots;

    struct task news; /* of the children, to be taken by a thread that polls */
    atomic_bool has_news;
};

/* Opens what the options name: an engine with the model, its slots, its threads. One user holds it,
 * who gets it. NULL and *err. */
struct model *model_open(const struct model_host *host,
                         const struct gp_model_options *options, uint64_t version,
                         struct gp_error *err);

/* The same for a function of this process. */
struct model *model_open_function(const struct model_host *host, gp_infer_fn *function,
                                  void *self, const struct gp_model_options *options,
                                  const struct gp_metadata *metadata,
                                  struct gp_error *err);

/* A model is held by those who use it. Nobody can hold one again that nobody holds: then it is given
 * to host->left. Any thread. */
bool model_hold(struct model *model);
void model_drop(struct model *model);

/* Closes one that nobody holds. */
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
