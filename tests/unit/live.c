#include "live.h"

#include "base/process.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { PATIENCE_MS = 20000, POOL_BYTES = 16 << 20 };

/* As many bytes as the config says. */
static enum gp_status answer_call(void *self, const struct gp_call *call,
                                  struct gp_outputs *outputs, struct gp_error *err)
{
    const int64_t n = 1;
    (void)self, (void)call;
    return gp_outputs_alloc(outputs, 0, GP_UINT8, &n, 1, err) ? GP_OK : err->status;
}

struct gp_server_options live_options(void)
{
    static char address[64];
    static const char *const listen[] = {address};
    (void)snprintf(address, sizeof address, "unix:/tmp/gp-live-%ld", (long)getpid());
    return (struct gp_server_options){.size_bytes = sizeof(struct gp_server_options),
                                      .listen = listen,
                                      .n_listen = 1,
                                      .n_slots = 1,
                                      .n_pollers = 1,
                                      .pool_bytes = POOL_BYTES};
}

void live_create(struct live *live, const struct gp_server_options *options)
{
    struct gp_server_options o = *options;
    int fds[2];
    *live = (struct live){.log_fd = -1};
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    o.log_fd = fds[1];
    o.log_level = GP_LOG_INFO;
    live->server = o.engine || o.n_models || o.repository
                       ? gp_server_create(&o, &live->error)
                       : gp_server_create_function(answer_call, NULL, &o, &live->error);
    close(fds[1]);
    live->log_fd = fds[0];
    if (!live->server)
        fail_msg("%s", live->error.message);
    assert_int_equal(live->error.status, GP_OK); /* there is none */
}

void live_destroy(struct live *live)
{
    gp_server_destroy(live->server);
    close(live->log_fd);
}

static void *run_server(void *arg)
{
    struct live *live = arg;
    live->status = gp_server_run(live->server, &live->error);
    return NULL;
}

void live_start(struct live *live)
{
    assert_int_equal(pthread_create(&live->thread, NULL, run_server, live), 0);
}

void live_stop(struct live *live, enum gp_status wanted)
{
    gp_server_stop(live->server);
    assert_int_equal(pthread_join(live->thread, NULL), 0);
    if (live->status != wanted)
        fail_msg("%s: %s", gp_status_name(live->status), live->error.message);
}

const char *live_log(struct live *live)
{
    ssize_t n;
    log_flush(&live->server->log);
    while ((n = read(live->log_fd, live->log + live->log_size,
                     sizeof live->log - 1 - live->log_size)) > 0)
        live->log_size += (size_t)n;
    live->log[live->log_size] = '\0';
    return live->log;
}

void live_await_log(struct live *live, const char *words)
{
    for (int n_ms = 0; !strstr(live_log(live), words); n_ms++) {
        if (n_ms == PATIENCE_MS)
            fail_msg("no \"%s\" in \"%s\"", words, live->log);
        poll(NULL, 0, 1);
    }
}

void live_await_threads(uint64_t n)
{
    struct process_usage usage;
    for (int n_ms = 0; process_usage(&usage) && usage.n_threads != n; n_ms++) {
        if (n_ms == PATIENCE_MS)
            fail_msg("%d threads, and not %d", (int)usage.n_threads, (int)n);
        poll(NULL, 0, 1);
    }
}

static int connect_to(int fd, const void *name, size_t size)
{
    const struct timeval patience = {.tv_sec = PATIENCE_MS / 1000};
    assert_true(fd >= 0);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    assert_int_equal(connect(fd, name, (socklen_t)size), 0);
    return fd;
}

int live_connect(const struct live *live, size_t index)
{
    static const char http[] = "http://127.0.0.1:";
    struct sockaddr_un file = {.sun_family = AF_UNIX};
    struct sockaddr_in in = {.sin_family = AF_INET,
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *address = gp_server_address(live->server, index);
    assert_non_null(address);
    if (strncmp(address, http, sizeof http - 1) == 0) {
        in.sin_port = htons((uint16_t)atoi(address + sizeof http - 1));
        return connect_to(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), &in, sizeof in);
    }
    (void)snprintf(file.sun_path, sizeof file.sun_path, "%s", address + strlen("unix:"));
    return connect_to(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), &file, sizeof file);
}

const char *live_ask(struct live *live, const char *line)
{
    char request[256];
    size_t size = 0;
    ssize_t n;
    const int fd = live_connect(live, 0);
    (void)snprintf(request, sizeof request,
                   "%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", line);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    while ((n = recv(fd, live->answer + size, sizeof live->answer - 1 - size, 0)) > 0)
        size += (size_t)n;
    if (n < 0)
        fail_msg("no answer to %s", line);
    live->answer[size] = '\0';
    close(fd);
    return live->answer;
}
