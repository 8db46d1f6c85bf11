/* A server as programs have it: made with its public face, on a thread of its own, with clients that
 * wait for its answers. What it logs is kept. */
#ifndef GP_TESTS_LIVE_H
#define GP_TESTS_LIVE_H

#include "server/server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

struct live {
    struct gp_server *server;
    struct gp_error error; /* of its run */
    enum gp_status status;
    pthread_t thread;
    int log_fd;
    size_t log_size;
    char log[16 * 1024]; /* terminated; see live_log */
    char answer[4096];   /* likewise; see live_ask */
};

/* Options for a server that a test makes itself: a small pool, one thread, a socket "unix:...". */
struct gp_server_options live_options(void);

/* Makes one of the options, with the log; a function's if they name no engine and no models. */
void live_create(struct live *live, const struct gp_server_options *options);
void live_destroy(struct live *live);

/* Runs it; stops it, and waits until it has ended with this status. */
void live_start(struct live *live);
void live_stop(struct live *live, enum gp_status wanted);

/* All that it has logged so far. */
const char *live_log(struct live *live);

/* Until it has logged this. */
void live_await_log(struct live *live, const char *words);

/* Until this process has so many threads, as process_usage counts them: a thread that was joined may be
 * there for a moment. */
void live_await_threads(uint64_t n);

/* A socket to the listener of that index. */
int live_connect(const struct live *live, size_t index);

/* What comes back for "METHOD /PATH" through the first listener. */
const char *live_ask(struct live *live, const char *line);

#endif
