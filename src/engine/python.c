/* Asks python3 for its package folders, one a line. It is the only thing that knows them
 * (virtual environments, distributions' own layouts), and it is run with posix_spawn,
 * which is safe in a process with threads. */
#include "engine/python.h"

#include "base/clock.h"
#include "engine/folders.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LIMIT_MS = 5000 };

static const char program[] =
    "import site,sys\n"
    "f=site.getsitepackages()+[site.getusersitepackages()]\n"
    "print(*[p for p in sys.path if p.endswith('-packages')],*f,sep='\\n')";

/* Starts it with its output into `fd`; false when there is none. */
static bool start(int fd, pid_t *pid)
{
    char *const argv[] = {(char *)"python3", (char *)"-c", (char *)program, NULL};
    posix_spawn_file_actions_t actions;
    if (posix_spawn_file_actions_init(&actions) != 0)
        return false;
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, fd, 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    const bool is_started =
        posix_spawnp(pid, "python3", &actions, NULL, argv, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    return is_started;
}

/* All that it writes until it closes its end; false when the time is over first. */
static bool read_all(int fd, struct text *answer)
{
    const int64_t end_ns = clock_now_ns() + LIMIT_MS * CLOCK_MS;
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

void engine_python_folders(struct text *list)
{
    int ends[2];
    pid_t pid;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return;
    const bool is_started = start(ends[1], &pid);
    close(ends[1]);
    struct text answer = {0};
    if (is_started) {
        if (!read_all(ends[0], &answer))
            kill(pid, SIGKILL);
        while (waitpid(pid, NULL, 0) < 0 && errno == EINTR)
            ;
    }
    close(ends[0]);
    char *rest = answer.data;
    for (char *line = rest ? strtok_r(rest, "\n", &rest) : NULL; line;
         line = strtok_r(NULL, "\n", &rest))
        engine_folder_add(list, line);
    text_finish(&answer);
}
