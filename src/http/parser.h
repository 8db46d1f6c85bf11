/* http/parser.h - shared by the files of src/http/, private to them. */
#ifndef GP_HTTP_PARSER_H
#define GP_HTTP_PARSER_H

#include "http/http.h"

/* Records why the message is refused, and returns what makes llhttp stop in a
 * callback. */
GP_PRINTF(3, 4)
int http_refuse(struct http_message *message, enum gp_status status, const char *format,
                ...);

/* Checks a head whose fields are complete and fills in what it says. Returns 0, or the
 * result of http_refuse. */
int http_check(struct http_message *message);

/* Case-insensitive comparison with `text`. */
bool http_equals(const char *bytes, size_t size, const char *text);

#endif
