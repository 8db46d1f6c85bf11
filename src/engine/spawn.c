/* The process of a child: how it is found, started and ended. It is graphpipe itself, so
 * that there is no second program to install and its version cannot be another; for an
 * engine that is a Python program it is the interpreter. It gets four descriptors,
 * nothing to read, a pipe to the server for what it prints, no signal blocked, and a
 * process group of its own: a Ctrl-C in the terminal is for the server, and what it
 * starts ends with it. */
#include "engine/isolate_child.h"

#include "base/place.h"
#include "engine/python.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define PROGRAM "graphpipe"
#define SELF "/proc/self/exe"

extern char **environ;

static char *keep(struct isolate *isolate, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = gp_arena_alloc(isolate->arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

bool spawn_find(struct isolate *isolate, const struct isolate_options *options,
                struct gp_error *err)
{
    char path[PATH_MAX + sizeof PROGRAM];
    if (engine_script(options->name, options->engine_dir, path, PATH_MAX, err) != GP_OK)
        return false;
    if (path[0]) {
        isolate->script = keep(isolate, path);
        isolate->worker =
            isolate->script ? keep(isolate, engine_python(options->engine)) : NULL;
        if (!isolate->worker)
            gp_error_set(err, GP_NO_MEMORY, "no memory for the interpreter's path");
        return isolate->worker;
    }
    const ssize_t n = readlink(SELF, path, PATH_MAX - 1);
    path[n > 0 ? n : 0] = '\0';
    char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    if (options->worker) {
        isolate->worker = keep(isolate, options->worker);
    } else if (strncmp(name, PROGRAM, strlen(PROGRAM)) == 0) {
        isolate->worker = SELF; /* the same file, also when it has been replaced */
    } else {
        memcpy(name, PROGRAM, sizeof PROGRAM);
        const bool is_beside = access(path, X_OK) == 0;
        isolate->worker = is_beside ? keep(isolate, path) : PROGRAM; /* on PATH */
    }
    if (!isolate->worker)
        gp_error_set(err, GP_NO_MEMORY, "no memory for the worker's path");
    return isolate->worker;
}

/* --- starting --- */

/* What a child gets: those from CHILD_SOCKET on, then what it prints to. */
enum { N_KEPT = CHILD_N_FDS - CHILD_SOCKET, N_GIVEN };

/* Copies of the descriptors above those that the child finds them at; false and none. */
static bool raise_fds(const int *fds, int *raised)
{
    for (int i = 0; i < N_GIVEN; i++) {
        raised[i] = fcntl(fds[i], F_DUPFD_CLOEXEC, CHILD_N_FDS);
        if (raised[i] < 0) {
            while (i-- > 0)
                close(raised[i]);
            return false;
        }
    }
    return true;
}

/* Gives errno's number. */
static int spawn(struct child *child, const int *fds)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none, all;
    const struct isolate *isolate = child->isolate;
    char parent[16], program[] = PROGRAM, word[] = "worker";
    char *const argv[] = {isolate->script ? (char *)isolate->worker : program,
                          isolate->script ? (char *)isolate->script : word, parent, NULL};
    (void)snprintf(parent, sizeof parent, "%d", (int)getpid());
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                              POSIX_SPAWN_SETPGROUP);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setsigdefault(&attributes, &all);
    posix_spawn_file_actions_init(&actions);
    int rc = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    for (int i = 0; i < N_KEPT && rc == 0; i++)
        rc = posix_spawn_file_actions_adddup2(&actions, fds[i], CHILD_SOCKET + i);
    for (int fd = STDOUT_FILENO; fd <= STDERR_FILENO && rc == 0; fd++)
        rc = posix_spawn_file_actions_adddup2(&actions, fds[N_KEPT], fd);
    if (rc == 0)
        rc = posix_spawnp(&child->pid, isolate->worker, &actions, &attributes, argv,
                          environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (rc != 0)
        child->pid = 0;
    return rc;
}

/* What an earlier process left. */
static void close_link(struct child *child)
{
    if (child->link.fd >= 0)
        close(child->link.fd);
    record_link_finish(&child->link);
}

static bool send_open(struct child *child)
{
    const struct isolate *isolate = child->isolate;
    struct text *out = &child->out;
    out->size_bytes = 0;
    out->is_short = false;
    text_add(out, isolate->open.data, isolate->open.size_bytes);
    if (out->is_short)
        return false;
    memcpy(out->data + isolate->first_slot_at, &child->slot, sizeof child->slot);
    return isolate_send(child);
}

bool spawn_child(struct child *child, struct gp_error *err)
{
    struct isolate *isolate = child->isolate;
    int sockets[2], output, raised[N_GIVEN];
    eventfd_t count;
    char words[PLACE_WORDS_BYTES];
    close_link(child);
    child->ended.message[0] = '\0';
    child->run_id = 0;
    (void)eventfd_read(child->cancel_fd, &count); /* meant for a run of another process */
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        gp_error_set(err, GP_UNAVAILABLE, "cannot make a socket for slot %u: %s",
                     child->slot, place_explain(errno, words));
        return false;
    }
    if (!output_open(child, &output)) {
        gp_error_set(err, GP_UNAVAILABLE, "cannot make a pipe for slot %u: %s",
                     child->slot, place_explain(errno, words));
        close(sockets[0]);
        close(sockets[1]);
        return false;
    }
    const int fds[] = {sockets[1], isolate->inputs_fd,
                       pool_range(isolate->pool, isolate->memory.outputs)->fd,
                       child->cancel_fd, output};
    int rc = EMFILE;
    if (raise_fds(fds, raised)) {
        rc = spawn(child, raised);
        for (int i = 0; i < N_GIVEN; i++)
            close(raised[i]);
    }
    close(sockets[1]);
    close(output);
    child->link.fd = sockets[0];
    if (rc == 0 && send_open(child))
        return true;
    if (rc == 0)
        spawn_reap(child, ISOLATE_EXIT);
    else if (isolate->script)
        return engine_python_failure(isolate->worker, rc, err) == GP_OK;
    gp_error_set(err, GP_UNAVAILABLE, "cannot start the process of slot %u, %s: %s",
                 child->slot, isolate->worker,
                 rc ? place_explain(rc, words) : child->ended.message);
    return false;
}

/* --- ending --- */

void spawn_kill(const struct child *child)
{
    kill(-child->pid, SIGKILL); /* what it has started */
    kill(child->pid, SIGKILL);
}

/* How it ended by itself, if it did, is decided before its socket closes: killing it
 * changes nothing then. False where the program ignores SIGCHLD, and nobody knows. */
static bool kill_and_wait(struct child *child, int *status)
{
    pid_t pid;
    spawn_kill(child);
    do
        pid = waitpid(child->pid, status, 0);
    while (pid < 0 && errno == EINTR);
    const bool is_known = pid == child->pid;
    child->pid = 0;
    child->is_late = false;
    isolate_give_buffers(child);
    return is_known;
}

void spawn_discard(struct child *child)
{
    int status;
    (void)kill_and_wait(child, &status);
}

void spawn_reap(struct child *child, enum isolate_end end)
{
    static const char *const reasons[] = {
        [ISOLATE_SIGNAL] = "",
        [ISOLATE_EXIT] = "it closed its socket",
        [ISOLATE_HANG] = "it did not come back (--hang-timeout)",
        [ISOLATE_PROTOCOL] = "what it said makes no sense",
    };
    struct isolate *isolate = child->isolate;
    struct gp_error *ended = &child->ended;
    int status = 0;
    const bool is_known = kill_and_wait(child, &status);
    const int signal = is_known && WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    const bool is_ours = signal == SIGKILL && end != ISOLATE_EXIT;
    if (!is_known || is_ours) {
        gp_error_set(ended, GP_UNAVAILABLE, "%s", reasons[end]);
    } else if (signal) {
        end = ISOLATE_SIGNAL;
        gp_error_set(ended, GP_UNAVAILABLE, "signal %d: %s", signal, strsignal(signal));
    } else {
        end = ISOLATE_EXIT;
        gp_error_set(ended, GP_UNAVAILABLE, "exit status %d", WEXITSTATUS(status));
    }
    pthread_mutex_lock(&isolate->lock);
    isolate->counts.ended[end]++;
    pthread_mutex_unlock(&isolate->lock);
    if (child->state != ISOLATE_STARTING) /* else it is said that it cannot start */
        isolate_log(isolate, GP_LOG_WARNING, "the process of slot %u ended: %s",
                    child->slot, ended->message);
}
