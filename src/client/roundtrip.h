/* client/roundtrip.h - one request and its answer over a link, whatever state that is in.
 */
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
    /* Where the body of a good answer may go: `own` memory, or with NULL one of `buffers`. */
    struct client_buffers *buffers;
    void *own;
    size_t own_size_bytes;
    size_t limit_bytes;

    /* What came. */
    int status;
    bool is_message;         /* its Content-Type says so */
    struct client_body body; /* to be given back to `buffers`, after a failure too */
};

/* Sends the question and receives the answer; any HTTP status is a success. Connects when
 * there is no connection, and once again when a kept one turns out to be closed. After a
 * failure, and where the server wants it, the link is closed. `scratch` has
 * HTTP_MAX_HEAD_BYTES. */
enum gp_status client_roundtrip(struct client_link *link, char *scratch,
                                const struct client_question *question,
                                struct client_reply *reply, struct gp_error *err);

/* What an answer with another status than 200 says, as a status and a message. */
enum gp_status client_failure(const struct client_link *link,
                              const struct client_reply *reply, struct gp_arena *arena,
                              struct gp_error *err);

/* What the error in a message says: the status for its code, or else for the HTTP status,
 * and its words. */
enum gp_status client_refusal(const struct client_link *link,
                              const struct gp_response *response, int http_status,
                              struct gp_error *err);

#endif
