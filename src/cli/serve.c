/* graphpipe serve: gathers the settings, and runs the server until it is told to stop. What
 * each setting means is in graphpipe/server.h. */
#include "cli/serve.h"

#include "cli/cli.h"
#include "cli/config.h"
#include "server/defaults.h"
#include "server/signals.h"

#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

/* For what engines' libraries do when a process exits, which may hang. */
enum { EXIT_SECONDS = 5 };

/* A connection is a descriptor: as many as this process may have, not as a shell's
 * default says. Where that is refused, the limit is reported when it is met. */
static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == limit.rlim_max)
        return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit);
}

struct serve_arg {
    const struct gp_server_options *options;
    const struct fetch *fetch;
    const struct serve_start *start;
};

static struct gp_server *create_server(const void *arg, struct gp_error *err)
{
    const struct serve_arg *serve = arg;
    return serve_create(serve->options, serve->fetch, err);
}

static bool reread_config(const void *arg, struct gp_server *server)
{
    const struct serve_arg *serve = arg;
    return serve_reread(serve->start, server);
}

int serve_until_stopped(const struct gp_server_options *options,
                        const struct fetch *fetch, const struct serve_start *start)
{
    struct gp_error err;
    const struct signals_server with = {
        .create = create_server,
        .reread = start ? reread_config : NULL,
        .arg = &(struct serve_arg){options, fetch, start},
    };
    raise_descriptor_limit();
    const enum gp_status status = signals_serve(&with, &err);
    if (status != GP_OK && log_has_room(STDERR_FILENO))
        (void)cli_fail("%s", err.message);
    if (status == GP_DEADLINE)
        _exit(CLI_FAILED); /* a run never came back: what it uses cannot be freed */
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(EXIT_SECONDS);
    return status == GP_OK ? CLI_OK : CLI_FAILED;
}

static int print_config(const struct config *config)
{
    struct text text = {0};
    options_print(&text, &config->options, false);
    models_print(&text, &config->models);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

/* --host and --port, as --listen. */
static enum gp_status take_port(struct options *options, struct gp_error *err)
{
    const struct serve_values *values = options->values;
    const bool has_port = options_source(options, "port") == OPTION_COMMAND_LINE;
    const char *host = values->host ? values->host : DEFAULT_HOST;
    const bool is_bare_v6 = strchr(host, ':') && *host != '[';
    if (!values->host && !has_port)
        return GP_OK;
    if (options_source(options, "listen") == OPTION_COMMAND_LINE)
        return gp_error_set(err, GP_INVALID,
                            "--listen says host and port: leave out --host and --port");
    const size_t size = strlen(host) + sizeof "[]:65535";
    char *where = gp_arena_alloc(options->arena, size);
    if (!where)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    (void)snprintf(where, size, is_bare_v6 ? "[%s]:%u" : "%s:%u", host,
                   has_port ? values->port : DEFAULT_PORT);
    return options_take(options, options_find(options, "listen"), OPTION_COMMAND_LINE,
                        "--host", where, err);
}

static int serve_run(struct options *options)
{
    struct config *config = gp_arena_alloc(options->arena, sizeof *config);
    struct gp_server_options server;
    struct gp_error err;
    if (!config)
        return cli_fail("out of memory");
    if (take_port(options, &err) != GP_OK ||
        config_gather(config, options, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    const struct serve_values *values = &config->values;
    if (values->print_config)
        return print_config(config);
    if (!config->models.n && !values->repository)
        return cli_misuse("which model? For example: graphpipe serve model.onnx\n"
                          "Try: graphpipe serve --help");
    if (config_fill(config, &server, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    const struct serve_start start = {options, config};
    return serve_until_stopped(&server, &values->fetch, values->config ? &start : NULL);
}

const struct command serve_command = {
    .name = "serve",
    .summary = "serve a model over HTTP",
    .usage = "[OPTIONS] [MODEL]...",
    .about =
        "Opens MODEL (a file, a folder, or the http(s) URL of a file; NAME=MODEL "
        "gives it a name)\n"
        "and answers requests until SIGTERM or SIGINT: then no new ones are taken, "
        "those in flight\n"
        "are finished, and it exits 0. Every option can also be set in the "
        "environment, as\n"
        "GP_MODEL, GP_LISTEN, GP_MAX_BODY and so on, with commas between the items "
        "of a list, and\n"
        "in a configuration file. The command line comes first, then the environment, "
        "then the file.\n",
    .examples =
        "  graphpipe serve model.onnx\n"
        "  graphpipe serve --listen 0.0.0.0:9000 --listen unix:/run/graphpipe.sock "
        "mobilenet=v2.onnx\n"
        "  graphpipe serve https://example.com/models/mobilenet.onnx\n"
        "  graphpipe serve --instances 2 --threads 4 --max-body 64M --verbose "
        "model.onnx\n"
        "  graphpipe serve --config graphpipe.json\n"
        "  graphpipe serve --engine echo          gives back what it gets, to try "
        "clients with\n",
    .options = serve_options,
    .n_options = SERVE_N_OPTIONS,
    .values_size = sizeof(struct serve_values),
    .max_words = CONFIG_MAX_MODELS,
    .run = serve_run,
};
