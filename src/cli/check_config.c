/* graphpipe check-config: what serve would say of a configuration file, without opening a
 * model or a socket. The environment is left out, since the server's is another. */
#include "cli/cli.h"
#include "cli/config.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

struct check_values {
    bool wants_schema;
};

static const struct option check_options[] = {
    {.name = "schema",
     .kind = OPTION_FLAG,
     OPTION_AT(check_values, wants_schema),
     .help = "print the JSON schema of the file, and exit"},
};

static int print_schema(void)
{
    struct text text = {0};
    config_write_schema(&text);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

/* The file may be checked where the models are not, so this is no error. */
static void warn_of_missing(const struct options *options, const char *name,
                            const char *path)
{
    char label[OPTION_LABEL_BYTES];
    if (!path || fetch_is_url(path) || access(path, F_OK) == 0)
        return;
    options_label(label, options, name);
    cli_warn("%s: %s: %s", label, path, strerror(errno));
}

static void warn_of_all_missing(const struct config *config)
{
    warn_of_missing(&config->options, "repository", config->values.repository);
    for (size_t i = 0; i < config->models.n; i++)
        warn_of_missing(&config->models.items[i].own, "path",
                        config->models.items[i].own_values.path);
}

/* As serve --config does, with no other flag. */
static enum gp_status check_models(struct config *config, struct gp_arena *arena,
                                   const char *path, struct gp_error *err)
{
    struct serve_values values = {.config = path};
    struct options none = {
        .table = serve_options, .n = SERVE_N_OPTIONS, .values = &values, .arena = arena};
    struct gp_server_options server;
    enum gp_status status = options_take_defaults(&none, err);
    if (status == GP_OK)
        status = config_gather(config, &none, err);
    return status == GP_OK ? config_fill(config, &server, err) : status;
}

static int check_config_run(struct options *options)
{
    const struct check_values *values = options->values;
    if (values->wants_schema)
        return print_schema();
    if (options->words.n == 0)
        return cli_misuse("check-config wants: FILE\nTry: graphpipe check-config --help");
    const char *path = options->words.items[0];
    struct config *config = gp_arena_alloc(options->arena, sizeof *config);
    struct gp_error err;
    if (!config)
        return cli_fail("out of memory");
    if (check_models(config, options->arena, path, &err) != GP_OK)
        return cli_broken("%s", err.message);
    warn_of_all_missing(config);
    (void)printf("%s: valid, %zu %s\n", path, config->models.n,
                 config->models.n == 1 ? "model" : "models");
    return CLI_OK;
}

const struct command check_config_command = {
    .name = "check-config",
    .summary = "check a configuration file of serve",
    .usage = "[OPTIONS] FILE",
    .about =
        "Reads FILE as graphpipe serve --config does, without opening a model. Exits 0 "
        "when it can be\n"
        "used, else 1, with the line, the key and what is wrong with it. A path that "
        "is not there is\n"
        "a warning. What the settings come to: graphpipe serve --config FILE "
        "--print-config.\n",
    .examples = "  graphpipe check-config graphpipe.json\n"
                "  graphpipe check-config --schema        for editors, as a file\n"
                "  graphpipe serve --config graphpipe.json --print-config\n",
    .options = check_options,
    .n_options = sizeof check_options / sizeof *check_options,
    .values_size = sizeof(struct check_values),
    .max_words = 1,
    .run = check_config_run,
};
