#include "cache/redis_url.h"

#include "base/mem.h"

#include <string.h>
#include <sys/un.h>

enum { DEFAULT_PORT = 6379, MOST_HOST_BYTES = 255, MOST_URL_BYTES = 4096 };
enum { MOST_DB = 99999 };

/* Returns false. */
GP_PRINTF(2, 3)
static bool refuse_url(struct gp_error *err, const char *format, ...)
{
    struct gp_error why;
    va_list args;
    va_start(args, format);
    (void)gp_error_setv(&why, GP_INVALID, format, args);
    va_end(args);
    gp_error_set(err, GP_INVALID,
                 "the URL of the shared cache %s: use redis://[USER:PASSWORD@]HOST[:PORT]"
                 "[/DB], rediss://... for TLS, or unix:///PATH",
                 why.message);
    return false;
}

static int hex_digit(char digit)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = digit ? strchr(digits, digit | 0x20) : NULL;
    return at ? (int)(at - digits) : -1;
}

/* In place. False at "%" without two hexadecimal digits, and at "%00". */
static bool decode_percents(char *text)
{
    char *to = text;
    for (const char *from = text; *from; from++) {
        if (*from != '%') {
            *to++ = *from;
            continue;
        }
        const int high = hex_digit(from[1]), low = high < 0 ? -1 : hex_digit(from[2]);
        if (low < 0 || high + low == 0)
            return false;
        *to++ = (char)(high * 16 + low);
        from += 2;
    }
    *to = '\0';
    return true;
}

/* All of the text, at least one digit; false if it is more than `most`. */
static bool parse_number(const char *text, unsigned most, unsigned *number)
{
    *number = 0;
    for (const char *at = text; *at; at++) {
        if (*at < '0' || *at > '9')
            return false;
        *number = *number * 10 + (unsigned)(*at - '0');
        if (*number > most)
            return false;
    }
    return *text != '\0';
}

static bool take_db(struct redis_url *url, const char *text, struct gp_error *err)
{
    return parse_number(text, MOST_DB, &url->db) ||
           refuse_url(err, "has a database that is not 0 to %d", MOST_DB);
}

static bool take_pair(struct redis_url *url, const char *name, char *value,
                      struct gp_error *err)
{
    if (!decode_percents(value))
        return refuse_url(err,
                          "has a %% without two hexadecimal digits behind it, or %%00; "
                          "a %% itself is written %%25");
    if (strcmp(name, "db") == 0 && url->socket)
        return take_db(url, value, err);
    if (strcmp(name, "user") == 0 && url->socket)
        url->user = value;
    else if (strcmp(name, "password") == 0 && url->socket)
        url->password = value;
    else if (strcmp(name, "cacert") == 0 && url->is_tls && *value)
        url->cacert = value;
    else
        return refuse_url(err, "may have %s behind the \"?\", and has something else",
                          url->socket   ? "db=, user= and password="
                          : url->is_tls ? "cacert=FILE"
                                        : "nothing");
    return true;
}

static bool take_query(struct redis_url *url, char *query, struct gp_error *err)
{
    char *rest = NULL;
    for (char *pair = strtok_r(query, "&", &rest); pair;
         pair = strtok_r(NULL, "&", &rest)) {
        char *value = strchr(pair, '=');
        if (value)
            *value++ = '\0';
        if (!take_pair(url, pair, value ? value : pair + strlen(pair), err))
            return false;
    }
    return true;
}

/* "USER:PASSWORD" or ":PASSWORD" */
static bool take_user(struct redis_url *url, char *text, struct gp_error *err)
{
    char *password = strchr(text, ':');
    if (!password)
        return refuse_url(err, "has a user without a password before the \"@\"");
    *password++ = '\0';
    url->user = text;
    url->password = password;
    if (decode_percents(text) && decode_percents(password))
        return true;
    return refuse_url(err, "has a %% without two hexadecimal digits behind it before the "
                           "\"@\"; a %% itself is written %%25");
}

/* Also keeps out what libcurl would take for another part of a URL. */
static bool is_host(const char *host)
{
    static const char name[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789-._";
    static const char number[] = "0123456789abcdefABCDEF:.";
    const size_t size = strlen(host);
    if (size == 0 || size > MOST_HOST_BYTES)
        return false;
    if (*host != '[')
        return strspn(host, name) == size;
    const size_t n = strspn(host + 1, number);
    return n > 0 && host[1 + n] == ']' && host[2 + n] == '\0';
}

/* "HOST[:PORT][/DB]" */
static bool take_host(struct redis_url *url, char *text, struct gp_error *err)
{
    char *db = strchr(text, '/');
    if (db)
        *db++ = '\0';
    char *port = strchr(*text == '[' ? text + strcspn(text, "]") : text, ':');
    if (port)
        *port++ = '\0';
    url->host = text;
    url->port = DEFAULT_PORT;
    if (!is_host(text))
        return refuse_url(err, "%s",
                          *text ? "has a host that is neither a name nor an address"
                                : "has no host");
    if (port && (!parse_number(port, 65535, &url->port) || url->port == 0))
        return refuse_url(err, "has a port that is not 1 to 65535 (host \"%s\")", text);
    if (db && *db && !take_db(url, db, err))
        return false;
    (void)snprintf(url->label, sizeof url->label, "%s:%u", text, url->port);
    return true;
}

static bool take_socket(struct redis_url *url, char *path, struct gp_error *err)
{
    const size_t most = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    if (*path != '/' || !path[1])
        return refuse_url(err, "has no path that begins with \"/\" behind unix://");
    if (!decode_percents(path) || strlen(path) > most)
        return refuse_url(err, "has a path over %zu bytes, or a %% that is not %%25",
                          most);
    url->socket = path;
    (void)snprintf(url->label, sizeof url->label, "%s", path);
    return true;
}

static bool take_text(struct redis_url *url, struct gp_error *err)
{
    char *text = url->text, *rest = strstr(text, "://");
    const bool is_unix = strncmp(text, "unix://", 7) == 0;
    url->is_tls = strncmp(text, "rediss://", 9) == 0;
    if (!is_unix && !url->is_tls && strncmp(text, "redis://", 8) != 0)
        return refuse_url(err, "begins with none of redis://, rediss:// and unix://");
    rest += 3;
    char *at = is_unix ? NULL : strrchr(rest, '@');
    if (at) {
        *at = '\0';
        if (!take_user(url, rest, err))
            return false;
        rest = at + 1;
    }
    char *query = strchr(rest, '?');
    if (query)
        *query++ = '\0';
    if (is_unix ? !take_socket(url, rest, err) : !take_host(url, rest, err))
        return false;
    if (query && !take_query(url, query, err))
        return false;
    if (url->user && *url->user && !url->password)
        return refuse_url(err, "has a user without a password");
    return true;
}

enum gp_status redis_url_init(struct redis_url *url, const char *text,
                              struct gp_error *err)
{
    struct gp_error why = {.status = GP_OK};
    memset(url, 0, sizeof *url);
    if (strlen(text) > MOST_URL_BYTES) {
        refuse_url(&why, "is over %d bytes", MOST_URL_BYTES);
    } else {
        url->text = mem_strdup(text);
        if (!url->text)
            gp_error_set(&why, GP_NO_MEMORY, "no memory for the shared cache");
        else
            (void)take_text(url, &why);
    }
    if (why.status == GP_OK)
        return GP_OK;
    redis_url_finish(url);
    return gp_error_set(err, why.status, "%s", why.message);
}

void redis_url_finish(struct redis_url *url)
{
    mem_free(url->text);
    memset(url, 0, sizeof *url);
}
