/* graphpipe serve: turns options into struct gp_server_options, and runs the server until
 * it is told to stop. What each setting means is in graphpipe/server.h; defaults are
 * repeated here as text because people read them in --help and --print-config. */
#include "cli/serve.h"

#include "cli/cli.h"
#include "server/signals.h"

#include <signal.h>
#include <stdlib.h>
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

struct service {
    const struct gp_server_options *options;
    const struct fetch *fetch;
};

/* The model of a URL is fetched first. What does not open may be no model, so the copy before it
 * is tried then: if that opens, nothing else was in the way. */
static struct gp_server *create_fetched(struct gp_server_options options,
                                        const struct fetch *fetch, struct gp_error *err)
{
    struct log log = {0};
    struct fetched model;
    struct gp_error again;
    enum gp_status status =
        log_begin(&log, options.log_fd, options.log_level, options.log_format, err);
    if (status == GP_OK)
        status = fetch_model(fetch, options.model_path, &log, &model, err);
    if (status != GP_OK) {
        log_end(&log);
        return NULL;
    }
    options.model_path = model.path;
    struct gp_server *server = gp_server_create(&options, err);
    if (!server && fetch_go_back(&model)) {
        server = gp_server_create(&options, &again);
        if (server)
            log_line(
                &log, GP_LOG_WARNING,
                "%s: what was fetched does not open (%s); serving the last copy that "
                "did: %s",
                model.shown, err->message, model.path);
    }
    fetch_end(&model, server != NULL);
    log_end(&log);
    return server;
}

static struct gp_server *create_server(const void *arg, struct gp_error *err)
{
    const struct service *service = arg;
    const struct gp_server_options *options = service->options;
    return options->model_path && fetch_is_url(options->model_path)
               ? create_fetched(*options, service->fetch, err)
               : gp_server_create(options, err);
}

int serve_until_stopped(const struct gp_server_options *options,
                        const struct fetch *fetch)
{
    struct gp_error err;
    raise_descriptor_limit();
    const enum gp_status status =
        signals_serve(create_server, &(struct service){options, fetch}, &err);
    if (status != GP_OK && log_has_room(STDERR_FILENO))
        (void)cli_fail("%s", err.message);
    if (status == GP_DEADLINE)
        _exit(CLI_FAILED); /* a run never came back: what it uses cannot be freed */
    (void)signal(SIGALRM, SIG_DFL);
    (void)alarm(EXIT_SECONDS);
    return status == GP_OK ? CLI_OK : CLI_FAILED;
}

void serve_warn_of_cache(void)
{
    cli_warn("this release has no cache of rows: --cache and GP_CACHE do nothing");
}

/* The model of --model, GP_MODEL or the argument, which is like --model. */
static int choose_model(const struct options *options, struct serve_values *values)
{
    if (options->words.n && options_source(options, "model") == OPTION_ENVIRONMENT)
        values->models.n = 0;
    if (options->words.n &&
        !option_list_add(&values->models, options->arena, options->words.items[0]))
        return cli_fail("out of memory");
    if (values->models.n > 1)
        return cli_misuse("one server serves one model, and %zu are named: %s, %s",
                          values->models.n, values->models.items[0],
                          values->models.items[1]);
    if (values->models.n == 0 && !values->engine)
        return cli_misuse("which model? For example: graphpipe serve model.onnx\n"
                          "Try: graphpipe serve --help");
    return CLI_OK;
}

/* "NAME=PATH" or "PATH", which may be a URL. A name has no slash; a file of the whole word comes
 * first. */
static int split_model(struct gp_arena *arena, const char *word,
                       struct gp_server_options *server)
{
    server->model_path = word;
    const size_t size = strcspn(word, "=/");
    if (word[size] != '=' || size == 0 || access(word, F_OK) == 0)
        return CLI_OK;
    char *name = gp_arena_alloc(arena, size + 1);
    if (!name)
        return cli_fail("out of memory");
    memcpy(name, word, size);
    name[size] = '\0';
    server->model_name = name;
    server->model_path = word + size + 1;
    return CLI_OK;
}

static void fill(struct gp_server_options *server, const struct serve_values *values)
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
    };
}

static int print_config(const struct options *options)
{
    struct text text = {0};
    options_print(&text, options, false);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

static int serve_run(struct options *options)
{
    struct serve_values *values = options->values;
    int status = CLI_OK;
    if (options->words.n || !values->print_config || values->models.n)
        status = choose_model(options, values);
    if (status != CLI_OK)
        return status;
    if (values->print_config)
        return print_config(options);
    struct gp_server_options server;
    struct gp_error err;
    if (options_join(options, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    fill(&server, values);
    if (values->models.n)
        status = split_model(options->arena, values->models.items[0], &server);
    const char *cache = getenv("GP_CACHE");
    if (cache && *cache && strcmp(cache, "0") != 0 && strcasecmp(cache, "false") != 0)
        serve_warn_of_cache();
    return status == CLI_OK ? serve_until_stopped(&server, &values->fetch) : status;
}

const struct command serve_command = {
    .name = "serve",
    .summary = "serve a model over HTTP",
    .usage = "[OPTIONS] [MODEL]",
    .about = "Opens MODEL (a file, a folder, or the http(s) URL of a file; NAME=MODEL "
             "gives it a name)\n"
             "and answers requests until SIGTERM or SIGINT: then no new ones are taken, "
             "those in flight\n"
             "are finished, and it exits 0. Every option can also be set in the "
             "environment, as\n"
             "GP_MODEL, GP_LISTEN, GP_MAX_BODY and so on; the command line comes first. "
             "A list in the\n"
             "environment has commas between its items.\n",
    .examples =
        "  graphpipe serve model.onnx\n"
        "  graphpipe serve --listen 0.0.0.0:9000 --listen unix:/run/graphpipe.sock "
        "mobilenet=v2.onnx\n"
        "  graphpipe serve https://example.com/models/mobilenet.onnx\n"
        "  graphpipe serve --instances 2 --threads 4 --max-body 64M --verbose "
        "model.onnx\n"
        "  graphpipe serve --engine echo          gives back what it gets, to try "
        "clients with\n",
    .options = serve_options,
    .n_options = SERVE_N_OPTIONS,
    .values_size = sizeof(struct serve_values),
    .max_words = 1,
    .run = serve_run,
};
