/* client/roundtrip.h - one request and its answer over a link, in whatever state that
 * is. */
#ifndef GP_CLIENT_ROUNDTRIP_H
#define GP_CLIENT_ROUNDTRIP_H

#include "client/body.h"
#include "client/link.h"

#include <graphpipe/message.h>

#define CLIENT_MEDIA_TYPE "application/x-graphpipe"

struct client_question {
    const struct gp_encoding *message;
    int64_t deadline_ns; /* INT64_MAX: none */
};

struct client_reply {
    /* Where the body of a good answer may go: `own` memory, or if that is NULL one of
     * `buffers`. */
    struct client_buffers *buffers;
    void *own;
    size_t own_size_bytes;
    size_t limit_bytes;

    /* The answer. */
    int status;
    bool is_message;         /* according to its Content-Type */
    struct client_body body; /* must be given back to `buffers`, even after a failure */
};

/* Sends the question and receives the answer; any HTTP status counts as success. Connects
 * if there is no connection, and once again if a kept one turns out to be closed. The
 * link is closed after a failure, and when the server wants it. `scratch` has
 * HTTP_MAX_HEAD_BYTES. */
enum gp_status client_roundtrip(struct client_link *link, char *scratch,
                                const struct client_question *question,
                                struct client_reply *reply, struct gp_error *err);

/* The status and message of an answer whose HTTP status is not 200. */
enum gp_status client_failure(const struct client_link *link,
                              const struct client_reply *reply, struct gp_arena *arena,
                              struct gp_error *err);

/* The error in a message: the status for its code, otherwise for the HTTP status, and its
 * words. */
enum gp_status client_refusal(const struct client_link *link,
                              const struct gp_response *response, int http_status,
                              struct gp_error *err);

#endif
