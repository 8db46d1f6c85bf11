/* Addresses as people type them. An error says what would be right, since this is the
 * first thing that users of the client get wrong. */
#include "client/address.h"

#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

#define DEFAULT_PORT "9000"

static enum gp_status refuse_address(struct gp_error *err, const char *text,
                                     const char *why)
{
    return gp_error_set(err, GP_INVALID, "address \"%.*s\" %s", gp_cut(text, 200), text,
                        why);
}

/* The socket's path ends where ":/" begins that of the model. */
static size_t socket_path_size(const char *path)
{
    const char *target = strstr(path, ":/");
    return target ? (size_t)(target - path) : strlen(path);
}

static bool unix_init(struct client_address *address, const char *text, const char *path,
                      struct gp_error *err)
{
    struct sockaddr_un *name = &address->unix_path;
    const size_t size = socket_path_size(path);
    if (!size || size >= sizeof name->sun_path) {
        refuse_address(err, text,
                       size ? "has a path over 107 bytes" : "has no path after unix:");
        return false;
    }
    if (strchr(path + size, ' ')) {
        refuse_address(err, text, "has blanks behind the socket's path");
        return false;
    }
    address->is_unix = true;
    name->sun_family = AF_UNIX;
    memcpy(name->sun_path, path, size); /* zeroed before */
    snprintf(address->host_field, sizeof address->host_field, "localhost");
    snprintf(address->label, sizeof address->label, "unix:%s", name->sun_path);
    return true;
}

/* "/path?query" of what follows unix: or http://; "" if there is none. */
static const char *find_target(const struct client_address *address, const char *rest)
{
    if (!address->is_unix)
        return rest + strcspn(rest, "/?#");
    const char *end = rest + socket_path_size(rest);
    return *end ? end + 1 : end;
}

/* Splits off the host from what follows it, "" or ":PORT"; NULL if they make no sense. */
static const char *host_split(const char *text, size_t size, size_t *host_size)
{
    if (*text == '[') {
        const char *end = memchr(text, ']', size);
        if (!end || (end + 1 < text + size && end[1] != ':'))
            return NULL;
        *host_size = (size_t)(end - text) - 1;
        return end + 1;
    }
    const char *colon = memchr(text, ':', size);
    *host_size = colon ? (size_t)(colon - text) : size;
    return text + *host_size;
}

static bool port_init(struct client_address *address, const char *port, size_t size)
{
    if (size == 0) {
        memcpy(address->port, DEFAULT_PORT, sizeof DEFAULT_PORT);
        return true;
    }
    long number = 0;
    for (size_t i = 1; i < size; i++) {
        if (port[i] < '0' || port[i] > '9' || i > 5)
            return false;
        number = number * 10 + (port[i] - '0');
    }
    if (number < 1 || number > 65535)
        return false;
    snprintf(address->port, sizeof address->port, "%ld", number);
    return true;
}

/* Nothing that could end or begin a line of a head; blanks only in paths of sockets. */
static bool is_printable(const char *text)
{
    const unsigned char least = strncmp(text, "unix:", 5) == 0 ? ' ' : ' ' + 1;
    for (; *text; text++)
        if ((unsigned char)*text < least || *text == 0x7f)
            return false;
    return true;
}

static bool host_init(struct client_address *address, const char *text, const char *rest,
                      struct gp_error *err)
{
    const size_t size = strcspn(rest, "/?#");
    size_t host_size = 0;
    if (memchr(rest, '@', size)) {
        refuse_address(err, text, "has a user name, which GraphPipe does not support");
        return false;
    }
    const char *port = host_split(rest, size, &host_size);
    const bool is_bracketed = *rest == '[';
    if (!port || host_size == 0 || host_size >= sizeof address->host) {
        refuse_address(err, text, "has no host: use http://HOST[:PORT] or unix:/path");
        return false;
    }
    if (strspn(rest, "0123456789") == host_size && !is_bracketed) {
        refuse_address(
            err, text,
            "has a number for a host; a port of this machine is 127.0.0.1:PORT");
        return false;
    }
    if (!port_init(address, port, (size_t)(rest + size - port))) {
        refuse_address(err, text,
                       memchr(port + 1, ':', (size_t)(rest + size - port) - 1)
                           ? "has too many colons: put an IPv6 host in brackets"
                           : "has a port that is not 1 to 65535");
        return false;
    }
    memcpy(address->host, rest + is_bracketed, host_size);
    /* the zone of "fe80::1%eth0" only has a meaning on this side */
    const int named_size = (int)strcspn(address->host, "%");
    snprintf(address->host_field, sizeof address->host_field, "%s%.*s%s:%s",
             is_bracketed ? "[" : "", named_size, address->host, is_bracketed ? "]" : "",
             address->port);
    snprintf(address->label, sizeof address->label, "http://%s", address->host_field);
    return true;
}

/* "/path?query" of the address, "/" if it has none. A fragment is not sent. */
static bool target_init(struct client_address *address, const char *rest)
{
    const char *path = find_target(address, rest);
    const size_t size = strcspn(path, "#");
    address->target = mem_alloc(size + 2);
    if (!address->target)
        return false;
    snprintf(address->target, size + 2, "%s%.*s", *path == '/' ? "" : "/", (int)size,
             path);
    return true;
}

enum gp_status client_address_init(struct client_address *address, const char *text,
                                   struct gp_error *err)
{
    memset(address, 0, sizeof *address);
    if (!text || !*text)
        return gp_error_set(err, GP_INVALID,
                            "the address is empty: use http://HOST[:PORT]");
    if (!is_printable(text))
        return refuse_address(err, text, "has blanks or control characters");
    if (strlen(text) > 4096)
        return refuse_address(err, text, "is over 4096 bytes");

    const char *rest = text;
    if (strncmp(text, "unix:", 5) == 0) {
        rest += strncmp(text, "unix:///", 8) == 0 ? 7 : 5;
        if (!unix_init(address, text, rest, err))
            return GP_INVALID;
    } else {
        const char *scheme = strstr(text, "://");
        if (strncmp(text, "http://", 7) == 0)
            rest += 7;
        else if (scheme && strcspn(text, "/") > (size_t)(scheme - text))
            return refuse_address(err, text,
                                  "is neither http://HOST[:PORT] nor unix:/path");
        if (!host_init(address, text, rest, err))
            return GP_INVALID;
    }
    if (!target_init(address, rest))
        return gp_error_set(err, GP_NO_MEMORY, "no memory for a client");
    return GP_OK;
}

void client_address_finish(struct client_address *address)
{
    mem_free(address->target);
    address->target = NULL;
}
