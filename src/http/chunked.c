/* Chunked bodies, read by the llhttp that read the head. It pauses after each span of
 * payload and after each line with a chunk's size, so that the bytes between two payloads
 * can be counted: a usual frame ("\r\n", up to 16 digits, "\r\n") is free, anything
 * beyond it (extensions, leading zeros) adds up over the whole body. After the last chunk
 * the count starts again, for the trailers. Extensions and trailers are checked by llhttp
 * and dropped. */
#include "http/parser.h"

enum { FREE_FRAME_BYTES = 20 };

static int on_chunk(llhttp_t *llhttp)
{
    struct http_message *message = llhttp->data;
    if (llhttp->content_length > INT64_MAX)
        return http_refuse(message, GP_TOO_LARGE,
                           "the size of a chunk is over any limit");
    message->is_at_chunk = true;
    message->is_in_chunk = llhttp->content_length > 0;
    return HPE_PAUSED;
}

static int on_payload(llhttp_t *llhttp, const char *at, size_t size)
{
    struct http_message *message = llhttp->data;
    message->payload = (struct iovec){(void *)(uintptr_t)at, size};
    message->is_in_chunk = llhttp->content_length > 0;
    return HPE_PAUSED;
}

static int on_body_complete(llhttp_t *llhttp)
{
    struct http_message *message = llhttp->data;
    message->is_complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_chunk_header = on_chunk,
    .on_body = on_payload,
    .on_message_complete = on_body_complete,
};

/* Counts bytes that are not payload, and ends the frame at the end of its line. */
static bool frame_count(struct http_message *message, size_t size)
{
    message->frame_bytes += size;
    const size_t over = message->frame_bytes > FREE_FRAME_BYTES
                            ? message->frame_bytes - FREE_FRAME_BYTES
                            : 0;
    if (message->extra_bytes + over > HTTP_MAX_EXTRA_BYTES) {
        http_refuse(message, GP_MALFORMED, "the chunked body has over %d bytes of %s",
                    HTTP_MAX_EXTRA_BYTES,
                    message->is_in_trailers ? "trailers" : "extensions");
        return false;
    }
    if (message->is_at_chunk) {
        message->is_at_chunk = false;
        message->is_in_trailers = !message->is_in_chunk;
        message->extra_bytes = message->is_in_trailers ? 0 : message->extra_bytes + over;
        message->frame_bytes = 0;
    }
    return true;
}

static void refuse_for_llhttp(struct http_message *message, bool was_in_trailers)
{
    const char *reason = message->llhttp.reason ? message->llhttp.reason : "refused";
    const bool is_overflow = message->llhttp.error == HPE_INVALID_CHUNK_SIZE &&
                             message->llhttp.content_length > INT64_MAX >> 4;
    http_refuse(message, is_overflow ? GP_TOO_LARGE : GP_MALFORMED, "malformed %s: %s",
                was_in_trailers ? "trailers of a chunked body" : "chunked body", reason);
}

enum http_progress http_chunked(struct http_message *message, const char *bytes,
                                size_t size, size_t *used, struct iovec *payload,
                                struct gp_error *err)
{
    llhttp_t *llhttp = &message->llhttp;
    size_t at = 0;

    message->err = err;
    message->payload = (struct iovec){NULL, 0};
    llhttp->data = message;
    llhttp->settings = (void *)(uintptr_t)&settings;

    while (at < size && message->payload.iov_len == 0 && !message->is_complete) {
        llhttp_resume(llhttp);
        const llhttp_errno_t outcome = llhttp_execute(llhttp, bytes + at, size - at);
        if (outcome != HPE_OK && outcome != HPE_PAUSED) {
            if (message->refusal == GP_OK)
                refuse_for_llhttp(message, message->is_in_trailers);
            return HTTP_BAD;
        }
        const size_t end =
            outcome == HPE_PAUSED ? (size_t)(llhttp_get_error_pos(llhttp) - bytes) : size;
        if (!frame_count(message, end - at - message->payload.iov_len))
            return HTTP_BAD;
        at = end;
    }
    *used = at;
    *payload = message->payload;
    return message->is_complete ? HTTP_DONE : HTTP_MORE;
}

size_t http_chunk_rest(const struct http_message *message)
{
    return message->is_in_chunk ? (size_t)message->llhttp.content_length : 0;
}
