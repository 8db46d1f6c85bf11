/* base/log.h - lines about what happens, as text or JSON.
 *
 * Lines go into a bounded buffer, under a lock that is only held for a copy, and one thread
 * writes them. It may wait for the log's reader for any time: nobody waits for it, and lines
 * that do not fit into the buffer, or that nobody reads, are lost and counted.
 *
 * A warning or an error goes into the buffer at once. The thread that answers gathers access
 * lines and hands them over some dozens at a time, at the latest after 10 ms without other
 * work: a wake-up for each small request would cost more than the request. */
#ifndef GP_BASE_LOG_H
#define GP_BASE_LOG_H

#include "base/text.h"

#include <graphpipe/server.h>

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
    bool is_torn;        /* the thread's: the last write ended within a line */

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t added;
    pthread_cond_t written;
    struct text pending;
    bool is_writing;
    bool is_ending;
};

/* Access lines of one thread, not handed over yet; zeroed at first. */
struct log_lines {
    struct text text;
    time_t second; /* the second of `stamp` */
    char stamp[32];
};

/* Copies `fd`, the option log_fd, and starts the thread; 0 or less means no log. `log` must be
 * zeroed, and must be ended after a failure too. */
enum gp_status log_begin(struct log *log, int fd, enum gp_log_level level,
                         enum gp_log_format format, struct gp_error *err);

/* Waits a moment for the lines to be written. */
void log_flush(struct log *log);

/* Flushes, then ends the thread, even while it waits for the log's reader. A zeroed log is
 * allowed. */
void log_end(struct log *log);

/* True if the descriptor takes a short line now or in a moment: for a last word past the log. */
bool log_has_room(int fd);

void log_line(struct log *log, enum gp_log_level level, const char *format, ...)
    GP_PRINTF(3, 4);

/* Appends the time to the thread's text; the date is formatted once a second. */
void log_put_time(struct log_lines *lines);

/* Called after a line was added to the thread's text: hands over if there are many. */
void log_gather(struct log *log, struct log_lines *lines);

/* Hands over all lines. */
void log_write(struct log *log, struct log_lines *lines);

void log_lines_finish(struct log_lines *lines);

#endif
