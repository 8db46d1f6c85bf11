/* Around the example of server.h, which is a program; only its port is another. */
#include <graphpipe/server.h>

static const char *const listen_at[] = {"127.0.0.1:0"};
static const struct gp_server_options options = {
    .size_bytes = sizeof options, .listen = listen_at, .n_listen = 1};

#include "example.inc"
