/* server/defaults.h - a server's options: versions of the struct, defaults and limits. */
#ifndef GP_SERVER_DEFAULTS_H
#define GP_SERVER_DEFAULTS_H

#include "server/server.h"

/* The caller's options, whatever version of the struct it has; NULL: all defaults. */
struct gp_server_options defaults_take(const struct gp_server_options *given);

/* Fills in server->options. */
enum gp_status defaults_set(struct gp_server *server,
                            const struct gp_server_options *given, struct gp_error *err);

/* The size of the pool, and in words its origin. */
uint64_t defaults_pool_bytes(const struct gp_server *server,
                             char words[PLACE_WORDS_BYTES]);

#endif
