/* A Redis that answers whatever it likes: the same is read of it at once and in pieces. The first byte
 * chooses the size of the pieces, the second their seed. With the first 255 what follows is the URL of one. */
#include "fuzz.h"

#include "base/clock.h"
#include "cache/redis.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_REPLIES = 16, MOST_VALUE_BYTES = 64 << 10, URL = 255 };

static struct {
    const uint8_t *bytes;
    size_t size;
    struct fuzz_pieces pieces;
} script;

static CURLcode receive_piece(CURL *easy, void *bytes, size_t size, size_t *n)
{
    (void)easy;
    const size_t most = script.size < size ? script.size : size;
    *n = most ? fuzz_next_piece(&script.pieces, most) : 0;
    if (*n)
        memcpy(bytes, script.bytes, *n);
    script.bytes += *n;
    script.size -= *n;
    return CURLE_OK;
}

static const char *explain(CURLcode code)
{
    (void)code;
    return "it failed";
}

/* What was read, up to the first reply that cannot be. */
struct said {
    unsigned n;
    uint64_t hash; /* of the values */
    enum redis_reply_kind kinds[MOST_REPLIES];
    struct gp_error err;
};

static bool read_value(struct redis *redis, size_t size, struct said *said)
{
    const int64_t deadline_ns = clock_now_ns() + 3600 * CLOCK_S;
    if (size > MOST_VALUE_BYTES) {
        gp_error_set(&said->err, GP_TOO_LARGE, "%zu bytes", size);
        return false;
    }
    unsigned char *value = fuzz_memory(size);
    const bool is_read = redis_read(redis, value, size, deadline_ns, &said->err) &&
                         redis_read_end(redis, deadline_ns, &said->err);
    for (size_t i = 0; i < size && is_read; i++)
        said->hash = (said->hash ^ value[i]) * UINT64_C(1099511628211);
    free(value);
    return is_read;
}

static void read_replies(const uint8_t *bytes, size_t size, struct fuzz_pieces pieces,
                         struct said *said)
{
    const struct curl curl = {.easy_recv = receive_piece, .easy_strerror = explain};
    struct redis *redis = fuzz_memory(sizeof *redis);
    struct redis_reply reply;
    *redis = (struct redis){.curl = &curl, .fd = -1};
    *said = (struct said){.n = 0};
    script.bytes = bytes;
    script.size = size;
    script.pieces = pieces;
    while (said->n < MOST_REPLIES) {
        if (!redis_read_reply(redis, &reply, clock_now_ns() + 3600 * CLOCK_S, &said->err))
            break;
        said->kinds[said->n++] = reply.kind;
        if (reply.kind == REDIS_REFUSAL && !redis_set_refusal(&reply, &said->err))
            fuzz_check_refusal(GP_UNAVAILABLE, &said->err);
        if (reply.kind == REDIS_VALUE && !read_value(redis, reply.size_bytes, said))
            break;
    }
    free(redis);
}

static void check_url(const uint8_t *bytes, size_t size)
{
    struct redis_url url;
    struct gp_error err;
    char *text = fuzz_memory(size + 1);
    if (size)
        memcpy(text, bytes, size);
    text[size] = '\0';
    const enum gp_status status = redis_url_init(&url, text, &err);
    if (status != GP_OK) {
        fuzz_check_refusal(status, &err);
    } else {
        FUZZ_CHECK(url.label[0] && (url.socket || (url.port >= 1 && url.port <= 65535)));
        FUZZ_CHECK(url.socket ? *url.socket == '/' : !strpbrk(url.host, "/?#@\\ \r\n"));
        redis_url_finish(&url);
    }
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct said once, again;
    if (size < 2)
        return 0;
    if (bytes[0] == URL) {
        check_url(bytes + 1, size - 1);
        return 0;
    }
    const struct fuzz_pieces whole = {.most = 0};
    const struct fuzz_pieces pieces = {.seed = bytes[1], .most = bytes[0] % 32 + 1u};
    read_replies(bytes + 2, size - 2, whole, &once);
    read_replies(bytes + 2, size - 2, pieces, &again);
    FUZZ_CHECK(once.n == again.n && once.hash == again.hash);
    FUZZ_CHECK(memcmp(once.kinds, again.kinds, once.n * sizeof *once.kinds) == 0);
    FUZZ_CHECK(once.n == MOST_REPLIES ||
               fuzz_same_text(once.err.message, again.err.message));
    return 0;
}
