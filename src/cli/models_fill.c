/* Models as the server takes them: what was text becomes numbers here. */
#include "cli/models.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Digits alone, of a number that has room for more. */
static bool read_digits(const char *digits, uint64_t *number)
{
    enum { MOST_DIGITS = 19 };
    const size_t size = strspn(digits, "0123456789");
    if (size == 0 || size > MOST_DIGITS || digits[size])
        return false;
    *number = strtoull(digits, NULL, 10);
    return true;
}

/* "newest" or "newest:N" */
static bool read_newest(const char *item, uint32_t *n_newest)
{
    static const char word[] = "newest";
    const size_t size = sizeof word - 1;
    uint64_t n = 1;
    if (strncmp(item, word, size) != 0)
        return false;
    if (item[size] && !(item[size] == ':' && read_digits(item + size + 1, &n)))
        return false;
    *n_newest = n <= UINT32_MAX ? (uint32_t)n : 0;
    return *n_newest > 0;
}

static enum gp_status refuse_item(const struct options *options, const char *name,
                                  const char *wanted, const char *item,
                                  struct gp_error *err)
{
    char label[OPTION_LABEL_BYTES];
    options_label(label, options, name);
    return gp_error_set(err, GP_INVALID, "%s wants %s, not \"%.*s\"", label, wanted,
                        gp_cut(item, 60), item);
}

static enum gp_status fill_versions(const struct options *settings,
                                    struct gp_arena *arena,
                                    struct gp_model_options *options,
                                    struct gp_error *err)
{
    const struct serve_values *values = settings->values;
    const struct option_list *list = &values->versions;
    if (list->n == 1 && read_newest(list->items[0], &options->n_newest))
        return GP_OK;
    uint64_t *versions = gp_arena_alloc(arena, list->n * sizeof *versions);
    if (!versions)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < list->n; i++)
        if (!read_digits(list->items[i], &versions[i]))
            return refuse_item(settings, "versions",
                               "newest, newest:N or the numbers of versions",
                               list->items[i], err);
    options->versions = versions;
    options->n_versions = list->n;
    return GP_OK;
}

static enum gp_status fill_sizes(const struct options *settings, struct gp_arena *arena,
                                 struct gp_model_options *options, struct gp_error *err)
{
    const struct serve_values *values = settings->values;
    const struct option_list *list = &values->batch_sizes;
    uint32_t *sizes = gp_arena_alloc(arena, list->n * sizeof *sizes);
    if (!sizes)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < list->n; i++) {
        uint64_t size;
        if (!read_digits(list->items[i], &size) || !size || size > UINT32_MAX)
            return refuse_item(settings, "batch-sizes", "numbers of rows", list->items[i],
                               err);
        sizes[i] = (uint32_t)size;
    }
    options->batch_sizes = sizes;
    options->n_batch_sizes = list->n;
    return GP_OK;
}

/* "NAME=VERSION"; a name that is a number would hide a version. */
static enum gp_status fill_alias(const struct model_settings *model, const char *item,
                                 struct gp_arena *arena, struct gp_model_alias *alias,
                                 struct gp_error *err)
{
    const size_t size = strcspn(item, "=");
    uint64_t number;
    char *name = gp_arena_alloc(arena, size + 1);
    if (!name)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    memcpy(name, item, size);
    name[size] = '\0';
    alias->name = name;
    char label[OPTION_LABEL_BYTES];
    options_label(label, &model->own, "aliases");
    if (model_check_name(label, name, err) != GP_OK)
        return err->status;
    if (read_digits(name, &number) || !read_digits(item + size + 1, &alias->version))
        return refuse_item(&model->own, "aliases",
                           "names, each with the number of a version", item, err);
    return GP_OK;
}

static enum gp_status fill_aliases(const struct model_settings *model,
                                   struct gp_arena *arena,
                                   struct gp_model_options *options, struct gp_error *err)
{
    const struct option_list *list = &model->own_values.aliases;
    struct gp_model_alias *aliases = gp_arena_alloc(arena, list->n * sizeof *aliases);
    if (!aliases)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < list->n; i++)
        if (fill_alias(model, list->items[i], arena, &aliases[i], err) != GP_OK)
            return err->status;
    options->aliases = aliases;
    options->n_aliases = list->n;
    return GP_OK;
}

void models_fill_settings(const struct serve_values *values,
                          struct gp_model_options *options)
{
    *options = (struct gp_model_options){
        .size_bytes = sizeof *options,
        .engine = values->engine,
        .engine_options = values->engine_options.items,
        .n_engine_options = values->engine_options.n,
        .n_slots = values->n_instances,
        .n_threads = values->n_threads,
        .inputs = values->inputs.items,
        .outputs = values->outputs.items,
        .n_inputs = values->inputs.n,
        .n_outputs = values->outputs.n,
        .isolate = values->is_isolated,
        .hang_timeout_ms = values->hang_timeout_ms,
        .max_body_bytes = values->max_body_bytes,
        .max_waiting = values->max_waiting,
        .timeout_ms = values->timeout_ms,
        .warm_up = values->warm_up,
        .max_batch = values->max_batch,
        .max_delay_us = values->max_delay_us,
        .cache = values->is_cached,
    };
}

/* What the settings, which are joined, say of a model. */
static enum gp_status fill_settings(const struct options *settings,
                                    struct gp_arena *arena,
                                    struct gp_model_options *options,
                                    struct gp_error *err)
{
    models_fill_settings(settings->values, options);
    if (fill_versions(settings, arena, options, err) != GP_OK)
        return err->status;
    return fill_sizes(settings, arena, options, err);
}

static enum gp_status fill_model(struct model_settings *model, struct gp_arena *arena,
                                 struct gp_model_options *options, struct gp_error *err)
{
    if (options_join(&model->shared, err) != GP_OK ||
        fill_settings(&model->shared, arena, options, err) != GP_OK)
        return err->status;
    options->name = model->name;
    options->path = model->own_values.path;
    return fill_aliases(model, arena, options, err);
}

enum gp_status models_fill_defaults(const struct options *settings,
                                    struct gp_arena *arena,
                                    struct gp_server_options *options,
                                    struct gp_error *err)
{
    struct gp_model_options *defaults = gp_arena_alloc(arena, sizeof *defaults);
    if (!defaults)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    options->model_defaults = defaults;
    return fill_settings(settings, arena, defaults, err);
}

enum gp_status models_fill(struct models_settings *models, struct gp_arena *arena,
                           struct gp_server_options *options, struct gp_error *err)
{
    struct gp_model_options *items = gp_arena_alloc(arena, models->n * sizeof *items);
    if (!items)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    for (size_t i = 0; i < models->n; i++)
        if (fill_model(&models->items[i], arena, &items[i], err) != GP_OK)
            return err->status;
    options->models = items;
    options->n_models = models->n;
    return GP_OK;
}
