/* server/defaults.h - a server's options: versions of the struct, defaults and limits. */
#ifndef GP_SERVER_DEFAULTS_H
#define GP_SERVER_DEFAULTS_H

#include "server/server.h"

/* What include/graphpipe/server.h says of its options, and `graphpipe serve --help` of its flags. */
#define DEFAULT_HOST "127.0.0.1"
#define DEFAULT_PORT 9000
#define DEFAULT_LISTEN DEFAULT_HOST ":" DEFAULT_TEXT(DEFAULT_PORT)
#define DEFAULT_MAX_BODY_GIB 1
#define DEFAULT_MIN_RATE_MB 1
#define DEFAULT_MAX_WAITING 1024
#define DEFAULT_HEAD_TIMEOUT_S 10
#define DEFAULT_IDLE_TIMEOUT_S 75
#define DEFAULT_DRAIN_TIMEOUT_S 30
#define DEFAULT_HANG_TIMEOUT_S 30
#define DEFAULT_CACHE_SIZE_GIB 1

/* One of these numbers as text. */
#define DEFAULT_TEXT(number) DEFAULT_TEXT_OF(number)
#define DEFAULT_TEXT_OF(number) #number

/* The caller's options, whatever version of the struct it has; NULL: all defaults. */
struct gp_server_options defaults_take(const struct gp_server_options *given);

/* Fills in server->options. */
enum gp_status defaults_set(struct gp_server *server,
                            const struct gp_server_options *given, struct gp_error *err);

/* The limits of all models, which may change while the server runs. */
enum gp_status defaults_check_limits(const struct gp_server_options *given,
                                     struct gp_error *err);
void defaults_set_limits(struct gp_server *server, const struct gp_server_options *given);

/* The size of the pool, and in words its origin. */
uint64_t defaults_pool_bytes(const struct gp_server *server,
                             char words[PLACE_WORDS_BYTES]);

#endif
