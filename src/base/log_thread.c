/* The thread that writes the log. O_NONBLOCK is shared by all users of a descriptor, and a pipe
 * that polls as writable may be full before the write; so this thread just waits, and at the
 * end is cancelled while it does. It blocks all signals: SIGPIPE and SIGXFSZ go to the thread
 * that wrote, and would end a process that does not expect them. */
#include "base/log_thread.h"

#include "base/clock.h"
#include "base/place.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

/* Room for any line (a target of 64 KiB, escaped), and for the lines of a few seconds. */
enum { MOST_BYTES = 512 * 1024, KEPT_BYTES = 64 * 1024 };

/* What a pipe takes at once (PIPE_BUF), so that lines of several processes do not mix. */
enum { WRITE_BYTES = 4096 };

/* How long the end waits for a reader. */
#define FLUSH_NS (CLOCK_S / 5)

static void count_lost(struct log *log, const char *bytes, size_t size_bytes)
{
    unsigned long n = 0;
    for (size_t i = 0; i < size_bytes; i++)
        n += bytes[i] == '\n';
    atomic_fetch_add_explicit(&log->n_lost, n, memory_order_relaxed);
}

/* False if there is no room. */
static bool add_pending(struct log *log, const struct text *lines)
{
    struct text *pending = &log->pending;
    pthread_mutex_lock(&log->lock);
    const bool was_empty = !pending->size_bytes;
    bool has_room = lines->size_bytes <= MOST_BYTES - pending->size_bytes;
    if (has_room)
        text_add(pending, lines->data, lines->size_bytes);
    has_room = has_room && !pending->is_short;
    pending->is_short = false; /* the lines before are whole */
    pthread_mutex_unlock(&log->lock);
    if (has_room && was_empty)
        pthread_cond_signal(&log->added);
    return has_room;
}

void log_add(struct log *log, const struct text *lines)
{
    if (log->fd <= 0)
        return;
    if (lines->is_short) /* the last line is incomplete */
        atomic_fetch_add_explicit(&log->n_lost, 1, memory_order_relaxed);
    if (lines->is_short || !add_pending(log, lines))
        count_lost(log, lines->data, lines->size_bytes);
}

/* As many whole lines as fit into one write. */
static size_t next_piece(const char *bytes, size_t size_bytes)
{
    const size_t most = size_bytes < WRITE_BYTES ? size_bytes : WRITE_BYTES;
    const char *end = memrchr(bytes, '\n', most);
    return end ? (size_t)(end - bytes) + 1 : most;
}

/* The thread can be cancelled only here. */
static ssize_t write_waiting(int fd, const char *bytes, size_t size_bytes)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    ssize_t n;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
    while ((n = write(fd, bytes, size_bytes)) < 0 && (errno == EAGAIN || errno == EINTR))
        if (errno == EAGAIN)
            (void)poll(&room, 1, -1);
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    return n;
}

/* Starts a new line after one that was cut, for example by a full disk. */
static void write_lines(struct log *log)
{
    const char *at = log->writing.data;
    size_t left = log->writing.size_bytes;
    ssize_t n = log->is_torn ? write_waiting(log->fd, "\n", 1) : 0;
    while (n >= 0 && left) {
        n = write_waiting(log->fd, at, next_piece(at, left));
        if (n > 0) {
            log->is_torn = at[n - 1] != '\n';
            at += n;
            left -= (size_t)n;
        }
    }
    count_lost(log, at, left);
    log->writing.size_bytes = 0;
    if (log->writing.capacity_bytes > KEPT_BYTES)
        text_finish(&log->writing);
}

/* Waits for lines to write, once those before are written; false at the end. */
static bool take_lines(struct log *log)
{
    pthread_mutex_lock(&log->lock);
    log->is_writing = false;
    pthread_cond_broadcast(&log->written);
    while (!log->pending.size_bytes && !log->is_ending)
        pthread_cond_wait(&log->added, &log->lock);
    const struct text lines = log->pending;
    log->pending = log->writing;
    log->writing = lines;
    log->is_writing = lines.size_bytes;
    pthread_mutex_unlock(&log->lock);
    return lines.size_bytes;
}

static void *log_main(void *arg)
{
    struct log *log = arg;
    (void)pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
    while (take_lines(log))
        write_lines(log);
    return NULL;
}

static int make_thread(struct log *log)
{
    sigset_t all, before;
    sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    const int rc = pthread_create(&log->thread, NULL, log_main, log);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

/* With a copy, no other file gets the lines if the caller closes its descriptor. */
static enum gp_status copy_fd(struct log *log, int fd, struct gp_error *err)
{
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return gp_error_set(
            err, GP_INVALID,
            "log_fd is %d, which is not open; give an open descriptor, or 0 "
            "for no log",
            fd);
    if ((flags & O_ACCMODE) == O_RDONLY || (flags & O_PATH))
        return gp_error_set(err, GP_INVALID,
                            "log_fd is %d, which is not open for writing", fd);
    log->fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (log->fd >= 0)
        return GP_OK;
    log->fd = 0;
    char words[PLACE_WORDS_BYTES];
    return gp_error_set(err, GP_UNAVAILABLE, "cannot copy log_fd %d: %s", fd,
                        place_explain(errno, words));
}

enum gp_status log_begin(struct log *log, int fd, enum gp_log_level level,
                         enum gp_log_format format, struct gp_error *err)
{
    log->level = level;
    log->format = format;
    if (fd <= 0)
        return GP_OK;
    if (copy_fd(log, fd, err) != GP_OK)
        return err->status;
    pthread_condattr_t monotonic;
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_mutex_init(&log->lock, NULL);
    pthread_cond_init(&log->added, NULL);
    pthread_cond_init(&log->written, &monotonic);
    pthread_condattr_destroy(&monotonic);
    const int rc = make_thread(log);
    if (rc == 0)
        return GP_OK;
    close(log->fd);
    log->fd = 0;
    char words[PLACE_WORDS_BYTES];
    return gp_error_set(err, GP_UNAVAILABLE, "cannot make a thread for the log: %s",
                        place_explain(rc, words));
}

/* Called with the lock held. */
static void wait_written(struct log *log)
{
    const int64_t until_ns = clock_now_ns() + FLUSH_NS;
    const struct timespec until = {.tv_sec = until_ns / CLOCK_S,
                                   .tv_nsec = until_ns % CLOCK_S};
    int rc = 0;
    while (rc == 0 && (log->pending.size_bytes || log->is_writing))
        rc = pthread_cond_timedwait(&log->written, &log->lock, &until);
}

void log_flush(struct log *log)
{
    if (log->fd <= 0)
        return;
    pthread_mutex_lock(&log->lock);
    wait_written(log);
    pthread_mutex_unlock(&log->lock);
}

bool log_has_room(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    return poll(&room, 1, FLUSH_NS / CLOCK_MS) == 1;
}

void log_end(struct log *log)
{
    if (log->fd <= 0)
        return;
    pthread_mutex_lock(&log->lock);
    wait_written(log);
    log->is_ending = true;
    const bool is_stuck = log->pending.size_bytes || log->is_writing;
    pthread_cond_signal(&log->added);
    pthread_mutex_unlock(&log->lock);
    if (is_stuck)
        (void)pthread_cancel(log->thread);
    pthread_join(log->thread, NULL);
    text_finish(&log->pending);
    text_finish(&log->writing);
    pthread_mutex_destroy(&log->lock);
    pthread_cond_destroy(&log->added);
    pthread_cond_destroy(&log->written);
    close(log->fd);
    log->fd = 0;
}
