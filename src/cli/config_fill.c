/* All sources in one, and that as struct gp_server_options. */
#include "cli/config.h"

#include "cli/cache_dir.h"

#include <limits.h>
#include <string.h>
#include <unistd.h>

enum gp_status config_gather(struct config *config, const struct options *options,
                             struct gp_error *err)
{
    const struct serve_values *values = options->values;
    config_init(config, options->arena);
    if (values->config && config_read(config, values->config, err) != GP_OK)
        return err->status;
    options_inherit(&config->options, options);
    return models_choose(&config->models, &options->words, &config->options, err);
}

/* --cache-dir may be there for models that URLs name alone. */
static enum gp_status fill_cache_dir(const struct serve_values *values,
                                     struct gp_arena *arena,
                                     struct gp_server_options *server,
                                     struct gp_error *err)
{
    char path[PATH_MAX];
    if (!cache_dir_rows(values->fetch.cache_dir, path, sizeof path))
        return GP_OK; /* there is no HOME, which matters to models with a cache only */
    const size_t size = strlen(path) + 1;
    char *kept = gp_arena_alloc(arena, size);
    if (!kept)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    server->cache_dir = memcpy(kept, path, size);
    return GP_OK;
}

enum gp_status config_fill_server(const struct serve_values *values,
                                  struct gp_arena *arena,
                                  struct gp_server_options *server, struct gp_error *err)
{
    *server = (struct gp_server_options){
        .size_bytes = sizeof *server,
        .engine_dir = values->engine_dir,
        .listen = values->listen.items,
        .n_listen = values->listen.n,
        .max_body_bytes = values->max_body_bytes,
        .pool_bytes = values->pool_bytes,
        .max_waiting = values->max_waiting,
        .max_connections = values->max_connections,
        .timeout_ms = values->timeout_ms,
        .head_timeout_ms = values->head_timeout_ms,
        .idle_timeout_ms = values->idle_timeout_ms,
        .drain_timeout_ms = values->drain_timeout_ms,
        .min_rate_bytes = values->min_rate_bytes,
        .n_pollers = values->n_pollers,
        .allow_remote_control = values->allow_remote_control,
        .allow_hosts = values->allow_hosts.items,
        .n_allow_hosts = values->allow_hosts.n,
        .cors_origins = values->cors_origins.items,
        .n_cors_origins = values->cors_origins.n,
        .log_fd = STDERR_FILENO,
        .log_level = values->is_quiet     ? GP_LOG_ERROR
                     : values->is_verbose ? GP_LOG_DEBUG
                                          : GP_LOG_INFO,
        .log_format = (enum gp_log_format)values->log_format,
        .hang_timeout_ms = values->hang_timeout_ms,
        .repository = values->repository,
        .default_model = values->default_model,
        .cache_size_bytes = values->cache_size_bytes,
        .cache_ttl_s = values->cache_ttl_ms / 1000 + (values->cache_ttl_ms % 1000 > 0),
        .cache_url = values->cache_url,
    };
    return fill_cache_dir(values, arena, server, err);
}

/* The settings at the top of the file are for no model if the only one has its own. */
enum gp_status config_fill(struct config *config, struct gp_server_options *server,
                           struct gp_error *err)
{
    struct models_settings *models = &config->models;
    const bool is_alone = models->n == 1 && !config->values.repository;
    if (!is_alone && options_join(&config->options, err) != GP_OK)
        return err->status;
    if (config_fill_server(&config->values, config->options.arena, server, err) != GP_OK)
        return err->status;
    if (server->repository &&
        models_fill_defaults(&config->options, config->options.arena, server, err) !=
            GP_OK)
        return err->status;
    return models_fill(models, config->options.arena, server, err);
}
