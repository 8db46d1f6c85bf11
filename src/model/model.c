/* Opening and closing; slots.c has the slots and the queue, bind.c the matching of
 * names. */
#include "model/model.h"

#include "base/clock.h"
#include "base/mem.h"
#include "server/server.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void engine_log(void *context, enum gp_log_level level, const char *message)
{
    struct gp_server *server = context;
    log_line(&server->log, level, "engine: %s", message);
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
                                         const struct gp_server_options *options,
                                         struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    const size_t n = options->n_inputs > d->n_inputs ? options->n_inputs : d->n_inputs;
    uint32_t *indexes = gp_arena_alloc(model->server->arena, n * sizeof *indexes);
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
                                          const struct gp_server_options *options,
                                          struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    const uint32_t n = options->n_outputs ? (uint32_t)options->n_outputs : d->n_outputs;
    const char **names = gp_arena_alloc(model->server->arena, n * sizeof *names);
    if (!names)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the model's outputs");
    for (uint32_t i = 0; i < n; i++) {
        const char *name = options->n_outputs ? options->outputs[i] : d->outputs[i].name;
        if (!has_output(d, name) && !(d->flags & GP_ANY_OUTPUT))
            return gp_error_set(err, GP_INVALID,
                                "--outputs names \"%s\", which the model does not have",
                                name);
        names[i] = server_strdup(model->server, name);
        if (!names[i])
            return gp_error_set(err, GP_NO_MEMORY, "no memory for the model's outputs");
    }
    model->default_outputs = names;
    model->n_default_outputs = n;
    return GP_OK;
}

static enum gp_status set_metadata(struct model *model,
                                   const struct gp_server_options *options,
                                   struct gp_error *err)
{
    const struct gp_description *d = &model->description;
    struct gp_metadata *m = &model->metadata;
    char path[256];
    if (options->metadata)
        *m = *options->metadata;
    const char *name = options->model_name   ? options->model_name
                       : m->name             ? m->name
                       : d->name && *d->name ? d->name
                       : options->model_path
                           ? engine_model_name(options->model_path, path, sizeof path)
                           : model->engine->name;
    m->name = server_strdup(model->server, name);
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

/* After open: what the model is, its defaults, its slots. */
static enum gp_status prepare(struct model *model,
                              const struct gp_server_options *options,
                              struct gp_error *err)
{
    struct gp_description *d = &model->description;
    *d = (struct gp_description){.size_bytes = sizeof *d};
    enum gp_status status = model->engine->describe(model->handle, d, err);
    if (status == GP_OK && d->n_slots == 0)
        status = gp_error_set(err, GP_ENGINE, "engine %s describes a model without slots",
                              model->engine->name);
    if (status == GP_OK)
        status = set_default_inputs(model, options, err);
    if (status == GP_OK)
        status = set_default_outputs(model, options, err);
    if (status == GP_OK)
        status = set_metadata(model, options, err);
    if (status != GP_OK)
        return status;
    if (d->pin && d->unpin)
        pool_pin_with(model->server->pool, d->pin, d->unpin);
    model->max_waiting = model->server->options.max_waiting;
    model->slots = mem_array(d->n_slots, sizeof *model->slots);
    if (!model->slots)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for %u slots", d->n_slots);
    for (uint32_t i = 0; i < d->n_slots; i++) {
        pthread_mutex_init(&model->slots[i].lock, NULL);
        pthread_cond_init(&model->slots[i].given, NULL);
        model->slots[i].next_free = i + 1;
    }
    return GP_OK;
}

enum gp_status model_attach(struct model *model, struct gp_server *server,
                            const struct gp_engine *engine, void *handle,
                            const struct gp_server_options *options, struct gp_error *err)
{
    pthread_mutex_init(&model->lock, NULL);
    model->server = server;
    model->engine = engine;
    model->handle = handle;
    model->engine_version = engine->version;
    model->queue_end = &model->queue;
    return prepare(model, options, err);
}

enum gp_status model_choose(struct gp_server_options *options, struct gp_error *err)
{
    char path[PATH_MAX];
    if (!options->engine || strcmp(options->engine, "auto") == 0) {
        if (!options->model_path)
            return gp_error_set(err, GP_INVALID,
                                "no model: name one with --model FILE, or an "
                                "engine that needs none with --engine echo");
        if (engine_guess(options->model_path, &options->engine, err) != GP_OK)
            return err->status;
    }
    const enum gp_status status =
        engine_script(options->engine, options->engine_dir, path, sizeof path, err);
    if (status == GP_OK && path[0])
        options->isolate = 1;
    return status;
}

/* In children: by default as many as there are cores. */
static enum gp_status open_isolated(struct model *model, struct gp_server *server,
                                    const struct gp_server_options *options,
                                    const struct gp_engine_options *given,
                                    struct gp_error *err)
{
    struct gp_engine_options engine = *given;
    if (!engine.n_slots)
        engine.n_slots = engine.n_cores;
    const struct isolate_options isolate_options = {
        .name = options->engine,
        .engine_dir = options->engine_dir,
        .worker = options->worker,
        .hang_ns = server->options.hang_timeout_ms * CLOCK_MS,
        .pool = server->pool,
        .engine = &engine,
    };
    struct isolate *isolate;
    if (isolate_open(&isolate_options, &isolate, err) != GP_OK)
        return err->status;
    model->isolate = isolate;
    return model_attach(model, server, isolate_engine(isolate), isolate, options, err);
}

enum gp_status model_open(struct model *model, struct gp_server *server,
                          const struct gp_server_options *options, struct gp_error *err)
{
    const struct gp_engine_options engine_options = {
        .size_bytes = sizeof engine_options,
        .n_slots = options->n_slots,
        .n_threads = options->n_threads,
        .n_cores = server->place.n_cores,
        .model_path = options->model_path,
        .options = options->engine_options,
        .n_options = options->n_engine_options,
        .log = engine_log,
        .log_context = server,
    };
    if (options->isolate)
        return open_isolated(model, server, options, &engine_options, err);
    void *handle;
    const struct gp_engine *engine = NULL;
    enum gp_status status =
        engine_load(options->engine, options->engine_dir, &engine, err);
    if (status == GP_OK)
        status = engine->open(&engine_options, &handle, err);
    if (status != GP_OK)
        return status;
    status = model_attach(model, server, engine, handle, options, err);
    const char *path;
    if (engine->probe)
        engine->probe(&engine_options, &model->engine_version, &path, NULL);
    return status;
}

void model_close(struct model *model)
{
    if (!model->engine)
        return;
    for (uint32_t i = 0; model->slots && i < model->description.n_slots; i++) {
        pthread_mutex_destroy(&model->slots[i].lock);
        pthread_cond_destroy(&model->slots[i].given);
    }
    mem_free(model->slots);
    model->engine->close(model->handle);
    pthread_mutex_destroy(&model->lock);
    *model = (struct model){0};
}
