/* cli/json_read.h - a small strict reader of JSON, for the results that bench saved. */
#ifndef GP_CLI_JSON_READ_H
#define GP_CLI_JSON_READ_H

#include <graphpipe/message.h>

#include <stdbool.h>

enum json_kind {
    JSON_NULL,
    JSON_BOOL,
    JSON_NUMBER,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};

struct json {
    enum json_kind kind;
    bool is_true;
    double number;
    const char *string;
    const char *name;         /* in an object */
    const struct json *first; /* of an array or object */
    const struct json *next;
};

/* Reads one value and nothing after it; it lives in the arena. GP_MALFORMED says at which
 * byte. */
enum gp_status json_read(struct gp_arena *arena, const void *bytes, size_t size_bytes,
                         const struct json **value, struct gp_error *err);

/* The member of an object, of that kind; NULL when there is none. */
const struct json *json_member(const struct json *object, const char *name,
                               enum json_kind kind);

/* The number of that name; `fallback` when there is none. */
double json_number(const struct json *object, const char *name, double fallback);

#endif
