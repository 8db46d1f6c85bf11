/* Asks Python for its package folders, which nothing else knows (virtual environments,
 * distributions' own layouts), and whether it can run an engine. It is run with
 * posix_spawn, which is safe in a process with threads, and answers in lines. */
#include "engine/python.h"

#include "base/clock.h"
#include "base/place.h"
#include "engine/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FOLDERS_MS = 5000, PROBE_MS = 60000 };

static const char list_folders[] =
    "import site,sys\n"
    "f=site.getsitepackages()+[site.getusersitepackages()]\n"
    "print(*[p for p in sys.path if p.endswith('-packages')],*f,sep='\\n')";

/* Starts it with its output going to `fd`; returns an errno. */
static int start_interpreter(char *const argv[], int fd, pid_t *pid)
{
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return ENOMEM;
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fd, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    const int rc = posix_spawnp(pid, argv[0], &actions, NULL, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    return rc;
}

/* Reads all that it writes until it closes its end; false if the time is over first. */
static bool read_all(int fd, int limit_ms, struct text *answer)
{
    const int64_t end_ns = clock_now_ns() + limit_ms * CLOCK_MS;
    char bytes[1024];
    for (;;) {
        const int64_t left_ms = (end_ns - clock_now_ns()) / CLOCK_MS;
        struct pollfd wanted = {.fd = fd, .events = POLLIN};
        const int n_ready = left_ms > 0 ? poll(&wanted, 1, (int)left_ms) : 0;
        if (n_ready < 0 && errno == EINTR)
            continue;
        const ssize_t n = n_ready > 0 ? read(fd, bytes, sizeof bytes) : -1;
        if (n <= 0)
            return n == 0;
        text_add(answer, bytes, (size_t)n);
    }
}

/* Runs it and collects its lines, each terminated. Returns an errno. */
static int run_interpreter(char *const argv[], int limit_ms, struct text *answer)
{
    int ends[2];
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return errno;
    const int rc = start_interpreter(argv, ends[1], &pid);
    close(ends[1]);
    if (rc == 0) {
        if (!read_all(ends[0], limit_ms, answer))
            kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    for (size_t i = 0; i < answer->size_bytes; i++)
        if (answer->data[i] == '\n')
            answer->data[i] = '\0';
    return rc;
}

void engine_python_folders(struct text *list)
{
    char *const argv[] = {(char *)"python3", (char *)"-c", (char *)list_folders, NULL};
    struct text answer = {0};
    (void)run_interpreter(argv, FOLDERS_MS, &answer);
    for (const char *at = engine_folder_next(&answer, NULL); at;
         at = engine_folder_next(&answer, at))
        if (*at)
            engine_folder_add(list, at);
    text_finish(&answer);
}

const char *engine_python(const struct gp_engine_options *options)
{
    static const char key[] = "python=";
    for (size_t i = 0; i < options->n_options; i++)
        if (strncmp(options->options[i], key, sizeof key - 1) == 0)
            return options->options[i] + sizeof key - 1;
    return "python3";
}

enum gp_status engine_python_failure(const char *python, int reason, struct gp_error *err)
{
    char words[PLACE_WORDS_BYTES];
    return gp_error_set(
        err, GP_UNAVAILABLE, "cannot start the interpreter \"%s\": %s%s", python,
        place_explain(reason, words),
        reason == ENOENT || reason == EACCES
            ? "; install Python 3.8 or newer, or name it with --python PATH"
            : "");
}

enum gp_status engine_python_probe(const char *script,
                                   const struct gp_engine_options *options,
                                   struct text *answer, struct gp_error *err)
{
    const char *python = engine_python(options);
    char *const argv[] = {(char *)python, (char *)script, (char *)"probe", NULL};
    const int rc = run_interpreter(argv, PROBE_MS, answer);
    const char *first = engine_folder_next(answer, NULL);
    if (rc != 0)
        return engine_python_failure(python, rc, err);
    if (!first || !engine_folder_next(answer, first))
        return gp_error_set(err, GP_UNAVAILABLE, "%s%s", first ? first : python,
                            first ? "" : " does not answer");
    return GP_OK;
}
