/* A server without threads, its visitors, which are the test's, and a clock that the test turns. The
 * model is a function with one input, x, and one output, y. */
#ifndef GP_TESTS_SCENE_H
#define GP_TESTS_SCENE_H

#include "server/server.h"
#include "server/turn.h"

#include "still_poller.h"
#include "turned_clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { SCENE_N = 3, SCENE_LARGE = 4 << 20 /* more than a socket holds */ };

/* When it begins: in the far future, so that no timerfd fires. */
#define SCENE_NS (1000000000 * CLOCK_S)

struct visitor {
    struct connection *c; /* its other end */
    int fd;
    size_t n_received;
    char received[1024]; /* the first of them, terminated */
    bool is_ended;       /* by the server */
};

struct scene {
    struct gp_server *server;
    struct visitor visitors[SCENE_N];
    int64_t run_ns; /* how long a run takes */
};

/* A server with these options (NULL: the defaults) and one slot. */
struct scene *scene_begin(const struct gp_server_options *options);

/* All visitors leave, and nothing is left of them. */
void scene_end(struct scene *scene);

/* The i-th visitor, who comes from a struct sockaddr_in6 or another of that size; NULL: through a unix
 * socket. */
struct visitor *scene_connect(struct scene *scene, int i, const void *from);
void scene_leave(struct scene *scene, struct visitor *visitor);

/* Serves whatever there is to be served. */
void scene_serve(struct scene *scene);

/* What is sent last is not served yet. */
void scene_send(struct scene *scene, struct visitor *visitor, const void *bytes,
                size_t size);

/* Sends a text and serves it. */
void scene_say(struct scene *scene, struct visitor *visitor, const char *text);

/* A request with so many bytes of x, for so many of y, to be freed. */
char *scene_message(size_t x_bytes, const char *y_bytes, size_t *size);

/* Sends it, with more header fields; what is sent last is not served yet. */
void scene_post(struct scene *scene, struct visitor *visitor, size_t x_bytes,
                const char *y_bytes, const char *fields);

/* The same in chunks. */
void scene_post_chunked(struct scene *scene, struct visitor *visitor, size_t x_bytes,
                        const char *y_bytes);

/* Receives until the server has nothing more to send; what comes has to begin with this. */
void scene_hear(struct scene *scene, struct visitor *visitor, const char *begins);

/* The same: nothing comes, and the connection goes on. */
void scene_hear_nothing(struct scene *scene, struct visitor *visitor);

/* So long after the beginning; the second ends what is late then. */
void scene_turn_to(int64_t ms);
void scene_expire_at(struct scene *scene, int64_t ms);

#endif
