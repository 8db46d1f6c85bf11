/* server/log.h - lines about what happens, as text or JSON.
 *
 * A warning or an error is written at once. Access lines are gathered by the thread that
 * answers and written some dozens at a time, at the latest when the thread has had nothing
 * else to do for 10 ms: one write for each small request would cost more than the request. */
#ifndef GP_SERVER_LOG_H
#define GP_SERVER_LOG_H

#include "base/text.h"

#include <graphpipe/server.h>

#include <netinet/in.h>
#include <time.h>

struct log {
    int fd; /* not above 0: silent */
    enum gp_log_level level;
    enum gp_log_format format;
};

/* Access lines of one thread that are not written yet; zeroed at first. */
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

void log_line(const struct log *log, enum gp_log_level level, const char *format, ...)
    GP_PRINTF(3, 4);

/* Adds a line, at level GP_LOG_DEBUG; writes when there are many. */
void log_access(const struct log *log, struct log_lines *lines,
                const struct log_access *access);

/* Writes the lines that are left. */
void log_write(const struct log *log, struct log_lines *lines);

/* Frees them. */
void log_lines_finish(struct log_lines *lines);

#endif
