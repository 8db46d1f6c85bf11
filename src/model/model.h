/* model/model.h - an open model: its description, how requests are bound to it, its slots. */
#ifndef GP_MODEL_MODEL_H
#define GP_MODEL_MODEL_H

#include "base/log.h"
#include "base/pool.h"
#include "cache/digest.h"
#include "model/batch.h"
#include "model/counts.h"
#include "model/slots.h"

#include <graphpipe/server.h>

struct flights;
struct model_files;
struct shared;
struct store;

/* What models share; it outlives them. */
struct model_host {
    struct pool *pool;
    struct log *log;
    struct store *store; /* of rows that were computed; NULL: there is none */
    struct poller *poller;
    const char *engine_dir; /* this and `worker` as in gp_server_options */
    const char *worker;
    unsigned n_cores;
    unsigned max_waiting; /* this and hang_timeout_ms: defaults for a model */
    uint32_t hang_timeout_ms;
    /* Takes a model that nobody holds any more, to be closed by another thread. */
    void (*left)(void *context, struct model *model);
    void *left_context;
    /* On the thread that loads: closes the models that have left. */
    void (*close_left)(void *left_context);
    const atomic_bool *is_ending; /* anything that takes long should stop */
    /* For models with a cache: where its rows are kept, opened for the first of them; NULL and *err if
     * that fails. Any thread that loads. */
    struct store *(*need_store)(void *context, struct gp_error *err);
    void *store_context;
    struct shared *shared; /* rows of other hosts; or NULL */
};

struct model {
    const struct model_host *host;
    struct model *next;      /* of all that are open */
    struct model *next_left; /* of those to be closed */
    atomic_uint n_users;
    uint64_t version;       /* its number */
    int64_t load_ns;        /* how long opening took */
    int64_t warm_up_ns;     /* how long its warm-up took after that; 0: it had none */
    struct gp_arena *arena; /* of what lives as long as the model */
    const struct gp_engine *engine;
    void *handle;
    struct isolate *isolate;    /* the handle if the engine runs in children; or NULL */
    struct pool_pair memory;    /* the isolate's, or its own if it pins memory */
    const char *engine_version; /* as installed */
    struct gp_description description;
    struct gp_metadata metadata;
    uint32_t n_default_inputs;
    const uint32_t *default_inputs; /* indexes into the description, in order */
    const char *const *default_outputs;
    uint32_t n_default_outputs;
    uint64_t max_body_bytes; /* limits of its own; 0: the server's hold */
    uint32_t timeout_ms;
    unsigned n_threads; /* needed for its runs */
    struct batch_rules batch_rules;
    atomic_uint n_misfits; /* batches in a row whose requests ran well apart only */
    struct slots slots;
    struct counts *counts;   /* held; NULL until it is published */
    struct store *store;     /* NULL: it has no cache */
    struct flights *flights; /* with a store */
    struct digest digest;    /* of all that decides what it answers, if it has a cache */
    /* Rows that were put with another salt are not this model's: 0, until a process of it may have read other
     * files than those of the digest. Random then, so such rows are not found again. */
    _Atomic uint64_t salt;
    struct model_files *files; /* of the digest; NULL if they do not tell what it is */
    atomic_bool caches_rows;   /* one by one; else whole requests */

    struct task news; /* about the children, taken by a thread that polls */
    atomic_bool has_news;
    atomic_bool takes_news; /* it is served, or was */
};

/* Opens the model that the options name, with its engine, slots and threads; the caller holds it.
 * NULL and *err on failure. */
struct model *model_open(const struct model_host *host,
                         const struct gp_model_options *options, uint64_t version,
                         struct gp_error *err);

/* The same for a function of this process. */
struct model *model_open_function(const struct model_host *host, gp_infer_fn *function,
                                  void *self, const struct gp_model_options *options,
                                  const struct gp_metadata *metadata,
                                  struct gp_error *err);

/* Begins to look after the model's children, some of which may have ended since they started. */
void model_begin_news(struct model *model);

/* A model is held by its users. Once nobody holds it, it is given to host->left, and cannot be held
 * again. Any thread may call these. */
bool model_hold(struct model *model);
void model_drop(struct model *model);

/* Closes a model that nobody holds, or only the caller if its news have not begun. */
void model_close(struct model *model);

/* For opening and closing (rows.c): after the model is described and its default outputs are known;
 * after its slots are there; before they go. */
enum gp_status model_set_rows(struct model *model, const struct gp_model_options *options,
                              struct gp_error *err);
enum gp_status model_make_batches(struct model *model,
                                  const struct gp_model_options *options,
                                  struct gp_error *err);
void model_drop_batches(struct model *model);

/* For one with a cache (model_digest.c), around its engine's opening. Before that its files are read if they
 * tell what it does; one that may change at any time is refused. After that its digest is set, if the
 * files are still the same; of one that they do not tell, each opening has another. */
enum gp_status model_digest_begin(struct model *model,
                                  const struct gp_model_options *options,
                                  struct gp_error *err);
enum gp_status model_digest_end(struct model *model,
                                const struct gp_model_options *options,
                                struct gp_error *err);
void model_digest_drop(struct model *model);

/* A process of the model has read its files again. */
void model_digest_reopened(void *model);

/* Once it could be served, but before it is: with --max-batch or a cache finds out whether rows depend on
 * each other (row_check.h), and logs what came of it. `warm_up` is that of the options. */
void model_check_rows(struct model *model, const char *warm_up);

/* Matches the request's inputs and outputs with the model's and fills in the run's call. Copies
 * nothing: the inputs remain views (wire.h). On failure the inference's error says what was
 * wanted and what came. */
bool model_bind(struct inference *inference);

/* Copies those bound inputs that the engine cannot read in place, into memory that counts toward
 * the client's share. False if there is no room; the inference's error says for what. Called
 * once the run has a slot, so that requests which wait, or never run, hold no copies. */
bool model_settle(struct inference *inference);

#endif
