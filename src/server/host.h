/* server/host.h - the host that a request is for: the authority of its target, or its Host field.
 * A web page may send requests to this server under a name of its own that resolves to it (DNS
 * rebinding); the name tells them from others. */
#ifndef GP_SERVER_HOST_H
#define GP_SERVER_HOST_H

#include <stdbool.h>
#include <stddef.h>

/* True for "localhost", 127.0.0.0/8 and "[::1]", with or without a port. */
bool host_is_loopback(const char *authority, size_t size_bytes);

/* True if the name is the authority, with or without its port. */
bool host_is_named(const char *authority, size_t size_bytes, const char *name);

#endif
