/* SIGHUP: the configuration is read again, and given to the running server. The command line and
 * the environment are as they were at the start, and come first as they did then. */
#include "cli/config.h"

#include "server/server.h"

#include <string.h>

/* Settings of the server which differ, but count at the start only. */
static bool list_fixed(struct text *list, const struct options *was,
                       const struct options *now)
{
    bool is_short = false;
    for (size_t i = 0; i < was->n && !is_short; i++) {
        const struct option *option = &was->table[i];
        struct text one = {0}, other = {0};
        if (option->is_of_model || option->is_reread || option->is_flag_only)
            continue;
        option_write(&one, option, was->values);
        option_write(&other, option, now->values);
        is_short = one.is_short || other.is_short;
        if (!is_short &&
            strcmp(one.data ? one.data : "", other.data ? other.data : "") != 0)
            text_printf(list, "%s%s", list->size_bytes ? ", " : "", option->name);
        text_finish(&one);
        text_finish(&other);
    }
    return !is_short && !list->is_short;
}

static void warn_of_fixed(struct log *log, const struct config *was,
                          const struct config *now)
{
    struct text list = {0};
    if (list_fixed(&list, &was->options, &now->options) && list.size_bytes)
        log_line(log, GP_LOG_WARNING, "SIGHUP: %s: %s takes effect at the next start",
                 now->values.config, list.data);
    text_finish(&list);
}

/* As serve does at the start. */
static enum gp_status read_again(const struct options *before, struct config *config,
                                 struct gp_arena *arena, struct gp_server_options *server,
                                 struct gp_error *err)
{
    struct options given = *before;
    given.arena = arena;
    if (config_gather(config, &given, err) != GP_OK)
        return err->status;
    if (!config->models.n && !config->values.repository)
        return gp_error_set(err, GP_INVALID,
                            "%s: there is neither a model nor a repository",
                            config->values.config);
    return config_fill(config, server, err);
}

bool serve_reread(const struct serve_start *start, struct gp_server *server)
{
    struct log *log = &server->log;
    struct gp_arena *arena = gp_arena_create();
    struct config *config = arena ? gp_arena_alloc(arena, sizeof *config) : NULL;
    const char *file = start->config->values.config;
    struct gp_server_options options;
    struct gp_error err;
    enum gp_status status;
    log_line(log, GP_LOG_INFO, "SIGHUP: reading %s again", file);
    if (config)
        status = read_again(start->given, config, arena, &options, &err);
    else
        status = gp_error_set(&err, GP_NO_MEMORY, "%s: out of memory", file);
    if (!config || status != GP_OK) {
        log_line(log, GP_LOG_ERROR, "SIGHUP: %s; nothing has changed", err.message);
    } else {
        warn_of_fixed(log, start->config, config);
        status = serve_reload(server, &options, &config->values.fetch, &err);
        if (status == GP_OK)
            log_line(log, GP_LOG_INFO, "SIGHUP: %s is in force", file);
        else
            log_line(log, GP_LOG_ERROR, "SIGHUP: %s: %s", file, err.message);
    }
    gp_arena_destroy(arena);
    return status == GP_OK;
}
