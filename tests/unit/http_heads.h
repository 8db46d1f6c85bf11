/* Feeds heads to the parser. */
#ifndef GP_TESTS_HTTP_HEADS_H
#define GP_TESTS_HTTP_HEADS_H

#include "http/http.h"

struct outcome {
    enum http_progress progress;
    size_t head_size;
    struct gp_error err;
    struct http_message message;
    char *base;
};

struct outcome *head_begin(enum http_kind kind);
void head_end(struct outcome *o);

/* Feeds up to `end`; the head's memory is a new one of exactly that size. */
void head_feed(struct outcome *o, const char *bytes, size_t from, size_t end);

/* Feeds it in one piece, byte by byte, and split at each point, each time from memory that moves
 * between the feeds and ends where the bytes end. Gives the outcome of the whole, after all other ways
 * gave the same. */
struct outcome *head_parse(enum http_kind kind, const char *bytes, size_t size);
struct outcome *head_parse_request(const char *text);

#endif
