#include "base/clock.h"
#include "base/mem.h"
#include "cache/redis.h"

#include <string.h>

/* What has to be known for it to be safe; false if this libcurl does not know it. */
static bool set_options(const struct redis *redis, const struct redis_url *url,
                        const char *address, uint32_t timeout_ms, char *message)
{
    int trouble = 0;
#define SET(option, value)                                                               \
    trouble |= (int)redis->curl->easy_setopt(redis->easy, CURLOPT_##option, (value))
    SET(URL, address);
    SET(CONNECT_ONLY, 1L);
    SET(PROXY, "");
    SET(NOSIGNAL, 1L);
    SET(CONNECTTIMEOUT_MS, (long)timeout_ms);
    SET(ERRORBUFFER, message);
    if (url->socket)
        SET(UNIX_SOCKET_PATH, url->socket);
    if (url->is_tls) {
        SET(SSL_VERIFYPEER, 1L);
        SET(SSL_VERIFYHOST, 2L);
        SET(SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
        SET(SSL_ENABLE_ALPN, 0L);
        if (url->cacert)
            SET(CAINFO, url->cacert);
    }
#undef SET
#if LIBCURL_VERSION_NUM >= 0x075700 /* a name that is not resolved in time keeps no one */
    (void)redis->curl->easy_setopt(redis->easy, CURLOPT_QUICK_EXIT, 1L);
#endif
    return trouble == 0;
}

static bool connect_socket(struct redis *redis, const struct redis_url *url,
                           uint32_t timeout_ms, struct gp_error *err)
{
    char message[CURL_ERROR_SIZE] = "", address[300];
    curl_socket_t fd = CURL_SOCKET_BAD;
    if (url->socket)
        (void)snprintf(address, sizeof address, "http://localhost/");
    else
        (void)snprintf(address, sizeof address, "%s://%s:%u/",
                       url->is_tls ? "https" : "http", url->host, url->port);
    if (!set_options(redis, url, address, timeout_ms, message)) {
        gp_error_set(err, GP_UNSUPPORTED, "this libcurl is too old for it");
        return false;
    }
    const CURLcode code = redis->curl->easy_perform(redis->easy);
    /* it must not be kept: it is on this function's stack */
    (void)redis->curl->easy_setopt(redis->easy, CURLOPT_ERRORBUFFER, NULL);
    if (code != CURLE_OK) {
        gp_error_set(err, GP_IO, "%s",
                     *message ? message : redis->curl->easy_strerror(code));
        return false;
    }
    (void)redis->curl->easy_getinfo(redis->easy, CURLINFO_ACTIVESOCKET, &fd);
    redis->fd = fd;
    if (fd >= 0)
        return true;
    gp_error_set(err, GP_IO, "it closed the connection");
    return false;
}

static void put_word(struct text *text, const char *word)
{
    redis_put_part(text, word, strlen(word));
}

/* The commands in the order in which check_in reads their replies. */
static void put_greeting(struct text *text, const struct redis_url *url)
{
    char db[12];
    if (url->password) {
        const bool has_user = url->user && *url->user;
        redis_put_command(text, has_user ? 3 : 2);
        put_word(text, "AUTH");
        if (has_user)
            put_word(text, url->user);
        put_word(text, url->password);
    }
    if (url->db > 0) {
        redis_put_command(text, 2);
        put_word(text, "SELECT");
        (void)snprintf(db, sizeof db, "%u", url->db);
        put_word(text, db);
    }
    redis_put_command(text, 1);
    put_word(text, "PING");
}

/* A refusal of AUTH is shown up to its first blank: behind it may be the password. */
static bool read_greeting(struct redis *redis, const struct redis_url *url,
                          int64_t deadline_ns, struct gp_error *err)
{
    const char *const names[] = {url->password ? "AUTH" : NULL,
                                 url->db > 0 ? "SELECT" : NULL, "PING"};
    struct redis_reply reply;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!names[i])
            continue;
        if (!redis_read_reply(redis, &reply, deadline_ns, err))
            return false;
        if (reply.kind == REDIS_STATUS)
            continue;
        if (reply.kind != REDIS_REFUSAL)
            return redis_fail_garbage(err);
        if (i == 0)
            reply.text[strcspn(reply.text, " ")] = '\0';
        gp_error_set(err, GP_UNAVAILABLE, "it refused %s: %s", names[i], reply.text);
        return false;
    }
    return true;
}

static bool check_in(struct redis *redis, const struct redis_url *url,
                     int64_t deadline_ns, struct gp_error *err)
{
    struct text text = {0};
    put_greeting(&text, url);
    if (text.is_short)
        gp_error_set(err, GP_NO_MEMORY, "no memory for a connection");
    const bool is_in = !text.is_short &&
                       redis_send(redis, text.data, text.size_bytes, deadline_ns, err) &&
                       read_greeting(redis, url, deadline_ns, err);
    text_finish(&text);
    return is_in;
}

struct redis *redis_connect(const struct curl *curl, const struct redis_url *url,
                            uint32_t timeout_ms, struct gp_error *err)
{
    const int64_t deadline_ns = clock_now_ns() + timeout_ms * CLOCK_MS;
    struct redis *redis = mem_alloc(sizeof *redis);
    if (redis) {
        redis->curl = curl;
        redis->fd = -1;
        redis->is_tls = url->is_tls;
        redis->begin = redis->end = redis->n_late_bytes = 0;
        redis->easy = curl->easy_init();
    }
    if (!redis || !redis->easy)
        gp_error_set(err, GP_NO_MEMORY, "no memory for a connection");
    else if (connect_socket(redis, url, timeout_ms, err) &&
             check_in(redis, url, deadline_ns, err))
        return redis;
    redis_close(redis);
    return NULL;
}
