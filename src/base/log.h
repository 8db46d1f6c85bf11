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

/* Appends the time to the thread's text; the date is made once a second. */
void log_put_time(struct log_lines *lines);

/* After a line was added to the thread's text: hands over when there are many. */
void log_gather(struct log *log, struct log_lines *lines);

/* Hands over the lines that are left. */
void log_write(struct log *log, struct log_lines *lines);

/* Frees them. */
void log_lines_finish(struct log_lines *lines);

#endif
