#include "server/host.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <strings.h>

/* The length of the host in "HOST", "HOST:PORT" or "[IPV6]:PORT"; 0 for anything else. */
static size_t host_size(const char *authority, size_t size)
{
    const bool is_bracketed = size && *authority == '[';
    const char *end = memchr(authority, is_bracketed ? ']' : ':', size);
    const size_t n = end            ? (size_t)(end - authority) + is_bracketed
                     : is_bracketed ? 0
                                    : size;
    if (n == size)
        return n;
    for (size_t i = n + 1; i < size; i++)
        if (authority[i] < '0' || authority[i] > '9')
            return 0;
    return n && authority[n] == ':' ? n : 0;
}

static bool is_equal(const char *bytes, size_t size, const char *name)
{
    return strlen(name) == size && strncasecmp(bytes, name, size) == 0;
}

bool host_is_named(const char *authority, size_t size_bytes, const char *name)
{
    return is_equal(authority, size_bytes, name) ||
           is_equal(authority, host_size(authority, size_bytes), name);
}

bool host_is_loopback(const char *authority, size_t size_bytes)
{
    const size_t size = host_size(authority, size_bytes);
    const bool is_bracketed = size && *authority == '[';
    char name[INET6_ADDRSTRLEN];
    struct in_addr v4;
    struct in6_addr v6;
    if (!size || size >= sizeof name || memchr(authority, '\0', size))
        return false;
    memcpy(name, authority + is_bracketed, size);
    name[is_bracketed ? size - 2 : size] = '\0';
    if (is_bracketed)
        return inet_pton(AF_INET6, name, &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
    if (inet_pton(AF_INET, name, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    return strcasecmp(name, "localhost") == 0;
}
