/* Turns an error of the other side into ours: a message's own words, a text body with its
 * HTTP status, or the bare status. */
#include "client/roundtrip.h"

#include <string.h>

enum { MAX_TEXT_BYTES = 400 };

static enum gp_status status_of_http(int http_status)
{
    switch (http_status) {
    case 401:
    case 403:
        return GP_FORBIDDEN;
    case 404:
        return GP_NOT_FOUND;
    case 405:
        return GP_METHOD;
    case 408:
        return GP_TIMEOUT;
    case 413:
        return GP_TOO_LARGE;
    case 429:
        return GP_BUSY;
    case 431:
        return GP_HEAD_TOO_LARGE;
    case 499:
        return GP_CANCELLED;
    case 501:
        return GP_UNSUPPORTED;
    case 502:
        return GP_IO;
    case 503:
        return GP_UNAVAILABLE;
    case 504:
        return GP_DEADLINE;
    default:
        return http_status >= 300 && http_status < 500 ? GP_INVALID : GP_INTERNAL;
    }
}

/* The status for an error's code, otherwise for the HTTP status. */
static enum gp_status status_of(int64_t code, int http_status)
{
    switch (code) {
#define STATUS_CASE(symbol, number, name, http)                                          \
    case number:                                                                         \
        if (symbol != GP_OK)                                                             \
            return symbol;                                                               \
        break;
        GP_STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    default:
        break;
    }
    return status_of_http(http_status);
}

enum gp_status client_refusal(const struct client_link *link,
                              const struct gp_response *response, int http_status,
                              struct gp_error *err)
{
    const enum gp_status status = status_of(response->error_code, http_status);
    if (!*response->error_message)
        return gp_error_set(err, status, "%s: an error of code %lld, without a reason",
                            link->address.label, (long long)response->error_code);
    return gp_error_set(err, status, "%s", response->error_message);
}

/* The body as one line: trimmed, cut, blanks and control characters as single blanks. */
static void text_flatten(const struct client_body *body, char *line, size_t line_size)
{
    size_t at = 0;
    for (size_t i = 0; i < body->size_bytes; i++) {
        const unsigned char byte = body->data[i];
        if (!gp_text_has_room((char)byte, at, line_size))
            break;
        if (byte > ' ' && byte != 0x7f)
            line[at++] = (char)byte;
        else if (at > 0 && line[at - 1] != ' ')
            line[at++] = ' ';
    }
    while (at > 0 && line[at - 1] == ' ')
        at--;
    line[at] = '\0';
}

enum gp_status client_failure(const struct client_link *link,
                              const struct client_reply *reply, struct gp_arena *arena,
                              struct gp_error *err)
{
    const struct client_body *body = &reply->body;
    const char *label = link->address.label;
    struct gp_response response;
    if (reply->is_message && body->size_bytes > 0 &&
        gp_response_decode(arena, body->data, body->size_bytes, 0, &response, NULL) ==
            GP_OK &&
        response.error_message)
        return client_refusal(link, &response, reply->status, err);

    const enum gp_status status = status_of_http(reply->status);
    char line[MAX_TEXT_BYTES];
    text_flatten(body, line, sizeof line);
    if (reply->is_message || !*line)
        return gp_error_set(err, status, "%s: HTTP %d %s, without a reason", label,
                            reply->status, http_reason(reply->status));
    return gp_error_set(err, status, "%s (HTTP %d)", line, reply->status);
}
