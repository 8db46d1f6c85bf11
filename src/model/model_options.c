#include "model/model_options.h"

#include <string.h>

/* True if memory was short, here or before. */
static bool copy_bytes(struct gp_arena *arena, const void **at, size_t size_bytes,
                       bool is_short)
{
    if (is_short || !*at)
        return is_short;
    void *copy = gp_arena_alloc(arena, size_bytes);
    *at = copy ? memcpy(copy, *at, size_bytes) : NULL;
    return !copy;
}

static bool copy_text(struct gp_arena *arena, const char **text, bool is_short)
{
    const void *at = *text;
    is_short = copy_bytes(arena, &at, *text ? strlen(*text) + 1 : 0, is_short);
    *text = at;
    return is_short;
}

static bool copy_texts(struct gp_arena *arena, const char *const **texts, size_t n,
                       bool is_short)
{
    const void *at = n ? *texts : NULL;
    is_short = copy_bytes(arena, &at, n * sizeof **texts, is_short);
    const char **copies = (const char **)(size_t)at;
    for (size_t i = 0; copies && i < n && !is_short; i++)
        is_short = copy_text(arena, &copies[i], is_short);
    *texts = copies;
    return is_short;
}

static bool copy_sizes(struct gp_arena *arena, const uint32_t **sizes, size_t n,
                       bool is_short)
{
    const void *at = n ? *sizes : NULL;
    is_short = copy_bytes(arena, &at, n * sizeof **sizes, is_short);
    *sizes = at;
    return is_short;
}

static bool copy_aliases(struct gp_arena *arena, const struct gp_model_alias **aliases,
                         size_t n, bool is_short)
{
    const void *at = n ? *aliases : NULL;
    is_short = copy_bytes(arena, &at, n * sizeof **aliases, is_short);
    struct gp_model_alias *copies = (struct gp_model_alias *)(size_t)at;
    for (size_t i = 0; copies && i < n && !is_short; i++)
        is_short = copy_text(arena, &copies[i].name, is_short);
    *aliases = copies;
    return is_short;
}

/* Reads no more than the caller's version of the struct has. */
static struct gp_model_options take_options(const struct gp_model_options *given)
{
    struct gp_model_options options = {0};
    const size_t size = given->size_bytes ? given->size_bytes : sizeof options;
    memcpy(&options, given, size < sizeof options ? size : sizeof options);
    options.size_bytes = sizeof options;
    return options;
}

struct gp_model_options *model_options_copy(struct gp_arena *arena,
                                            const struct gp_model_options *given)
{
    struct gp_model_options *o = gp_arena_alloc(arena, sizeof *o);
    if (!o)
        return NULL;
    *o = take_options(given);
    const void *versions = o->n_versions ? o->versions : NULL;
    bool is_short =
        copy_bytes(arena, &versions, o->n_versions * sizeof *o->versions, false);
    o->versions = versions;
    is_short = copy_text(arena, &o->name, is_short);
    is_short = copy_text(arena, &o->path, is_short);
    is_short = copy_text(arena, &o->engine, is_short);
    is_short = copy_text(arena, &o->warm_up, is_short);
    is_short = copy_texts(arena, &o->engine_options, o->n_engine_options, is_short);
    is_short = copy_texts(arena, &o->inputs, o->n_inputs, is_short);
    is_short = copy_texts(arena, &o->outputs, o->n_outputs, is_short);
    is_short = copy_aliases(arena, &o->aliases, o->n_aliases, is_short);
    is_short = copy_sizes(arena, &o->batch_sizes, o->n_batch_sizes, is_short);
    return is_short ? NULL : o;
}

/* Of a model whose options are fields of the server's. */
static struct gp_model_options options_of(const struct gp_server_options *server)
{
    return (struct gp_model_options){
        .size_bytes = sizeof(struct gp_model_options),
        .name = server->model_name,
        .path = server->model_path,
        .engine = server->engine,
        .engine_options = server->engine_options,
        .n_engine_options = server->n_engine_options,
        .n_slots = server->n_slots,
        .n_threads = server->n_threads,
        .inputs = server->inputs,
        .outputs = server->outputs,
        .n_inputs = server->n_inputs,
        .n_outputs = server->n_outputs,
        .isolate = server->isolate,
        .warm_up = server->warm_up,
        .max_batch = server->max_batch,
        .batch_sizes = server->batch_sizes,
        .n_batch_sizes = server->n_batch_sizes,
        .max_delay_us = server->max_delay_us,
        .cache = server->cache,
    };
}

size_t model_options_count(const struct gp_server_options *server)
{
    return server->n_models ? server->n_models : !server->repository;
}

struct gp_model_options model_options_at(const struct gp_server_options *server,
                                         size_t index)
{
    const char *at = (const char *)server->models;
    if (!server->n_models)
        return options_of(server);
    return take_options((const void *)(at + index * server->models->size_bytes));
}

struct gp_model_options model_options_defaults(const struct gp_server_options *server)
{
    return server->model_defaults ? take_options(server->model_defaults)
                                  : options_of(server);
}

static bool are_equal_texts(const char *a, const char *b)
{
    return a && b ? strcmp(a, b) == 0 : a == b;
}

static bool are_equal_lists(const char *const *a, size_t n_a, const char *const *b,
                            size_t n_b)
{
    size_t i = 0;
    while (i < n_a && i < n_b && are_equal_texts(a[i], b[i]))
        i++;
    return i == n_a && i == n_b;
}

static bool are_equal_sizes(const uint32_t *a, size_t n_a, const uint32_t *b, size_t n_b)
{
    return n_a == n_b && (!n_a || memcmp(a, b, n_a * sizeof *a) == 0);
}

bool model_options_need_opening(const struct gp_model_options *was,
                                const struct gp_model_options *wanted)
{
    const struct gp_model_options *a = was, *b = wanted;
    return !are_equal_texts(a->path, b->path) || !are_equal_texts(a->engine, b->engine) ||
           !are_equal_texts(a->warm_up, b->warm_up) ||
           !are_equal_lists(a->engine_options, a->n_engine_options, b->engine_options,
                            b->n_engine_options) ||
           !are_equal_lists(a->inputs, a->n_inputs, b->inputs, b->n_inputs) ||
           !are_equal_lists(a->outputs, a->n_outputs, b->outputs, b->n_outputs) ||
           a->n_slots != b->n_slots || a->n_threads != b->n_threads ||
           !a->isolate != !b->isolate || a->hang_timeout_ms != b->hang_timeout_ms ||
           a->max_body_bytes != b->max_body_bytes || a->max_waiting != b->max_waiting ||
           a->timeout_ms != b->timeout_ms || a->max_batch != b->max_batch ||
           a->max_delay_us != b->max_delay_us || !a->cache != !b->cache ||
           !are_equal_sizes(a->batch_sizes, a->n_batch_sizes, b->batch_sizes,
                            b->n_batch_sizes);
}
