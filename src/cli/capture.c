/* A capture is what went over a connection, or only its body. */
#include "cli/capture.h"

#include "http/http.h"

#include <string.h>

/* Joins the payloads of a chunked body in the arena. */
static enum gp_status join_chunks(struct http_message *message, struct gp_arena *arena,
                                  struct capture *capture, struct gp_error *err)
{
    char *joined = gp_arena_alloc(arena, capture->size_bytes);
    if (!joined)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    const char *at = (const char *)capture->body;
    const char *end = at + capture->size_bytes;
    size_t size = 0;
    enum http_progress progress = HTTP_MORE;
    size_t used = 1;
    while (progress == HTTP_MORE && at < end && used > 0) {
        struct iovec payload = {0};
        progress = http_chunked(message, at, (size_t)(end - at), &used, &payload, err);
        if (payload.iov_len)
            memcpy(joined + size, payload.iov_base, payload.iov_len);
        size += payload.iov_len;
        at += used;
    }
    if (progress == HTTP_MORE)
        return gp_error_set(err, GP_MALFORMED, "the chunked body is cut after %zu bytes",
                            size);
    *capture = (struct capture){(unsigned char *)joined, size, capture->is_request,
                                capture->is_response};
    return progress == HTTP_BAD ? err->status : GP_OK;
}

enum gp_status capture_skip_head(struct gp_arena *arena, struct capture *capture,
                                 struct gp_error *err)
{
    const char *bytes = (const char *)capture->body;
    const size_t size = capture->size_bytes;
    capture->is_request = size > 5 && memcmp(bytes, "POST ", 5) == 0;
    capture->is_response = size > 5 && memcmp(bytes, "HTTP/", 5) == 0;
    struct http_message *message = gp_arena_alloc(arena, sizeof *message);
    if (!message)
        return gp_error_set(err, GP_NO_MEMORY, "out of memory");
    if (!capture->is_request && !capture->is_response)
        return GP_OK;
    http_init(message, capture->is_request ? HTTP_KIND_REQUEST : HTTP_KIND_RESPONSE);
    size_t used = 0;
    const enum http_progress progress = http_head(message, bytes, 0, size, &used, err);
    if (progress == HTTP_BAD)
        return err->status;
    if (progress == HTTP_MORE)
        return gp_error_set(err, GP_MALFORMED, "the HTTP head has no end");
    capture->body += used;
    capture->size_bytes -= used;
    if (message->is_chunked)
        return join_chunks(message, arena, capture, err);
    if (message->content_length < 0)
        return GP_OK;
    if ((uint64_t)message->content_length > capture->size_bytes)
        return gp_error_set(err, GP_MALFORMED,
                            "Content-Length is %lld, but %zu bytes follow",
                            (long long)message->content_length, capture->size_bytes);
    capture->size_bytes = (size_t)message->content_length;
    return GP_OK;
}
