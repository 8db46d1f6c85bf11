/* server/log.h - lines about what happens, as text or JSON, each written with one
 * write(2). */
#ifndef GP_SERVER_LOG_H
#define GP_SERVER_LOG_H

#include <graphpipe/server.h>

struct log {
    int fd; /* not above 0: silent */
    enum gp_log_level level;
    enum gp_log_format format;
};

/* One answered request. Times in nanoseconds, sizes in bytes. */
struct log_access {
    const char *peer;
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

/* At level GP_LOG_DEBUG. */
void log_access(const struct log *log, const struct log_access *access);

#endif
