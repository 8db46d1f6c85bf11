#include "visitor.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

enum { ROOM_BYTES = 16 << 20, HEAD_BYTES = 256, LINE_BYTES = 32, PATIENCE_S = 10 };

void visitor_open(struct visitor *visitor, const char *address)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    const struct timeval patience = {.tv_sec = PATIENCE_S};
    (void)snprintf(name.sun_path, sizeof name.sun_path, "%s", strchr(address, ':') + 1);
    *visitor = (struct visitor){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0),
                                .bytes = malloc(ROOM_BYTES)};
    assert_non_null(visitor->bytes);
    setsockopt(visitor->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(visitor->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(visitor->fd, (struct sockaddr *)&name, sizeof name) != 0)
        fail_msg("%s: %s", address, strerror(errno));
}

void visitor_close(struct visitor *visitor)
{
    close(visitor->fd);
    free(visitor->bytes);
}

static void send_all(const struct visitor *visitor, const char *bytes, size_t size)
{
    while (size) {
        const ssize_t n = send(visitor->fd, bytes, size, MSG_NOSIGNAL);
        if (n <= 0)
            fail_msg("the server does not take the request: %s", strerror(errno));
        bytes += n;
        size -= (size_t)n;
    }
}

static void receive_more(struct visitor *visitor)
{
    assert_true(visitor->end + 1 < ROOM_BYTES);
    const ssize_t n =
        read(visitor->fd, visitor->bytes + visitor->end, ROOM_BYTES - 1 - visitor->end);
    if (n <= 0)
        fail_msg("the server does not answer: %s", n ? strerror(errno) : "closed");
    visitor->end += (size_t)n;
    visitor->bytes[visitor->end] = '\0';
}

/* Behind the next empty line. */
static size_t receive_head(struct visitor *visitor)
{
    const char *end;
    visitor->bytes[visitor->end] = '\0';
    while (!(end = strstr(visitor->bytes + visitor->at, "\r\n\r\n")))
        receive_more(visitor);
    return (size_t)(end - visitor->bytes) + 4;
}

const char *visitor_answer(struct visitor *visitor, size_t *size)
{
    const size_t body = receive_head(visitor);
    const char *head = visitor->bytes + visitor->at;
    const char *length = strstr(head, "\r\nContent-Length: ");
    if (strncmp(head, "HTTP/1.1 200 ", 13) != 0 || !length)
        fail_msg("%.300s", head);
    *size = strtoul(length + 18, NULL, 10);
    while (visitor->end < body + *size)
        receive_more(visitor);
    visitor->at = body + *size;
    return visitor->bytes + body;
}

static void pause_shortly(void)
{
    poll(NULL, 0, 2);
}

static void send_pieces(const struct visitor *visitor, const char *bytes, size_t size)
{
    static const size_t sizes[] = {61, 4099, 17, 100003, 33};
    for (size_t i = 0; size; i++) {
        size_t n = sizes[i % (sizeof sizes / sizeof *sizes)];
        n = n < size ? n : size;
        send_all(visitor, bytes, n);
        bytes += n;
        size -= n;
        if (i < 20)
            pause_shortly(); /* for the server to read just this */
    }
}

static size_t put(char *to, size_t at, const char *bytes, size_t size)
{
    memcpy(to + at, bytes, size);
    return at + size;
}

static size_t put_chunks(char *to, size_t at, const char *message, size_t size,
                         size_t chunk)
{
    for (size_t n; size; size -= n, message += n) {
        n = chunk < size ? chunk : size;
        at += (size_t)snprintf(to + at, LINE_BYTES, "%zx\r\n", n);
        at = put(to, at, message, n);
        at = put(to, at, "\r\n", 2);
    }
    return put(to, at, "0\r\n\r\n", 5);
}

void visitor_ask(struct visitor *visitor, enum way way, const char *message, size_t size,
                 size_t n)
{
    static const size_t chunks[] = {[ONE_CHUNK] = SIZE_MAX,
                                    [CHUNK_PIECES] = SIZE_MAX,
                                    [LARGE_CHUNKS] = 1 << 20,
                                    [SMALL_CHUNKS] = 9001};
    const size_t chunk = chunks[way];
    char head[HEAD_BYTES], length[LINE_BYTES + 20];
    (void)snprintf(length, sizeof length, "Content-Length: %zu\r\n", size);
    const size_t head_size = (size_t)snprintf(
        head, sizeof head,
        "POST / HTTP/1.1\r\nHost: h\r\nAccept: application/x-graphpipe\r\n%s%s\r\n",
        chunk ? "Transfer-Encoding: chunked\r\n" : length,
        way == EXPECT ? "Expect: 100-continue\r\n" : "");
    char *all = malloc(n * (2 * size + HEAD_BYTES + LINE_BYTES));
    assert_non_null(all);
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        at = put(all, at, head, head_size);
        at = chunk ? put_chunks(all, at, message, size, chunk)
                   : put(all, at, message, size);
    }
    if (way == EXPECT) {
        send_all(visitor, all, head_size);
        visitor->at = receive_head(visitor);
        send_all(visitor, message, size);
    } else if (way == PIECES || way == CHUNK_PIECES) {
        send_pieces(visitor, all, at);
    } else {
        send_all(visitor, all, at);
    }
    free(all);
}
