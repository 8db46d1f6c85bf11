/* Heads. llhttp walks the bytes and calls back with pieces of the target, of names and of
 * values; they are kept as offsets, because the head may move in memory between two
 * feeds. llhttp is stopped at the end of the head, so that no byte of a body passes
 * through it. What it accepts and we do not is in check.c. Callbacks cannot return our
 * errors: they store them in the message and make llhttp stop. */
#include "http/parser.h"

#include <string.h>

int http_refuse(struct http_message *message, enum gp_status status, const char *format,
                ...)
{
    message->refusal = status;
    va_list args;
    va_start(args, format);
    (void)gp_error_setv(message->err, status, format, args);
    va_end(args);
    return HPE_USER;
}

/* Pieces follow each other without a gap, so only the first one sets the start. */
static void span_extend(struct http_message *message, struct http_span *span,
                        const char *at, size_t size)
{
    if (span->size == 0)
        span->start = (uint32_t)(at - message->base);
    span->size += (uint32_t)size;
}

static int on_url(llhttp_t *llhttp, const char *at, size_t size)
{
    struct http_message *message = llhttp->data;
    span_extend(message, &message->target, at, size);
    return 0;
}

static int on_protocol(llhttp_t *llhttp, const char *at, size_t size)
{
    struct http_message *message = llhttp->data;
    span_extend(message, &message->protocol, at, size);
    return 0;
}

/* llhttp also knows relatives of HTTP: RTSP and ICE. */
static int on_protocol_complete(llhttp_t *llhttp)
{
    struct http_message *message = llhttp->data;
    const char *name = message->base + message->protocol.start;
    if (message->protocol.size == 4 && memcmp(name, "HTTP", 4) == 0)
        return 0;
    return http_refuse(message, GP_MALFORMED, "the protocol is not HTTP");
}

/* llhttp takes any number of spaces where the grammar has one, and CRs and LFs in any
 * order before the line. Another reader may see a different request in such bytes, so
 * they are refused. */
static bool is_line_strict(const struct http_message *message)
{
    const char *base = message->base;
    const struct http_span *target = &message->target;
    if (message->llhttp.type != HTTP_REQUEST)
        return message->protocol.start == 0;
    const char *method = llhttp_method_name((llhttp_method_t)message->llhttp.method);
    const size_t before = strlen(method) + 1;
    if (message->protocol.start != target->start + target->size + 1 ||
        target->start < before)
        return false;
    const size_t start = target->start - before;
    if (memcmp(base + start, method, before - 1) != 0 || start % 2)
        return false;
    for (size_t i = 0; i < start; i += 2)
        if (memcmp(base + i, "\r\n", 2) != 0)
            return false;
    return true;
}

static int on_version_complete(llhttp_t *llhttp)
{
    struct http_message *message = llhttp->data;
    if (!is_line_strict(message))
        return http_refuse(
            message, GP_MALFORMED,
            "malformed HTTP head, in the %s line: only empty lines may come "
            "before it, and one space between its parts",
            llhttp->type == HTTP_REQUEST ? "request" : "status");
    message->is_line_complete = true;
    return 0;
}

static int on_name(llhttp_t *llhttp, const char *at, size_t size)
{
    struct http_message *message = llhttp->data;
    if (message->n_fields == HTTP_MAX_FIELDS)
        return 0; /* one too many: refused once it turns out to be a name */
    struct http_field *field = &message->fields[message->n_fields];
    if (!message->is_in_name)
        *field = (struct http_field){{0, 0}, {0, 0}};
    message->is_in_name = true;
    span_extend(message, &field->name, at, size);
    return 0;
}

static int on_name_complete(llhttp_t *llhttp)
{
    struct http_message *message = llhttp->data;
    if (message->n_fields == HTTP_MAX_FIELDS)
        return http_refuse(message, GP_HEAD_TOO_LARGE,
                           "the HTTP head has more than %d fields", HTTP_MAX_FIELDS);
    message->n_fields++;
    message->is_in_name = false;
    message->is_in_value = true;
    return 0;
}

static int on_value(llhttp_t *llhttp, const char *at, size_t size)
{
    struct http_message *message = llhttp->data;
    span_extend(message, &message->fields[message->n_fields - 1].value, at, size);
    return 0;
}

static int on_value_complete(llhttp_t *llhttp)
{
    struct http_message *message = llhttp->data;
    struct http_span *value = &message->fields[message->n_fields - 1].value;
    const char *bytes = message->base + value->start;
    while (value->size > 0 &&
           (bytes[value->size - 1] == ' ' || bytes[value->size - 1] == '\t'))
        value->size--;
    message->is_in_value = false;
    return 0;
}

static int on_head_complete(llhttp_t *llhttp)
{
    struct http_message *message = llhttp->data;
    const int refused = http_check(message);
    if (refused)
        return refused;
    /* an Upgrade that is not accepted: the message continues as HTTP/1.1 */
    llhttp->upgrade = 0;
    message->is_complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t settings = {
    .on_url = on_url,
    .on_protocol = on_protocol,
    .on_protocol_complete = on_protocol_complete,
    .on_version_complete = on_version_complete,
    .on_header_field = on_name,
    .on_header_field_complete = on_name_complete,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_head_complete,
};

void http_init(struct http_message *message, enum http_kind kind)
{
    memset(message, 0, offsetof(struct http_message, fields));
    message->content_length = -1;
    llhttp_init(&message->llhttp,
                kind == HTTP_KIND_REQUEST ? HTTP_REQUEST : HTTP_RESPONSE, &settings);
}

/* Where in the head llhttp found the fault, for people: field "Host", request line ... */
static void place_format(const struct http_message *message, char *text, size_t text_size)
{
    if (!message->is_line_complete) {
        snprintf(text, text_size, "in the %s line",
                 message->llhttp.type == HTTP_REQUEST ? "request" : "status");
    } else if (message->n_fields == 0) {
        snprintf(text, text_size, "in the first field");
    } else {
        const struct http_span *name = &message->fields[message->n_fields - 1].name;
        snprintf(text, text_size, "%s field \"%.*s\"",
                 message->is_in_value ? "in" : "after",
                 name->size < 64 ? (int)name->size : 64, message->base + name->start);
    }
}

static bool is_token_byte(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
           c == '-';
}

/* Turns llhttp's error into ours. `to` bounds the bytes that may be read. */
static void refuse_for_llhttp(struct http_message *message, const char *to)
{
    const llhttp_t *llhttp = &message->llhttp;
    const char *at = llhttp->error_pos;
    const char byte = at && at < to ? *at : '\0';
    char place[96];
    enum gp_status status = GP_MALFORMED;

    if (llhttp->error == HPE_PAUSED_H2_UPGRADE) {
        http_refuse(message, status, "HTTP/2 is not supported: use HTTP/1.1");
        return;
    }
    if (llhttp->error == HPE_INVALID_METHOD && is_token_byte(byte)) {
        http_refuse(message, GP_METHOD, "unknown HTTP method");
        return;
    }
    /* refused because the next digit would overflow, or over any limit anyway */
    if (llhttp->error == HPE_INVALID_CONTENT_LENGTH &&
        llhttp->content_length > INT64_MAX / 10)
        status = GP_TOO_LARGE;
    place_format(message, place, sizeof place);
    http_refuse(message, status, "malformed HTTP head, %s: %s (byte %td)", place,
                llhttp->reason ? llhttp->reason : "refused", at ? at - message->base : 0);
}

enum http_progress http_head(struct http_message *message, const char *base, size_t from,
                             size_t to, size_t *head_size, struct gp_error *err)
{
    const size_t end = to < HTTP_MAX_HEAD_BYTES ? to : HTTP_MAX_HEAD_BYTES;
    message->base = base;
    message->err = err;
    message->llhttp.data = message;

    if (from < end) {
        const llhttp_errno_t outcome =
            llhttp_execute(&message->llhttp, base + from, end - from);
        if (outcome == HPE_PAUSED && message->is_complete) {
            /* the head is complete: from here on it is the body that is incomplete */
            message->is_complete = false;
            *head_size = (size_t)(llhttp_get_error_pos(&message->llhttp) - base);
            return HTTP_DONE;
        }
        if (outcome != HPE_OK) {
            if (message->refusal == GP_OK)
                refuse_for_llhttp(message, base + end);
            return HTTP_BAD;
        }
    }
    if (to < HTTP_MAX_HEAD_BYTES)
        return HTTP_MORE;
    http_refuse(message, GP_HEAD_TOO_LARGE, "the HTTP head is over %d bytes",
                HTTP_MAX_HEAD_BYTES);
    return HTTP_BAD;
}
