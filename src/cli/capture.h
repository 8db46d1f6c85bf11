/* cli/capture.h - a captured message: its bytes, with or without the HTTP head before
 * them. */
#ifndef GP_CLI_CAPTURE_H
#define GP_CLI_CAPTURE_H

#include <graphpipe/message.h>

#include <stdbool.h>

/* The bytes of a message, and what its HTTP head says about it. */
struct capture {
    const unsigned char *body;
    size_t size_bytes;
    bool is_request;  /* according to its HTTP head */
    bool is_response; /* likewise */
};

/* Skips an HTTP head, if there is one, to the body; chunks are joined in the arena. */
enum gp_status capture_skip_head(struct gp_arena *arena, struct capture *capture,
                                 struct gp_error *err);

#endif
