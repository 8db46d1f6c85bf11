/* All sources in one, and that as struct gp_server_options. */
#include "cli/config.h"

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

static void fill_server(struct gp_server_options *server,
                        const struct serve_values *values)
{
    *server = (struct gp_server_options){
        .size_bytes = sizeof *server,
        .engine = values->engine,
        .engine_dir = values->engine_dir,
        .engine_options = values->engine_options.items,
        .n_engine_options = values->engine_options.n,
        .n_slots = values->n_instances,
        .n_threads = values->n_threads,
        .inputs = values->inputs.items,
        .outputs = values->outputs.items,
        .n_inputs = values->inputs.n,
        .n_outputs = values->outputs.n,
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
        .log_fd = STDERR_FILENO,
        .log_level = values->is_quiet     ? GP_LOG_ERROR
                     : values->is_verbose ? GP_LOG_DEBUG
                                          : GP_LOG_INFO,
        .log_format = (enum gp_log_format)values->log_format,
        .isolate = values->is_isolated,
        .hang_timeout_ms = values->hang_timeout_ms,
        .repository = values->repository,
        .default_model = values->default_model,
        .warm_up = values->warm_up,
    };
}

/* A lone model's own settings are those of the fields for one. */
enum gp_status config_fill(struct config *config, struct gp_server_options *server,
                           struct gp_error *err)
{
    struct models_settings *models = &config->models;
    const bool is_alone = models->n == 1 && !config->values.repository;
    struct options *settings = is_alone ? &models->items[0].shared : &config->options;
    if (options_join(settings, err) != GP_OK)
        return err->status;
    fill_server(server, settings->values);
    if (server->repository &&
        models_fill_defaults(settings, config->options.arena, server, err) != GP_OK)
        return err->status;
    return models_fill(models, config->options.arena, server, err);
}
