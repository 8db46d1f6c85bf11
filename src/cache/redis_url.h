/* cache/redis_url.h - the address of a Redis as people write it, with what it takes to get in.
 *
 *     redis://[USER:PASSWORD@]HOST[:PORT][/DB]
 *     rediss://[USER:PASSWORD@]HOST[:PORT][/DB][?cacert=FILE]
 *     unix:///PATH[?db=DB&user=USER&password=PASSWORD]
 *
 * Everything before the last "@" is the user's, so that a password may have any characters, and no
 * message shows more of a URL than its scheme and host.
 */
#ifndef GP_CACHE_REDIS_URL_H
#define GP_CACHE_REDIS_URL_H

#include <graphpipe/status.h>

#include <stdbool.h>

struct redis_url {
    bool is_tls;
    const char *socket; /* a unix socket's path; NULL: host and port */
    const char *host;   /* an IPv6 address is in brackets */
    unsigned port;
    unsigned db;
    const char *user;     /* NULL or "": the default user */
    const char *password; /* NULL: none is asked for */
    const char *cacert;   /* NULL: the system's certificates */
    char label[300];      /* "host:6379" or the path, for messages */

    char *text; /* what those point into */
};

enum gp_status redis_url_init(struct redis_url *url, const char *text,
                              struct gp_error *err);

/* A zeroed one is allowed. */
void redis_url_finish(struct redis_url *url);

#endif
