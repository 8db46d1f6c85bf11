/* Sockets are non-blocking: each wait is a poll until the deadline. What has come by then is still taken, for
 * it may be this thread that was late on a busy machine; but not much of it, so that neither a peer that
 * drips nor one that floods gains time. */
#include "cache/redis.h"

#include "base/clock.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <time.h>

enum { MOST_LINE_BYTES = 4096, MOST_LATE_BYTES = 1 << 20 };

/* --- bytes --- */

static bool fail_late(struct gp_error *err)
{
    gp_error_set(err, GP_TIMEOUT, "it did not answer in time");
    return false;
}

bool redis_fail_garbage(struct gp_error *err)
{
    gp_error_set(err, GP_MALFORMED, "it answered something else than a Redis does");
    return false;
}

static bool await_socket(const struct redis *redis, short events, int64_t deadline_ns,
                         struct gp_error *err)
{
    struct pollfd pollfd = {.fd = redis->fd, .events = events};
    for (;;) {
        const int64_t left_ns = deadline_ns - clock_now_ns();
        if (left_ns <= 0)
            return fail_late(err);
        const int n = poll(&pollfd, 1, (int)((left_ns + CLOCK_MS - 1) / CLOCK_MS));
        if (n > 0)
            return true;
        if (n < 0 && errno != EINTR) {
            gp_error_set(err, GP_IO, "poll: %s", strerror(errno));
            return false;
        }
    }
}

/* Older releases of libcurl write TLS as to a file, which raises SIGPIPE where the other side has gone: it is
 * kept from this thread. Sockets without TLS never raise it. */
struct quiet {
    sigset_t pipe, before;
    bool is_needed;
};

static void quiet_begin(struct quiet *quiet, const struct redis *redis)
{
    sigset_t pending;
    sigemptyset(&quiet->pipe);
    sigaddset(&quiet->pipe, SIGPIPE);
    sigemptyset(&pending);
    (void)sigpending(&pending);
    quiet->is_needed = redis->is_tls && sigismember(&pending, SIGPIPE) == 0;
    if (quiet->is_needed)
        (void)pthread_sigmask(SIG_BLOCK, &quiet->pipe, &quiet->before);
}

static void quiet_end(const struct quiet *quiet)
{
    static const struct timespec none;
    if (!quiet->is_needed)
        return;
    while (sigtimedwait(&quiet->pipe, NULL, &none) < 0 && errno == EINTR)
        ;
    (void)pthread_sigmask(SIG_SETMASK, &quiet->before, NULL);
}

/* What comes first, at least a byte. */
static bool receive_bytes(struct redis *redis, void *bytes, size_t most, size_t *n,
                          int64_t deadline_ns, struct gp_error *err)
{
    for (;;) {
        const bool is_late = clock_now_ns() >= deadline_ns;
        if (is_late && redis->n_late_bytes > MOST_LATE_BYTES)
            return fail_late(err);
        const CURLcode code = redis->curl->easy_recv(redis->easy, bytes, most, n);
        if (code == CURLE_OK && *n > 0) {
            redis->n_late_bytes += is_late ? *n : 0;
            return true;
        }
        if (code != CURLE_AGAIN) {
            gp_error_set(err, GP_IO, "%s",
                         code == CURLE_OK ? "it closed the connection"
                                          : redis->curl->easy_strerror(code));
            return false;
        }
        if (!await_socket(redis, POLLIN, deadline_ns, err))
            return false;
    }
}

bool redis_send(struct redis *redis, const void *bytes, size_t size_bytes,
                int64_t deadline_ns, struct gp_error *err)
{
    const char *at = bytes, *end = at + size_bytes;
    redis->n_late_bytes = 0;
    while (at < end) {
        size_t n = 0;
        struct quiet quiet;
        quiet_begin(&quiet, redis);
        const CURLcode code =
            redis->curl->easy_send(redis->easy, at, (size_t)(end - at), &n);
        quiet_end(&quiet);
        if (code != CURLE_OK && code != CURLE_AGAIN) {
            gp_error_set(err, GP_IO, "%s", redis->curl->easy_strerror(code));
            return false;
        }
        at += code == CURLE_OK ? n : 0;
        if (at < end && !await_socket(redis, POLLOUT, deadline_ns, err))
            return false;
    }
    return true;
}

static bool fill_buffer(struct redis *redis, int64_t deadline_ns, struct gp_error *err)
{
    const size_t has = redis->end - redis->begin;
    size_t n = 0;
    memmove(redis->buffer, redis->buffer + redis->begin, has);
    redis->begin = 0;
    redis->end = has;
    if (!receive_bytes(redis, redis->buffer + has, REDIS_BUFFER_BYTES - has, &n,
                       deadline_ns, err))
        return false;
    redis->end += n;
    return true;
}

/* What is long goes past the buffer. */
bool redis_read(struct redis *redis, void *bytes, size_t size_bytes, int64_t deadline_ns,
                struct gp_error *err)
{
    char *at = bytes, *end = at + size_bytes;
    while (at < end) {
        const size_t has = redis->end - redis->begin, wanted = (size_t)(end - at);
        size_t n = has < wanted ? has : wanted;
        if (n > 0) {
            memcpy(at, redis->buffer + redis->begin, n);
            redis->begin += n;
        } else if (wanted < REDIS_BUFFER_BYTES) {
            if (!fill_buffer(redis, deadline_ns, err))
                return false;
        } else if (!receive_bytes(redis, at, wanted, &n, deadline_ns, err)) {
            return false;
        }
        at += n;
    }
    return true;
}

bool redis_is_idle(const struct redis *redis)
{
    struct pollfd pollfd = {.fd = redis->fd, .events = POLLIN};
    return redis->begin == redis->end && poll(&pollfd, 1, 0) == 0;
}

void redis_close(struct redis *redis)
{
    if (!redis)
        return;
    struct quiet quiet;
    quiet_begin(&quiet, redis);
    if (redis->easy)
        redis->curl->easy_cleanup(redis->easy);
    quiet_end(&quiet);
    mem_free(redis);
}

/* --- replies --- */

/* The line that is next, terminated in place of its end; valid until the next read. */
static char *read_line(struct redis *redis, int64_t deadline_ns, struct gp_error *err)
{
    for (;;) {
        char *line = redis->buffer + redis->begin;
        const size_t has = redis->end - redis->begin;
        char *end = memchr(line, '\n', has);
        const bool is_long = (end ? (size_t)(end - line) : has) > MOST_LINE_BYTES;
        if (end && end > line && end[-1] == '\r' && !is_long) {
            redis->begin += (size_t)(end - line) + 1;
            end[-1] = '\0';
            return line;
        }
        if (end || is_long) {
            (void)redis_fail_garbage(err);
            return NULL;
        }
        if (!fill_buffer(redis, deadline_ns, err))
            return NULL;
    }
}

/* Digits only, at most so many that they cannot overflow. */
static bool parse_size(const char *text, size_t *size_bytes)
{
    const size_t n = strspn(text, "0123456789");
    if (n == 0 || n > 12 || text[n])
        return false;
    *size_bytes = 0;
    for (; *text; text++)
        *size_bytes = *size_bytes * 10 + (size_t)(*text - '0');
    return true;
}

bool redis_read_reply(struct redis *redis, struct redis_reply *reply, int64_t deadline_ns,
                      struct gp_error *err)
{
    const char *line = read_line(redis, deadline_ns, err);
    if (!line)
        return false;
    reply->size_bytes = 0;
    reply->text[0] = '\0';
    switch (*line) {
    case '+':
        reply->kind = REDIS_STATUS;
        return true;
    case '-':
        reply->kind = REDIS_REFUSAL;
        (void)gp_text_show(reply->text, sizeof reply->text, line + 1, strlen(line + 1));
        return true;
    case '$':
        reply->kind = strcmp(line, "$-1") == 0 ? REDIS_NOTHING : REDIS_VALUE;
        return reply->kind == REDIS_NOTHING || parse_size(line + 1, &reply->size_bytes) ||
               redis_fail_garbage(err);
    default:
        return redis_fail_garbage(err);
    }
}

bool redis_read_end(struct redis *redis, int64_t deadline_ns, struct gp_error *err)
{
    char end[2];
    return redis_read(redis, end, sizeof end, deadline_ns, err) &&
           (memcmp(end, "\r\n", sizeof end) == 0 || redis_fail_garbage(err));
}

bool redis_set_refusal(const struct redis_reply *reply, struct gp_error *err)
{
    const char *text = reply->text;
    const bool is_cluster =
        strncmp(text, "MOVED ", 6) == 0 || strncmp(text, "ASK ", 4) == 0;
    gp_error_set(err, GP_UNAVAILABLE, "%s: %s",
                 is_cluster ? "it is part of a cluster, which is not supported"
                            : "it refused",
                 text);
    return false;
}

/* --- commands --- */

void redis_put_command(struct text *text, size_t n_parts)
{
    text_puts(text, "*");
    text_number(text, n_parts);
    text_puts(text, "\r\n");
}

void redis_put_part(struct text *text, const void *bytes, size_t size_bytes)
{
    text_puts(text, "$");
    text_number(text, size_bytes);
    text_puts(text, "\r\n");
    text_add(text, bytes, size_bytes);
    text_puts(text, "\r\n");
}
