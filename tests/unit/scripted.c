/* A send that fails is no trouble of the script's: the client may have heard enough. */
#include "scripted.h"

#include "turned_clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { PATIENCE_MS = 2000 };

static bool wait_readable(int fd)
{
    struct pollfd entry = {.fd = fd, .events = POLLIN};
    return poll(&entry, 1, PATIENCE_MS) == 1;
}

static void send_bytes(int fd, const char *bytes, size_t size)
{
    while (size > 0) {
        const ssize_t sent = send(fd, bytes, size, MSG_NOSIGNAL);
        if (sent <= 0)
            return;
        bytes += sent;
        size -= (size_t)sent;
    }
}

/* Byte by byte, so that a body is left to the socket. */
static bool read_head(struct scripted *server)
{
    size_t size = 0;
    server->head[0] = '\0';
    while (size + 1 < sizeof server->head) {
        if (!wait_readable(server->fd) ||
            recv(server->fd, server->head + size, 1, 0) != 1)
            return false;
        server->head[++size] = '\0';
        if (size >= 4 && memcmp(server->head + size - 4, "\r\n\r\n", 4) == 0) {
            server->n_requests++;
            return true;
        }
    }
    return false;
}

static bool read_body(struct scripted *server)
{
    const char *field = strstr(server->head, "Content-Length: ");
    if (!field)
        return false;
    size_t left = strtoul(field + 16, NULL, 10);
    char bytes[65536];
    server->body_hash = 0;
    while (left > 0) {
        if (!wait_readable(server->fd))
            return false;
        const ssize_t got =
            recv(server->fd, bytes, left < sizeof bytes ? left : sizeof bytes, 0);
        if (got <= 0)
            return false;
        server->body_hash = scripted_hash(server->body_hash, bytes, (size_t)got);
        left -= (size_t)got;
    }
    return true;
}

static void drip(int fd, const char *text)
{
    for (; *text; text++)
        send_bytes(fd, text, 1);
}

static void send_chunks(const struct scripted *server, size_t chunk_size)
{
    char line[32];
    for (size_t at = 0; at < server->message_size; at += chunk_size) {
        const size_t left = server->message_size - at;
        const size_t size = left < chunk_size ? left : chunk_size;
        snprintf(line, sizeof line, "%zx\r\n", size);
        send_bytes(server->fd, line, strlen(line));
        send_bytes(server->fd, server->message + at, size);
        send_bytes(server->fd, "\r\n", 2);
    }
    send_bytes(server->fd, "0\r\n\r\n", 5);
}

static void send_answer(const struct scripted *server)
{
    char head[128];
    snprintf(head, sizeof head,
             "HTTP/1.1 200 OK\r\nContent-Type: application/x-graphpipe\r\n"
             "Content-Length: %zu\r\n\r\n",
             server->message_size);
    send_bytes(server->fd, head, strlen(head));
    send_bytes(server->fd, server->message, server->message_size);
}

static bool await_close(int fd)
{
    char bytes[65536];
    for (;;) {
        if (!wait_readable(fd))
            return false;
        if (recv(fd, bytes, sizeof bytes, 0) <= 0)
            return true;
    }
}

static bool await_hangup(int fd)
{
    struct pollfd one = {.fd = fd, .events = POLLRDHUP};
    return poll(&one, 1, PATIENCE_MS) == 1;
}

static bool await_read(int fd)
{
    int n_unread = 0;
    for (int i = 0; i < PATIENCE_MS; i++) {
        if (ioctl(fd, SIOCOUTQ, &n_unread) != 0 || n_unread == 0)
            return n_unread == 0;
        poll(NULL, 0, 1);
    }
    return false;
}

static bool step_take(struct scripted *server, const struct script_step *step)
{
    const struct linger at_once = {.l_onoff = 1, .l_linger = 0};
    switch (step->action) {
    case SCRIPT_ACCEPT:
        if (!wait_readable(server->listener))
            return false;
        server->fd = accept(server->listener, NULL, NULL);
        return server->fd >= 0;
    case SCRIPT_READ:
        return read_head(server) && read_body(server);
    case SCRIPT_READ_HEAD:
        return read_head(server);
    case SCRIPT_READ_BODY:
        return read_body(server);
    case SCRIPT_SEND:
        send_bytes(server->fd, step->text, strlen(step->text));
        return true;
    case SCRIPT_DRIP:
        drip(server->fd, step->text);
        return true;
    case SCRIPT_ANSWER:
        send_answer(server);
        return true;
    case SCRIPT_MESSAGE:
        send_bytes(server->fd, server->message, server->message_size);
        return true;
    case SCRIPT_CHUNKS:
        send_chunks(server, step->size);
        return true;
    case SCRIPT_PAUSE:
        poll(NULL, 0, (int)step->size);
        return true;
    case SCRIPT_TURN:
        if (!await_read(server->fd))
            return false;
        turned_clock_add((int64_t)step->size * CLOCK_MS);
        return true;
    case SCRIPT_DEAF:
        shutdown(server->fd, SHUT_RD);
        return await_close(server->fd);
    case SCRIPT_RESET:
        setsockopt(server->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        break;
    case SCRIPT_AWAIT_HANGUP:
        if (!await_hangup(server->fd))
            return false;
        break;
    case SCRIPT_AWAIT_CLOSE:
        if (!await_close(server->fd))
            return false;
        break;
    case SCRIPT_CLOSE:
        break;
    }
    close(server->fd);
    server->fd = -1;
    return true;
}

static void *run(void *arg)
{
    struct scripted *server = arg;
    for (size_t i = 0; i < server->n_steps; i++)
        if (!step_take(server, &server->steps[i])) {
            snprintf(server->trouble, sizeof server->trouble, "step %zu (action %d): %s",
                     i, server->steps[i].action, strerror(errno));
            break;
        }
    if (server->fd >= 0)
        close(server->fd);
    close(server->listener); /* a client that asks for more is refused at once */
    return NULL;
}

static void listen_unix(struct scripted *server)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    static unsigned n;
    snprintf(server->path, sizeof server->path, "/tmp/gp-scripted-%ld-%u", (long)getpid(),
             n++);
    memcpy(name.sun_path, server->path, sizeof server->path);
    server->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    unlink(server->path);
    if (bind(server->listener, (struct sockaddr *)&name, sizeof name) != 0)
        abort();
    snprintf(server->address, sizeof server->address, "unix:%s", server->path);
}

static void listen_tcp(struct scripted *server)
{
    struct sockaddr_in name = {.sin_family = AF_INET,
                               .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(server->listener, (struct sockaddr *)&name, sizeof name) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&name, &size) != 0)
        abort();
    snprintf(server->address, sizeof server->address, "http://127.0.0.1:%u",
             ntohs(name.sin_port));
}

void scripted_start(struct scripted *server, bool is_unix,
                    const struct script_step *steps, size_t n_steps, const char *message,
                    size_t message_size)
{
    memset(server, 0, sizeof *server);
    server->fd = -1;
    server->steps = steps;
    server->n_steps = n_steps;
    server->message = message;
    server->message_size = message_size;
    if (is_unix)
        listen_unix(server);
    else
        listen_tcp(server);
    if (listen(server->listener, 8) != 0 ||
        pthread_create(&server->thread, NULL, run, server) != 0)
        abort();
}

void scripted_check(struct scripted *server)
{
    pthread_join(server->thread, NULL);
    if (server->path[0])
        unlink(server->path);
    if (server->trouble[0])
        fail_msg("%s", server->trouble);
}

struct gp_client *scripted_connect(const char *address,
                                   const struct gp_client_options *options)
{
    struct gp_error err;
    struct gp_client *client = gp_client_create(address, options, &err);
    if (!client)
        fail_msg("%s", err.message);
    return client;
}

void scripted_assert_fails(struct gp_client *client, const struct gp_call *call,
                           enum gp_status status, const char *words)
{
    struct gp_result *result = (struct gp_result *)client; /* anything but NULL */
    struct gp_error err = {GP_OK, ""};
    const enum gp_status got = gp_client_infer(client, call, &result, &err);
    if (got != status || err.status != got || !strstr(err.message, words))
        fail_msg("%s: %s (wanted %s: %s)", gp_status_name(got), err.message,
                 gp_status_name(status), words);
    assert_null(result);
    assert_null(strchr(err.message, '\n'));
}

uint64_t scripted_hash(uint64_t hash, const void *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        hash = (hash ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3 + 1;
    return hash;
}

char *scripted_flatten(const struct gp_encoding *encoding)
{
    char *bytes = malloc(encoding->size_bytes);
    if (!bytes)
        abort();
    size_t at = 0;
    for (size_t i = 0; i < encoding->n_parts; i++) {
        memcpy(bytes + at, encoding->parts[i].iov_base, encoding->parts[i].iov_len);
        at += encoding->parts[i].iov_len;
    }
    return bytes;
}
