/* Opening and closing; bind.c matches requests with it. */
#include "model/model.h"

#include "base/clock.h"
#include "base/mem.h"
#include "base/place.h"
#include "cache/flights.h"
#include "model/function.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void engine_log(void *context, enum gp_log_level level, const char *message)
{
    log_line(context, level, "engine: %s", message);
}

static char *copy_text(struct model *model, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = gp_arena_alloc(model->arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static enum gp_status find_input(const struct model *model, const char *name,
                                 uint32_t *index, struct gp_error *err)
{
    for (uint32_t i = 0; i < model->description.n_inputs; i++)
        if (strcmp(model->description.inputs[i].name, name) == 0) {
            *index = i;
            return GP_OK;
        }
    return gp_error_set(err, GP_INVALID,
                        "--inputs names \"%s\", which the model does not have", name);
}

/* --inputs, or else all that are not optional, in the model's order. */
static enum gp_status set_default_inputs(struct model *model,
                                         const struct gp_model_options *options,
                                         struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    const size_t n = options->n_inputs > d->n_inputs ? options->n_inputs : d->n_inputs;
    uint32_t *indexes = gp_arena_alloc(model->arena, n * sizeof *indexes);
    if (!indexes)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the model's inputs");
    uint32_t n_inputs = 0;
    for (size_t i = 0; i < options->n_inputs; i++) {
        const enum gp_status status =
            find_input(model, options->inputs[i], &indexes[n_inputs++], err);
        if (status != GP_OK)
            return status;
    }
    for (uint32_t i = 0; i < d->n_inputs && !options->n_inputs; i++)
        if (!(d->inputs[i].flags & GP_IO_OPTIONAL))
            indexes[n_inputs++] = i;
    model->default_inputs = indexes;
    model->n_default_inputs = n_inputs;
    return GP_OK;
}

static bool has_output(const struct gp_description *d, const char *name)
{
    for (uint32_t i = 0; i < d->n_outputs; i++)
        if (strcmp(d->outputs[i].name, name) == 0)
            return true;
    return false;
}

static enum gp_status set_default_outputs(struct model *model,
                                          const struct gp_model_options *options,
                                          struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    const uint32_t n = options->n_outputs ? (uint32_t)options->n_outputs : d->n_outputs;
    const char **names = gp_arena_alloc(model->arena, n * sizeof *names);
    if (!names)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the model's outputs");
    for (uint32_t i = 0; i < n; i++) {
        const char *name = options->n_outputs ? options->outputs[i] : d->outputs[i].name;
        if (!has_output(d, name) && !(d->flags & GP_ANY_OUTPUT))
            return gp_error_set(err, GP_INVALID,
                                "--outputs names \"%s\", which the model does not have",
                                name);
        names[i] = copy_text(model, name);
        if (!names[i])
            return gp_error_set(err, GP_NO_MEMORY, "no memory for the model's outputs");
    }
    model->default_outputs = names;
    model->n_default_outputs = n;
    return GP_OK;
}

static enum gp_status set_metadata(struct model *model,
                                   const struct gp_model_options *options,
                                   const struct gp_metadata *given, struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    struct gp_metadata *m = &model->metadata;
    char path[256];
    if (given)
        *m = *given;
    const char *name = options->name         ? options->name
                       : m->name             ? m->name
                       : d->name && *d->name ? d->name
                       : options->path
                           ? engine_model_name(options->path, path, sizeof path)
                           : model->engine->name;
    m->name = copy_text(model, name);
    if (!m->name)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the model's name");
    m->version = m->version && m->version[0] ? m->version : d->version ? d->version : "";
    m->description = m->description           ? m->description
                     : d->description != NULL ? d->description
                                              : "";
    m->server = "graphpipe " GP_VERSION;
    m->inputs = d->inputs;
    m->outputs = d->outputs;
    m->n_inputs = d->n_inputs;
    m->n_outputs = d->n_outputs;
    return GP_OK;
}

static enum gp_status open_memory(struct model *model, struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    char words[PLACE_WORDS_BYTES];
    if (model->isolate)
        model->memory = isolate_memory(model->isolate);
    else if (d->pin && d->unpin &&
             !pool_open_pinned(model->host->pool, d->pin, d->unpin, &model->memory))
        return gp_error_set(
            err, GP_NO_MEMORY,
            "cannot map the model's pinned memory: %s (--pool is how much)",
            place_explain(errno, words));
    return GP_OK;
}

/* News are ignored until the model is served, and once nobody holds it. */
static void news_came(void *context)
{
    struct model *model = context;
    if (atomic_load(&model->takes_news) && !atomic_exchange(&model->has_news, true) &&
        model_hold(model))
        poller_ready(model->host->poller, &model->news);
}

static void take_news(struct worker *worker, struct task *task)
{
    struct model *model =
        (struct model *)(void *)((char *)task - offsetof(struct model, news));
    (void)worker;
    atomic_store(&model->has_news, false);
    slots_take_news(&model->slots);
    model_drop(model);
}

static enum gp_status describe_model(struct model *model, struct gp_error *err)
{
    struct gp_description *d = &model->description;
    *d = (struct gp_description){.size_bytes = sizeof *d};
    engine_enter(model->engine);
    const enum gp_status status = model->engine->describe(model->handle, d, err);
    engine_leave(model->engine);
    if (status != GP_OK || d->n_slots > 0)
        return status;
    return gp_error_set(err, GP_ENGINE, "engine %s describes a model without slots",
                        model->engine->name);
}

/* After open: what the model is, its defaults, its slots, its threads. */
static enum gp_status prepare_model(struct model *model,
                                    const struct gp_model_options *options,
                                    const struct gp_metadata *metadata,
                                    struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    enum gp_status status = describe_model(model, err);
    if (status == GP_OK)
        status = set_default_inputs(model, options, err);
    if (status == GP_OK)
        status = set_default_outputs(model, options, err);
    if (status == GP_OK)
        status = model_set_rows(model, options, err);
    if (status == GP_OK)
        status = set_metadata(model, options, metadata, err);
    if (status == GP_OK)
        status = open_memory(model, err);
    if (status != GP_OK)
        return status;
    struct slots *slots = &model->slots;
    slots->poller = model->host->poller;
    slots->isolate = model->isolate;
    slots->max_waiting =
        options->max_waiting ? options->max_waiting : model->host->max_waiting;
    status = slots_init(slots, d->n_slots, err);
    if (status == GP_OK)
        status = model_make_batches(model, options, err);
    if (status == GP_OK && d->flags & GP_SLOT_THREAD)
        return slots_start_threads(slots, err);
    if (status == GP_OK)
        status = poller_need(slots->poller, d->n_slots, err);
    if (status == GP_OK)
        model->n_threads = d->n_slots;
    return status;
}

/* Settles what the options leave open: which engine it is, and whether that one is always
 * isolated. */
static enum gp_status choose_engine(struct gp_model_options *options,
                                    const char *engine_dir, struct gp_error *err)
{
    bool is_isolated;
    if (!options->engine || strcmp(options->engine, "auto") == 0) {
        if (!options->path)
            return gp_error_set(err, GP_INVALID,
                                "no model: name one with --model FILE, or an "
                                "engine that needs none with --engine echo");
        if (engine_guess(options->path, &options->engine, err) != GP_OK)
            return err->status;
    }
    if (options->isolate)
        return GP_OK;
    const enum gp_status status =
        engine_isolates(options->engine, engine_dir, &is_isolated, err);
    options->isolate = is_isolated;
    return status;
}

/* In children: by default as many as there are cores. */
static enum gp_status open_children(struct model *model,
                                    const struct gp_model_options *options,
                                    const struct gp_engine_options *given,
                                    struct gp_error *err)
{
    struct gp_engine_options engine = *given;
    if (!engine.n_slots)
        engine.n_slots = engine.n_cores;
    const struct isolate_options isolate_options = {
        .name = options->engine,
        .engine_dir = model->host->engine_dir,
        .worker = model->host->worker,
        .hang_ns = (int64_t)(options->hang_timeout_ms ? options->hang_timeout_ms
                                                      : model->host->hang_timeout_ms) *
                   CLOCK_MS,
        .tell = news_came,
        .reopened = model_digest_reopened,
        .tell_context = model,
        .pool = model->host->pool,
        .engine = &engine,
    };
    if (isolate_open(&isolate_options, &model->isolate, err) != GP_OK)
        return err->status;
    model->engine = isolate_engine(model->isolate);
    model->engine_version = model->engine->version;
    model->handle = model->isolate;
    return GP_OK;
}

static enum gp_status open_here(struct model *model,
                                const struct gp_model_options *options,
                                const struct gp_engine_options *engine_options,
                                struct gp_error *err)
{
    const struct gp_engine *engine = NULL;
    const char *path;
    enum gp_status status =
        engine_load(options->engine, model->host->engine_dir, &engine, err);
    if (status != GP_OK)
        return status;
    engine_enter(engine);
    status = engine->open(engine_options, &model->handle, err);
    if (status == GP_OK) {
        model->engine = engine;
        model->engine_version = engine->version;
        if (engine->probe)
            engine->probe(engine_options, &model->engine_version, &path, NULL);
    }
    engine_leave(engine);
    return status;
}

static enum gp_status open_engine(struct model *model,
                                  const struct gp_model_options *options,
                                  const struct gp_engine_options *engine_options,
                                  struct gp_error *err)
{
    return (options->isolate ? open_children : open_here)(model, options, engine_options,
                                                          err);
}

static enum gp_status find_store(struct model *model, struct gp_error *err)
{
    const struct model_host *host = model->host;
    if (!host->need_store)
        return gp_error_set(err, GP_UNSUPPORTED, "--cache is for models of a server");
    model->store = host->need_store(host->store_context, err);
    if (!model->store)
        return err->status;
    model->flights = flights_create();
    return model->flights ? GP_OK
                          : gp_error_set(err, GP_NO_MEMORY, "no memory for a cache");
}

static enum gp_status open_cached(struct model *model,
                                  const struct gp_model_options *options,
                                  const struct gp_engine_options *engine_options,
                                  struct gp_error *err)
{
    enum gp_status status = model_digest_begin(model, options, err);
    if (status == GP_OK)
        status = find_store(model, err);
    if (status == GP_OK)
        status = open_engine(model, options, engine_options, err);
    if (status == GP_OK)
        status = model_digest_end(model, options, err);
    return status;
}

static struct model *create_model(const struct model_host *host, struct gp_error *err)
{
    struct model *model = mem_zalloc(sizeof *model);
    struct gp_arena *arena = gp_arena_create();
    if (!model || !arena) {
        mem_free(model);
        gp_arena_destroy(arena);
        gp_error_set(err, GP_NO_MEMORY, "no memory for a model");
        return NULL;
    }
    model->host = host;
    model->arena = arena;
    model->news.go = take_news;
    atomic_store(&model->n_users, 1);
    return model;
}

/* The model, once its engine has opened it; or closed. */
static struct model *prepare_or_close(struct model *model, enum gp_status status,
                                      const struct gp_model_options *options,
                                      const struct gp_metadata *metadata,
                                      struct gp_error *err)
{
    if (status == GP_OK)
        status = prepare_model(model, options, metadata, err);
    if (status == GP_OK)
        return model;
    atomic_store(&model->n_users, 0);
    model_close(model);
    return NULL;
}

struct model *model_open(const struct model_host *host,
                         const struct gp_model_options *given, uint64_t version,
                         struct gp_error *err)
{
    struct gp_model_options options = *given;
    const int64_t began_ns = clock_now_ns();
    if (choose_engine(&options, host->engine_dir, err) != GP_OK)
        return NULL;
    const struct gp_engine_options engine_options = {
        .size_bytes = sizeof engine_options,
        .n_slots = options.n_slots,
        .n_threads = options.n_threads,
        .n_cores = host->n_cores,
        .model_path = options.path,
        .options = options.engine_options,
        .n_options = options.n_engine_options,
        .log = engine_log,
        .log_context = host->log,
    };
    struct model *model = create_model(host, err);
    if (!model)
        return NULL;
    const enum gp_status status = (options.cache ? open_cached : open_engine)(
        model, &options, &engine_options, err);
    model = prepare_or_close(model, status, &options, NULL, err);
    if (model) {
        model->max_body_bytes = options.max_body_bytes;
        model->timeout_ms = options.timeout_ms;
        model->version = version;
        model->load_ns = clock_now_ns() - began_ns;
    }
    return model;
}

struct model *model_open_function(const struct model_host *host, gp_infer_fn *function,
                                  void *self, const struct gp_model_options *options,
                                  const struct gp_metadata *metadata,
                                  struct gp_error *err)
{
    const uint32_t n_slots = options->n_slots ? options->n_slots : host->n_cores;
    struct model *model = create_model(host, err);
    if (!model)
        return NULL;
    model->version = 1;
    model->handle = function_create(function, self, n_slots, metadata);
    if (model->handle) {
        model->engine = &function_engine;
        model->engine_version = function_engine.version;
    }
    enum gp_status status =
        model->handle ? GP_OK
                      : gp_error_set(err, GP_NO_MEMORY, "no memory for the function");
    if (status == GP_OK && options->cache)
        status = find_store(model, err);
    if (status == GP_OK && options->cache)
        status = model_digest_end(model, options, err);
    return prepare_or_close(model, status, options, metadata, err);
}

void model_begin_news(struct model *model)
{
    atomic_store(&model->takes_news, true);
    if (model->isolate)
        news_came(model);
}

bool model_hold(struct model *model)
{
    unsigned n = atomic_load(&model->n_users);
    while (n && !atomic_compare_exchange_weak(&model->n_users, &n, n + 1)) {
    }
    return n > 0;
}

void model_drop(struct model *model)
{
    if (atomic_fetch_sub(&model->n_users, 1) == 1)
        model->host->left(model->host->left_context, model);
}

void model_close(struct model *model)
{
    slots_stop_threads(&model->slots);
    model_drop_batches(model);
    if (!model->isolate) /* whose own it is */
        pool_close(model->host->pool, &model->memory);
    if (model->isolate) {
        model->engine->close(model->handle); /* which ends the engine too */
    } else if (model->engine) {
        engine_enter(model->engine);
        model->engine->close(model->handle);
        engine_leave(model->engine);
    }
    model_digest_drop(model);
    slots_finish(&model->slots);
    flights_destroy(model->flights);
    counts_drop(model->counts);
    poller_need_less(model->host->poller, model->n_threads);
    gp_arena_destroy(model->arena);
    mem_free(model);
}
