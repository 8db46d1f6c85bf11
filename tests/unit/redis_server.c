#include "redis_server.h"

#include "temp_tree.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

enum { MOST_WORDS = 48, PATIENCE_MS = 20000 };

bool redis_server_is_there(void)
{
    return system("command -v redis-check-rdb redis-cli openssl >/dev/null 2>&1") == 0;
}

static unsigned find_port(void)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&name, size), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&name, &size), 0);
    close(fd);
    return ntohs(name.sin_port);
}

static bool answers(struct redis_server *server)
{
    const char *answer = redis_server_ask(server, "PING");
    return strncmp(answer, "PONG", 4) == 0 || strstr(answer, "NOAUTH");
}

/* The program is several in one, by the name that it is called with: Debian's package redis-tools has
 * it under another one, and starts no service. */
static void exec_server(char **words)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (chdir(tree_root) == 0)
        execvp("redis-check-rdb", words);
    _exit(127);
}

static bool start_once(struct redis_server *server, const char *const *options)
{
    static char texts[MOST_WORDS][160];
    char *words[MOST_WORDS + 1];
    char head[500];
    unsigned n = 0;
    snprintf(head, sizeof head,
             "redis-server %s %u --bind 127.0.0.1 --unixsocket %s --dir %s --logfile "
             "%s/redis.log --appendonly no --daemonize no %s --save",
             server->is_tls ? "--port 0 --tls-port" : "--port", server->port,
             server->socket, tree_root, tree_root,
             server->is_tls ? "--tls-auth-clients no --tls-cert-file cert.pem "
                              "--tls-key-file key.pem --tls-ca-cert-file cert.pem"
                            : "");
    char *rest = NULL;
    for (char *word = strtok_r(head, " ", &rest); word; word = strtok_r(NULL, " ", &rest))
        snprintf(texts[n++], sizeof *texts, "%s", word);
    texts[n++][0] = '\0';
    for (; options && *options; options++) {
        const char *hole = strstr(*options, "%s");
        const int before = hole ? (int)(hole - *options) : (int)strlen(*options);
        snprintf(texts[n++], sizeof *texts, "%.*s%s%s", before, *options,
                 hole ? tree_root : "", hole ? hole + 2 : "");
    }
    for (unsigned i = 0; i < n; i++)
        words[i] = texts[i];
    words[n] = NULL;
    server->pid = fork();
    assert_true(server->pid >= 0);
    if (server->pid == 0)
        exec_server(words);
    for (int waited_ms = 0; waited_ms < PATIENCE_MS; waited_ms += 20) {
        if (waitpid(server->pid, NULL, WNOHANG) == server->pid)
            return false; /* somebody has taken the port */
        if (access(server->socket, F_OK) == 0 && answers(server))
            return true;
        poll(NULL, 0, 20);
    }
    fail_msg("the Redis does not answer");
    return false;
}

void redis_server_start(struct redis_server *server, const char *const *options)
{
    const bool has_port = server->port > 0;
    snprintf(server->socket, sizeof server->socket, "%s/redis.sock", tree_root);
    for (int i = 0; i < 5; i++) {
        if (!has_port)
            server->port = find_port();
        if (start_once(server, options))
            return;
    }
    fail_msg("the Redis does not start: see redis.log in %s", tree_root);
}

void redis_server_stop(struct redis_server *server)
{
    if (server->pid > 0) {
        kill(server->pid, SIGKILL);
        waitpid(server->pid, NULL, 0);
    }
    unlink(server->socket);
    server->pid = 0;
}

const char *redis_server_ask(struct redis_server *server, const char *command)
{
    char line[700];
    snprintf(line, sizeof line, "redis-cli --no-auth-warning -s %s %s 2>&1",
             server->socket, command);
    FILE *pipe = popen(line, "r");
    assert_non_null(pipe);
    const size_t n = fread(server->answer, 1, sizeof server->answer - 1, pipe);
    server->answer[n] = '\0';
    server->answer[strcspn(server->answer, "\n")] = '\0';
    pclose(pipe);
    return server->answer;
}
