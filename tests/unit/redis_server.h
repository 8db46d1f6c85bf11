/* A real Redis in the test's folder, on a unix socket and on a port of loopback, that does not outlive the
 * test. */
#ifndef GP_TESTS_REDIS_SERVER_H
#define GP_TESTS_REDIS_SERVER_H

#include "skipping.h"

#include <stdbool.h>
#include <sys/types.h>

struct redis_server {
    pid_t pid;
    unsigned port;
    bool is_tls; /* the port, by cert.pem and key.pem of the test's folder */
    char socket[96];
    char answer[512]; /* of redis_server_ask */
};

/* In tests that need one. */
#define REDIS_SERVER_OR_SKIP()                                                           \
    do {                                                                                 \
        if (!redis_server_is_there())                                                    \
            SKIP_BECAUSE("Redis is missing: tools/setup test");                          \
    } while (0)

bool redis_server_is_there(void);

/* With more options, ended by NULL, or NULL; "%s" in them stands for the test's folder. It answers now. A
 * zeroed server gets a port, one that was stopped keeps its own. */
void redis_server_start(struct redis_server *server, const char *const *options);
void redis_server_stop(struct redis_server *server);

/* What redis-cli prints for a line of the shell after its own name: "-n 3 DBSIZE", "'GET' 'x'". */
const char *redis_server_ask(struct redis_server *server, const char *command);

#endif
