/* server/format.h - the formats of requests and answers. */
#ifndef GP_SERVER_FORMAT_H
#define GP_SERVER_FORMAT_H

#include "server/exchange.h"

/* GraphPipe's messages, today's and those of 2018, which have no errors: those are text. */
extern const struct format format_graphpipe;
extern const struct format format_2018;

/* For what the server says itself, without tensors. */
extern const struct format format_json;

#endif
