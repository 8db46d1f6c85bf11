#include "server/cors.h"

#include <graphpipe/text.h>
#include <stdio.h>
#include <string.h>

/* Whoever keeps an answer must not give it to another origin. */
static const char differs[] = "Vary: Origin\r\n";

/* Browsers ask again after this time; more than two hours none of them takes. */
const char cors_preflight[] =
    "Access-Control-Allow-Methods: GET, HEAD, POST\r\n"
    "Access-Control-Allow-Headers: Accept, Authorization, Content-Type, "
    "X-GraphPipe-Cache, X-GraphPipe-Timeout-Ms\r\n"
    "Access-Control-Max-Age: 7200\r\n";

/* As browsers write it: scheme and host in small letters, a port unless it is the scheme's, and
 * nothing behind it. */
static bool is_origin(const char *text)
{
    static const char forbidden[] = "/?#@*,;\"\\ \t\r\n";
    const char *host = strstr(text, "://");
    if (strcmp(text, "*") == 0)
        return true;
    if (!host || host == text || !host[3] || strpbrk(host + 3, forbidden))
        return false;
    for (const char *c = text; *c; c++)
        if (*c <= ' ' || *c > '~' || (*c >= 'A' && *c <= 'Z'))
            return false;
    return true;
}

static const char *write_fields(struct gp_arena *arena, const char *origin)
{
    static const char format[] =
        "Access-Control-Allow-Origin: %s\r\n"
        "Access-Control-Expose-Headers: Retry-After, X-GraphPipe-Cache\r\n%s";
    const size_t size = sizeof format + strlen(origin) + sizeof differs;
    char *fields = gp_arena_alloc(arena, size);
    if (fields)
        (void)snprintf(fields, size, format, origin,
                       strcmp(origin, "*") == 0 ? "" : differs);
    return fields;
}

enum gp_status cors_init(struct cors *cors, struct gp_arena *arena,
                         const char *const *origins, size_t n, struct gp_error *err)
{
    const char **names = gp_arena_alloc(arena, n * sizeof *names);
    const char **fields = gp_arena_alloc(arena, n * sizeof *fields);
    bool is_short = !names || !fields;
    for (size_t i = 0; i < n && !is_short; i++) {
        const size_t size = strlen(origins[i]) + 1;
        if (!is_origin(origins[i]))
            return gp_error_set(
                err, GP_INVALID,
                "--cors-origin is \"%.*s\"; wanted the origin of a page as browsers "
                "write it, https://app.example or http://localhost:8080, or * for all",
                gp_cut(origins[i], 100), origins[i]);
        char *name = gp_arena_alloc(arena, size);
        names[i] = name ? memcpy(name, origins[i], size) : NULL;
        fields[i] = write_fields(arena, origins[i]);
        is_short = !names[i] || !fields[i];
    }
    if (is_short)
        return gp_error_set(err, GP_NO_MEMORY, "no memory for --cors-origin");
    *cors = (struct cors){names, fields, n};
    return GP_OK;
}

const char *cors_find(const struct cors *cors, const char *origin, size_t size_bytes,
                      bool *is_allowed)
{
    *is_allowed = false;
    for (size_t i = 0; i < cors->n; i++) {
        const char *one = cors->origins[i];
        if (strcmp(one, "*") == 0 || (origin && strlen(one) == size_bytes &&
                                      memcmp(one, origin, size_bytes) == 0)) {
            *is_allowed = origin != NULL;
            return cors->fields[i];
        }
    }
    return cors->n ? differs : NULL;
}
