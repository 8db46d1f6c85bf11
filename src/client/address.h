/* client/address.h - where a server is: parsed once, when the client is made. */
#ifndef GP_CLIENT_ADDRESS_H
#define GP_CLIENT_ADDRESS_H

#include <graphpipe/status.h>

#include <netdb.h>
#include <stdbool.h>
#include <sys/un.h>

struct client_address {
    bool is_unix;
    struct sockaddr_un unix_path;
    char host[256]; /* without brackets */
    char port[8];
    char host_field[272]; /* for the field Host: "[::1]:9000" */
    char label[280];      /* for messages: "http://[::1]:9000", "unix:/path" */
    char *target;         /* "/path", on the heap */
};

/* Understands "http://HOST[:PORT][/PATH]", "HOST[:PORT][/PATH]" and "unix:/path". */
enum gp_status client_address_init(struct client_address *address, const char *text,
                                   struct gp_error *err);

void client_address_finish(struct client_address *address);

/* The host's addresses, to be freed with freeaddrinfo; waits until the deadline at most.
 */
enum gp_status client_resolve(const struct client_address *address, int64_t deadline_ns,
                              struct addrinfo **list, struct gp_error *err);

#endif
