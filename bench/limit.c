/* The limit under any server: one blocking thread for each connection, one recv loop into
 * one warm buffer, no checks. It understands just enough HTTP to be asked by the same
 * client as the others: it looks for Content-Length, receives so many bytes, and sends
 * them back (echo) or a fixed message (the file REPLY).
 *
 *   limit ADDRESS [REPLY]     ADDRESS: a port of 127.0.0.1, or a unix socket's path
 */
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>

enum { HEAD_BYTES = 4096 };
#define BUFFER_BYTES ((size_t)1100 << 20)

static unsigned char *reply;
static size_t reply_size;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

/* Sends all of two parts. */
static int send_all(int fd, struct iovec *parts)
{
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    while (parts[0].iov_len + parts[1].iov_len > 0) {
        ssize_t n = sendmsg(fd, &message, MSG_NOSIGNAL);
        if (n <= 0)
            return 0;
        for (int i = 0; i < 2; i++) {
            const size_t part =
                (size_t)n < parts[i].iov_len ? (size_t)n : parts[i].iov_len;
            parts[i].iov_base = (char *)parts[i].iov_base + part;
            parts[i].iov_len -= part;
            n -= (ssize_t)part;
        }
    }
    return 1;
}

/* One request into `body`; its length, -1 when the connection is over. */
static ssize_t receive(int fd, unsigned char *body)
{
    char head[HEAD_BYTES + 1];
    size_t size = 0, got, length = 0;
    const char *end = NULL;
    while (!end) {
        const ssize_t n = recv(fd, head + size, HEAD_BYTES - size, 0);
        if (n <= 0)
            return -1;
        size += (size_t)n;
        head[size] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *field = strcasestr(head, "\r\nContent-Length:");
    if (field)
        length = strtoull(field + 17, NULL, 10);
    if (length > BUFFER_BYTES)
        return -1;
    got = size - (size_t)(end + 4 - head);
    memcpy(body, end + 4, got);
    while (got < length) {
        const ssize_t n = recv(fd, body + got, length - got, 0);
        if (n <= 0)
            return -1;
        got += (size_t)n;
    }
    return (ssize_t)length;
}

static void *serve(void *arg)
{
    const int fd = (int)(size_t)arg;
    char head[128];
    unsigned char *body = mmap(NULL, BUFFER_BYTES, PROT_READ | PROT_WRITE,
                               MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (body == MAP_FAILED)
        die("mmap");
    ssize_t length;
    while ((length = receive(fd, body)) >= 0) {
        const size_t size = reply ? reply_size : (size_t)length;
        const int n = snprintf(head, sizeof head,
                               "HTTP/1.1 200 OK\r\nContent-Type: "
                               "application/x-graphpipe\r\nContent-Length: %zu\r\n\r\n",
                               size);
        struct iovec parts[2] = {{head, (size_t)n}, {reply ? reply : body, size}};
        if (!send_all(fd, parts))
            break;
    }
    munmap(body, BUFFER_BYTES);
    close(fd);
    return NULL;
}

static int listen_at(const char *address)
{
    int one = 1;
    if (strchr(address, '/')) {
        struct sockaddr_un at = {.sun_family = AF_UNIX};
        (void)snprintf(at.sun_path, sizeof at.sun_path, "%s", address);
        unlink(address);
        const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || bind(fd, (struct sockaddr *)&at, sizeof at) != 0)
            die(address);
        return fd;
    }
    struct sockaddr_in at = {.sin_family = AF_INET,
                             .sin_port = htons((unsigned short)atoi(address)),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0 ||
        bind(fd, (struct sockaddr *)&at, sizeof at) != 0)
        die(address);
    return fd;
}

/* Read once, not mapped, so that sending it never waits for the disk. */
static void read_reply(const char *path)
{
    FILE *file = fopen(path, "rb");
    struct stat info;
    if (!file || fstat(fileno(file), &info) != 0)
        die(path);
    reply = malloc((size_t)info.st_size);
    if (!reply)
        die("malloc");
    reply_size = fread(reply, 1, (size_t)info.st_size, file);
    (void)fclose(file);
}

int main(int argc, char **argv)
{
    if (argc < 2 || argc > 3) {
        (void)fprintf(stderr, "usage: limit PORT|SOCKET [REPLY]\n");
        return 2;
    }
    if (argc == 3)
        read_reply(argv[2]);
    (void)signal(SIGPIPE, SIG_IGN);
    const int listener = listen_at(argv[1]);
    if (listen(listener, 1024) != 0)
        die("listen");
    for (;;) {
        pthread_t thread;
        const int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            die("accept");
        if (pthread_create(&thread, NULL, serve, (void *)(size_t)fd) != 0)
            die("pthread_create");
        pthread_detach(thread);
    }
}
