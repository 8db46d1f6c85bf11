/* cache/redis.h - one connection to a Redis: commands are sent, and replies of RESP2 are read, until a
 * deadline, whatever the peer does; the bytes of a value go straight to where they are wanted.
 *
 * libcurl connects, for it does names, TLS and certificates; what the few kinds of replies need beyond it
 * is here (docs/decisions/shared-cache.md). A connection has one user at a time. After a failure it can
 * only be closed.
 */
#ifndef GP_CACHE_REDIS_H
#define GP_CACHE_REDIS_H

#include "base/curl.h"
#include "base/text.h"
#include "cache/redis_url.h"

enum { REDIS_BUFFER_BYTES = 16 << 10 };

struct redis {
    const struct curl *curl;
    CURL *easy;
    int fd;
    bool is_tls;
    size_t n_late_bytes; /* received after the deadline of what was sent last */
    size_t begin, end;   /* of what was received and not yet read */
    char buffer[REDIS_BUFFER_BYTES];
};

/* Connects and identifies itself. NULL and *err, which says why without naming the server. */
struct redis *redis_connect(const struct curl *curl, const struct redis_url *url,
                            uint32_t timeout_ms, struct gp_error *err);
void redis_close(struct redis *redis); /* takes NULL */

/* False if it was closed by the other side, or sent what nobody had asked for. */
bool redis_is_idle(const struct redis *redis);

/* Commands are written into a text: first how many parts they have, then each. */
void redis_put_command(struct text *text, size_t n_parts);
void redis_put_part(struct text *text, const void *bytes, size_t size_bytes);

bool redis_send(struct redis *redis, const void *bytes, size_t size_bytes,
                int64_t deadline_ns, struct gp_error *err);

enum redis_reply_kind { REDIS_STATUS, REDIS_REFUSAL, REDIS_NOTHING, REDIS_VALUE };

struct redis_reply {
    enum redis_reply_kind kind;
    size_t size_bytes; /* of a value, to be read by redis_read, then redis_read_end */
    char text[256];    /* of a refusal, cut to that */
};

bool redis_read_reply(struct redis *redis, struct redis_reply *reply, int64_t deadline_ns,
                      struct gp_error *err);
bool redis_read(struct redis *redis, void *bytes, size_t size_bytes, int64_t deadline_ns,
                struct gp_error *err);
bool redis_read_end(struct redis *redis, int64_t deadline_ns, struct gp_error *err);

/* These set *err, and return false. */
bool redis_fail_garbage(struct gp_error *err);
bool redis_set_refusal(const struct redis_reply *reply, struct gp_error *err);

#endif
