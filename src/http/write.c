/* Writes heads: plain appending to the caller's memory, which either holds all of it or
 * is reported as too small. No format strings, since this runs for every answer. */
#include "http/http.h"

#include <string.h>

struct out {
    char *at;
    char *end;
    bool is_short;
};

static void add_bytes(struct out *out, const char *bytes, size_t size)
{
    if (size > (size_t)(out->end - out->at)) {
        out->is_short = true;
        return;
    }
    memcpy(out->at, bytes, size);
    out->at += size;
}

static void add_text(struct out *out, const char *text)
{
    add_bytes(out, text, strlen(text));
}

static void add_number(struct out *out, uint64_t number)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    add_bytes(out, digits + at, sizeof digits - at);
}

static void add_field(struct out *out, const char *name, const char *value)
{
    add_text(out, name);
    add_text(out, ": ");
    add_text(out, value);
    add_text(out, "\r\n");
}

static void add_length(struct out *out, uint64_t content_length)
{
    add_text(out, "Content-Length: ");
    add_number(out, content_length);
    add_text(out, "\r\n");
}

/* Adds `extra` and the empty line; returns the total size. */
static size_t finish_head(struct out *out, const char *start, const char *extra)
{
    if (extra)
        add_text(out, extra);
    add_text(out, "\r\n");
    return out->is_short ? 0 : (size_t)(out->at - start);
}

size_t http_write_answer(char *out, size_t out_size, const struct http_answer *answer)
{
    struct out to = {out, out + out_size, false};
    const int status = answer->status;

    add_text(&to, "HTTP/1.1 ");
    add_number(&to, (uint64_t)status);
    add_text(&to, " ");
    add_text(&to, http_reason(status));
    add_text(&to, "\r\n");
    if (status >= 200 && status != 204 && status != 304) {
        if (answer->content_type)
            add_field(&to, "Content-Type", answer->content_type);
        add_length(&to, answer->content_length);
    }
    if (status >= 200 && !answer->is_kept_alive)
        add_field(&to, "Connection", "close");
    else if (status >= 200 && answer->is_http10)
        add_field(&to, "Connection", "keep-alive");
    if (answer->cors)
        add_text(&to, answer->cors);
    return finish_head(&to, out, answer->extra);
}

size_t http_answer_most_bytes(const struct http_answer *answer)
{
    enum { REST_BYTES = 256 }; /* all but what the caller gives */
    return REST_BYTES + (answer->content_type ? strlen(answer->content_type) : 0) +
           (answer->cors ? strlen(answer->cors) : 0) +
           (answer->extra ? strlen(answer->extra) : 0);
}

size_t http_write_request(char *out, size_t out_size, const struct http_ask *ask)
{
    struct out to = {out, out + out_size, false};

    add_text(&to, ask->method);
    add_text(&to, " ");
    add_text(&to, ask->target);
    add_text(&to, " HTTP/1.1\r\n");
    add_field(&to, "Host", ask->host);
    if (ask->content_type)
        add_field(&to, "Content-Type", ask->content_type);
    if (ask->accept)
        add_field(&to, "Accept", ask->accept);
    add_length(&to, ask->content_length);
    return finish_head(&to, out, ask->extra);
}

static const struct {
    int status;
    const char *reason;
} reasons[] = {
    {200, "OK"},
    {100, "Continue"},
    {204, "No Content"},
    {304, "Not Modified"},
    {400, "Bad Request"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {408, "Request Timeout"},
    {411, "Length Required"},
    {413, "Content Too Large"},
    {415, "Unsupported Media Type"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {499, "Client Closed Request"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
};

const char *http_reason(int status)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++)
        if (reasons[i].status == status)
            return reasons[i].reason;
    return "Unknown";
}
