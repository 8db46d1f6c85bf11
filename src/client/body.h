/* client/body.h - where an answer's body goes: a buffer of the client, which grows with
 * it, or the caller's, which does not. */
#ifndef GP_CLIENT_BODY_H
#define GP_CLIENT_BODY_H

#include "client/buffers.h"
#include "client/link.h"
#include "http/http.h"

struct client_body {
    unsigned char *data;
    size_t size_bytes;     /* received so far; in the end the size of the body */
    size_t capacity_bytes; /* of data */
    size_t limit_bytes;
    struct client_buffers *buffers; /* NULL: data belongs to the caller */
    /* where `buffer` is from; the owner of the body gives it back */
    struct client_buffer buffer;
};

/* The source of a body: a link, and before that the bytes that came along with the
 * head. */
struct client_source {
    struct client_link *link;
    int64_t deadline_ns;
    char *scratch; /* scratch[scratch_at, scratch_end) has been received but not used */
    size_t scratch_at;
    size_t scratch_end;
    size_t scratch_size;
};

/* Receives the body that the head announced. For GP_TOO_LARGE the message says how much
 * it needs. */
enum gp_status body_receive(struct client_body *body, struct client_source *source,
                            struct http_message *head, struct gp_error *err);

#endif
