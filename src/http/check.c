/* Checks of a complete head beyond llhttp's grammar, and what the head says. Everything
 * is refused that two readers could take for different message ends: a second
 * Content-Length, one next to a Transfer-Encoding, any coding but a lone "chunked", a
 * second Host. */
#include "http/parser.h"

#include <string.h>

struct seen {
    unsigned n_host;
    unsigned n_length;
    unsigned n_coding;
    bool is_chunked;
};

/* "host:port", each as RFC 3986 writes it. Whether it makes sense is left to those who
 * use it, but bytes at which another reader would end the host are refused. */
static bool is_host(const char *value, size_t size)
{
    static const char marks[] = "-._~%!$&'()*+,;=:[]";
    for (size_t i = 0; i < size; i++) {
        const char c = value[i];
        const bool is_alnum =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!is_alnum && !memchr(marks, c, sizeof marks - 1))
            return false;
    }
    return true;
}

static int field_check(struct http_message *message, const struct http_field *field,
                       struct seen *seen)
{
    const char *name = message->base + field->name.start;
    const char *value = message->base + field->value.start;
    const size_t size = field->value.size;

    switch (field->name.size) {
    case sizeof "Host" - 1:
        if (http_equals(name, field->name.size, "Host")) {
            seen->n_host++;
            message->authority = field->value;
            if (message->llhttp.type != HTTP_REQUEST)
                break;
            if (size == 0)
                return http_refuse(message, GP_MALFORMED, "field \"Host\" is empty");
            if (!is_host(value, size))
                return http_refuse(message, GP_MALFORMED,
                                   "field \"Host\" must be a host name or an address, "
                                   "with a port after \":\" or without");
        }
        break;
    case sizeof "Expect" - 1:
        if (http_equals(name, field->name.size, "Expect")) {
            if (http_equals(value, size, "100-continue"))
                message->expects_continue = true;
            else
                message->has_bad_expect = true;
        }
        break;
    case sizeof "Content-Length" - 1:
        if (http_equals(name, field->name.size, "Content-Length"))
            seen->n_length++;
        break;
    case sizeof "Transfer-Encoding" - 1:
        if (http_equals(name, field->name.size, "Transfer-Encoding")) {
            seen->n_coding++;
            seen->is_chunked = http_equals(value, size, "chunked");
        }
        break;
    default:
        break;
    }
    return 0;
}

/* Finds where the body ends. */
static int framing_check(struct http_message *message, const struct seen *seen)
{
    if (seen->n_length > 1)
        return http_refuse(message, GP_MALFORMED,
                           "field \"Content-Length\" came %u times", seen->n_length);
    if (seen->n_coding > 0) {
        if (seen->n_length > 0)
            return http_refuse(
                message, GP_MALFORMED,
                "field \"Content-Length\" came beside \"Transfer-Encoding\"");
        if (seen->n_coding > 1 || !seen->is_chunked)
            return http_refuse(message, GP_MALFORMED,
                               "field \"Transfer-Encoding\" must be \"chunked\", once");
        if (message->is_http10)
            return http_refuse(message, GP_MALFORMED,
                               "field \"Transfer-Encoding\" came in HTTP/1.0");
        message->is_chunked = true;
    }
    if (seen->n_length > 0) {
        if (message->llhttp.content_length > INT64_MAX)
            return http_refuse(message, GP_TOO_LARGE,
                               "field \"Content-Length\" is over any limit");
        message->content_length = (int64_t)message->llhttp.content_length;
    }
    return 0;
}

/* Splits an absolute target, "http://host/path", into its authority, which takes
 * precedence over the Host field (RFC 9112, 3.2.2), and its path, "/" if it has none. */
static int target_check(struct http_message *message)
{
    struct http_span *target = &message->target;
    const char *text = message->base + target->start;
    const uint8_t method = message->llhttp.method;

    if (memchr(text, '#', target->size))
        return http_refuse(message, GP_MALFORMED,
                           "the target of an HTTP request may not contain \"#\"");
    if (method == HTTP_CONNECT || (target->size > 0 && text[0] == '/'))
        return 0;
    if (method == HTTP_OPTIONS && target->size == 1 && text[0] == '*')
        return 0;

    const uint32_t scheme = target->size > 7 && http_equals(text, 7, "http://")    ? 7
                            : target->size > 8 && http_equals(text, 8, "https://") ? 8
                                                                                   : 0;
    if (scheme == 0)
        return http_refuse(message, GP_MALFORMED,
                           "the target of an HTTP request must begin with \"/\"");
    uint32_t at = scheme;
    while (at < target->size && text[at] != '/' && text[at] != '?')
        at++;
    if (at == scheme)
        return http_refuse(message, GP_MALFORMED,
                           "the target of an HTTP request has no host");
    message->authority = (struct http_span){target->start + scheme, at - scheme};
    if (at < target->size && text[at] == '/')
        *target = (struct http_span){target->start + at, target->size - at};
    else
        *target =
            (struct http_span){target->start + scheme - 1, 1}; /* a slash in "://" */
    return 0;
}

const char *http_method_name(enum http_method method)
{
    static const char *const names[] = {
        [HTTP_METHOD_GET] = "GET",     [HTTP_METHOD_HEAD] = "HEAD",
        [HTTP_METHOD_POST] = "POST",   [HTTP_METHOD_OPTIONS] = "OPTIONS",
        [HTTP_METHOD_OTHER] = "OTHER",
    };
    return names[method];
}

static int request_check(struct http_message *message, const struct seen *seen)
{
    if (message->is_http10)
        message->expects_continue = false; /* RFC 9110, 10.1.1 */
    else if (seen->n_host == 0)
        return http_refuse(message, GP_MALFORMED, "field \"Host\" is missing");
    if (seen->n_host > 1)
        return http_refuse(message, GP_MALFORMED, "field \"Host\" came %u times",
                           seen->n_host);

    switch (message->llhttp.method) {
    case HTTP_GET:
        message->method = HTTP_METHOD_GET;
        break;
    case HTTP_HEAD:
        message->method = HTTP_METHOD_HEAD;
        break;
    case HTTP_POST:
        message->method = HTTP_METHOD_POST;
        break;
    case HTTP_OPTIONS:
        message->method = HTTP_METHOD_OPTIONS;
        break;
    default:
        message->method = HTTP_METHOD_OTHER;
        break;
    }
    if (message->llhttp.method == HTTP_CONNECT)
        message->is_kept_alive = false; /* anything may follow */
    return target_check(message);
}

static int response_check(struct http_message *message)
{
    message->status = message->llhttp.status_code;
    if (message->status < 100)
        return http_refuse(message, GP_MALFORMED, "%03d is not an HTTP status",
                           message->status);
    /* These end with the head, whatever their fields say. */
    if (message->status < 200 || message->status == 204 || message->status == 304) {
        message->is_chunked = false;
        message->content_length = 0;
    }
    return 0;
}

int http_check(struct http_message *message)
{
    const llhttp_t *llhttp = &message->llhttp;
    struct seen seen = {0};

    if (llhttp->http_major != 1 || llhttp->http_minor > 1)
        return http_refuse(message, GP_MALFORMED,
                           "HTTP/%u.%u is not supported: use HTTP/1.1",
                           llhttp->http_major, llhttp->http_minor);
    message->is_http10 = llhttp->http_minor == 0;
    message->is_kept_alive =
        llhttp_should_keep_alive(llhttp) && !(llhttp->flags & F_CONNECTION_CLOSE);

    for (uint32_t i = 0; i < message->n_fields; i++) {
        const int refused = field_check(message, &message->fields[i], &seen);
        if (refused)
            return refused;
    }
    const int refused = framing_check(message, &seen);
    if (refused)
        return refused;
    if (llhttp->type == HTTP_REQUEST)
        return request_check(message, &seen);
    return response_check(message);
}
