/* Fills in what a caller leaves open, and refuses what it may not ask for. */
#include "server/defaults.h"

#include <stddef.h>
#include <string.h>
#include <sys/resource.h>

enum { RESERVED_DESCRIPTORS = 64 };

/* The size of the first layout, whatever is added to the struct later. */
#define OPTIONS_0_1_BYTES                                                                \
    (offsetof(struct gp_server_options, log_format) + sizeof(enum gp_log_format))

/* The caller's options, whatever version of the struct it has. */
struct gp_server_options defaults_take(const struct gp_server_options *given)
{
    struct gp_server_options options = {0};
    if (given) {
        const size_t size = given->size_bytes ? given->size_bytes : OPTIONS_0_1_BYTES;
        memcpy(&options, given, size < sizeof options ? size : sizeof options);
    }
    return options;
}

static char *copy_text(struct gp_server *server, const char *text)
{
    const size_t size = strlen(text) + 1;
    char *copy = gp_arena_alloc(server->arena, size);
    return copy ? memcpy(copy, text, size) : NULL;
}

static uint32_t or_default(uint32_t value, uint32_t standard)
{
    return value ? value : standard;
}

static uint32_t most_connections(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY)
        return 1 << 20;
    return limit.rlim_cur > (rlim_t)2 * RESERVED_DESCRIPTORS
               ? (uint32_t)(limit.rlim_cur - RESERVED_DESCRIPTORS)
               : (uint32_t)(limit.rlim_cur / 2);
}

/* Copies the names of --allow-host, which must not be URLs. */
static enum gp_status keep_hosts(struct gp_server *server, struct gp_error *err)
{
    struct gp_server_options *o = &server->options;
    const char **kept = gp_arena_alloc(server->arena, o->n_allow_hosts * sizeof *kept);
    for (size_t i = 0; kept && i < o->n_allow_hosts; i++) {
        const char *name = o->allow_hosts[i];
        if (!*name || strpbrk(name, "/@ ,"))
            return gp_error_set(err, GP_INVALID,
                                "--allow-host is \"%.*s\"; wanted the name of a host, as "
                                "clients write it in a URL: NAME, NAME:PORT or [IPV6]",
                                gp_cut(name, 100), name);
        kept[i] = copy_text(server, name);
        if (!kept[i])
            kept = NULL;
    }
    o->allow_hosts = kept;
    return kept ? GP_OK : gp_error_set(err, GP_NO_MEMORY, "no memory for --allow-host");
}

enum gp_status defaults_check_limits(const struct gp_server_options *given,
                                     struct gp_error *err)
{
    return given->max_body_bytes <= GP_MAX_MESSAGE_BYTES
               ? GP_OK
               : gp_error_set(err, GP_INVALID,
                              "the limit on bodies is %llu bytes; the format ends at %u",
                              (unsigned long long)given->max_body_bytes,
                              GP_MAX_MESSAGE_BYTES);
}

void defaults_set_limits(struct gp_server *server, const struct gp_server_options *given)
{
    const uint64_t most = given->max_body_bytes ? given->max_body_bytes
                                                : (uint64_t)DEFAULT_MAX_BODY_GIB << 30;
    atomic_store(&server->max_body_bytes, most);
    atomic_store(&server->timeout_ms, given->timeout_ms);
}

enum gp_status defaults_set(struct gp_server *server,
                            const struct gp_server_options *given, struct gp_error *err)
{
    struct gp_server_options *o = &server->options;
    *o = *given;
    if (defaults_check_limits(given, err) != GP_OK)
        return err->status;
    defaults_set_limits(server, given);
    if (!o->min_rate_bytes)
        o->min_rate_bytes = (uint64_t)DEFAULT_MIN_RATE_MB * 1000000;
    o->max_waiting = or_default(o->max_waiting, DEFAULT_MAX_WAITING);
    if (!o->max_connections || o->max_connections > most_connections())
        o->max_connections = most_connections();
    o->head_timeout_ms = or_default(o->head_timeout_ms, DEFAULT_HEAD_TIMEOUT_S * 1000);
    o->idle_timeout_ms = or_default(o->idle_timeout_ms, DEFAULT_IDLE_TIMEOUT_S * 1000);
    o->drain_timeout_ms = or_default(o->drain_timeout_ms, DEFAULT_DRAIN_TIMEOUT_S * 1000);
    o->n_pollers = or_default(o->n_pollers, server->place.n_cores);
    o->hang_timeout_ms = or_default(o->hang_timeout_ms, DEFAULT_HANG_TIMEOUT_S * 1000);
    if (!o->cache_size_bytes)
        o->cache_size_bytes = (uint64_t)DEFAULT_CACHE_SIZE_GIB << 30;
    o->engine_dir = o->engine_dir ? copy_text(server, o->engine_dir) : NULL;
    o->worker = o->worker ? copy_text(server, o->worker) : NULL;
    o->cache_dir = o->cache_dir ? copy_text(server, o->cache_dir) : NULL;
    o->cache_url = o->cache_url ? copy_text(server, o->cache_url) : NULL;
    if ((given->engine_dir && !o->engine_dir) || (given->worker && !o->worker) ||
        (given->cache_dir && !o->cache_dir) || (given->cache_url && !o->cache_url))
        return gp_error_set(err, GP_NO_MEMORY, "no memory for the server's options");
    if (keep_hosts(server, err) != GP_OK)
        return err->status;
    return cors_init(&server->cors, server->arena, o->cors_origins, o->n_cors_origins,
                     err);
}

uint64_t defaults_pool_bytes(const struct gp_server *server,
                             char words[PLACE_WORDS_BYTES])
{
    const uint64_t by_default = place_pool_bytes(&server->place, words);
    if (!server->options.pool_bytes)
        return by_default;
    (void)snprintf(words, PLACE_WORDS_BYTES, "--pool");
    return server->options.pool_bytes;
}
