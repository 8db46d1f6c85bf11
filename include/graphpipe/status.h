/* graphpipe/status.h - how every call of GraphPipe reports success or failure.
 *
 *     struct gp_error err;
 *     if (gp_client_infer(client, &call, &result, &err) != GP_OK)
 *         fprintf(stderr, "%s (%s)\n", err.message, gp_status_name(err.status));
 *
 * A function that can fail returns a status, or a pointer that is NULL on failure. The
 * details go to a struct gp_error that the caller owns, passed last; it may be NULL where
 * only the status matters, and is written only on failure. A message is one line that
 * says what failed, in which field, what was expected, what came, and the remedy if there
 * is one.
 *
 * Everything here is inline, so an engine plug-in needs no symbol of the host, and may be
 * called from any thread.
 */
#ifndef GRAPHPIPE_STATUS_H
#define GRAPHPIPE_STATUS_H

#include <graphpipe/text.h>

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>

#ifdef __cplusplus
extern "C" {
#endif

/* X(symbol, number, name, HTTP status). The numbers travel as Error.code in a response:
 * they are never reused, and new ones go to the end. */
#define GP_STATUS_MAP(X)                                                                 \
    X(GP_OK, 0, "ok", 200)                                                               \
    X(GP_INVALID, 1, "invalid", 400)           /* the request cannot be carried out */   \
    X(GP_MALFORMED, 2, "malformed", 400)       /* the bytes are not a valid message */   \
    X(GP_FORBIDDEN, 3, "forbidden", 403)       /* not allowed from where it came */      \
    X(GP_NOT_FOUND, 4, "not found", 404)       /* no such model, file or route */        \
    X(GP_METHOD, 5, "method not allowed", 405) /* the route lacks this HTTP method */    \
    X(GP_TIMEOUT, 6, "timeout", 408)           /* the peer was too slow */               \
    X(GP_TOO_LARGE, 7, "too large", 413)       /* over a size limit */                   \
    X(GP_HEAD_TOO_LARGE, 8, "head too large", 431) /* an HTTP head over a limit */       \
    X(GP_INTERNAL, 9, "internal", 500)        /* a bug in the server or an engine */     \
    X(GP_ENGINE, 10, "engine", 500)           /* the engine failed on a valid request */ \
    X(GP_UNSUPPORTED, 11, "unsupported", 501) /* valid, but this build cannot do it */   \
    X(GP_IO, 12, "input/output", 502)         /* a connection or file failed */          \
    X(GP_BUSY, 13, "busy", 503)               /* no room in the queue; try again */      \
    X(GP_NO_MEMORY, 14, "out of memory", 503) /* no memory, or none in the pool */       \
    X(GP_UNAVAILABLE, 15, "unavailable", 503) /* draining, or a part is missing */       \
    X(GP_DEADLINE, 16, "deadline exceeded", 504)     /* the request's time is up */      \
    X(GP_CANCELLED, 17, "cancelled", 499)            /* the client left or gave up */    \
    X(GP_EXPECTATION, 18, "expectation failed", 417) /* an unknown Expect */             \
    X(GP_MISDIRECTED, 19, "misdirected", 421)        /* meant for another host */

enum gp_status {
#define GP_STATUS_ENUM(symbol, number, name, http) symbol = number,
    GP_STATUS_MAP(GP_STATUS_ENUM)
#undef GP_STATUS_ENUM
};

/* The details of a failure, in the caller's storage. The message is one terminated line;
 * a long one is cut between characters and ends with "...". */
struct gp_error {
    enum gp_status status;
    char message[508];
};

/* The short name of a status, a static string; "unknown" for a number that this release
 * does not know. */
static inline const char *gp_status_name(enum gp_status status)
{
    switch (status) {
#define GP_STATUS_NAME(symbol, number, name, http)                                       \
    case symbol:                                                                         \
        return name;
        GP_STATUS_MAP(GP_STATUS_NAME)
#undef GP_STATUS_NAME
    }
    return "unknown";
}

/* The matching HTTP status; 500 for a number that this release does not know. */
static inline int gp_status_http(enum gp_status status)
{
    switch (status) {
#define GP_STATUS_HTTP(symbol, number, name, http)                                       \
    case symbol:                                                                         \
        return http;
        GP_STATUS_MAP(GP_STATUS_HTTP)
#undef GP_STATUS_HTTP
    }
    return 500;
}

#if defined(__GNUC__)
#define GP_PRINTF(text, args) __attribute__((format(printf, text, args)))
#else
#define GP_PRINTF(text, args)
#endif

/* gp_error_set with a va_list. */
static inline enum gp_status gp_error_setv(struct gp_error *err, enum gp_status status,
                                           const char *format, va_list args)
{
    if (err) {
        /* Larger than the message, so that a character cut off at its end never shows. */
        char text[sizeof err->message + 8];
        err->status = status;
        if (vsnprintf(text, sizeof text, format, args) < 0)
            text[0] = '\0';
        (void)gp_text_show(err->message, sizeof err->message, text, strlen(text));
    }
    return status;
}

/* Fills *err (unless NULL) and returns `status`, so that failing takes one statement:
 *     return gp_error_set(err, GP_INVALID, "rank %u is over %u", rank, GP_MAX_RANK);
 * The message becomes one line of UTF-8; invisible characters, which names from outside
 * may hold, are escaped (text.h). */
GP_PRINTF(3, 4)
static inline enum gp_status gp_error_set(struct gp_error *err, enum gp_status status,
                                          const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)gp_error_setv(err, status, format, args);
    va_end(args);
    return status;
}

#ifdef __cplusplus
}
#endif

#endif
