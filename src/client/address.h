/* client/address.h - the address of a server, parsed once, when the client is created. */
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
    char host_field[272]; /* for the Host field: "[::1]:9000" */
    char label[280];      /* for messages: "http://[::1]:9000", "unix:/path" */
    char *target;         /* "/path", on the heap */
};

/* Parses "http://HOST[:PORT][/PATH]", "HOST[:PORT][/PATH]" and "unix:/path". */
enum gp_status client_address_init(struct client_address *address, const char *text,
                                   struct gp_error *err);

void client_address_finish(struct client_address *address);

/* Looks up the host's addresses, to be freed with freeaddrinfo; waits no longer than the
 * deadline. */
enum gp_status client_resolve(const struct client_address *address, int64_t deadline_ns,
                              struct addrinfo **list, struct gp_error *err);

#endif
