/* base/log.h - lines about what happens, as text or JSON.
 *
 * Lines go into a bounded buffer, under a lock that is held for a copy, and one thread writes
 * them. It may wait for the log's reader as long as that takes: nobody waits for it, and what the
 * buffer has no room for, or nobody reads, is lost and counted.
 *
 * A warning or an error goes into the buffer at once. Access lines are gathered by the thread that
 * answers and handed over some dozens at a time, at the latest when the thread has had nothing
 * else to do for 10 ms: a wake-up for each small request would cost more than the request. */
#ifndef GP_BASE_LOG_H
#define GP_BASE_LOG_H

#include "base/text.h"

#include <graphpipe/server.h>

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

struct log {
    int fd; /* a copy of the caller's; 0: silent, and there is no thread */
    enum gp_log_level level;
    enum gp_log_format format;
    atomic_ulong n_lost; /* lines */
    pthread_t thread;
    struct text writing; /* the thread's */
    bool is_torn;        /* the thread's: what was written last is no whole line */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t added;
    pthread_cond_t written;
    struct text pending;
    bool is_writing;
    bool is_ending;
};

/* Access lines of one thread that are not handed over yet; zeroed at first. */
struct log_lines {
    struct text text;
    time_t second; /* that `stamp` is of */
    char stamp[32];
};

/* One answered request. Times in nanoseconds, sizes in bytes. */
struct log_access {
    const struct sockaddr_in6 *peer; /* or another family's, cut */
    const char *method;
    const char *target;
    const char *note; /* the error's message, or "" */
    int status;
    uint64_t received_bytes;
    uint64_t sent_bytes;
    int64_t total_ns;
    int64_t waited_ns; /* for a slot */
    int64_t ran_ns;    /* in the engine */
};

/* Copies `fd`, an option called log_fd, and starts the thread; a descriptor of 0 or below is no
 * log. `log` is zeroed, and is to be ended after a failure too. */
enum gp_status log_begin(struct log *log, int fd, enum gp_log_level level,
                         enum gp_log_format format, struct gp_error *err);

/* Waits a moment for what was logged to be written. */
void log_flush(struct log *log);

/* As log_flush, then ends the thread, even one that waits for the log's reader. Takes a zeroed
 * log. */
void log_end(struct log *log);

/* For a last word past the log: whether the descriptor takes a short line now, or in a moment. */
bool log_has_room(int fd);

void log_line(struct log *log, enum gp_log_level level, const char *format, ...)
    GP_PRINTF(3, 4);

/* Appends "127.0.0.1:40000", "[::1]:40000" or "unix". */
void log_put_peer(struct text *text, const struct sockaddr_in6 *peer);

/* Adds a line, at level GP_LOG_DEBUG; hands over when there are many. */
void log_access(struct log *log, struct log_lines *lines,
                const struct log_access *access);

/* Hands over the lines that are left. */
void log_write(struct log *log, struct log_lines *lines);

/* Frees them. */
void log_lines_finish(struct log_lines *lines);

#endif
