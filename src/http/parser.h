/* http/parser.h - what the files of src/http/ share; nobody else includes it. */
#ifndef GP_HTTP_PARSER_H
#define GP_HTTP_PARSER_H

#include "http/http.h"

/* Notes why the message is refused, and returns what makes llhttp stop in a callback. */
GP_PRINTF(3, 4)
int http_refuse(struct http_message *message, enum gp_status status, const char *format,
                ...);

/* Checks a head whose fields are complete and fills in what it said. 0 or http_refuse's.
 */
int http_check(struct http_message *message);

/* True when the bytes are `text`, in any case. */
bool http_equals(const char *bytes, size_t size, const char *text);

#endif
