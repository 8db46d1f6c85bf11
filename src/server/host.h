/* server/host.h - who a request is for: the authority of its target, or its Host field. A page
 * that a browser shows may ask this server under a name of its own that leads here (DNS
 * rebinding), so the name tells a page's requests from others. */
#ifndef GP_SERVER_HOST_H
#define GP_SERVER_HOST_H

#include <stdbool.h>
#include <stddef.h>

/* True for "localhost", 127.0.0.0/8 and "[::1]", with a port or without. */
bool host_is_loopback(const char *authority, size_t size_bytes);

/* True when the name is the authority, or the authority without its port. */
bool host_is_named(const char *authority, size_t size_bytes, const char *name);

#endif
