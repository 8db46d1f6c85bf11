/* Models that URLs name are fetched before the server is made. What does not open may be no
 * model, so the copies before them are tried then: if those open, nothing else was in the way. */
#include "cli/serve.h"

#include "base/mem.h"
#include "server/server.h"

#include <string.h>

/* Options in which copies stand for URLs. */
struct copies {
    struct gp_server_options options;
    struct gp_model_options *models;
    struct fetched *items;
    size_t n;
    struct log *log;
};

/* Whether it was fetched, or is no URL: then *path is what to open. A URL that two models have is
 * fetched once. */
static bool fetch_path(struct copies *copies, const struct fetch *fetch,
                       const char **path, struct gp_error *err)
{
    if (!*path || !fetch_is_url(*path))
        return true;
    size_t i = 0;
    while (i < copies->n && strcmp(copies->items[i].url, *path) != 0)
        i++;
    if (i == copies->n) {
        if (fetch_model(fetch, *path, copies->log, &copies->items[i], err) != GP_OK)
            return false;
        copies->n++;
    }
    *path = copies->items[i].path;
    return true;
}

static bool fetch_all(struct copies *copies, const struct fetch *fetch,
                      struct gp_error *err)
{
    const size_t n = copies->options.n_models;
    copies->models = mem_array(n, sizeof *copies->models);
    copies->items = mem_array(n, sizeof *copies->items);
    if (!copies->models || !copies->items) {
        (void)gp_error_set(err, GP_NO_MEMORY, "no memory to fetch the models");
        return false;
    }
    bool is_fetched = true;
    for (size_t i = 0; i < n && is_fetched; i++) {
        copies->models[i] = copies->options.models[i];
        is_fetched = fetch_path(copies, fetch, &copies->models[i].path, err);
    }
    copies->options.models = n ? copies->models : NULL;
    return is_fetched;
}

/* Has the copies before these opened, as far as there are any. */
static bool go_back(struct copies *copies)
{
    bool has_last = false;
    for (size_t i = 0; i < copies->n; i++)
        has_last |= fetch_go_back(&copies->items[i]);
    return has_last;
}

static void say_gone_back(const struct copies *copies, const struct gp_error *why)
{
    for (size_t i = 0; i < copies->n; i++)
        if (copies->items[i].has_gone_back)
            log_line(
                copies->log, GP_LOG_WARNING,
                "%s: what was fetched does not open (%s); serving the last copy that "
                "did: %s",
                copies->items[i].shown, why->message, copies->items[i].path);
}

/* Of several that were set back it is not known which does not open, so they are tried again at
 * the next start. */
static void end_copies(struct copies *copies, bool has_opened)
{
    for (size_t i = 0; i < copies->n; i++)
        fetch_end(&copies->items[i],
                  has_opened && (copies->n == 1 || !copies->items[i].has_gone_back));
    mem_free(copies->items);
    mem_free(copies->models);
}

static bool has_url(const struct gp_server_options *options)
{
    for (size_t i = 0; i < options->n_models; i++)
        if (options->models[i].path && fetch_is_url(options->models[i].path))
            return true;
    return false;
}

struct gp_server *serve_create(const struct gp_server_options *options,
                               const struct fetch *fetch, struct gp_error *err)
{
    struct log log = {0};
    struct copies copies = {.options = *options, .log = &log};
    struct gp_error again;
    if (!has_url(options))
        return gp_server_create(options, err);
    if (log_begin(&log, options->log_fd, options->log_level, options->log_format, err) !=
        GP_OK)
        return NULL;
    struct gp_server *server = NULL;
    if (fetch_all(&copies, fetch, err)) {
        server = gp_server_create(&copies.options, err);
        if (!server && go_back(&copies))
            server = gp_server_create(&copies.options, &again);
        if (server)
            say_gone_back(&copies, err);
    }
    end_copies(&copies, server != NULL);
    log_end(&log);
    return server;
}

enum gp_status serve_reload(struct gp_server *server,
                            const struct gp_server_options *options,
                            const struct fetch *given, struct gp_error *err)
{
    struct copies copies = {.options = *options, .log = &server->log};
    struct fetch fetch = *given;
    struct gp_error again;
    if (!has_url(options))
        return gp_server_reload(server, options, err);
    fetch.is_ending = &server->is_draining;
    enum gp_status status = GP_UNAVAILABLE;
    if (fetch_all(&copies, &fetch, err)) {
        status = gp_server_reload(server, &copies.options, err);
        if (status != GP_OK && go_back(&copies)) {
            status = gp_server_reload(server, &copies.options, &again);
            say_gone_back(&copies, err);
        }
    }
    end_copies(&copies, status == GP_OK);
    return status;
}
