#include "net/listen.h"

#include "base/mem.h"
#include "base/place.h"
#include "net/peers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum { BACKLOG = 4096 };

/* For a listener that epoll refuses, which would otherwise never accept again. */
enum { REARM_TRIES = 50, REARM_PAUSE_MS = 10 };

static struct listener *add_listener(int fd, const char *address, struct listener **list)
{
    struct listener *listener = mem_zalloc(sizeof *listener);
    char *text = mem_strdup(address);
    if (!listener || !text) {
        mem_free(listener);
        mem_free(text);
        return NULL;
    }
    listener->source.fd = fd;
    listener->address = text;
    listener->next = *list;
    *list = listener;
    return listener;
}

/* Writes "http://127.0.0.1:9000" or "http://[::1]:9000" for a bound socket; returns the
 * port. */
static unsigned format_bound(int fd, char *text, size_t text_size)
{
    struct sockaddr_in6 bound = {0}; /* has room for IPv4's */
    socklen_t size = sizeof bound;
    char host[INET6_ADDRSTRLEN] = "?";
    getsockname(fd, (struct sockaddr *)&bound, &size);
    const bool is_v6 = bound.sin6_family == AF_INET6;
    const struct sockaddr_in *in = (const void *)&bound;
    const unsigned port = ntohs(is_v6 ? bound.sin6_port : in->sin_port);
    inet_ntop(bound.sin6_family, is_v6 ? (void *)&bound.sin6_addr : (void *)&in->sin_addr,
              host, sizeof host);
    (void)snprintf(text, text_size, is_v6 ? "http://[%s]:%u" : "http://%s:%u", host,
                   port);
    return port;
}

static enum gp_status fail_bind(int fd, const char *where, struct gp_error *err)
{
    const int error = errno;
    char words[PLACE_WORDS_BYTES];
    if (fd >= 0)
        close(fd);
    return gp_error_set(
        err, GP_IO, "cannot listen on %s: %s%s", where, place_explain(error, words),
        error == EADDRINUSE ? "; another program has it (another --listen?)" : "");
}

static enum gp_status open_tcp(const struct addrinfo *info, const char *where,
                               unsigned *port, struct listener **list,
                               struct gp_error *err)
{
    const int on = 1, off = 0;
    const int fd = socket(info->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return fail_bind(fd, where, err);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (info->ai_family == AF_INET6)
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, info->ai_next ? &on : &off, sizeof on);
    if (*port && info->ai_family == AF_INET)
        ((struct sockaddr_in *)(void *)info->ai_addr)->sin_port = htons((uint16_t)*port);
    else if (*port)
        ((struct sockaddr_in6 *)(void *)info->ai_addr)->sin6_port =
            htons((uint16_t)*port);
    if (bind(fd, info->ai_addr, info->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        return fail_bind(fd, where, err);
    char address[NI_MAXHOST + 32];
    *port = format_bound(fd, address, sizeof address);
    struct listener *listener = add_listener(fd, address, list);
    if (!listener) {
        close(fd);
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a listener");
    }
    listener->is_local = peers_is_local(info->ai_addr);
    return GP_OK;
}

/* ":PORT" is every address of this machine: one IPv6 socket that also accepts IPv4, or an
 * IPv4 socket if there is no IPv6. */
static enum gp_status open_any(const char *where, const struct addrinfo *infos,
                               unsigned *port, struct listener **list,
                               struct gp_error *err)
{
    for (int family = AF_INET6; family; family = family == AF_INET6 ? AF_INET : 0)
        for (const struct addrinfo *info = infos; info; info = info->ai_next) {
            struct addrinfo alone = *info;
            alone.ai_next = NULL;
            if (info->ai_family == family &&
                open_tcp(&alone, where, port, list, err) == GP_OK)
                return GP_OK;
        }
    return err->status;
}

static enum gp_status listen_tcp(const char *where, struct listener **list,
                                 struct gp_error *err)
{
    char local[sizeof "127.0.0.1:65535"];
    if (*where && strlen(where) <= 5 && strspn(where, "0123456789") == strlen(where)) {
        (void)snprintf(local, sizeof local, "127.0.0.1:%s", where);
        where = local; /* a port alone is one of this machine's own */
    }
    const char *colon = strrchr(where, ':');
    const char *host_end = colon;
    const char *host = where;
    if (colon && *host == '[' && colon > host + 2 && colon[-1] == ']') {
        host++;
        host_end = colon - 1;
    }
    if (!colon || !colon[1] || strspn(colon + 1, "0123456789") != strlen(colon + 1) ||
        strtoul(colon + 1, NULL, 10) > 65535 || host_end - host >= 256)
        return gp_error_set(err, GP_INVALID,
                            "cannot listen on \"%s\"; wanted HOST:PORT, PORT (of "
                            "127.0.0.1), :PORT (of all "
                            "addresses), [IPV6]:PORT or unix:/path",
                            where);
    char name[256];
    memcpy(name, host, (size_t)(host_end - host));
    name[host_end - host] = '\0';
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *infos = NULL;
    const int rc = getaddrinfo(name[0] ? name : NULL, colon + 1, &hints, &infos);
    if (rc != 0)
        return gp_error_set(err, GP_IO, "cannot listen on %s: %s", where,
                            gai_strerror(rc));
    unsigned port = 0;
    enum gp_status status = GP_OK;
    if (!name[0])
        status = open_any(where, infos, &port, list, err);
    else
        for (const struct addrinfo *info = infos; info && status == GP_OK;
             info = info->ai_next)
            status = open_tcp(info, where, &port, list, err);
    freeaddrinfo(infos);
    return status;
}

/* A socket file that nobody listens on was left by a process that died. */
static void remove_stale(const struct sockaddr_un *address)
{
    struct stat file;
    if (lstat(address->sun_path, &file) != 0 || !S_ISSOCK(file.st_mode))
        return;
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return;
    if (connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 &&
        errno == ECONNREFUSED)
        unlink(address->sun_path);
    close(fd);
}

static enum gp_status listen_unix(const char *where, struct listener **list,
                                  struct gp_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    const char *path = where + strlen("unix:");
    if (!*path || strlen(path) >= sizeof address.sun_path)
        return gp_error_set(err, GP_INVALID,
                            "cannot listen on \"%s\": a socket's path has 1 to %zu bytes",
                            where, sizeof address.sun_path - 1);
    memcpy(address.sun_path, path, strlen(path) + 1);
    remove_stale(&address);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        return fail_bind(fd, where, err);
    if (listen(fd, BACKLOG) != 0) {
        const enum gp_status status = fail_bind(fd, where, err);
        unlink(path);
        return status;
    }
    struct listener *listener = add_listener(fd, where, list);
    char *copy = mem_strdup(path);
    if (!listener || !copy) {
        if (!listener)
            close(fd);
        unlink(path);
        mem_free(copy);
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a listener");
    }
    listener->is_local = true;
    listener->unix_path = copy;
    return GP_OK;
}

enum gp_status listen_open(const char *where, struct listener **list,
                           struct gp_error *err)
{
    return strncmp(where, "unix:", 5) == 0 ? listen_unix(where, list, err)
                                           : listen_tcp(where, list, err);
}

bool listen_rearm(struct listener *listener, struct poller *poller)
{
    bool is_armed = poller_arm(poller, &listener->source, EPOLLIN);
    for (int i = 0; i < REARM_TRIES && !is_armed; i++) {
        poll(NULL, 0, REARM_PAUSE_MS);
        is_armed = poller_arm(poller, &listener->source, EPOLLIN);
    }
    return is_armed;
}

void listen_stop(struct listener *list)
{
    for (struct listener *listener = list; listener; listener = listener->next) {
        shutdown(listener->source.fd, SHUT_RDWR);
        if (listener->unix_path)
            unlink(listener->unix_path);
        listener->is_stopped = true;
    }
}

void listen_close(struct listener *list)
{
    while (list) {
        struct listener *listener = list;
        list = listener->next;
        if (listener->unix_path && !listener->is_stopped)
            unlink(listener->unix_path);
        close(listener->source.fd);
        mem_free(listener->unix_path);
        mem_free(listener->address);
        mem_free(listener);
    }
}
