/* graphpipe engines: lists the engines, whether each would work here, and what to run if
 * it would not. A plug-in works if it loads and its framework's library is found; a
 * Python program works if it says so. */
#include "cli/cli.h"

#include "cli/engine_flags.h"
#include "engine/engine.h"
#include "engine/folders.h"
#include "engine/python.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct engines_values {
    const char *engine_dir;
    const char *python;
    struct option_list engine_options;
};

#define AT(field) OPTION_AT(engines_values, field)
static const struct option engines_options[] = {
    {ENGINE_DIR_ROW, AT(engine_dir)},
    {ENGINE_OPTION_ROW, AT(engine_options)},
    {ENGINE_PYTHON_ROW, AT(python)},
};
#undef AT

struct engine_list {
    const struct engines_values *values;
    struct text text;
};

static void write_line(struct text *text, const char *name, const char *version,
                       const char *state, const char *where)
{
    const size_t start = text->size_bytes;
    text_puts(text, name);
    cli_pad(text, start, 14);
    text_foreign_puts(text, version && *version ? version : "-");
    cli_pad(text, start, 24);
    text_puts(text, state);
    if (where && *where) {
        cli_pad(text, start, 47);
        text_show(text, where, strlen(where));
    }
    text_puts(text, "\n");
}

/* How to install a runtime where the program is installed, which may be without the source tree that its
 * plug-in was built in; else all of the message. */
static const char *runtime_remedy(const char *message)
{
    const char *at = strstr(message, ENGINE_BEFORE_REMEDY);
    return at ? at + strlen(ENGINE_BEFORE_REMEDY) : message;
}

static void list_plugin(struct text *text, const struct engine_known *known,
                        const char *engine_dir, const struct gp_engine_options *options)
{
    const struct gp_engine *engine;
    struct gp_error err;
    if (engine_load(known->name, engine_dir, &engine, &err) != GP_OK) {
        write_line(text, known->name, NULL, "cannot be loaded", err.message);
        return;
    }
    if (!engine->probe) {
        write_line(text, known->name, engine->version, "ready", known->path);
        return;
    }
    const char *version = NULL, *path = NULL;
    if (engine->probe(options, &version, &path, &err) == GP_OK)
        write_line(text, known->name, version, "ready", path ? path : known->path);
    else
        write_line(text, known->name, NULL, "runtime not installed",
                   options->n_options ? err.message : runtime_remedy(err.message));
}

/* Ends the process as well, without what a framework has the exit do. */
static _Noreturn void write_apart(int fd, const struct engine_known *known,
                                  const char *engine_dir,
                                  const struct gp_engine_options *options)
{
    struct text line = {0};
    size_t n_written = 0;
    list_plugin(&line, known, engine_dir, options);
    while (n_written < line.size_bytes) {
        const ssize_t n = write(fd, line.data + n_written, line.size_bytes - n_written);
        if (n < 0 && errno != EINTR)
            break;
        n_written += n > 0 ? (size_t)n : 0;
    }
    _exit(0);
}

static void read_apart(int fd, struct text *text)
{
    char bytes[1024];
    for (ssize_t n = 1; n != 0;) {
        n = read(fd, bytes, sizeof bytes);
        if (n < 0 && errno != EINTR)
            break;
        if (n > 0)
            text_add(text, bytes, (size_t)n);
    }
}

/* Each plug-in loads its framework in a process of its own: the libraries of two may have one
 * name, as PyTorch's and Caffe2's have, and one that crashes takes its line only. */
static void list_apart(struct text *text, const struct engine_known *known,
                       const char *engine_dir, const struct gp_engine_options *options)
{
    const size_t before = text->size_bytes;
    char reason[64];
    int ends[2], status = 0;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        write_line(text, known->name, NULL, "cannot be loaded", strerror(errno));
        return;
    }
    const pid_t pid = fork();
    if (pid == 0)
        write_apart(ends[1], known, engine_dir, options);
    close(ends[1]);
    read_apart(ends[0], text);
    close(ends[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    (void)snprintf(reason, sizeof reason, "that ended the process (signal %d)",
                   WTERMSIG(status));
    if (text->size_bytes == before)
        write_line(text, known->name, NULL, "cannot be loaded",
                   pid > 0 ? reason : strerror(errno));
}

static void list_script(struct text *text, const struct engine_known *known,
                        const struct gp_engine_options *options)
{
    struct text answer = {0};
    struct gp_error err;
    if (engine_python_probe(known->path, options, &answer, &err) == GP_OK) {
        const char *version = engine_folder_next(&answer, NULL);
        write_line(text, known->name, version, "ready",
                   engine_folder_next(&answer, version));
    } else {
        write_line(text, known->name, NULL, "runtime not installed", err.message);
    }
    text_finish(&answer);
}

static void list_engine(void *arg, const struct engine_known *known)
{
    struct engine_list *list = arg;
    struct text *text = &list->text;
    const struct gp_engine_options options = {
        .size_bytes = sizeof options,
        .n_cores = 1,
        .options = list->values->engine_options.items,
        .n_options = list->values->engine_options.n};
    char remedy[256];
    (void)snprintf(remedy, sizeof remedy, "%s, then make", known->remedy);
    if (!known->path)
        write_line(text, known->name, NULL, "not installed",
                   *known->remedy ? remedy : NULL);
    else if (known->is_script)
        list_script(text, known, &options);
    else
        list_apart(text, known, list->values->engine_dir, &options);
}

static int engines_run(struct options *options)
{
    struct engine_list list = {.values = options->values};
    struct gp_error err;
    if (options_join(options, &err) != GP_OK)
        return cli_misuse("%s", err.message);
    engine_each(list.values->engine_dir, list_engine, &list);
    const bool is_whole = cli_flush(&list.text);
    text_finish(&list.text);
    return is_whole ? CLI_OK : cli_fail("out of memory");
}

const struct command engines_command = {
    .name = "engines",
    .summary = "list the engines that can run models, and what each still needs",
    .usage = "[OPTIONS]",
    .about = "Prints for each engine its name, its framework's version, whether it is "
             "ready, and\n"
             "where it was found or what installs it.\n",
    .examples =
        "  graphpipe engines\n"
        "  graphpipe engines --engine-dir ./plugins\n"
        "  graphpipe engines --engine-option library=/opt/lib/libonnxruntime.so.1\n",
    .options = engines_options,
    .n_options = sizeof engines_options / sizeof *engines_options,
    .values_size = sizeof(struct engines_values),
    .run = engines_run,
};
