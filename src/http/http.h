/* http/http.h - HTTP/1.1 heads and chunked bodies, for server and client: bytes in, facts
 * out.
 *
 * No input or output happens here. The caller collects the bytes of a head in one block
 * of memory (which may move while it grows) and feeds the new ones; when the head is
 * complete, the parser tells where it ended and what it said. A body of known length
 * never passes through here: the caller receives it straight into its place. A chunked
 * body is fed, and its payload comes back as spans of those bytes.
 *
 * The grammar is llhttp's, in its strict mode. In addition these are refused here: more
 * than one space between the parts of a request line, anything but empty lines before it,
 * anything but exactly one Host with a valid host (HTTP/1.1 requests), a second
 * Content-Length even if equal, Content-Length together with Transfer-Encoding, a
 * transfer coding other than a lone "chunked", more than HTTP_MAX_FIELDS fields, a head
 * over its limit, chunk extensions or trailers over 4 KiB. */
#ifndef GP_HTTP_HTTP_H
#define GP_HTTP_HTTP_H

#include <graphpipe/status.h>

#include <llhttp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

enum {
    HTTP_MAX_FIELDS = 100,
    HTTP_MAX_HEAD_BYTES = 64 * 1024,
    HTTP_MAX_EXTRA_BYTES = 4 * 1024 /* of chunk extensions, and of trailers */
};

enum http_kind { HTTP_KIND_REQUEST, HTTP_KIND_RESPONSE };

enum http_method {
    HTTP_METHOD_GET,
    HTTP_METHOD_HEAD,
    HTTP_METHOD_POST,
    HTTP_METHOD_OPTIONS,
    HTTP_METHOD_OTHER
};

/* "GET" and so on; "OTHER" for all others. */
const char *http_method_name(enum http_method method);

enum http_progress {
    HTTP_MORE, /* all bytes were consumed; feed more */
    HTTP_DONE, /* the head, or the body, is complete */
    /* refused: *err has the status (GP_MALFORMED, GP_HEAD_TOO_LARGE ...) and the
     * reason */
    HTTP_BAD
};

/* Offsets from the start of the head. */
struct http_span {
    uint32_t start;
    uint32_t size;
};

struct http_field {
    struct http_span name;
    struct http_span value; /* without white space around it */
};

struct http_message {
    /* What a complete head said. */
    enum http_method method;
    /* Of a request: "/a/b?c"; for an absolute target only the path. */
    struct http_span target;
    /* Of a request, the host that it is for: the authority of an absolute target,
     * otherwise the Host field; empty if there is neither, in HTTP/1.0. */
    struct http_span authority;
    int status;         /* of a response */
    bool is_http10;     /* HTTP/1.0; anything but 1.0 and 1.1 is refused */
    bool is_kept_alive; /* the connection can carry another message */
    bool is_chunked;
    bool expects_continue; /* Expect: 100-continue */
    bool has_bad_expect;   /* any other expectation, which gets a 417 */
    /* -1: not given. 0 for a response that can have no body. A response with -1 that is
     * not chunked ends with the connection. */
    int64_t content_length;
    uint32_t n_fields;

    /* Private to the parser. */
    struct http_span protocol;
    bool is_line_complete; /* the request or status line */
    bool is_in_name;
    bool is_in_value;
    bool is_in_chunk;
    bool is_at_chunk; /* a line with a chunk's size has just ended */
    bool is_in_trailers;
    bool is_complete;
    enum gp_status refusal; /* set by a callback; GP_OK: no error */
    struct gp_error *err;
    const char *base;
    struct iovec payload;
    size_t frame_bytes; /* of a chunked body, since its last payload */
    size_t extra_bytes; /* of its extensions, then of its trailers */
    llhttp_t llhttp;

    /* What the head says; at the end, so that http_init need not clear it. */
    struct http_field fields[HTTP_MAX_FIELDS];
};

/* Prepares for the next message of a connection. */
void http_init(struct http_message *message, enum http_kind kind);

/* Feeds the bytes [from, to) of the head that starts at `base` (all earlier bytes lie
 * before `from`). HTTP_DONE: *head_size is the size of the head; what follows up to `to`
 * is body or the next message. Empty lines before a request line are skipped and
 * counted. */
enum http_progress http_head(struct http_message *message, const char *base, size_t from,
                             size_t to, size_t *head_size, struct gp_error *err);

/* Feeds bytes of a chunked body. Consumes some or all of them (*used) and returns at most
 * one span of payload, which lies in `bytes`: call again with the rest. HTTP_DONE after
 * the last chunk and the trailers. */
enum http_progress http_chunked(struct http_message *message, const char *bytes,
                                size_t size, size_t *used, struct iovec *payload,
                                struct gp_error *err);

/* Payload bytes still to come in the current chunk, so that a caller can receive them
 * straight into their place and only feed them afterwards; 0 between chunks. */
size_t http_chunk_rest(const struct http_message *message);

/* The value of the first field with that name (case-insensitive), NULL if there is
 * none. */
const char *http_field(const struct http_message *message, const char *base,
                       const char *name, size_t *size);

/* True if the comma-separated value contains `token` (case-insensitive; parameters after
 * ';' are ignored): for Accept and Connection. */
bool http_has_token(const char *value, size_t size, const char *token);

/* Writes a response head into `out`: status line, Content-Type (NULL: none),
 * Content-Length, "Connection: close" or (HTTP/1.0) "keep-alive" where needed, then
 * `cors` and `extra`, each zero or more complete "Name: value\r\n" lines (NULL: none). 1xx, 204
 * and 304 have neither Content-Type nor Content-Length. Returns its size; 0 if it does
 * not fit. */
struct http_answer {
    int status;
    const char *content_type;
    uint64_t content_length;
    const char *cors;
    const char *extra;
    bool is_http10;
    bool is_kept_alive;
};
size_t http_write_answer(char *out, size_t out_size, const struct http_answer *answer);

/* The head of this answer has no more bytes than that. */
size_t http_answer_most_bytes(const struct http_answer *answer);

/* Writes a request's head: request line, Host, Content-Type and Accept (NULL: none),
 * Content-Length, then `extra` as above. Returns its size; 0 when it does not fit. */
struct http_ask {
    const char *method;
    const char *target;
    const char *host;
    const char *content_type;
    const char *accept;
    uint64_t content_length;
    const char *extra;
};
size_t http_write_request(char *out, size_t out_size, const struct http_ask *ask);

/* "Not Found" for 404; "Unknown" for a status that is not in the table. */
const char *http_reason(int status);

#endif
