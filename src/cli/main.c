/* The program: finds the subcommand by the first word, or by the name of the program,
 * reads its options and runs it. Everything about a subcommand is in its own file; help
 * is made here from its row. Exit status: 0 for success, 1 for failure, 2 if the command
 * line or the configuration file made no sense. */
#include "cli/manual.h"

#include "base/fds.h"
#include "engine/isolate.h"
#include "server/signals.h"

#include <graphpipe/version.h>

#include <errno.h>
#include <signal.h>
#include <string.h>

static const struct command *const commands[] = {
    &serve_command,  &infer_command,   &bench_command,        &inspect_command,
    &decode_command, &engines_command, &check_config_command, &check_rows_command,
    &tune_command,   &cache_command,
};

/* Programs of 2018, under their own names. */
static const struct command *const programs[] = {&legacy_onnx_command, &legacy_tf_command,
                                                 &legacy_echo_command,
                                                 &legacy_batcher_command};

#define COUNT(array) (sizeof(array) / sizeof *(array))

static const struct manual manual = {
    .summary = "serve models of any framework over HTTP, and ask them",
    .examples = "  graphpipe serve model.onnx                          serve a model on "
                "127.0.0.1:9000\n"
                "  graphpipe inspect http://127.0.0.1:9000             what it takes and "
                "gives\n"
                "  graphpipe infer http://127.0.0.1:9000 cat.npy       ask it\n"
                "  graphpipe infer 127.0.0.1:9000 'float32[1,2]:1,2'   the same with "
                "numbers\n",
    .commands = commands,
    .n_commands = COUNT(commands),
    .programs = programs,
    .n_programs = COUNT(programs),
};

static const struct command *find_command(const struct command *const *table, size_t n,
                                          const char *name)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}

static bool is_program(const struct command *command)
{
    return find_command(programs, COUNT(programs), command->name) != NULL;
}

/* Flushes standard output and reports if that fails. A reader that has gone, such as
 * head, has read what it wanted, so that is not reported. */
static int finish_output(int status)
{
    const bool is_written = fflush(stdout) == 0 && !ferror(stdout);
    if (!is_written && status == CLI_OK && errno == EPIPE)
        return CLI_FAILED;
    if (!is_written && status == CLI_OK)
        return cli_fail("cannot write to standard output: %s", strerror(errno));
    return status;
}

static int print_overview(void)
{
    (void)printf("graphpipe - %s\n\nUsage: graphpipe COMMAND [OPTIONS]...\n\nCommands:\n",
                 manual.summary);
    for (size_t i = 0; i < COUNT(commands); i++)
        (void)printf("  %-13s %s\n", commands[i]->name, commands[i]->summary);
    (void)printf(
        "\n"
        "Examples:\n"
        "%s\n"
        "graphpipe COMMAND --help says more about each; graphpipe --version "
        "prints the version,\n"
        "graphpipe completion bash what makes the shell complete (also zsh, fish).\n",
        manual.examples);
    return CLI_OK;
}

static int print_version(void)
{
    (void)printf("graphpipe %s\n", gp_version());
    return CLI_OK;
}

static int print_help(const struct command *command)
{
    const char *prefix = is_program(command) ? "" : "graphpipe ";
    struct text text = {0};
    text_printf(&text, "%s%s - %s\n\n", prefix, command->name, command->summary);
    text_printf(&text, "Usage: %s%s %s\n\n%s", prefix, command->name, command->usage,
                command->about);
    options_help(&text, command->options, command->n_options);
    text_printf(&text, "\nExamples:\n%s", command->examples);
    const bool is_whole = cli_flush(&text);
    text_finish(&text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

static int misuse(const struct command *command, const char *message)
{
    return cli_misuse("%s\nTry: %s%s --help", message,
                      is_program(command) ? "" : "graphpipe ", command->name);
}

/* Runs the command with the parsed options. */
static int run_parsed(const struct command *command, struct options *options)
{
    if (options->wants_help)
        return print_help(command);
    char message[256];
    if (options->words.n < command->min_words) {
        (void)snprintf(message, sizeof message, "%s wants: %s", command->name,
                       command->usage);
        return misuse(command, message);
    }
    if (options->words.n > command->max_words) {
        const char *word = options->words.items[command->max_words];
        char shown[200];
        (void)gp_text_show(shown, sizeof shown, word, strlen(word));
        (void)snprintf(message, sizeof message, "unexpected argument \"%s\"", shown);
        return misuse(command, message);
    }
    return command->run(options);
}

static int run_command(const struct command *command, char *const *argv)
{
    struct gp_arena *arena = gp_arena_create();
    void *values = arena ? gp_arena_alloc(arena, command->values_size) : NULL;
    if (!values) {
        gp_arena_destroy(arena);
        return cli_fail("out of memory");
    }
    memset(values, 0, command->values_size);
    struct options options = {.table = command->options,
                              .n = command->n_options,
                              .values = values,
                              .arena = arena};
    struct gp_error err;
    const int status = options_parse(&options, argv, &err) == GP_OK
                           ? run_parsed(command, &options)
                           : misuse(command, err.message);
    gp_arena_destroy(arena);
    return status;
}

static int unknown_command(const char *word)
{
    struct nearest nearest = {.word = word};
    for (size_t i = 0; i < COUNT(commands); i++)
        nearest_offer(&nearest, commands[i]->name);
    char shown[200];
    (void)gp_text_show(shown, sizeof shown, word, strlen(word));
    return cli_misuse("there is no %s \"%s\"%s%s%s\nTry: graphpipe --help",
                      word[0] == '-' ? "option" : "command", shown,
                      nearest.best ? "; did you mean \"" : "",
                      nearest.best ? nearest.best : "", nearest.best ? "\"?" : "");
}

/* The man page and the completions, for the build and for those who have no package. */
static int print_made(const char *what, const char *shell)
{
    struct text text = {0};
    int status = CLI_OK;
    if (strcmp(what, "man") == 0)
        manual_write(&text, &manual);
    else if (!completion_write(&text, &manual, shell ? shell : ""))
        status = cli_misuse("completion wants: bash|zsh|fish");
    if (status == CLI_OK && !cli_flush(&text))
        status = cli_fail("out of memory");
    text_finish(&text);
    return status;
}

static int help(char *const *argv)
{
    const char *word = argv[0];
    if (!word)
        return print_overview();
    if (strcmp(word, "--man") == 0 || strcmp(word, "--completion") == 0)
        return print_made(word + 2, argv[1]);
    const struct command *command = find_command(commands, COUNT(commands), word);
    if (!command)
        command = find_command(programs, COUNT(programs), word);
    return command ? print_help(command) : unknown_command(word);
}

static int dispatch(char *const *argv)
{
    const char *slash = argv[0] ? strrchr(argv[0], '/') : NULL;
    const char *called = slash ? slash + 1 : argv[0] ? argv[0] : "";
    const struct command *program = find_command(programs, COUNT(programs), called);
    if (program)
        return run_command(program, argv + 1);
    const char *word = called[0] ? argv[1] : NULL;
    if (!word) {
        (void)print_overview();
        return CLI_USAGE;
    }
    if (strcmp(word, "help") == 0)
        return help(argv + 2);
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0)
        return print_overview();
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0 ||
        strcmp(word, "version") == 0)
        return print_version();
    if (strcmp(word, "completion") == 0)
        return print_made(word, argv[2]);
    if (strcmp(word, "worker") == 0 && argv[2]) /* how serve --isolate starts it */
        return isolate_child(argv[2]);
    const struct command *command = find_command(commands, COUNT(commands), word);
    return command ? run_command(command, argv + 2) : unknown_command(word);
}

/* First repairs what a parent process may have left behind: closed descriptors, whose
 * numbers would go to files that then receive what is printed; blocked signals; and an
 * ignored SIGCHLD, with which nobody learns how a child ended. */
static bool start_clean(void)
{
    sigset_t none;
    sigemptyset(&none);
    (void)signal(SIGCHLD, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    signals_ignore_writes();
    return fds_hold_standard();
}

int main(int argc, char **argv)
{
    (void)argc;
    if (!start_clean())
        return cli_fail(
            "descriptor 0, 1 or 2 is closed, and /dev/null cannot be opened: %s",
            strerror(errno));
    return finish_output(dispatch(argv));
}
